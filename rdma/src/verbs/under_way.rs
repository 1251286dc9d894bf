//! A queue of what is under way: first in, first out, in slots whose number is a power of two.

/// A queue that has room for what is usual, and grows when that is not enough.
#[derive(Debug)]
pub(super) struct UnderWay<T> {
    slots: Vec<T>,
    first: usize,
    len: usize,
}

impl<T: Copy> UnderWay<T> {
    /// One with room for so many; `filler` stands where nothing is.
    pub(super) fn new(room: usize, filler: T) -> Self {
        Self {
            slots: vec![filler; room.max(1).next_power_of_two()],
            first: 0,
            len: 0,
        }
    }

    #[inline]
    pub(super) fn len(&self) -> usize {
        self.len
    }

    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    #[inline]
    fn slot(&self, behind: usize) -> usize {
        self.first.wrapping_add(behind) & (self.slots.len() - 1)
    }

    #[inline]
    pub(super) fn push_back(&mut self, item: T) {
        if self.len == self.slots.len() {
            self.grow();
        }
        let at = self.slot(self.len);
        self.slots[at] = item;
        self.len += 1;
    }

    #[inline]
    pub(super) fn front(&self) -> Option<&T> {
        (self.len > 0).then(|| &self.slots[self.slot(0)])
    }

    #[inline]
    pub(super) fn pop_front(&mut self) -> Option<T> {
        if self.len == 0 {
            return None;
        }
        let item = self.slots[self.slot(0)];
        self.drop_front();
        Some(item)
    }

    /// Drops the first, if there is one.
    #[inline]
    pub(super) fn drop_front(&mut self) {
        if self.len > 0 {
            self.first = self.first.wrapping_add(1);
            self.len -= 1;
        }
    }

    #[cold]
    fn grow(&mut self) {
        let at = self.slot(0);
        self.slots.rotate_left(at);
        self.first = 0;
        self.slots.extend_from_within(..);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use super::*;

    #[test]
    fn it_is_a_queue() {
        let (mut ours, mut right) = (UnderWay::new(3, 0), VecDeque::new());
        for turn in 0..1000u32 {
            // Now more in than out, now less.
            let (puts, takes) = if turn % 100 < 50 { (3, 2) } else { (2, 3) };
            for put in 0..puts {
                ours.push_back(turn * 10 + put);
                right.push_back(turn * 10 + put);
            }
            for _ in 0..takes {
                assert_eq!(ours.front(), right.front());
                assert_eq!(ours.pop_front(), right.pop_front());
            }
            assert_eq!(
                (ours.len(), ours.is_empty()),
                (right.len(), right.is_empty())
            );
        }
    }
}
