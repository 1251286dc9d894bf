//! `loom`: the interleavings of every crate that has `tests/loom.rs`.

use std::process::Command;

use crate::Outcome;
use crate::run::{cargo, check, root, skip, target};

/// The crates that have, or will have, models.
pub const CRATES: [&str; 3] = ["sync-event", "dpa-model", "rdma"];

/// Runs the models of each crate, with two preemptions per execution (three with `full`).
pub fn run(full: bool) -> Outcome {
    for krate in CRATES {
        if has_models(krate) {
            check(cargo_test(krate).env("LOOM_MAX_PREEMPTIONS", preemptions(full)))?;
        } else {
            skip("loom", &format!("{krate} has no tests/loom.rs"))?;
        }
    }
    Ok(())
}

/// Whether the crate has models.
pub fn has_models(krate: &str) -> bool {
    root().join(krate).join("tests/loom.rs").exists()
}

/// The bound on preemptions: the user's, or ours.
pub fn preemptions(full: bool) -> String {
    let ours = if full { "3" } else { "2" };
    std::env::var("LOOM_MAX_PREEMPTIONS").unwrap_or_else(|_| ours.into())
}

/// `cargo test` of a crate's models. Without link-time optimization: it costs minutes and finds nothing.
pub fn cargo_test(krate: &str) -> Command {
    let mut command = cargo();
    command
        .args(["test", "-p", krate, "--test", "loom", "--release"])
        .env("RUSTFLAGS", "--cfg dpa_loom")
        .env("CARGO_PROFILE_RELEASE_LTO", "off")
        .env("CARGO_TARGET_DIR", target().join("loom"));
    command
}
