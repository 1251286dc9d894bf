//! Free ranges of an address space: the smallest that is large enough is found, and neighbours are joined, in logarithmic time.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

/// The ranges that are free. No two of them touch.
#[derive(Debug)]
pub(crate) struct FreeRanges {
    /// Their lengths, by their first addresses.
    by_start: BTreeMap<u64, u64>,
    /// The same by length, then by first address.
    by_len: BTreeSet<(u64, u64)>,
}

impl FreeRanges {
    /// All of a range is free.
    pub(crate) fn new(all: Range<u64>) -> Self {
        let mut free = Self {
            by_start: BTreeMap::new(),
            by_len: BTreeSet::new(),
        };
        free.insert(all);
        free
    }

    fn insert(&mut self, range: Range<u64>) {
        let len = range.end - range.start;
        if len > 0 {
            self.by_start.insert(range.start, len);
            self.by_len.insert((len, range.start));
        }
    }

    /// Takes out the free range that begins here, or none.
    fn remove(&mut self, start: u64) -> Option<Range<u64>> {
        let len = self.by_start.remove(&start)?;
        self.by_len.remove(&(len, start));
        Some(start..start + len)
    }

    /// Takes so many from the smallest range that has them; of several the first.
    pub(crate) fn take(&mut self, len: u64) -> Option<Range<u64>> {
        let &(_, start) = self.by_len.range((len, 0)..).next()?;
        let range = self.remove(start)?;
        self.insert(start + len..range.end);
        Some(start..start + len)
    }

    /// Gives a range back that was taken.
    pub(crate) fn give(&mut self, range: Range<u64>) {
        let before = self.by_start.range(..range.start).next_back();
        let before = before.map(|(&start, &len)| start..start + len);
        debug_assert!(
            before
                .as_ref()
                .is_none_or(|before| before.end <= range.start)
        );
        let before = before.filter(|before| before.end == range.start);
        let before = before.and_then(|before| self.remove(before.start));
        let behind = self.remove(range.end);
        let start = before.map_or(range.start, |before| before.start);
        let end = behind.map_or(range.end, |behind| behind.end);
        self.insert(start..end);
    }

    /// The length of the largest.
    pub(crate) fn largest(&self) -> u64 {
        self.by_len.last().map_or(0, |&(len, _)| len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_smallest_that_is_large_enough_is_taken() {
        let mut free = FreeRanges::new(0..100);
        let taken: Vec<_> = [10, 20, 30].map(|len| free.take(len)).into();
        assert_eq!(taken, [Some(0..10), Some(10..30), Some(30..60)]);
        free.give(10..30);
        assert_eq!((free.largest(), free.take(15)), (40, Some(10..25)));
        assert_eq!(free.take(41), None);
        free.give(30..60);
        assert_eq!(free.largest(), 75, "from 25 on all is free");
        free.give(10..25);
        free.give(0..10);
        assert_eq!((free.largest(), free.by_start.len()), (100, 1));
    }

    proptest! {
        #[test]
        fn nothing_is_given_twice_and_nothing_is_lost(steps in prop::collection::vec((1..40u64, any::<prop::sample::Index>()), 1..200)) {
            const ALL: u64 = 400;
            let mut free = FreeRanges::new(0..ALL);
            let mut taken: Vec<Range<u64>> = Vec::new();
            for (len, which) in steps {
                match free.take(len) {
                    Some(range) => {
                        prop_assert_eq!(range.end - range.start, len);
                        prop_assert!(range.end <= ALL);
                        prop_assert!(taken.iter().all(|t| t.end <= range.start || range.end <= t.start));
                        taken.push(range);
                    }
                    None => {
                        prop_assert!(free.largest() < len);
                        let at = which.index(taken.len());
                        free.give(taken.swap_remove(at));
                    }
                }
                let out: u64 = taken.iter().map(|t| t.end - t.start).sum();
                prop_assert_eq!(free.by_start.values().sum::<u64>() + out, ALL);
                prop_assert_eq!(free.by_start.len(), free.by_len.len());
            }
            taken.into_iter().for_each(|range| free.give(range));
            prop_assert_eq!((free.largest(), free.by_start.len()), (ALL, 1));
        }
    }
}
