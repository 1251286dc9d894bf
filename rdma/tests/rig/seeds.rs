//! Which seeds a test tries, and what it says of one that fails.

use std::panic::{AssertUnwindSafe, catch_unwind};

/// A number that the environment gives; an empty variable gives none.
///
/// # Panics
/// It gives something else: other seeds than those that were asked for would pass for the wrong reason.
pub fn number(name: &str) -> Option<u64> {
    let given = std::env::var_os(name).filter(|given| !given.is_empty())?;
    let number = given.to_str().and_then(|text| text.parse().ok());
    Some(number.unwrap_or_else(|| panic!("{name} is {given:?}, a whole number is allowed")))
}

/// Runs the seed that `DPA_SEED` gives, or as many as `DPA_SEEDS` says, or the default, at least one. `test`: the file of the test.
///
/// # Panics
/// One of them did; how to replay it.
pub fn each_seed(test: &str, default: u64, run: impl Fn(u64)) {
    let seeds = match number("DPA_SEED") {
        Some(seed) => seed..=seed,
        None => 0..=number("DPA_SEEDS").unwrap_or(default).saturating_sub(1),
    };
    for seed in seeds {
        if catch_unwind(AssertUnwindSafe(|| run(seed))).is_err() {
            panic!("seed {seed} failed; replay: DPA_SEED={seed} cargo test -p rdma --test {test}");
        }
    }
}
