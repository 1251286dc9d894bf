//! Which seeds a test of the seeded driver tries, and what it says of one that fails.

mod number;

use std::ops::RangeInclusive;

use number::number;

/// Seeds to try. A panic that drops it says which one was being tried, and how to try it again.
#[derive(Clone, Debug)]
pub struct Seeds {
    left: RangeInclusive<u64>,
    tried: Option<u64>,
}

/// The seed that `DPA_SEED` gives, or as many as `DPA_SEEDS` says, or the default; at least one.
///
/// # Panics
/// One of them gives something else: other seeds than those that were asked for would pass for the wrong reason.
pub fn seeds(default: u64) -> Seeds {
    let left = match number("DPA_SEED") {
        Some(seed) => seed..=seed,
        None => 0..=number("DPA_SEEDS").unwrap_or(default).saturating_sub(1),
    };
    Seeds { left, tried: None }
}

impl Iterator for Seeds {
    type Item = u64;

    fn next(&mut self) -> Option<u64> {
        self.tried = self.left.next();
        self.tried
    }
}

impl Drop for Seeds {
    fn drop(&mut self) {
        let Some(seed) = self.tried.filter(|_| std::thread::panicking()) else {
            return;
        };
        // The harness names the thread of a test by the test, if it gives it one.
        let thread = std::thread::current();
        let test = thread.name().filter(|&name| name != "main");
        let package = env!("CARGO_PKG_NAME");
        let alone = test.map(|test| format!(" cargo test -p {package} {test} -- --exact"));
        eprintln!("replay: DPA_SEED={seed}{}", alone.unwrap_or_default());
    }
}
