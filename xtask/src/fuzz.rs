//! `fuzz`: hostile packets and blobs for our NIC, for a time.
//!
//! The tests are `rdma/tests/fuzz.rs`; alone they run a few seeds. A failing one prints the command that replays it.

use crate::Outcome;
use crate::run::{cargo, check};

/// How long the lane runs.
pub const SECONDS: u64 = 60;

/// Runs every target at once for this long, from this seed on.
pub fn run(seconds: u64, start: u64) -> Outcome {
    let mut tests = cargo();
    tests.args([
        "test",
        "-p",
        "rdma",
        "--test",
        "fuzz",
        "rule_6_8_fuzz",
        "--",
    ]);
    tests.args(["--nocapture", "--test-threads", "8"]);
    tests.env("DPA_FUZZ_SECONDS", seconds.to_string());
    check(tests.env("DPA_FUZZ_START", start.to_string()))
}
