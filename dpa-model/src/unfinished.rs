//! How many launches of a process are not over, and who is told that one is.
//!
//! One word has two counts: in its low half what the host has submitted, at most as many as the limit allows; in its high half what
//! handlers and command queues have started, which takes no room away from the host. Rules:
//!
//! 1. Room is taken in one step that finds it: what is refused is never counted. So an end finds what there is, and not what is
//!    about to be refused.
//! 2. The end after which nothing is left tells who waits for that. An end that finds no room leaves some, and tells who waits for
//!    room.
//! 3. A launch that has run leaves its room before it is over, and counts beside the limit until all that follows its end is done. So
//!    who awaits it finds its room free, and who finds nothing unfinished finds it over.

use std::fmt;

use sync_event::sync::atomic::{AtomicU64, Ordering};

/// One launch beside the limit.
const BESIDE: u64 = 1 << 32;

/// The counts of a process.
#[derive(Default)]
pub struct Unfinished(AtomicU64);

/// What an end has left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "who waits for it must be told"]
pub struct Left {
    /// Nothing.
    pub nothing: bool,
    /// Room where there was none.
    pub room: bool,
}

fn submitted(counts: u64) -> usize {
    (counts % BESIDE) as usize
}

impl Unfinished {
    /// Counts one that the host submits, if fewer than `limit` are.
    #[cfg(not(dpa_mutant = "unfinished_counts_refused"))]
    #[inline]
    pub fn take(&self, limit: usize) -> bool {
        crate::prefetch::count(&self.0);
        let one_more = |counts| (submitted(counts) < limit).then_some(counts + 1);
        let order = Ordering::SeqCst;
        self.0.fetch_update(order, order, one_more).is_ok()
    }

    /// Counts first.
    #[cfg(dpa_mutant = "unfinished_counts_refused")]
    pub fn take(&self, limit: usize) -> bool {
        let took = submitted(self.0.fetch_add(1, Ordering::SeqCst)) < limit;
        if !took {
            self.0.fetch_sub(1, Ordering::SeqCst);
        }
        took
    }

    /// Whether the host has submitted one that is not over, and nothing else is unfinished.
    #[inline]
    pub fn is_one(&self) -> bool {
        self.0.load(Ordering::Relaxed) == 1
    }

    /// Counts one beside the limit.
    pub fn take_beside(&self) {
        self.0.fetch_add(BESIDE, Ordering::SeqCst);
    }

    /// So many of those that the host submitted are over.
    #[inline]
    pub fn end(&self, count: usize, limit: usize) -> Left {
        let before = self.0.fetch_sub(count as u64, Ordering::SeqCst);
        Left {
            nothing: before == count as u64,
            room: submitted(before) >= limit,
        }
    }

    /// One of those that the host submitted leaves its room (rule 3), and counts beside the limit from now on: it ends with
    /// [`Unfinished::end_beside`]. Whether there was no room before.
    #[inline]
    pub fn leave_room(&self, limit: usize) -> bool {
        let beside = match cfg!(dpa_mutant = "unfinished_leaves_with_room") {
            false => BESIDE,
            true => 0,
        };
        let before = self.0.fetch_add(beside.wrapping_sub(1), Ordering::SeqCst);
        submitted(before) >= limit
    }

    /// One of those beside the limit is over.
    #[inline]
    pub fn end_beside(&self) -> Left {
        Left {
            nothing: self.0.fetch_sub(BESIDE, Ordering::SeqCst) == BESIDE,
            room: false,
        }
    }

    /// Whether the host can submit no more.
    pub fn is_full(&self, limit: usize) -> bool {
        submitted(self.0.load(Ordering::SeqCst)) >= limit
    }

    /// All of them.
    pub fn count(&self) -> usize {
        let counts = self.0.load(Ordering::SeqCst);
        submitted(counts) + (counts / BESIDE) as usize
    }

    /// Whether there are none.
    pub fn is_none(&self) -> bool {
        self.0.load(Ordering::SeqCst) == 0
    }
}

impl fmt::Debug for Unfinished {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Unfinished").field(&self.count()).finish()
    }
}

#[cfg(all(test, not(dpa_loom)))]
mod tests {
    use super::*;

    #[test]
    fn what_is_beside_the_limit_takes_no_room() {
        let unfinished = Unfinished::default();
        (0..3).for_each(|_| unfinished.take_beside());
        assert!(unfinished.take(1) && !unfinished.take(1));
        assert!(unfinished.is_full(1) && !unfinished.is_full(2));
        assert_eq!(unfinished.count(), 4);
        let some = |room| Left {
            nothing: false,
            room,
        };
        assert_eq!(unfinished.end_beside(), some(false));
        assert_eq!(unfinished.end(1, 1), some(true));
        assert_eq!(unfinished.end_beside(), some(false));
        let last = unfinished.end_beside();
        assert!(last.nothing && unfinished.is_none());
    }

    #[test]
    fn who_leaves_its_room_is_unfinished_until_it_ends() {
        let unfinished = Unfinished::default();
        assert!(unfinished.take(2) && unfinished.take(2) && !unfinished.take(2));
        assert!(unfinished.leave_room(2) && !unfinished.is_full(2));
        assert!(!unfinished.leave_room(2), "there was room");
        assert_eq!(unfinished.count(), 2);
        assert!(!unfinished.end_beside().nothing && unfinished.take(2));
        assert_eq!(unfinished.count(), 2);
        assert!(!unfinished.end_beside().nothing && unfinished.end(1, 2).nothing);
    }

    #[test]
    fn one_is_one_that_the_host_submitted_with_nothing_beside() {
        let unfinished = Unfinished::default();
        assert!(!unfinished.is_one() && unfinished.take(4) && unfinished.is_one());
        unfinished.take_beside();
        assert!(!unfinished.is_one(), "something opened it");
        let _ = unfinished.end(1, 4);
        assert!(!unfinished.is_one(), "the host submitted none");
        let _ = unfinished.end_beside();
        assert!(unfinished.take(4) && unfinished.take(4) && !unfinished.is_one());
    }

    #[test]
    fn ends_that_are_booked_together_leave_room_once() {
        let unfinished = Unfinished::default();
        (0..4).for_each(|_| assert!(unfinished.take(4)));
        assert!(unfinished.end(3, 4).room);
        let last = unfinished.end(1, 4);
        assert!(last.nothing && !last.room);
    }
}
