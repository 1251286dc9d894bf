//! Send queues without a peer, and receive queues.

use std::sync::Arc;

use dpa_abi::IntoArg;
use flexio_dev::raw::{self, QueueWire};

use super::{CompletionQueue, QueueMemory, RawQueueError};
use crate::backend::{ReceiveQueueRef, SendQueueRef};
use crate::rdma::Nic;

/// A send queue without a peer: it copies registered memory of this node, and waits for events. That of a queue pair is
/// part of it.
#[doc(alias = "flexio_sq")]
#[doc(alias = "flexio_sq_destroy")]
#[derive(Clone, Debug)]
pub struct SendQueue {
    queue: Arc<SendQueueRef>,
}

/// A receive queue, of one queue pair or shared by several: each message takes the oldest entry, whichever queue pair it
/// comes to.
#[doc(alias = "flexio_rq")]
#[doc(alias = "flexio_rmp")]
#[doc(alias = "flexio_rq_destroy")]
#[doc(alias = "flexio_rmp_destroy")]
#[derive(Clone, Debug)]
pub struct ReceiveQueue {
    queue: Arc<ReceiveQueueRef>,
}

impl Nic {
    /// A send queue without a peer, of at least so many entries. Its completions carry `name` as their user data.
    ///
    /// # Errors
    /// Too many entries; a completion queue of another process or NIC; out of device memory or queues; the process is stopped.
    #[doc(alias = "flexio_sq_create")]
    pub fn send_queue(
        &self,
        entries: u32,
        completions: &CompletionQueue,
        name: u32,
    ) -> Result<SendQueue, RawQueueError> {
        self.send_queue_in(QueueMemory::Device, entries, completions, name)
    }

    /// As [`Nic::send_queue`], its entries in this memory: 64 bytes for each.
    ///
    /// # Errors
    /// As [`Nic::send_queue`]; the entries cannot lie there.
    #[doc(alias = "flexio_sq_create")]
    pub fn send_queue_in(
        &self,
        memory: QueueMemory,
        entries: u32,
        completions: &CompletionQueue,
        name: u32,
    ) -> Result<SendQueue, RawQueueError> {
        let memory = memory.checked(self.process())?;
        let (lease, process) = (self.lease(), self.process().raw());
        let queue = SendQueueRef::new(lease, process, (&memory, entries), completions.raw(), name)?;
        let queue = Arc::new(queue);
        Ok(SendQueue { queue })
    }

    /// A receive queue of at least so many entries.
    ///
    /// # Errors
    /// Too many entries; out of device memory or queues; the process is stopped.
    #[doc(alias = "flexio_rq_create")]
    #[doc(alias = "flexio_rmp_create")]
    pub fn receive_queue(&self, entries: u32) -> Result<ReceiveQueue, RawQueueError> {
        self.receive_queue_in(QueueMemory::Device, entries)
    }

    /// As [`Nic::receive_queue`], its entries in this memory: 16 bytes for each.
    ///
    /// # Errors
    /// As [`Nic::receive_queue`]; the entries cannot lie there.
    #[doc(alias = "flexio_rq_create")]
    #[doc(alias = "flexio_rmp_create")]
    pub fn receive_queue_in(
        &self,
        memory: QueueMemory,
        entries: u32,
    ) -> Result<ReceiveQueue, RawQueueError> {
        let memory = memory.checked(self.process())?;
        let (lease, process) = (self.lease(), self.process().raw());
        let queue = ReceiveQueueRef::new(lease, process, (&memory, entries))?;
        Ok(ReceiveQueue { queue })
    }
}

impl SendQueue {
    /// The number by which doorbells name it.
    #[doc(alias = "flexio_sq_get_wq_num")]
    pub fn number(&self) -> u32 {
        self.queue.number()
    }

    /// Its entries.
    pub fn entries(&self) -> u32 {
        self.queue.entries()
    }
}

impl ReceiveQueue {
    pub(super) fn raw(&self) -> &Arc<ReceiveQueueRef> {
        &self.queue
    }

    /// Its number.
    #[doc(alias = "flexio_rq_get_wq_num")]
    #[doc(alias = "flexio_rmp_get_wq_num")]
    pub fn number(&self) -> u32 {
        self.queue.number()
    }

    /// Its entries.
    pub fn entries(&self) -> u32 {
        self.queue.entries()
    }

    /// Moves it to the error state: it gives nothing any more, and the queue pairs that take from it are in ERR. If that
    /// is one, what was posted and not used completes as flushed.
    #[doc(alias = "flexio_rq_set_err_state")]
    pub fn set_error_state(&self) {
        self.queue.fail();
    }
}

/// The kernel gets the queue, and the command keeps it.
impl IntoArg<raw::SendQueue<'static>> for &SendQueue {
    type Kept = SendQueue;
    fn into_arg(self) -> (QueueWire, SendQueue) {
        let record = self.queue.record();
        (QueueWire { record }, self.clone())
    }
}

/// The kernel gets the queue, and the command keeps it.
impl IntoArg<raw::ReceiveQueue<'static>> for &ReceiveQueue {
    type Kept = ReceiveQueue;
    fn into_arg(self) -> (QueueWire, ReceiveQueue) {
        let record = self.queue.record();
        (QueueWire { record }, self.clone())
    }
}
