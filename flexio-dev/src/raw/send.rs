//! Send queues.

use dpa_abi::queue::record::{
    CONNECTION_WORDS, QUEUE_PAIR, SEND_ENTRIES, SEND_PRODUCED, SEND_RING, SEND_TAKEN,
};
use dpa_abi::queue::{ENTRY_WORDS, WorkEntry, WorkOpcode, phase, slot};
use dpa_abi::{FaultKind, KernelArg};

use super::{Bound, Layout, QueueWire, RingError, Wqe};
use crate::context::{BindArg, ThreadContext};
use crate::queue::{PostError, fits};

/// The send queue of a queue pair, or one by itself.
#[doc(alias = "flexio_sq")]
#[derive(Clone, Copy, Debug)]
pub struct SendQueue<'t>(Bound<'t>);

const LAYOUT: Layout = Layout {
    words: CONNECTION_WORDS,
    ring: SEND_RING,
    entries: SEND_ENTRIES,
    entry_words: ENTRY_WORDS,
};

#[diagnostic::do_not_recommend]
impl KernelArg for SendQueue<'_> {
    type Wire = QueueWire;
}

impl<'t> BindArg<'t> for SendQueue<'t> {
    fn bind_arg(wire: QueueWire, thread: &'t ThreadContext<'t>) -> Result<Self, FaultKind> {
        Self::bind(thread, wire)
    }
}

impl<'t> SendQueue<'t> {
    /// The queue with this record.
    ///
    /// # Errors
    /// Record or ring are not in live allocations of the process.
    pub fn bind(thread: &'t ThreadContext<'t>, wire: QueueWire) -> Result<Self, FaultKind> {
        Bound::new(thread, wire, &LAYOUT).map(Self)
    }

    /// The number by which doorbells name it: that of its queue pair.
    #[doc(alias = "doca_dpa_dev_verbs_qp_get_qpn")]
    pub fn number(&self) -> u32 {
        self.0.record.at(QUEUE_PAIR).load() as u32
    }

    /// How many entries it has.
    pub fn entries(&self) -> u64 {
        self.0.entries
    }

    /// Entries that were posted by [`SendQueue::post`], ever.
    pub fn producer(&self) -> u64 {
        self.0.record.at(SEND_PRODUCED).load()
    }

    /// Entries that the NIC has taken, ever: their slots are free.
    pub fn taken(&self) -> u64 {
        self.0.record.at(SEND_TAKEN).load()
    }

    /// Writes the entry with this index into its slot. The NIC reads it when a doorbell says that it is there; until
    /// then the slot may be written again.
    pub fn write(&self, index: u64, wqe: &Wqe) {
        let words = wqe
            .0
            .encode(index, self.number(), phase(index, self.0.entries));
        self.write_words(index, &words);
    }

    /// As [`SendQueue::write`], an entry of the caller's own making: its words as they lie in memory. The NIC refuses what is
    /// no entry; the queue then fails.
    #[doc(alias = "doca_dpa_dev_verbs_qp_post_send_raw_wqe")]
    pub fn write_words(&self, index: u64, words: &[u64; ENTRY_WORDS]) {
        let first = slot(index, self.0.entries) * ENTRY_WORDS;
        self.0.ring.store(first, words);
    }

    /// What the entry with this index asks for, as it stands in its slot: for a completion, which says its entry's index. `None` if
    /// what stands there is no entry.
    #[doc(alias = "doca_dpa_dev_completion_element_get_swqe_opcode")]
    pub fn opcode(&self, index: u64) -> Option<WorkOpcode> {
        let first = slot(index, self.0.entries) * ENTRY_WORDS;
        self.0.forget();
        WorkEntry::decode(&self.0.ring.load(first))
            .ok()
            .map(|entry| entry.opcode)
    }

    /// Writes the next entry and counts it; the index behind it, which the doorbell is to say.
    ///
    /// # Errors
    /// All entries wait for the NIC; the entry names more bytes than one can.
    #[doc(alias = "doca_dpa_dev_verbs_qp_post_send_wr")]
    pub fn post(&self, wqe: &Wqe) -> Result<u64, PostError> {
        let (index, entries) = (self.producer(), self.0.entries);
        if index.wrapping_sub(self.taken()) >= entries {
            return self.0.thread.noting(Err(PostError::Full { entries }));
        }
        if let Err(error) = fits(&wqe.0) {
            return self.0.thread.noting(Err(error));
        }
        self.write(index, wqe);
        // The number stands in memory, where anything may stand.
        let produced = index.wrapping_add(1);
        self.0.record.at(SEND_PRODUCED).store(produced);
        Ok(produced)
    }

    /// Rings for everything that was posted: [`ThreadContext::qp_sq_ring_db`] with its index and number. Entries in external
    /// memory are written back before.
    ///
    /// # Errors
    /// As that.
    #[doc(alias = "doca_dpa_dev_verbs_qp_commit_send")]
    pub fn ring(&self) -> Result<(), RingError> {
        self.0.write_back();
        self.0.thread.qp_sq_ring_db(self.producer(), self.number())
    }

    /// As [`SendQueue::ring`], but the NIC may not see what this thread wrote since its last
    /// [`ThreadContext::memory_writeback`]: neither entries nor what they send. If the entries are in external memory, those need
    /// a [`ThreadContext::window_writeback`].
    ///
    /// # Errors
    /// As [`SendQueue::ring`].
    #[doc(alias = "doca_dpa_dev_verbs_qp_lw_commit_send")]
    pub fn ring_unfenced(&self) -> Result<(), RingError> {
        let (producer, number) = (self.producer(), self.number());
        self.0.thread.qp_sq_ring_db_unfenced(producer, number)
    }
}
