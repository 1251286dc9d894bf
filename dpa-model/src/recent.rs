//! What a unit has bound lately: its kernels bind the same addresses again and again, at each activation of a handler all of
//! their arguments.
//!
//! Rules:
//! 1. A heap counts what it frees, after it has taken the allocation off its list and before the call returns.
//! 2. Who binds reads that count, then looks at the list, and keeps the allocation it found with the count it read. While the count
//!    is the same, nothing has been freed since: the allocation is still live.
//! 3. A unit forgets all of it when it goes on with another process.

use std::cell::Cell;
use std::ops::Range;

/// Places in which allocations are kept, by the address that was bound.
const PLACES: usize = 1 << PLACE_BITS;
const PLACE_BITS: u32 = 4;
/// 2^64 by the golden ratio: multiples of it spread evenly.
const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;

/// Allocations of one heap, and how much it had freed when they were found live.
#[derive(Debug, Default)]
pub(crate) struct Recent {
    places: [Cell<Found>; PLACES],
}

/// An allocation that was found live; none, if it has no bytes.
#[derive(Clone, Copy, Debug, Default)]
struct Found {
    freed: u64,
    start: u64,
    bytes: u64,
}

impl Recent {
    #[inline]
    fn place(&self, addr: u64) -> &Cell<Found> {
        &self.places[(addr.wrapping_mul(SPREAD) >> (u64::BITS - PLACE_BITS)) as usize]
    }

    /// Whether these bytes are known to lie in one live allocation, of a heap that has freed so much.
    #[inline]
    pub(crate) fn knows(&self, freed: u64, addr: u64, len: u64) -> bool {
        let found = self.place(addr).get();
        let into = addr.wrapping_sub(found.start);
        found.freed == freed && into < found.bytes && len <= found.bytes - into
    }

    /// `addr` was found in this allocation, of a heap that had freed so much.
    pub(crate) fn keep(&self, freed: u64, addr: u64, allocation: &Range<u64>) {
        self.place(addr).set(Found {
            freed,
            start: allocation.start,
            bytes: allocation.end - allocation.start,
        });
    }

    /// Forgets all of them.
    pub(crate) fn forget(&self) {
        self.places
            .iter()
            .for_each(|place| place.set(Found::default()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_kept_is_known_until_something_is_freed() {
        let recent = Recent::default();
        assert!(!recent.knows(0, 0, 0), "nothing is known at first");
        recent.keep(3, 64, &(0..100));
        assert!(recent.knows(3, 64, 36) && recent.knows(3, 64, 0));
        assert!(!recent.knows(3, 64, 37) && !recent.knows(3, 64, u64::MAX));
        for (addr, allocation) in [(63, 64..100), (100, 64..100), (u64::MAX, 64..100)] {
            recent.keep(3, addr, &allocation);
            assert!(!recent.knows(3, addr, 1), "{addr} is not in it");
        }
        assert!(
            !recent.knows(4, 64, 1),
            "something was freed, and it may be that"
        );
        recent.forget();
        assert!(!recent.knows(3, 64, 1));
    }

    #[test]
    fn one_place_keeps_one_allocation() {
        let recent = Recent::default();
        let place = |addr| std::ptr::from_ref(recent.place(addr));
        let others = || (2..).map(|n| n * 64);
        let same = others()
            .find(|addr| place(*addr) == place(64))
            .expect("one");
        let apart = others()
            .find(|addr| place(*addr) != place(64))
            .expect("one");
        for addr in [64, apart, same] {
            recent.keep(0, addr, &(addr..addr + 64));
        }
        assert!(!recent.knows(0, 64, 64));
        assert!(recent.knows(0, apart, 64) && recent.knows(0, same, 64));
    }
}
