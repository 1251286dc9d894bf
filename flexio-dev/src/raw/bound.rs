//! What all queues are to a kernel: a record, and the ring that it tells of.

use dpa_abi::{DevAddr, FaultKind};

use super::QueueWire;
use crate::context::ThreadContext;
use crate::view::AtomicSlice;

/// A record and its ring, bound for a thread.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bound<'t> {
    pub(super) thread: &'t ThreadContext<'t>,
    pub(super) record: AtomicSlice<'t, u64>,
    pub(super) ring: AtomicSlice<'t, u64>,
    /// How many entries the ring has.
    pub(super) entries: u64,
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
        let ring = AtomicSlice::bind(thread, DevAddr::from_raw(at), len)?;
        Ok(Self {
            thread,
            record,
            ring,
            entries,
        })
    }
}
