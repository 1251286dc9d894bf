//! Waits with a limit, and the longest of them.

use std::time::{Duration, Instant};

use crate::Outcome;

/// No wait here may take longer.
const LIMIT: Duration = Duration::from_secs(20);

/// The longest wait so far.
#[derive(Debug, Default)]
pub struct Longest(Duration);

impl Longest {
    /// Awaits something that must come within the limit.
    pub async fn within<F: IntoFuture>(&mut self, what: &str, future: F) -> Outcome<F::Output> {
        let began = Instant::now();
        let ended = tokio::time::timeout(LIMIT, future.into_future()).await;
        self.0 = self.0.max(began.elapsed());
        ended.map_err(|_| format!("{what} took longer than {LIMIT:?}").into())
    }

    pub fn millis(&self) -> u128 {
        self.0.as_millis()
    }
}

/// Choices (SplitMix64).
#[derive(Debug)]
pub struct Dice(pub u64);

impl Dice {
    /// A number below `n`, which is at least 1.
    pub fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % n
    }
}
