//! The ready queue of one process: launches whose condition holds, in order of submission.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

/// A queue ordered by sequence number. Numbers mostly arrive in ascending order: those wait in a deque; one that
/// arrives late goes to a heap beside it.
#[derive(Debug)]
pub struct ReadyQueue<T> {
    ascending: VecDeque<(u64, T)>,
    late: BinaryHeap<Late<T>>,
}

#[derive(Debug)]
struct Late<T>(Reverse<u64>, T);

impl<T> PartialEq for Late<T> {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}
impl<T> Eq for Late<T> {}
impl<T> PartialOrd for Late<T> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl<T> Ord for Late<T> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.cmp(&other.0)
    }
}

impl<T> Default for ReadyQueue<T> {
    fn default() -> Self {
        Self {
            ascending: VecDeque::new(),
            late: BinaryHeap::new(),
        }
    }
}

impl<T> ReadyQueue<T> {
    /// Puts an item in at its place.
    pub fn push(&mut self, seq: u64, item: T) {
        match self.ascending.back() {
            Some(&(last, _)) if last > seq => self.late.push(Late(Reverse(seq), item)),
            _ => self.ascending.push_back((seq, item)),
        }
    }

    fn late_is_first(&self) -> bool {
        match (self.ascending.front(), self.late.peek()) {
            (Some(&(front, _)), Some(Late(Reverse(late), _))) => *late < front,
            (None, Some(_)) => true,
            _ => false,
        }
    }

    /// The first item and its number.
    pub fn first(&self) -> Option<(u64, &T)> {
        if self.late_is_first() {
            self.late
                .peek()
                .map(|Late(Reverse(seq), item)| (*seq, item))
        } else {
            self.ascending.front().map(|(seq, item)| (*seq, item))
        }
    }

    /// Takes the first item.
    pub fn pop(&mut self) -> Option<(u64, T)> {
        if self.late_is_first() {
            self.late.pop().map(|Late(Reverse(seq), item)| (seq, item))
        } else {
            self.ascending.pop_front()
        }
    }

    /// Takes the first item behind the head for which `fits` holds.
    pub fn pop_behind(&mut self, fits: impl Fn(&T) -> bool) -> Option<(u64, T)> {
        let mut passed = Vec::new();
        let mut found = None;
        while let Some((seq, item)) = self.pop() {
            if !passed.is_empty() && fits(&item) {
                found = Some((seq, item));
                break;
            }
            passed.push((seq, item));
        }
        // All of them come before whatever is left.
        for item in passed.into_iter().rev() {
            self.ascending.push_front(item);
        }
        found
    }

    /// Whether this holds for an item of the queue.
    pub fn any(&self, mut holds: impl FnMut(&T) -> bool) -> bool {
        self.ascending.iter().any(|(_, item)| holds(item))
            || self.late.iter().any(|Late(_, item)| holds(item))
    }

    /// Items in the queue.
    pub fn len(&self) -> usize {
        self.ascending.len() + self.late.len()
    }

    /// Whether the queue is empty.
    pub fn is_empty(&self) -> bool {
        self.ascending.is_empty() && self.late.is_empty()
    }
}

#[cfg(all(test, not(dpa_loom)))]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn late_ones_are_the_same_if_their_numbers_are() {
        let late = |seq, item| Late(Reverse(seq), item);
        assert!(late(1, 'a') == late(1, 'b') && late(1, 'a') != late(2, 'a'));
    }

    #[test]
    fn a_queue_is_empty_when_nothing_is_left() {
        let mut queue = ReadyQueue::default();
        assert!(queue.is_empty());
        for seq in [1, 0] {
            queue.push(seq, ());
            assert!(!queue.is_empty());
        }
        for left in [1, 0] {
            assert!(queue.pop().is_some());
            assert_eq!((queue.len(), queue.is_empty()), (left, left == 0));
        }
    }

    #[test]
    fn an_item_is_found_wherever_it_is() {
        let mut queue = ReadyQueue::default();
        assert!(!queue.any(|_| true));
        for seq in [1, 2, 0] {
            queue.push(seq, seq);
        }
        assert!((0..3).all(|seq| queue.any(|item| *item == seq)));
        assert!(!queue.any(|item| *item == 3));
    }

    proptest! {
        #[test]
        fn leaves_in_order_of_sequence(seqs in proptest::collection::vec(0u64..100, 0..60)) {
            let mut queue = ReadyQueue::default();
            for &seq in &seqs {
                queue.push(seq, seq);
            }
            prop_assert_eq!(queue.len(), seqs.len());
            let mut sorted = seqs.clone();
            sorted.sort_unstable();
            for want in sorted {
                prop_assert_eq!(queue.first().map(|(s, _)| s), Some(want));
                prop_assert_eq!(queue.pop(), Some((want, want)));
            }
            prop_assert!(queue.is_empty());
        }

        #[test]
        fn taking_from_behind_keeps_the_rest(seqs in proptest::collection::vec(0u64..1000, 2..40), k in 0u64..1000) {
            let mut sorted = seqs.clone();
            sorted.sort_unstable();
            sorted.dedup();
            let mut queue = ReadyQueue::default();
            for &seq in sorted.iter().rev() {
                queue.push(seq, seq);
            }
            let taken = queue.pop_behind(|&s| s >= k);
            let want = sorted.iter().skip(1).copied().find(|&s| s >= k);
            prop_assert_eq!(taken.map(|t| t.0), want);
            let rest: Vec<u64> = std::iter::from_fn(|| queue.pop().map(|t| t.0)).collect();
            let expected: Vec<u64> = sorted.into_iter().filter(|s| Some(*s) != want).collect();
            prop_assert_eq!(rest, expected);
        }
    }
}
