//! Receive queues.

use dpa_abi::queue::record::{
    HEAD_WORDS, RECEIVE_ENTRIES, RECEIVE_NUMBER, RECEIVE_PRODUCED, RECEIVE_RING, RECEIVE_STATE,
    RECEIVE_TAKEN, STATE_ERROR,
};
use dpa_abi::queue::slot;
use dpa_abi::queue::work::{RECEIVE_WORDS, encode_receive};
use dpa_abi::{FaultKind, KernelArg};

use super::{Bound, Layout, QueueWire};
use crate::context::{BindArg, ThreadContext};
use crate::memory::Buf;
use crate::queue::PostError;

/// A receive queue, of one queue pair or shared by several.
#[doc(alias = "flexio_rq")]
#[doc(alias = "flexio_rmp")]
#[derive(Clone, Copy, Debug)]
pub struct ReceiveQueue<'t>(Bound<'t>);

const LAYOUT: Layout = Layout {
    words: HEAD_WORDS,
    ring: RECEIVE_RING,
    entries: RECEIVE_ENTRIES,
    entry_words: RECEIVE_WORDS,
};

#[diagnostic::do_not_recommend]
impl KernelArg for ReceiveQueue<'_> {
    type Wire = QueueWire;
}

impl<'t> BindArg<'t> for ReceiveQueue<'t> {
    fn bind_arg(wire: QueueWire, thread: &'t ThreadContext<'t>) -> Result<Self, FaultKind> {
        Self::bind(thread, wire)
    }
}

impl<'t> ReceiveQueue<'t> {
    /// The queue with this record.
    ///
    /// # Errors
    /// Record or ring are not in live allocations of the process.
    pub fn bind(thread: &'t ThreadContext<'t>, wire: QueueWire) -> Result<Self, FaultKind> {
        Bound::new(thread, wire, &LAYOUT).map(Self)
    }

    /// Its number.
    #[doc(alias = "doca_dpa_dev_verbs_srq_get_srqn")]
    pub fn number(&self) -> u32 {
        self.0.record.at(RECEIVE_NUMBER).load() as u32
    }

    /// How many entries it has.
    pub fn entries(&self) -> u64 {
        self.0.entries
    }

    /// The producer index: entries that were given to the NIC, ever.
    pub fn producer(&self) -> u64 {
        self.0.record.at(RECEIVE_PRODUCED).load()
    }

    /// Entries that the NIC has taken, ever: their slots are free.
    pub fn taken(&self) -> u64 {
        self.0.record.at(RECEIVE_TAKEN).load()
    }

    /// Whether it is in the error state: it gives nothing any more.
    pub fn is_failed(&self) -> bool {
        self.0.record.at(RECEIVE_STATE).load() == STATE_ERROR
    }

    /// Writes the entry with this index into its slot: where a message may go. The NIC does not look at it before
    /// [`ReceiveQueue::inc_pi`].
    #[doc(alias = "doca_dpa_dev_verbs_qp_post_recv_raw_wqe")]
    #[doc(alias = "doca_dpa_dev_verbs_srq_post_recv_raw_wqe")]
    pub fn write(&self, index: u64, buf: Buf) {
        let words = encode_receive(buf.address, buf.len, buf.key);
        let first = slot(index, self.0.entries) * RECEIVE_WORDS;
        self.0.ring.store(first, &words);
    }

    /// Gives the next `count` entries to the NIC: what was written before is visible to it. More than there are entries
    /// ahead of what it has taken is a wrong index, and the queue counts as empty until it is a right one again.
    #[doc(alias = "flexio_dev_dbr_rq_inc_pi")]
    #[doc(alias = "doca_dpa_dev_verbs_qp_commit_recv")]
    #[doc(alias = "doca_dpa_dev_verbs_srq_commit_recv")]
    pub fn inc_pi(&self, count: u32) {
        self.0.write_back();
        self.0.thread.memory_writeback();
        self.inc_pi_unfenced(count);
        self.0.thread.memory_writeback();
    }

    /// As [`ReceiveQueue::inc_pi`], but the NIC may see neither the entries nor the index before this thread's next
    /// [`ThreadContext::memory_writeback`], and the index before the entries unless there is one between.
    #[doc(alias = "doca_dpa_dev_verbs_qp_lw_commit_recv")]
    #[doc(alias = "doca_dpa_dev_verbs_srq_lw_commit_recv")]
    pub fn inc_pi_unfenced(&self, count: u32) {
        self.0.record.at(RECEIVE_PRODUCED).add(count.into());
    }

    /// Writes the next entry and gives it to the NIC; its index, modulo 2^16, by which its completion names it.
    ///
    /// # Errors
    /// All entries wait for messages.
    #[doc(alias = "doca_dpa_dev_verbs_qp_post_recv_wr")]
    #[doc(alias = "doca_dpa_dev_verbs_srq_post_recv_wr")]
    pub fn post(&self, buf: Buf) -> Result<u16, PostError> {
        let (index, entries) = (self.producer(), self.0.entries);
        if index.wrapping_sub(self.taken()) >= entries {
            return self.0.thread.noting(Err(PostError::Full { entries }));
        }
        self.write(index, buf);
        self.inc_pi(1);
        Ok(index as u16)
    }
}
