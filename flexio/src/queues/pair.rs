//! RC queue pairs.

use std::sync::Arc;

use dpa_abi::IntoArg;
use flexio_dev::raw::{self, QueueWire};

use super::{
    CompletionQueue, ModifyError, QueueMemory, QueuePairSpec, QueuePairState, RawQueueError,
    ReceiveQueue,
};
use crate::backend::QueuePairRef;
use crate::rdma::{Cause, ConnectionInfo, Counters, Nic};

/// The queues that a queue pair works with.
#[derive(Clone, Copy, Debug)]
pub struct QueuePairQueues<'q> {
    /// Where its sends, writes, reads and atomics are reported.
    pub send: &'q CompletionQueue,
    /// Where its receives are reported; may be the same.
    pub receive: &'q CompletionQueue,
    /// Where its receives come from; none: sends of the peer find no receive.
    pub receives: Option<&'q ReceiveQueue>,
}

/// An RC queue pair, with a send queue of its own.
///
/// ```text
///  RST --init--> INIT --ready_to_receive--> RTR --ready_to_send--> RTS      any of them --set_error_state--> ERR
/// ```
///
/// There is no way back: one that is in ERR is dropped, and another made. Work that is posted before RTS is kept until
/// then. When the last clone is dropped it is in ERR first; the peer is not told, its work fails when nothing answers.
#[doc(alias = "flexio_qp")]
#[doc(alias = "flexio_qp_destroy")]
#[derive(Clone, Debug)]
pub struct QueuePair {
    pair: Arc<QueuePairRef>,
}

impl Nic {
    /// A queue pair in RST. Its peer may be one of this NIC, or of another, of another process, on another machine.
    ///
    /// # Errors
    /// A figure out of its range; a queue of another process or NIC; out of device memory or queues; the process is stopped.
    #[doc(alias = "flexio_qp_create")]
    pub fn queue_pair(
        &self,
        spec: QueuePairSpec,
        queues: QueuePairQueues<'_>,
    ) -> Result<QueuePair, RawQueueError> {
        self.queue_pair_in(QueueMemory::Device, spec, queues)
    }

    /// As [`Nic::queue_pair`], the entries of its send queue in this memory: 64 bytes for each.
    ///
    /// # Errors
    /// As [`Nic::queue_pair`]; the entries cannot lie there.
    #[doc(alias = "flexio_qp_create")]
    pub fn queue_pair_in(
        &self,
        memory: QueueMemory,
        spec: QueuePairSpec,
        queues: QueuePairQueues<'_>,
    ) -> Result<QueuePair, RawQueueError> {
        let memory = memory.checked(self.process())?;
        let receives = queues.receives.map(ReceiveQueue::raw);
        let (lease, process) = (self.lease(), self.process().raw());
        let (send, receive) = (queues.send.raw(), queues.receive.raw());
        let spec = (&memory, spec);
        let pair = QueuePairRef::new(lease, process, spec, send, receive, receives)?;
        let pair = Arc::new(pair);
        Ok(QueuePair { pair })
    }
}

impl QueuePair {
    /// Its number, by which doorbells name its send queue.
    #[doc(alias = "flexio_qp_get_qp_num")]
    pub fn number(&self) -> u32 {
        self.pair.number()
    }

    /// What it was made with, sizes rounded up.
    pub fn spec(&self) -> &QueuePairSpec {
        self.pair.spec()
    }

    /// Its state now.
    #[doc(alias = "flexio_qp_state_get")]
    pub fn state(&self) -> QueuePairState {
        self.pair.state()
    }

    /// What its peer must know to connect to it.
    pub fn info(&self) -> &ConnectionInfo {
        self.pair.info()
    }

    /// RST to INIT.
    ///
    /// # Errors
    /// It is in another state.
    #[doc(alias = "flexio_qp_modify")]
    pub fn init(&self) -> Result<(), ModifyError> {
        self.pair.init()
    }

    /// INIT to RTR: it knows its peer, and answers it from now on.
    ///
    /// # Errors
    /// It is in another state; the two cannot talk.
    #[doc(alias = "flexio_qp_modify")]
    pub fn ready_to_receive(&self, peer: &ConnectionInfo) -> Result<(), ModifyError> {
        self.pair.ready_to_receive(peer)
    }

    /// RTR to RTS: what was posted is sent from now on. The peer should be in RTR: what reaches it before is lost, and
    /// sent again.
    ///
    /// # Errors
    /// It is in another state.
    #[doc(alias = "flexio_qp_modify")]
    pub fn ready_to_send(&self) -> Result<(), ModifyError> {
        self.pair.ready_to_send()
    }

    /// Any state to ERR: what is posted completes as flushed. In ERR already: nothing.
    #[doc(alias = "flexio_qp_modify")]
    pub fn set_error_state(&self) {
        self.pair.fail();
    }

    /// Leads it from RST or INIT to RTS with this peer.
    ///
    /// # Errors
    /// It is in another state; the two cannot talk: then it is in INIT, and may be connected to another.
    pub fn connect(&self, peer: &ConnectionInfo) -> Result<(), ModifyError> {
        if self.state() != QueuePairState::Init {
            self.init()?;
        }
        self.ready_to_receive(peer)?;
        self.ready_to_send()
    }

    /// Waits until it is in ERR.
    ///
    /// # Cancel safety
    /// Nothing is lost when the future is dropped.
    pub async fn failed(&self) -> Cause {
        self.pair.failed().await
    }

    /// What it has counted.
    pub fn counters(&self) -> Counters {
        self.pair.counters()
    }
}

/// The kernel gets its send queue, and the command keeps the queue pair.
impl IntoArg<raw::SendQueue<'static>> for &QueuePair {
    type Kept = QueuePair;
    fn into_arg(self) -> (QueueWire, QueuePair) {
        let record = self.pair.record();
        (QueueWire { record }, self.clone())
    }
}
