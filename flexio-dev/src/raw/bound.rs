//! What all queues are to a kernel: a record, and the ring that it tells of.

use core::sync::atomic::{Ordering, fence};

use dpa_abi::{DevAddr, FaultKind};

use super::QueueWire;
use crate::context::ThreadContext;
use crate::view::{AtomicSlice, DevSliceMut};

/// A record and its ring, bound for a thread.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bound<'t> {
    pub(super) thread: &'t ThreadContext<'t>,
    pub(super) record: AtomicSlice<'t, u64>,
    pub(super) ring: Entries<'t>,
    /// How many entries the ring has.
    pub(super) entries: u64,
}

/// The entries of a ring, as words.
#[derive(Clone, Copy, Debug)]
pub(super) enum Entries<'t> {
    /// In device memory.
    Device(AtomicSlice<'t, u64>),
    /// In host memory, seen through a window: not coherent.
    External(DevSliceMut<'t, u64>),
}

impl<'t> Entries<'t> {
    fn bind(
        thread: &'t ThreadContext<'t>,
        at: DevAddr<u64>,
        len: usize,
    ) -> Result<Self, FaultKind> {
        match at.is_external() {
            true => DevSliceMut::bind(thread, at, len).map(Self::External),
            false => AtomicSlice::bind(thread, at, len).map(Self::Device),
        }
    }

    /// The words from `first` on. What is read after them is as new as they are.
    #[inline]
    pub(super) fn load<const N: usize>(&self, first: usize) -> [u64; N] {
        match self {
            Self::Device(ring) => core::array::from_fn(|word| ring.at(first + word).load()),
            Self::External(ring) => {
                let words = core::array::from_fn(|word| ring.read_volatile(first + word));
                fence(Ordering::Acquire);
                words
            }
        }
    }

    #[inline]
    pub(super) fn store(&self, first: usize, words: &[u64]) {
        match self {
            Self::Device(ring) => {
                for (at, word) in words.iter().enumerate() {
                    ring.at(first + at).store(*word);
                }
            }
            Self::External(ring) => ring.write_from(first, words),
        }
    }
}

/// Where in a record it is told of the ring, and how long both are.
pub(super) struct Layout {
    /// Words of the record.
    pub(super) words: usize,
    /// Its word with the address of the ring.
    pub(super) ring: usize,
    /// Its word with how many entries that has.
    pub(super) entries: usize,
    /// Words of an entry.
    pub(super) entry_words: usize,
}

impl<'t> Bound<'t> {
    /// The record that is named, and its ring.
    ///
    /// # Errors
    /// One of them is not in a live allocation of the process.
    pub(super) fn new(
        thread: &'t ThreadContext<'t>,
        wire: QueueWire,
        layout: &Layout,
    ) -> Result<Self, FaultKind> {
        let addr = wire.record;
        let record = AtomicSlice::<u64>::bind(thread, DevAddr::from_raw(addr), layout.words)?;
        let at = record.at(layout.ring).load();
        let entries = record.at(layout.entries).load();
        // Whatever stands in the record: the ring is bound as far as it says, and used no further.
        let len = entries.saturating_mul(layout.entry_words as u64) as usize;
        if len == 0 {
            return Err(FaultKind::OutOfRange { addr, len: 0 });
        }
        let ring = Entries::bind(thread, DevAddr::from_raw(at), len)?;
        Ok(Self {
            thread,
            record,
            ring,
            entries,
        })
    }

    /// What this thread wrote to the entries is visible to the NIC after this and a writeback of device memory.
    #[inline]
    pub(super) fn write_back(&self) {
        if let Entries::External(_) = self.ring {
            self.thread.window_writeback();
        }
    }

    /// What is read of the entries next is what the NIC has written.
    #[inline]
    pub(super) fn forget(&self) {
        if let Entries::External(_) = self.ring {
            self.thread.window_read_inv();
        }
    }
}
