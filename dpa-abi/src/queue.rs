//! Queues between kernels and the NIC: what their entries and records look like in device memory.
//!
//! All of it lies in the heap of the process that uses it. The NIC trusts nothing it reads there: it keeps the places
//! and sizes of the queues for itself, and checks every entry.
//!
//! * Send queue (`work`): a ring of 64-byte work-queue entries, written by kernels, read by the NIC.
//! * Receive queue (`work`): a ring of such entries, of which only the data segment counts.
//! * Completion queue (`completion`): a ring of 64-byte completion-queue entries, written by the NIC, read by kernels.
//! * Records (`record`): words beside the rings by which both sides know how far the other has come.
//!
//! An entry is eight words of 64 bits. Its *phase* tells entries of this round of the ring from those of the round
//! before; the word with the phase is stored last, with release. So a reader that finds the phase of its round reads
//! the whole entry.

pub mod bell;
pub mod completion;
pub mod counter;
pub mod matrix;
pub mod notify;
pub mod post;
pub mod record;
pub mod work;

pub use completion::{CompletionEntry, CompletionKind, Syndrome};
pub use counter::NicCounter;
pub use matrix::Matrix;
pub use work::{BadEntry, RemotePlace, WorkData, WorkEntry, WorkFlags, WorkOpcode};

/// Bytes of an entry.
pub const ENTRY_BYTES: usize = 64;
/// Words of an entry.
pub const ENTRY_WORDS: usize = ENTRY_BYTES / 8;
/// The most entries a queue can have; their numbers are 16 bits.
pub const MAX_ENTRIES: u32 = 1 << 15;

/// An entry as it lies in memory: eight little-endian words.
pub type EntryWords = [u64; ENTRY_WORDS];

/// Two big-endian 32-bit fields as one word of memory.
const fn pair(first: u32, second: u32) -> u64 {
    ((first as u64) << 32 | second as u64).swap_bytes()
}

/// The two big-endian 32-bit fields of a word of memory.
const fn unpair(word: u64) -> (u32, u32) {
    let word = word.swap_bytes();
    ((word >> 32) as u32, word as u32)
}

/// The phase of the entry with this running number in a ring of `entries` (a power of two): alternates from round to
/// round, beginning with true.
pub const fn phase(number: u64, entries: u64) -> bool {
    (number & entries) == 0
}

/// The slot of the entry with this running number in a ring of `entries` (a power of two). Whatever `entries` is, the slot is
/// below it, unless it is 0.
pub const fn slot(number: u64, entries: u64) -> usize {
    (number & entries.wrapping_sub(1)) as usize
}

/// The number of entries a queue gets that was asked to have `asked`: the next power of two, at least 2.
/// `None` above [`MAX_ENTRIES`].
pub const fn entries_for(asked: u32) -> Option<u32> {
    match asked {
        0..=2 => Some(2),
        3..=MAX_ENTRIES => Some(asked.next_power_of_two()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_powers_of_two() {
        assert_eq!(entries_for(0), Some(2));
        assert_eq!(entries_for(3), Some(4));
        assert_eq!(entries_for(256), Some(256));
        assert_eq!(entries_for(MAX_ENTRIES), Some(MAX_ENTRIES));
        assert_eq!(entries_for(MAX_ENTRIES + 1), None);
    }

    #[test]
    fn slots_follow_each_other_and_are_in_the_ring() {
        assert_eq!([6, 7, 8, 9].map(|number| slot(number, 8)), [6, 7, 0, 1]);
        assert!(
            (0..100).all(|number| (1..50).all(|entries| slot(number, entries) < entries as usize))
        );
    }

    #[test]
    fn phases_alternate_by_round() {
        let of = |number| phase(number, 4);
        assert!((0..4).all(of) && !(4..8).any(of) && (8..12).all(of));
    }
}
