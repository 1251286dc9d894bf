//! Completion queues.

use std::sync::Arc;

use dpa_abi::IntoArg;
use flexio_dev::raw::{self, QueueWire};

use super::{
    CompletionEntry, CompletionSpec, HostReadError, Moderation, OverrunPolicy, QueueMemory,
};
use crate::backend::{AttachError, CompletionQueueError};
use crate::handler::EventHandler;
use crate::rdma::{Completions, Nic};

/// A completion queue: queue pairs and send queues report to it, a handler, a kernel or the host reads it.
///
/// Who is told of completions is one: the handler that is attached ([`CompletionQueue::attach`]), else the task of the
/// host that waits in [`CompletionQueue::next`]. One reader at a time: handler and host share one consumer index.
#[doc(alias = "flexio_cq")]
#[doc(alias = "flexio_cq_destroy")]
#[derive(Clone, Debug)]
pub struct CompletionQueue {
    queue: Arc<Completions>,
}

impl Nic {
    /// A completion queue. Its `entries` are rounded up to a power of two.
    ///
    /// # Errors
    /// A figure out of its range; out of device memory, queues or events; the process is stopped.
    #[doc(alias = "flexio_cq_create")]
    pub fn raw_completion_queue(
        &self,
        spec: CompletionSpec,
    ) -> Result<CompletionQueue, CompletionQueueError> {
        self.raw_completion_queue_in(QueueMemory::Device, spec)
    }

    /// As [`Nic::raw_completion_queue`], its entries in this memory: 64 bytes for each.
    ///
    /// # Errors
    /// As [`Nic::raw_completion_queue`]; the entries cannot lie there.
    #[doc(alias = "flexio_cq_create")]
    pub fn raw_completion_queue_in(
        &self,
        memory: QueueMemory,
        spec: CompletionSpec,
    ) -> Result<CompletionQueue, CompletionQueueError> {
        let memory = memory.checked(self.process())?;
        let (lease, process) = (self.lease(), self.process().raw());
        let queue = Completions::with_spec(lease, process, spec, &memory)?;
        Ok(CompletionQueue { queue })
    }
}

impl CompletionQueue {
    pub(super) fn raw(&self) -> &Arc<Completions> {
        &self.queue
    }

    /// The number by which doorbells name it.
    #[doc(alias = "flexio_cq_get_cq_num")]
    pub fn number(&self) -> u32 {
        self.queue.number()
    }

    /// Its entries.
    pub fn entries(&self) -> u32 {
        self.queue.entries()
    }

    /// What happens when it is full.
    pub fn overrun_policy(&self) -> OverrunPolicy {
        self.queue.overrun_policy()
    }

    /// Whether more completed than it had room for; never of one that overwrites.
    pub fn has_overrun(&self) -> bool {
        self.queue.has_overrun()
    }

    /// How many completions one notification stands for.
    #[doc(alias = "flexio_cq_query_moderation")]
    pub fn moderation(&self) -> Moderation {
        self.queue.moderation()
    }

    /// From now on so many completions stand behind one notification. What was held back is told of now.
    ///
    /// # Errors
    /// Moderation without a period, or with one that is too long.
    #[doc(alias = "flexio_cq_modify_moderation")]
    pub fn set_moderation(&self, moderation: Moderation) -> Result<(), CompletionQueueError> {
        self.queue.set_moderation(moderation)
    }

    /// From now on its notifications trigger this handler. The first counts as asked for.
    ///
    /// # Errors
    /// It has one; the handler is of another process.
    pub fn attach(&self, handler: &EventHandler) -> Result<(), AttachError> {
        handler.attach_to(&self.queue)
    }

    /// The next completion, for the host, if there is one; its slot is free again.
    ///
    /// # Errors
    /// Completions are lost; the queue has overrun or the process is stopped, and everything before was read.
    pub fn poll(&self) -> Result<Option<CompletionEntry>, HostReadError> {
        self.queue.take()
    }

    /// Waits for the next completion, as the host. If several tasks wait, one of them gets it.
    ///
    /// # Cancel safety
    /// A completion is taken only by a call that gives it: nothing is lost when the future is dropped.
    ///
    /// # Errors
    /// As [`CompletionQueue::poll`].
    pub async fn next(&self) -> Result<CompletionEntry, HostReadError> {
        self.queue.next().await
    }
}

/// The kernel gets the queue, and the command keeps it.
impl IntoArg<raw::CompletionQueue<'static>> for &CompletionQueue {
    type Kept = CompletionQueue;
    fn into_arg(self) -> (QueueWire, CompletionQueue) {
        let record = self.queue.record();
        (QueueWire { record }, self.clone())
    }
}
