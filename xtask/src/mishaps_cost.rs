//! `mishaps-cost`: what fault injection costs whoever does not use it, in instructions of the `chain` bench.
//!
//! The bench is built as it ships, and again with `cfg(dpa_without_mishaps)`, which leaves out what asks whether something
//! goes wrong. A run now and then waits a little longer somewhere, so the fewest of some runs of each count.

use std::path::PathBuf;

use crate::Outcome;
use crate::callgrind::collected;
use crate::run::{cargo, check, command, output, skip, succeeds, target};

/// Runs of each.
const RUNS: usize = 3;
/// How many more instructions there may be with it, as a part of those without.
const ALLOWED: f64 = 0.005;

/// Builds both, counts, compares.
pub fn run() -> Outcome {
    if !succeeds(command("valgrind").arg("--version")) {
        return skip("mishaps-cost", "valgrind is not installed");
    }
    let programs = [
        built("with", "")?,
        built("without", "--cfg dpa_without_mishaps")?,
    ];
    let mut counts = [u64::MAX; 2];
    for _ in 0..RUNS {
        for (fewest, program) in counts.iter_mut().zip(&programs) {
            *fewest = (*fewest).min(count(program)?);
        }
    }
    let [with, without] = counts.map(|count| count as f64 / 1e6);
    let more = with / without - 1.0;
    println!(
        "instructions of the chain bench: {with:.1} M with fault injection, {without:.1} M without ({:+.2} %)",
        100.0 * more
    );
    match more > ALLOWED {
        true => Err(format!(
            "fault injection costs more than {} %",
            100.0 * ALLOWED
        )),
        false => Ok(()),
    }
}

/// The bench, built with these flags in a directory of its own.
fn built(name: &str, flags: &str) -> Result<PathBuf, String> {
    let place = target().join("mishaps").join(name);
    let mut build = cargo();
    build.args(["build", "--release", "-p", "dpa-bench"]);
    check(
        build
            .env("CARGO_TARGET_DIR", &place)
            .env("RUSTFLAGS", flags),
    )?;
    Ok(place.join("release/dpa-bench"))
}

fn count(program: &PathBuf) -> Result<u64, String> {
    let mut run = command("valgrind");
    run.args(["--tool=callgrind", "--log-file=/dev/stdout"]);
    run.arg(format!(
        "--callgrind-out-file={}",
        program.with_extension("callgrind").display()
    ));
    run.arg(program)
        .args(["launch", "--only", "chain", "--no-peer"]);
    collected(&output(&mut run)?).ok_or("callgrind says nothing".into())
}
