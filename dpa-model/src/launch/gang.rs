//! The threads of one launch: which ranks are still to be run, and how many have returned.

use sync_event::sync::atomic::{AtomicU32, Ordering};

use crate::meeting::Meeting;
use crate::unit::Suspended;

/// What the threads of one launch share.
#[derive(Debug)]
pub struct Gang {
    next_rank: AtomicU32,
    remaining: AtomicU32,
    /// Where they meet.
    pub meeting: Meeting<Suspended>,
}

impl Gang {
    /// For so many threads.
    pub fn new(threads: u32) -> Self {
        Self {
            next_rank: AtomicU32::new(0),
            remaining: AtomicU32::new(threads),
            meeting: Meeting::new(threads),
        }
    }

    /// The next ranks that nobody runs yet, at most `count`: from the first up to, not including, the second.
    pub fn claim(&self, count: u32, threads: u32) -> Option<(u32, u32)> {
        if self.all_claimed(threads) {
            return None;
        }
        let first = self.next_rank.fetch_add(count, Ordering::Relaxed);
        Self::ranks(first, count, threads)
    }

    /// At most `count` ranks from `first` on; `None` if there is none: others may have claimed the last meanwhile.
    pub(super) fn ranks(first: u32, count: u32, threads: u32) -> Option<(u32, u32)> {
        (first < threads).then(|| (first, first.saturating_add(count).min(threads)))
    }

    /// Ranks that nobody has claimed.
    pub fn unclaimed(&self, threads: u32) -> u32 {
        threads.saturating_sub(self.next_rank.load(Ordering::Relaxed))
    }

    /// Whether every rank has been claimed.
    pub fn all_claimed(&self, threads: u32) -> bool {
        self.next_rank.load(Ordering::Relaxed) >= threads
    }

    /// `count` threads have returned; true for whoever reports the last.
    ///
    /// Acquire-release: the last to report happens after everything all threads did.
    pub fn returned(&self, count: u32) -> bool {
        self.remaining.fetch_sub(count, Self::RETURNED_ORDER) == count
    }

    #[cfg(not(dpa_mutant = "gang_returned_relaxed"))]
    const RETURNED_ORDER: Ordering = Ordering::AcqRel;
    #[cfg(dpa_mutant = "gang_returned_relaxed")]
    const RETURNED_ORDER: Ordering = Ordering::Relaxed;
}
