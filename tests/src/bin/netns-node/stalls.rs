//! How long this program was not scheduled at a time, so that a peer given up can be told from one that slept.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// How long the thread that looks sleeps at a time.
const STEP: Duration = Duration::from_millis(5);

/// The longest time that a thread which sleeps briefly, again and again, was late.
pub struct Stalls(Arc<AtomicU64>);

impl Stalls {
    /// Looks from now on, until this is dropped.
    pub fn watch() -> Self {
        let longest = Arc::new(AtomicU64::new(0));
        let weak = Arc::downgrade(&longest);
        std::thread::spawn(move || {
            let mut last = Instant::now();
            while let Some(longest) = weak.upgrade() {
                std::thread::sleep(STEP);
                let now = Instant::now();
                let late = (now - last).saturating_sub(STEP);
                longest.fetch_max(late.as_millis() as u64, Ordering::Relaxed);
                last = now;
            }
        });
        Self(longest)
    }

    /// The longest so far.
    pub fn longest(&self) -> Duration {
        Duration::from_millis(self.0.load(Ordering::Relaxed))
    }
}
