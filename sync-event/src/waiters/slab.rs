//! Where waiters stand: slots with a generation each, 40 bytes for a waiter of 16.

use alloc::vec::Vec;
use core::num::NonZeroU32;

/// Names a waiter of one event: index and generation, 8 bytes. An identity whose waiter is gone names nobody,
/// never another waiter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct WaiterId {
    index: u32,
    generation: NonZeroU32,
}

impl WaiterId {
    /// Names nobody, in any event.
    pub const NOBODY: Self = Self {
        index: u32::MAX,
        generation: NonZeroU32::MIN,
    };

    /// Names the one gate that an event keeps in place, in this generation of it.
    #[cfg(feature = "std")]
    pub(crate) const fn single(generation: NonZeroU32) -> Self {
        Self {
            index: u32::MAX - 1,
            generation,
        }
    }

    /// Whether it names a gate that an event keeps, or kept, in place.
    #[cfg(feature = "std")]
    pub(crate) const fn is_single(self) -> bool {
        self.index == u32::MAX - 1
    }

    pub(super) fn index(self) -> u32 {
        self.index
    }

    pub(super) fn generation(self) -> NonZeroU32 {
        self.generation
    }
}

/// The index a waiter stands in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Home {
    /// No index: nothing satisfies the condition.
    Nowhere,
    /// No index: the wait is over.
    Settled,
    /// The queue, at this position.
    Queue(u32),
    /// The thresholds of this group.
    Ge(u32),
    /// The `eq` conditions of this group.
    Eq(u32),
    /// The `ne` conditions of this group.
    Ne(u32),
}

/// A [`Home`] in 32 bits: its kind in the lowest three, its number above.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place(u32);

/// Positions in the queue and numbers of groups and slots have 29 bits.
pub(super) const NUMBERS: u32 = 1 << 29;

impl Place {
    pub(super) fn new(home: Home) -> Self {
        let (kind, number) = match home {
            Home::Nowhere => (0, 0),
            Home::Settled => (5, 0),
            Home::Queue(n) => (1, n),
            Home::Ge(n) => (2, n),
            Home::Eq(n) => (3, n),
            Home::Ne(n) => (4, n),
        };
        debug_assert!(number < NUMBERS);
        Self(number << 3 | kind)
    }

    pub(super) fn home(self) -> Home {
        let number = self.0 >> 3;
        match self.0 & 7 {
            0 => Home::Nowhere,
            1 => Home::Queue(number),
            2 => Home::Ge(number),
            3 => Home::Eq(number),
            4 => Home::Ne(number),
            _ => Home::Settled,
        }
    }
}

/// One who waits.
#[derive(Debug)]
pub(super) struct Waiter<T> {
    pub(super) what: T,
    pub(super) seq: u64,
    /// The least value of a threshold, or what `eq` and `ne` compare with.
    pub(super) operand: u64,
    pub(super) place: Place,
    pub(super) generation: NonZeroU32,
}

#[derive(Debug)]
enum Slot<T> {
    Free { generation: u32, next: u32 },
    Held(Waiter<T>),
}

const _: () = assert!(size_of::<Slot<[u64; 2]>>() == 40 && size_of::<WaiterId>() == 8);

/// The end of the list of free slots.
const END: u32 = u32::MAX;

/// Slots for waiters. Freed slots are used again, the last one first; memory is kept until the slab is dropped.
#[derive(Debug)]
pub(super) struct Slab<T> {
    slots: Vec<Slot<T>>,
    free: u32,
}

impl<T> Slab<T> {
    pub(super) const fn new() -> Self {
        Self {
            slots: Vec::new(),
            free: END,
        }
    }

    /// The identity that the next insertion gets.
    pub(super) fn next_id(&self) -> WaiterId {
        match self.slots.get(self.free as usize) {
            Some(&Slot::Free { generation, .. }) => WaiterId {
                index: self.free,
                generation: NonZeroU32::new(generation).unwrap_or(NonZeroU32::MIN),
            },
            _ => {
                assert!(
                    self.slots.len() < NUMBERS as usize,
                    "more than 2^29 waiters on one event"
                );
                WaiterId {
                    index: self.slots.len() as u32,
                    generation: NonZeroU32::MIN,
                }
            }
        }
    }

    /// Puts a waiter where [`Slab::next_id`] said.
    pub(super) fn insert(&mut self, id: WaiterId, waiter: Waiter<T>) {
        match self.slots.get_mut(id.index as usize) {
            Some(slot) => {
                if let Slot::Free { next, .. } = *slot {
                    self.free = next;
                }
                *slot = Slot::Held(waiter);
            }
            None => self.slots.push(Slot::Held(waiter)),
        }
    }

    pub(super) fn get_mut(&mut self, id: WaiterId) -> Option<&mut T> {
        match self.slots.get_mut(id.index as usize) {
            Some(Slot::Held(w)) if w.generation == id.generation => Some(&mut w.what),
            _ => None,
        }
    }

    pub(super) fn remove(&mut self, id: WaiterId) -> Option<Waiter<T>> {
        self.get_mut(id)?;
        Some(self.take(id.index))
    }

    /// The waiter in a slot that an index names.
    #[inline]
    pub(super) fn waiter(&mut self, index: u32) -> &mut Waiter<T> {
        match &mut self.slots[index as usize] {
            Slot::Held(waiter) => waiter,
            Slot::Free { .. } => unreachable!("an index names a free slot"),
        }
    }

    /// Takes the waiter out of a slot that an index names.
    pub(super) fn take(&mut self, index: u32) -> Waiter<T> {
        let generation = self
            .waiter(index)
            .generation
            .checked_add(1)
            .map_or(1, NonZeroU32::get);
        let free = Slot::Free {
            generation,
            next: self.free,
        };
        self.free = index;
        match core::mem::replace(&mut self.slots[index as usize], free) {
            Slot::Held(waiter) => waiter,
            Slot::Free { .. } => unreachable!("it was held above"),
        }
    }

    pub(super) fn set_place(&mut self, index: u32, place: Place) {
        self.waiter(index).place = place;
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Waiter<T>> {
        self.slots.iter().filter_map(|slot| match slot {
            Slot::Held(waiter) => Some(waiter),
            Slot::Free { .. } => None,
        })
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Waiter<T>> {
        self.slots.iter_mut().filter_map(|slot| match slot {
            Slot::Held(waiter) => Some(waiter),
            Slot::Free { .. } => None,
        })
    }

    pub(super) fn into_waiters(self) -> impl Iterator<Item = Waiter<T>> {
        self.slots.into_iter().filter_map(|slot| match slot {
            Slot::Held(waiter) => Some(waiter),
            Slot::Free { .. } => None,
        })
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use super::*;

    #[test]
    fn a_freed_slot_is_used_again_under_another_name() {
        let mut slab = Slab::new();
        let put = |slab: &mut Slab<u8>, what| {
            let id = slab.next_id();
            let waiter = Waiter {
                what,
                seq: 0,
                operand: 0,
                place: Place::new(Home::Nowhere),
                generation: id.generation(),
            };
            slab.insert(id, waiter);
            id
        };
        let (first, second) = (put(&mut slab, 1), put(&mut slab, 2));
        assert_eq!(slab.take(first.index()).what, 1);
        let third = put(&mut slab, 3);
        assert_eq!(third.index(), first.index());
        assert_ne!(third, first);
        assert_eq!(slab.get_mut(first), None);
        assert_eq!(slab.slots.len(), 2);
        let found: Vec<u8> = slab.iter().map(|waiter| waiter.what).collect();
        assert_eq!(
            (found, slab.get_mut(second).copied()),
            (vec![3, 2], Some(2))
        );
    }
}
