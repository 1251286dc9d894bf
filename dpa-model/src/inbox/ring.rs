//! The places of the inbox: a ring of pointers that many threads put in and one at a time takes out.
//!
//! Places are counted from 0 on and never again; place n lies in slot n modulo [`SLOTS`]. A slot holds a pointer, or the mark
//! of the round in which it will be filled next. Pointers are even, marks are odd.
//!
//! Rules:
//! 1. A place is filled by one sequentially consistent compare-and-swap, from the mark of its round to the pointer. So no
//!    place is filled twice, and none that was taken.
//! 2. Places are filled without gaps: who fills one has seen all before it filled, or reads `next` from one who has.
//! 3. One thread at a time takes (the caller holds a lock): the place at `head`, and leaves the mark of the next round. Only
//!    then `head` moves on. So a place whose slot has the mark of its own round is the first that is empty.
//! 4. A pointer in a slot may be that of the round before. Who passes a place because of it has read, before, from `head` that
//!    the round before was taken from there: else there could be a gap.
//! 5. `next` and `head` are where to begin to look: they may be behind.

use core::ptr;

use crossbeam::utils::CachePadded;
use sync_event::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};

/// Slots of a ring. A model checker sees what happens when it is full with few.
#[cfg(not(dpa_loom))]
pub const SLOTS: usize = 1 << 10;
/// See above.
#[cfg(dpa_loom)]
pub const SLOTS: usize = 2;

/// With which what is put in becomes visible: who does it looks then whether a worker sleeps.
#[cfg(not(dpa_mutant = "inbox_push_relaxed"))]
pub const PUSH_ORDER: Ordering = Ordering::SeqCst;
/// See above.
#[cfg(dpa_mutant = "inbox_push_relaxed")]
pub const PUSH_ORDER: Ordering = Ordering::Relaxed;

/// A ring of pointers.
#[derive(Debug)]
pub struct Ring<T> {
    slots: Box<[AtomicPtr<T>]>,
    next: CachePadded<AtomicUsize>,
    head: CachePadded<AtomicUsize>,
}

/// The mark of a slot that is filled next in the round of this place.
fn mark<T>(place: usize) -> *mut T {
    ptr::without_provenance_mut(((place / SLOTS) << 1) | 1)
}

fn is_mark<T>(found: *mut T) -> bool {
    found.addr() & 1 == 1
}

impl<T> Default for Ring<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> Ring<T> {
    const EVEN: () = assert!(align_of::<T>() > 1);

    /// An empty ring.
    pub fn new() -> Self {
        let () = Self::EVEN;
        Self {
            slots: (0..SLOTS).map(|_| AtomicPtr::new(mark(0))).collect(),
            next: CachePadded::new(AtomicUsize::new(0)),
            head: CachePadded::new(AtomicUsize::new(0)),
        }
    }

    fn slot(&self, place: usize) -> &AtomicPtr<T> {
        &self.slots[place % SLOTS]
    }

    /// Puts a pointer in; false if the ring is full.
    pub fn push(&self, item: *mut T) -> bool {
        let mut place = self.next.load(Ordering::Acquire);
        let mut head = 0;
        loop {
            let slot = self.slot(place);
            let filled = dpa_abi::sync::publish(|| {
                slot.compare_exchange(mark(place), item, PUSH_ORDER, Ordering::Acquire)
            });
            let Err(found) = filled else {
                if self.next.load(Ordering::Relaxed) <= place {
                    self.next.store(place + 1, Ordering::Release);
                }
                return true;
            };
            #[cfg(not(dpa_mutant = "ring_passes_places"))]
            let before = std::mem::replace(&mut head, self.head.load(Ordering::Acquire));
            #[cfg(dpa_mutant = "ring_passes_places")]
            let before = {
                head = self.head.load(Ordering::Acquire);
                head
            };
            if is_mark(found) || place < before + SLOTS {
                // It was taken already, or holds a pointer, and that of the round before had been taken before it was looked at.
                place = head.max(place + 1);
            } else if place >= head + SLOTS {
                return false;
            }
        }
    }

    /// Whether there is nothing in it at the moment. It is not mistaken about what was there before the call, however many
    /// are taken meanwhile.
    #[inline]
    pub fn is_empty(&self) -> bool {
        let mut place = self.head.load(Ordering::Acquire);
        loop {
            let found = self.slot(place).load(Ordering::SeqCst);
            if !is_mark(found) || found == mark(place) {
                return is_mark(found);
            }
            if cfg!(dpa_mutant = "ring_trusts_head") {
                return true;
            }
            place = self.head.load(Ordering::Acquire).max(place + 1);
        }
    }

    /// Takes up to as many as there is room for in `taken`, in the order they came; how many. Only one thread at a time.
    pub fn take(&self, taken: &mut [*mut T]) -> usize {
        let first = self.head.load(Ordering::Relaxed);
        let mut count = 0;
        for (item, place) in taken.iter_mut().zip(first..) {
            let slot = self.slot(place);
            *item = slot.load(Ordering::SeqCst);
            if is_mark(*item) {
                break;
            }
            slot.store(mark(place + SLOTS), Ordering::Release);
            count += 1;
        }
        if count > 0 {
            self.head.store(first + count, Ordering::Release);
        }
        count
    }
}

#[cfg(all(test, not(dpa_loom)))]
mod tests {
    use super::*;

    fn pointer(number: usize) -> *mut u64 {
        ptr::without_provenance_mut(8 * (number + 1))
    }

    /// Who has filled it has not moved `next` on yet.
    #[test]
    fn who_finds_a_place_filled_takes_the_next() {
        let ring = Ring::<u64>::new();
        ring.slots[0].store(pointer(0), Ordering::SeqCst);
        assert!(ring.push(pointer(1)));
        let mut taken = [ptr::null_mut(); 3];
        assert_eq!(ring.take(&mut taken), 2);
        assert_eq!(taken[..2], [pointer(0), pointer(1)]);
    }

    /// Who has taken the first has not moved `head` on yet.
    #[test]
    fn who_finds_the_first_taken_looks_at_the_next() {
        let ring = Ring::<u64>::new();
        ring.push(pointer(0));
        ring.push(pointer(1));
        ring.slots[0].store(mark(SLOTS), Ordering::SeqCst);
        assert!(!ring.is_empty());
        ring.slots[1].store(mark(SLOTS + 1), Ordering::SeqCst);
        assert!(ring.is_empty());
    }
}
