//! Thresholds that were registered in order: a double-ended queue with gaps.
//!
//! Rules:
//!
//! 1. Thresholds do not descend from front to back. Neither end is a gap.
//! 2. A cancelled entry becomes a gap. A run of gaps knows its length at both of its ends, so that neighbours
//!    merge and the front steps over a run of any length at once.
//! 3. A position is a wrapping counter that does not change while other entries come and go, except by
//!    [`Queue::compact`], which runs when gaps outnumber entries: amortised, one step per cancellation.

use alloc::collections::VecDeque;

use super::slab::NUMBERS;

#[derive(Clone, Copy, Debug)]
struct Entry {
    threshold: u64,
    /// The slot of the waiter, or [`GAP`].
    slot: u32,
    /// Of a gap at an end of a run: the length of the run.
    run: u32,
}

const GAP: u32 = u32::MAX;
/// Positions wrap here.
const POSITIONS: u32 = NUMBERS;
/// So few gaps are never worth a compaction.
const FEW: usize = 32;

#[derive(Debug)]
pub(super) struct Queue {
    entries: VecDeque<Entry>,
    /// The position of the front.
    front: u32,
    gaps: usize,
}

impl Queue {
    pub(super) const fn new() -> Self {
        Self {
            entries: VecDeque::new(),
            front: 0,
            gaps: 0,
        }
    }

    /// The least threshold.
    pub(super) fn first(&self) -> Option<u64> {
        self.entries.front().map(|e| e.threshold)
    }

    /// Whether a waiter with this threshold can stand at one of the ends.
    pub(super) fn continues_with(&self, threshold: u64) -> bool {
        let full = self.entries.len() >= POSITIONS as usize / 2;
        !full && (self.follows_back(threshold) || self.first().is_some_and(|f| threshold <= f))
    }

    /// Adds a waiter for which [`Queue::continues_with`] is true and returns its position.
    pub(super) fn push(&mut self, threshold: u64, slot: u32) -> u32 {
        let entry = Entry {
            threshold,
            slot,
            run: 0,
        };
        if self.follows_back(threshold) {
            self.entries.push_back(entry);
            self.position(self.entries.len() - 1)
        } else {
            self.entries.push_front(entry);
            self.front = self.front.wrapping_sub(1) % POSITIONS;
            self.front
        }
    }

    /// Entries that are no gaps.
    pub(super) fn len(&self) -> usize {
        self.entries.len() - self.gaps
    }

    /// Whether `value` reaches the front, and surely no other.
    #[inline]
    pub(super) fn reaches_only_first(&self, value: u64) -> bool {
        self.first().is_some_and(|first| first <= value)
            && self
                .entries
                .get(1)
                .is_none_or(|second| second.threshold > value)
    }

    /// Takes out the front if `value` reaches its threshold.
    pub(super) fn pop_reached(&mut self, value: u64) -> Option<u32> {
        self.entries.front().filter(|e| e.threshold <= value)?;
        let first = self.entries.pop_front()?;
        self.front = self.position(1);
        if self.gaps != 0 {
            self.trim();
        }
        Some(first.slot)
    }

    /// Makes a gap at this position.
    pub(super) fn remove(&mut self, position: u32) {
        let at = (position.wrapping_sub(self.front) % POSITIONS) as usize;
        let before = at.checked_sub(1).map_or(0, |i| self.run(i));
        let after = self.run(at + 1);
        self.entries[at].slot = GAP;
        self.gaps += 1;
        let run = before + 1 + after;
        self.entries[at - before].run = run as u32;
        self.entries[at + after].run = run as u32;
        self.trim();
    }

    /// Closes the gaps if they outnumber the entries; `moved` hears of each entry's slot and new position.
    pub(super) fn compact(&mut self, mut moved: impl FnMut(u32, u32)) {
        if self.gaps <= FEW || self.gaps <= self.entries.len() - self.gaps {
            return;
        }
        self.entries.retain(|e| e.slot != GAP);
        self.gaps = 0;
        for (i, entry) in self.entries.iter().enumerate() {
            moved(entry.slot, self.position(i));
        }
    }

    fn follows_back(&self, threshold: u64) -> bool {
        self.entries.back().is_none_or(|b| threshold >= b.threshold)
    }

    fn position(&self, at: usize) -> u32 {
        self.front.wrapping_add(at as u32) % POSITIONS
    }

    /// The length of the run of gaps that has one of its ends here.
    fn run(&self, at: usize) -> usize {
        match self.entries.get(at) {
            Some(e) if e.slot == GAP => e.run as usize,
            _ => 0,
        }
    }

    /// Restores rule 1.
    fn trim(&mut self) {
        let leading = self.run(0);
        self.entries.drain(..leading);
        self.front = self.position(leading);
        let trailing = self
            .entries
            .len()
            .checked_sub(1)
            .map_or(0, |last| self.run(last));
        self.entries.truncate(self.entries.len() - trailing);
        self.gaps -= leading + trailing;
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use super::*;

    fn ascending(thresholds: impl IntoIterator<Item = u64>) -> Queue {
        let mut queue = Queue::new();
        for (slot, threshold) in thresholds.into_iter().enumerate() {
            assert!(queue.continues_with(threshold));
            queue.push(threshold, slot as u32);
        }
        queue
    }

    #[test]
    fn only_what_stands_at_an_end_continues_it() {
        let queue = ascending([5, 7, 7]);
        let fits: Vec<u64> = (0..10).filter(|t| queue.continues_with(*t)).collect();
        assert_eq!(fits, [0, 1, 2, 3, 4, 5, 7, 8, 9]);
        assert_eq!(ascending([5, 3, 9, 1]).first(), Some(1));
    }

    #[test]
    fn only_one_is_reached_where_the_second_is_not() {
        let queue = ascending([5, 7]);
        let alone: Vec<u64> = (0..10).filter(|v| queue.reaches_only_first(*v)).collect();
        assert_eq!(alone, [5, 6]);
        assert!(ascending([5]).reaches_only_first(99));
        assert!(!Queue::new().reaches_only_first(99));
    }

    #[test]
    fn gaps_are_closed_when_they_outnumber_the_entries() {
        let mut queue = ascending(0..100);
        for position in 1..=50 {
            queue.remove(position);
            queue.compact(|_, _| unreachable!("half are entries"));
        }
        assert_eq!((queue.len(), queue.entries.len()), (50, 100));
        queue.remove(51);
        let mut moved = Vec::new();
        queue.compact(|slot, position| moved.push((slot, position)));
        assert_eq!((queue.len(), queue.entries.len(), queue.gaps), (49, 49, 0));
        let slots = core::iter::once(0).chain(52..100);
        assert!(moved.into_iter().eq(slots.zip(0..)));
    }

    #[test]
    fn few_gaps_are_left_alone() {
        let mut queue = ascending(0..34);
        for position in 1..=32 {
            queue.remove(position);
            queue.compact(|_, _| unreachable!("there are few"));
        }
        assert_eq!((queue.len(), queue.entries.len()), (2, 34));
    }
}
