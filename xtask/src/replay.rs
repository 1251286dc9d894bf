//! `replay`: one seeded test with one seed.

use crate::Outcome;
use crate::run::{cargo, output};

/// Runs the tests whose name contains `test` with `DPA_SEED`; none found is an error.
pub fn run(test: &str, seed: u64) -> Outcome {
    let mut cargo = cargo();
    cargo.args([
        "test",
        "--workspace",
        "--lib",
        "--bins",
        "--tests",
        test,
        "--",
        "--nocapture",
    ]);
    let printed = output(cargo.env("DPA_SEED", seed.to_string()));
    print!("{}", printed.as_deref().unwrap_or_default());
    let printed = printed?;
    if printed
        .lines()
        .filter(|l| l.starts_with("running "))
        .all(|l| l == "running 0 tests")
    {
        return Err(format!("no test has `{test}` in its name"));
    }
    Ok(())
}
