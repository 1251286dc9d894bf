//! `deep`: many seeds of whole systems, many seeds of all tests, then `loom --full`.

use std::process::Command;
use std::time::{Duration, Instant, SystemTime};

use crate::run::{cargo, command, target};
use crate::simulate::{self, Until};
use crate::{Outcome, loom};

const SEEDS: &str = "100000";
/// Seeds of whole systems, if there is no limit of time.
const SYSTEMS: u64 = 20_000;

/// Runs everything once, or until the time is over: two thirds of it are for whole systems.
///
/// These begin at another seed every day, so that days add up.
pub fn run(minutes: Option<u64>) -> Outcome {
    let end = minutes.map(|minutes| Instant::now() + Duration::from_secs(minutes * 60));
    let day = SystemTime::UNIX_EPOCH
        .elapsed()
        .map_or(0, |t| t.as_secs() / 86_400);
    let systems = minutes.map_or(Until::Seeds(SYSTEMS), |m| Until::Seconds(m * 40));
    simulate::run(systems, day * 1_000_000)?;
    let mut tests = cargo();
    tests.args(["test", "--workspace", "--release"]);
    tests.envs([
        ("DPA_SEEDS", SEEDS),
        ("DPA_CASES", SEEDS),
        ("PROPTEST_CASES", SEEDS),
    ]);
    within(tests, end)?;
    for krate in loom::CRATES
        .into_iter()
        .filter(|krate| loom::has_models(krate))
    {
        let mut models = loom::cargo_test(krate);
        models.env("LOOM_MAX_PREEMPTIONS", loom::preemptions(true));
        within(models, end)?;
    }
    println!("deep: done; builds are in {}", target().display());
    Ok(())
}

/// Runs the command under `timeout`, which stops the programs it started too. Out of time is no error.
fn within(inner: Command, end: Option<Instant>) -> Outcome {
    let left = end.map(|end| end.saturating_duration_since(Instant::now()).as_secs());
    if left == Some(0) {
        println!("deep: the time is over");
        return Ok(());
    }
    let mut outer = command("timeout");
    outer
        .arg(left.unwrap_or(0).to_string())
        .arg(inner.get_program())
        .args(inner.get_args());
    outer.envs(
        inner
            .get_envs()
            .filter_map(|(key, value)| Some((key, value?))),
    );
    let status = outer
        .status()
        .map_err(|e| format!("cannot start `timeout`: {e}"))?;
    match status.code() {
        Some(0 | 124) => Ok(()),
        _ => Err(format!(
            "a deep test failed ({status}); its output names the replay command"
        )),
    }
}
