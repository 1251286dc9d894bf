//! `replay`: one seeded test with one seed.

use crate::Outcome;
use crate::run::{cargo, check, output};

/// Runs the tests whose name contains `test` with `DPA_SEED`; none found is an error. What they print is seen as it comes.
pub fn run(test: &str, seed: u64) -> Outcome {
    let tests = |last: &str| {
        let mut cargo = cargo();
        cargo.args(["test", "--workspace", "--lib", "--bins", "--tests", test]);
        cargo.args(["--", last]);
        cargo
    };
    let listed = output(&mut tests("--list"))?;
    if !listed.lines().any(|line| line.ends_with(": test")) {
        return Err(format!("no test has `{test}` in its name"));
    }
    check(tests("--nocapture").env("DPA_SEED", seed.to_string()))
}
