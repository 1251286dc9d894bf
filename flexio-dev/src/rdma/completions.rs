//! A completion queue, and what it says.

use core::fmt;
use core::time::Duration;

use dpa_abi::pod::{Load, Store};
use dpa_abi::queue::{CompletionEntry, CompletionKind, Syndrome};
use dpa_abi::{FaultKind, KernelArg, Pod};

use crate::context::{BindArg, ThreadContext};
use crate::queue::{CompletionError, CompletionQueue};

/// How a [`Completions`] travels: the place of its record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CompletionsWire {
    /// The address of the record.
    pub record: u64,
}

#[diagnostic::do_not_recommend]
impl Pod for CompletionsWire {
    const SIZE: usize = 8;
    const ALIGN: usize = 8;
    fn load<L: Load + ?Sized>(from: &L, at: usize) -> Self {
        Self {
            record: from.u64(at),
        }
    }
    fn store<S: Store + ?Sized>(self, to: &mut S, at: usize) {
        to.put_u64(at, self.record);
    }
}

/// A completion queue that one or several RDMA contexts report to.
#[doc(alias = "doca_dpa_dev_completion_t")]
#[derive(Clone, Copy, Debug)]
pub struct Completions<'t> {
    queue: CompletionQueue<'t>,
}

#[diagnostic::do_not_recommend]
impl KernelArg for Completions<'_> {
    type Wire = CompletionsWire;
}

impl<'t> BindArg<'t> for Completions<'t> {
    fn bind_arg(wire: CompletionsWire, thread: &'t ThreadContext<'t>) -> Result<Self, FaultKind> {
        let queue = CompletionQueue::bind(thread, wire.record)?;
        Ok(Self { queue })
    }
}

/// Something is complete.
#[doc(alias = "doca_dpa_dev_completion_element_t")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Completion(CompletionEntry);

impl Completion {
    /// What is complete.
    #[doc(alias = "doca_dpa_dev_get_completion_type")]
    pub const fn kind(&self) -> CompletionKind {
        self.0.kind
    }

    /// What the owner of the queue gave it to be named by: of an RDMA connection its id, else the user data.
    #[doc(alias = "doca_dpa_dev_get_completion_user_data")]
    pub const fn user_data(&self) -> u32 {
        self.0.user_data
    }

    /// The connection's id.
    #[doc(alias = "doca_dpa_dev_get_completion_user_data")]
    pub const fn connection(&self) -> u32 {
        self.0.user_data
    }

    /// Immediate data, if any came.
    #[doc(alias = "doca_dpa_dev_get_completion_immediate")]
    pub const fn immediate(&self) -> Option<u32> {
        match self.0.kind {
            CompletionKind::ReceiveSendImmediate | CompletionKind::ReceiveWriteImmediate => {
                Some(self.0.immediate)
            }
            _ => None,
        }
    }

    /// The number that the post gave.
    #[doc(alias = "doca_dpa_dev_rdma_completion_get_wr_index")]
    #[doc(alias = "doca_dpa_dev_completion_element_get_wqe_counter")]
    pub const fn index(&self) -> u16 {
        self.0.index
    }

    /// The number of the queue pair.
    #[doc(alias = "doca_dpa_dev_completion_element_get_qpn")]
    pub const fn queue_pair(&self) -> u32 {
        self.0.queue_pair
    }

    /// When the entry was written: device time.
    #[doc(alias = "doca_dpa_dev_completion_element_get_timestamp")]
    pub const fn timestamp(&self) -> Duration {
        Duration::from_nanos(self.0.timestamp)
    }

    /// Bytes of the message.
    #[doc(alias = "doca_dpa_dev_completion_element_get_received_bytes")]
    pub const fn len(&self) -> u32 {
        self.0.len
    }

    /// Whether the message has no bytes.
    pub const fn is_empty(&self) -> bool {
        self.0.len == 0
    }

    /// After an atomic that succeeded: the word before it.
    pub const fn original(&self) -> u64 {
        self.0.original
    }

    /// How it ended.
    ///
    /// # Errors
    /// Why it failed.
    #[doc(alias = "doca_dpa_dev_completion_element_get_error_syndrome")]
    #[doc(alias = "doca_dpa_dev_completion_element_get_vendor_error_syndrome")]
    pub const fn result(&self) -> Result<(), WorkError> {
        if self.0.kind.is_error() {
            Err(WorkError {
                syndrome: self.0.syndrome,
                sent: !self.0.unsent,
            })
        } else {
            Ok(())
        }
    }
}

/// Work failed. If it was sent, what it did to the peer is unknown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WorkError {
    /// Why.
    pub syndrome: Syndrome,
    /// Whether anything of it was sent. If not, it has done nothing. Of a receive it says nothing.
    pub sent: bool,
}

impl fmt::Display for WorkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.syndrome)
    }
}

impl core::error::Error for WorkError {}

impl Completions<'_> {
    /// The next completion, if there is one. Its slot is free again.
    ///
    /// # Errors
    /// The queue has overrun, and everything before that has been read.
    pub fn poll(&self) -> Result<Option<Completion>, CompletionError> {
        let entry = self.poll_unacknowledged()?;
        if entry.is_some() {
            self.queue.acknowledge_one();
        }
        Ok(entry)
    }

    /// The next completion, if there is one. Its slot is not free before [`Completions::acknowledge`].
    ///
    /// # Errors
    /// As [`Completions::poll`].
    #[doc(alias = "doca_dpa_dev_get_completion")]
    pub fn poll_unacknowledged(&self) -> Result<Option<Completion>, CompletionError> {
        let taken = self.queue.thread().noting(self.queue.take())?;
        Ok(taken.map(Completion))
    }

    /// Gives the slots of `count` completions back.
    ///
    /// # Panics
    /// If not so many were taken by [`Completions::poll_unacknowledged`]: a fault of the process.
    #[doc(alias = "doca_dpa_dev_completion_ack")]
    #[doc(alias = "flexio_dev_dbr_cq_set_ci")]
    #[track_caller]
    pub fn acknowledge(&self, count: u32) {
        self.queue.acknowledge(count);
    }

    /// Asks for a notification of the next completion: the thread that is attached to the queue is triggered, or if there
    /// is none, 1 is added to the queue's event. True if something is complete already, which may bring no notification:
    /// poll once more.
    #[doc(alias = "doca_dpa_dev_completion_request_notification")]
    #[must_use = "what is complete already may bring no notification"]
    pub fn request_notification(&self) -> bool {
        self.queue.request_notification()
    }

    /// Blocks this thread until something is complete. Nothing is asked for a thread that is attached to the queue: it is
    /// started by what it asks for itself.
    ///
    /// # Errors
    /// The queue has overrun, or is closed.
    #[track_caller]
    pub fn wait(&self) -> Result<Completion, CompletionError> {
        self.finish(self.queue.wait(None))
    }

    /// As [`Completions::wait`], for at most `timeout` of device time.
    ///
    /// # Errors
    /// [`CompletionError::TimedOut`], too.
    #[track_caller]
    pub fn wait_timeout(&self, timeout: Duration) -> Result<Completion, CompletionError> {
        let nanos = u64::try_from(timeout.as_nanos()).unwrap_or(u64::MAX);
        self.finish(self.queue.wait(Some(nanos)))
    }

    fn finish(
        &self,
        entry: Result<CompletionEntry, CompletionError>,
    ) -> Result<Completion, CompletionError> {
        let entry = self.queue.thread().noting(entry)?;
        self.queue.acknowledge_one();
        Ok(Completion(entry))
    }
}
