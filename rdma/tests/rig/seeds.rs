//! Which seeds a test tries, and what it says of one that fails.

use std::panic::{AssertUnwindSafe, catch_unwind};

/// A number that the environment gives.
pub fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// Runs the seed that `DPA_SEED` gives, or as many as `DPA_SEEDS` says, or the default. `test`: the file of the test.
///
/// # Panics
/// One of them did; how to replay it.
pub fn each_seed(test: &str, default: u64, run: impl Fn(u64)) {
    let seeds = match number("DPA_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("DPA_SEEDS").unwrap_or(default),
    };
    for seed in seeds {
        if catch_unwind(AssertUnwindSafe(|| run(seed))).is_err() {
            panic!("seed {seed} failed; replay: DPA_SEED={seed} cargo test -p rdma --test {test}");
        }
    }
}
