//! Completion queues, read by consumer index.

use core::fmt;

use dpa_abi::queue::record::{
    ACKNOWLEDGED, COMPLETION_ENTRIES, COMPLETION_NUMBER, COMPLETION_RING, COMPLETION_WORDS, ERROR,
    PRODUCED, READ,
};
use dpa_abi::queue::{CompletionEntry, ENTRY_WORDS, EntryWords, completion, phase, slot};
use dpa_abi::{FaultKind, KernelArg};

use super::{Bound, Layout, QueueWire, RingError};
use crate::context::{BindArg, ThreadContext};

/// Why there is no completion at an index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PollError {
    /// More completed than the queue has room for: what came after is lost, and the queue pairs that report to it have
    /// failed. Everything before has been read.
    Overrun,
    /// More completed than the queue has room for, and it overwrites: so many are lost, go on that much further.
    Lost {
        /// How many.
        count: u64,
    },
}

impl fmt::Display for PollError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Overrun => f.write_str("the completion queue has overrun"),
            Self::Lost { count } => write!(f, "{count} completions were overwritten"),
        }
    }
}

impl core::error::Error for PollError {}

/// A completion queue.
#[doc(alias = "flexio_cq")]
#[derive(Clone, Copy, Debug)]
pub struct CompletionQueue<'t>(Bound<'t>);

const LAYOUT: Layout = Layout {
    words: COMPLETION_WORDS,
    ring: COMPLETION_RING,
    entries: COMPLETION_ENTRIES,
    entry_words: ENTRY_WORDS,
};

#[diagnostic::do_not_recommend]
impl KernelArg for CompletionQueue<'_> {
    type Wire = QueueWire;
}

impl<'t> BindArg<'t> for CompletionQueue<'t> {
    fn bind_arg(wire: QueueWire, thread: &'t ThreadContext<'t>) -> Result<Self, FaultKind> {
        Self::bind(thread, wire)
    }
}

impl<'t> CompletionQueue<'t> {
    /// The queue with this record.
    ///
    /// # Errors
    /// Record or ring are not in live allocations of the process.
    pub fn bind(thread: &'t ThreadContext<'t>, wire: QueueWire) -> Result<Self, FaultKind> {
        Bound::new(thread, wire, &LAYOUT).map(Self)
    }

    /// The number by which doorbells name it.
    pub fn number(&self) -> u32 {
        self.0.record.at(COMPLETION_NUMBER).load() as u32
    }

    /// How many entries it has.
    pub fn entries(&self) -> u64 {
        self.0.entries
    }

    /// The consumer index that was set last.
    pub fn consumer(&self) -> u64 {
        self.0.record.at(ACKNOWLEDGED).load()
    }

    /// The completion with this index, if it is there: what its work has done is visible.
    ///
    /// # Errors
    /// The queue has overrun and everything before was read; the completion was overwritten.
    pub fn poll(&self, consumer: u64) -> Result<Option<CompletionEntry>, PollError> {
        self.0.forget();
        self.poll_unfenced(consumer)
    }

    /// As [`CompletionQueue::poll`]; of a queue in external memory it may see what this thread has cached of it, until its next
    /// [`ThreadContext::window_read_inv`].
    ///
    /// # Errors
    /// As [`CompletionQueue::poll`].
    pub fn poll_unfenced(&self, consumer: u64) -> Result<Option<CompletionEntry>, PollError> {
        let found = self.look(consumer);
        // The NIC raises this before it writes an entry: what was read may be parts of two.
        let behind = self.0.record.at(PRODUCED).load().saturating_sub(consumer);
        if behind > self.0.entries {
            let count = behind - self.0.entries;
            return Err(PollError::Lost { count });
        }
        match found {
            Some(words) => Ok(CompletionEntry::decode(&words)),
            None => self.nothing(consumer),
        }
    }

    /// The words of the completion with this index, if it is there.
    #[inline]
    fn look(&self, consumer: u64) -> Option<EntryWords> {
        let first = slot(consumer, self.0.entries) * ENTRY_WORDS;
        let [owner] = self.0.ring.load(first + completion::OWNER_WORD);
        let there = CompletionEntry::is_valid(owner, phase(consumer, self.0.entries));
        there.then(|| self.0.ring.load(first))
    }

    #[cold]
    fn nothing(&self, consumer: u64) -> Result<Option<CompletionEntry>, PollError> {
        // A loop that polls lets others run, and the NIC.
        self.0.thread.safe_point();
        if self.0.record.at(ERROR).load() == 0 {
            return Ok(None);
        }
        // Everything that is ever written was, perhaps after the first look.
        self.0.forget();
        let words = self.look(consumer).ok_or(PollError::Overrun)?;
        Ok(CompletionEntry::decode(&words))
    }

    /// Sets the consumer index: the slots of the completions before it are the NIC's again.
    #[doc(alias = "flexio_dev_dbr_cq_set_ci")]
    pub fn set_ci(&self, consumer: u64) {
        self.set_ci_unfenced(consumer);
        self.0.thread.memory_writeback();
    }

    /// As [`CompletionQueue::set_ci`], but the NIC may not see it before this thread's next
    /// [`ThreadContext::memory_writeback`]: for several in a row.
    pub fn set_ci_unfenced(&self, consumer: u64) {
        self.0.record.at(READ).store(consumer);
        self.0.record.at(ACKNOWLEDGED).store(consumer);
    }

    /// Sets the consumer index and asks for a notification of what comes behind it: [`ThreadContext::cq_arm`] with that
    /// index and the queue's number.
    ///
    /// # Errors
    /// As that.
    pub fn arm(&self, consumer: u64) -> Result<(), RingError> {
        self.set_ci(consumer);
        self.0.thread.cq_arm(consumer, self.number())
    }
}
