//! `asan`: tests that drop, cancel, fault and attack, under AddressSanitizer.
//!
//! `--cfg dpa_sanitize` makes kernels run on threads of the operating system, because the sanitizer cannot follow a
//! switch of stacks.

use std::process::Command;

use crate::Outcome;
use crate::run::{check, command, skip, succeeds, target};

/// What sanitizers are built for: a named target keeps build scripts and macros out of it.
pub const HOST: &str = "x86_64-unknown-linux-gnu";

/// Tests of the whole that end things in the middle, or attack; with them a short run of whole systems, and one of hostile packets.
const TESTS: &[&str] = &[
    "beside",
    "dropped_futures",
    "faults",
    "foreign_code",
    "hostile_network",
    "isolation",
    "limits",
    "memory",
    "mishaps",
    "partitions",
    "queues",
    "rare_ends",
    "rdma",
    "shutdown",
    "testing",
    "whole_system",
];

/// Runs them, and all of the RDMA core, of the events and of the device model; skips without the nightly toolchain.
pub fn run() -> Outcome {
    let Some(mut whole) = nightly() else {
        return skip("asan", "no nightly toolchain");
    };
    sanitized(&mut whole).args(["-p", "tests"]);
    for test in TESTS {
        whole.args(["--test", test]);
    }
    check(&mut whole)?;
    let Some(mut parts) = nightly() else {
        return Ok(());
    };
    check(sanitized(&mut parts).args(["-p", "sync-event", "-p", "rdma", "--tests"]))?;
    let Some(mut model) = nightly() else {
        return Ok(());
    };
    // Its tests give launches what is never freed.
    sanitized(&mut model).env("ASAN_OPTIONS", "detect_leaks=0");
    check(model.args(["-p", "dpa-model", "--tests"]))
}

fn sanitized(cargo: &mut Command) -> &mut Command {
    cargo
        .args(["test", "--target", HOST])
        .env("RUSTFLAGS", "-Zsanitizer=address --cfg dpa_sanitize")
        .env("CARGO_TARGET_DIR", target().join("asan"))
}

/// The nightly toolchain's cargo, if there is one.
pub fn nightly() -> Option<Command> {
    let mut version = cargo();
    succeeds(version.arg("--version")).then(cargo)
}

fn cargo() -> Command {
    let mut cargo = command("cargo");
    cargo
        .arg("+nightly")
        .env_remove("RUSTUP_TOOLCHAIN")
        .env_remove("CARGO");
    cargo
}
