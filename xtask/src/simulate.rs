//! `simulate`: whole systems under the seeded driver, at one seed after the other.
//!
//! The program is `tests/src/bin/whole-system`. One that fails prints the command that replays it, with its story.

use crate::Outcome;
use crate::run::{cargo, check};

/// Seeds of the lane.
pub const SEEDS: u64 = 2000;

/// How far it goes.
#[derive(Clone, Copy)]
pub enum Until {
    /// So many seeds.
    Seeds(u64),
    /// As many as fit into so many seconds.
    Seconds(u64),
}

/// Runs seeds from `start` on.
pub fn run(until: Until, start: u64) -> Outcome {
    let mut program = cargo();
    program.args(["run", "-p", "tests", "--bin", "whole-system", "--"]);
    program.args(["--start", &start.to_string()]);
    match until {
        Until::Seeds(seeds) => program.args(["--seeds", &seeds.to_string()]),
        Until::Seconds(seconds) => program.args(["--seconds", &seconds.to_string()]),
    };
    // A panic of a kernel is a part of the program; its stack would cost more than the run.
    check(program.env("RUST_BACKTRACE", "0"))
}
