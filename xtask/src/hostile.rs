//! `hostile`: a process beside one that attacks, on a function of its own and on the same, and a verified ping-pong under hostile packets at full speed.

use crate::Outcome;
use crate::run::{cargo, check, command, target};

/// Builds both programs and runs them; the packets come for so long.
pub fn run(seconds: u64) -> Outcome {
    let bins = ["--bin", "hostile-kernel", "--bin", "hostile-network"];
    check(
        cargo()
            .args(["build", "--release", "-p", "tests"])
            .args(bins),
    )?;
    let program = |name| command(target().join("release").join(name));
    check(program("hostile-network").args(["--seconds", &seconds.to_string()]))?;
    check(program("hostile-kernel").arg("--check"))?;
    check(program("hostile-kernel").arg("--one-function"))
}
