//! `tsan`: the tests of the concurrent crates under ThreadSanitizer, and those of the RDMA core that several threads or a socket have a
//! part in: the rest of it is one thread's, and takes minutes here.
//!
//! `--cfg dpa_sanitize` makes kernels run on threads of the operating system, because the sanitizer cannot follow a
//! switch of stacks.

use std::process::Command;

use crate::Outcome;
use crate::run::{check, command, root, skip, succeeds, target};

const SCRIPT: &str = "../shared/tools/tsan.sh";

/// Tests of the RDMA core, beside those in its source.
const CORE: &[&str] = &["many", "regions", "same_nic", "transfers", "turns", "udp"];

/// Runs the tests; skips where the nightly toolchain or the script is missing.
pub fn run() -> Outcome {
    if !root().join(SCRIPT).exists() {
        return skip(
            "tsan",
            "the script that builds a sanitized standard library is not here",
        );
    }
    if !succeeds(
        command("rustc")
            .arg("+nightly")
            .arg("--version")
            .env_remove("RUSTUP_TOOLCHAIN"),
    ) {
        return skip("tsan", "no nightly toolchain");
    }
    let mut all = script();
    check(all.args(["-p", "sync-event", "-p", "dpa-model", "--tests"]))?;
    let mut core = script();
    core.args(["-p", "rdma", "--lib"]);
    check(core.args(CORE.iter().flat_map(|test| ["--test", test])))
}

fn script() -> Command {
    let mut script = command(root().join(SCRIPT));
    script
        .arg("test")
        .env("RUSTFLAGS", "--cfg dpa_sanitize")
        .env("CARGO_TARGET_DIR", target().join("tsan"))
        .env_remove("RUSTUP_TOOLCHAIN");
    script
}
