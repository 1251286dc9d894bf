//! What the NIC sees of memory: `trait Memory`, the only way from a packet to a byte.

use thiserror::Error;

/// Which memory a region lies in: a host buffer, a process's heap, an event. The number is given by whoever
/// registers regions and implements [`Memory`]; the NIC only carries it. A memory may have several.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SpaceId(pub u64);

/// A place in a memory. It has been checked by the region table: the access is within a registered region that
/// stays registered until the access returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target {
    /// Which memory.
    pub space: SpaceId,
    /// Byte offset in it, the same by whichever of its numbers it is named.
    pub offset: u64,
}

impl Target {
    /// The place `bytes` further on.
    #[must_use]
    pub const fn plus(self, bytes: u64) -> Self {
        let offset = self.offset + bytes;
        Self { offset, ..self }
    }
}

/// A read-modify-write of eight aligned bytes in the byte order of this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Atomic {
    /// Adds, modulo 2^64.
    Add(u64),
    /// Stores `swap` if the word is `compare`.
    CompareSwap {
        /// What the word must be.
        compare: u64,
        /// What it becomes.
        swap: u64,
    },
}

impl Atomic {
    /// The word after the operation, if it was `word` before.
    pub const fn applied_to(self, word: u64) -> u64 {
        match self {
            Self::Add(addend) => word.wrapping_add(addend),
            Self::CompareSwap { compare, swap } if word == compare => swap,
            Self::CompareSwap { .. } => word,
        }
    }
}

/// What a remote peer did to an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventUpdate {
    /// A write of eight bytes: the counter becomes this.
    Set(u64),
    /// An atomic operation on the counter.
    Atomic(Atomic),
}

/// The event is closed: it takes no update any more. The peer gets a remote access error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the event is closed")]
pub struct EventGone;

/// Payloads are copied in pieces of this size: with larger ones glibc's memcpy falls off a cliff when the
/// destination lies slightly above the source modulo 4,096.
pub const COPY_PIECE: usize = 1024;

/// Memory as the NIC sees it.
///
/// Several threads may use it at once. Addresses have been checked, so none of this can fail but an update of
/// a closed event. Packets' effects are made in the order of the calls; an `event_update` must be a release
/// of all calls before it (SEMANTICS: whoever sees the signal sees the whole write).
pub trait Memory {
    /// Copies `out.len()` bytes out, at most [`COPY_PIECE`].
    fn read(&self, from: Target, out: &mut [u8]);

    /// Copies `data` in, at most [`COPY_PIECE`] bytes.
    fn write(&self, to: Target, data: &[u8]);

    /// One read-modify-write of eight aligned bytes, atomic among all calls of `atomic`; the word before it.
    fn atomic(&self, at: Target, operation: Atomic) -> u64;

    /// Updates the event at this place and opens the gates behind it; its value before.
    ///
    /// # Errors
    ///
    /// [`EventGone`] if the event is closed.
    fn event_update(&self, at: Target, update: EventUpdate) -> Result<u64, EventGone>;
}

/// Reads any number of bytes, piece by piece.
#[cfg(not(dpa_loom))]
pub(crate) fn read_pieces(memory: &dyn Memory, from: Target, out: &mut [u8]) {
    for (index, piece) in out.chunks_mut(COPY_PIECE).enumerate() {
        memory.read(from.plus((index * COPY_PIECE) as u64), piece);
    }
}

/// Writes any number of bytes, piece by piece.
#[cfg(not(dpa_loom))]
pub(crate) fn write_pieces(memory: &dyn Memory, to: Target, data: &[u8]) {
    for (index, piece) in data.chunks(COPY_PIECE).enumerate() {
        memory.write(to.plus((index * COPY_PIECE) as u64), piece);
    }
}
