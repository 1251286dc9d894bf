//! `tsan`: the tests of the concurrent crates under ThreadSanitizer.
//!
//! `--cfg dpa_sanitize` makes kernels run on threads of the operating system, because the sanitizer cannot follow a
//! switch of stacks.

use crate::Outcome;
use crate::run::{check, command, root, skip, succeeds, target};

const SCRIPT: &str = "../shared/tools/tsan.sh";

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
    let mut script = command(root().join(SCRIPT));
    script.args(["test", "-p", "sync-event", "-p", "dpa-model", "--tests"]);
    script
        .env("RUSTFLAGS", "--cfg dpa_sanitize")
        .env_remove("RUSTUP_TOOLCHAIN");
    check(script.env("CARGO_TARGET_DIR", target().join("tsan")))
}
