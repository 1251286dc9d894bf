//! RDMA contexts and completion queues.

use std::net::SocketAddr;
use std::sync::Arc;

use flexio::ContextSpec;
use flexio::rdma::{self as low, Chosen, Counters, ExportError, Nic, SocketCounters};
use flexio_dev::rdma::{CompletionsWire, RdmaWire};

use super::connection::Connection;
use super::error::{QueueError, RdmaOpenError, WorkUnfinished};
use super::memory::HostBuffer;
use super::returned::Returned;
use super::work::ReceiveOp;
use dpa_abi::{HandlerHandle, IntoArg};

/// An RDMA context: connections to other nodes, the receives they share, the NIC they go through.
///
/// Clones are the same context. It stays open while one exists, or a connection of it, or an unfinished launch that was
/// given it.
#[doc(alias = "doca_rdma")]
#[derive(Clone, Debug)]
pub struct Rdma {
    nic: Nic,
    context: Arc<low::Context>,
    completions: CompletionQueue,
}

impl Rdma {
    pub(crate) fn new(
        nic: Nic,
        spec: ContextSpec,
        completions: CompletionQueue,
    ) -> Result<Self, RdmaOpenError> {
        let context = nic.context(spec, Some(completions.queue.clone()))?;
        Ok(Self {
            nic,
            context,
            completions,
        })
    }

    pub(crate) fn nic(&self) -> &Nic {
        &self.nic
    }

    pub(crate) fn context(&self) -> &Arc<low::Context> {
        &self.context
    }

    /// The address and port that peers send to.
    pub fn address(&self) -> SocketAddr {
        self.nic.address()
    }

    /// What carries its packets, and why that.
    pub fn provider(&self) -> &Chosen {
        self.nic.chosen()
    }

    /// Connections it may have.
    pub fn max_connections(&self) -> u32 {
        self.context.spec().connections
    }

    /// Entries of each connection's send queue.
    #[doc(alias = "doca_rdma_get_send_queue_size")]
    pub fn send_queue(&self) -> u32 {
        self.context.spec().send_entries
    }

    /// Entries of the receive queue; 0: receives are the host's.
    #[doc(alias = "doca_rdma_get_recv_queue_size")]
    pub fn receive_queue(&self) -> u32 {
        self.context.spec().receive_entries
    }

    /// Its completion queue.
    pub fn completions(&self) -> &CompletionQueue {
        &self.completions
    }

    /// What its NIC has dropped, and why, before a connection was found.
    pub fn counters(&self) -> Counters {
        self.nic.counters()
    }

    /// What the socket of its NIC has counted.
    pub fn socket_counters(&self) -> SocketCounters {
        self.nic.socket_counters()
    }

    /// A new connection. Its data go to the peer, whose data connect it.
    ///
    /// # Errors
    /// All connections are in use; out of device memory or queues; the device behind verbs refuses, or too many connections have ended
    /// of late (R 6.4); the context is closed or faulted.
    #[doc(alias = "doca_rdma_export")]
    pub fn export(&self) -> Result<Connection, ExportError> {
        Ok(Connection::new(self.clone(), self.context.export()?))
    }

    /// Receives a message of any connection into `buffer`, which comes back with it.
    ///
    /// Only in a context without a receive queue in device memory (`receive_queue(0)`); elsewhere messages go to the
    /// kernels' receives, and this one ends at once as [`WorkUnfinished::Gone`], as all do when the context is closed or
    /// faulted.
    ///
    /// # Cancel safety
    /// The receive is posted by this call. Dropping the future leaves it posted: a message that arrives in it is lost,
    /// with the buffer.
    ///
    /// # Errors
    /// The buffer could not be registered, or 2^20 wait for messages; nothing was posted, and the buffer is back.
    #[doc(alias = "doca_rdma_task_receive_allocate_init")]
    pub fn receive(&self, buffer: HostBuffer) -> Result<ReceiveOp, Returned<WorkUnfinished>> {
        ReceiveOp::post(self, buffer)
    }
}

/// The kernel gets the context, and the launch keeps it open.
impl IntoArg<flexio_dev::Rdma<'static>> for &Rdma {
    type Kept = Rdma;
    fn into_arg(self) -> (RdmaWire, Rdma) {
        crate::args::belongs_to(self.nic.process());
        let (table, words) = self.context.table();
        (RdmaWire { table, words }, self.clone())
    }
}

/// Where the work of kernels is reported when it is over. Several RDMA contexts of one NIC may share it.
#[doc(alias = "doca_dpa_completion")]
#[doc(alias = "doca_dpa_completion_create")]
#[doc(alias = "doca_dpa_completion_start")]
#[doc(alias = "doca_dpa_completion_destroy")]
#[doc(alias = "doca_dpa_completion_get_dpa_handle")]
#[derive(Clone, Debug)]
pub struct CompletionQueue {
    nic: Nic,
    pub(crate) queue: Arc<low::Completions>,
}

impl CompletionQueue {
    pub(crate) fn new(nic: &Nic, entries: u32) -> Result<Self, QueueError> {
        let queue = nic.completion_queue(entries)?;
        Ok(Self {
            nic: nic.clone(),
            queue,
        })
    }

    pub(crate) fn is_of(&self, nic: &Nic) -> bool {
        self.nic.is(nic) && self.nic.process().is(nic.process())
    }

    /// Its entries.
    #[doc(alias = "doca_dpa_completion_get_queue_size")]
    pub fn entries(&self) -> u32 {
        self.queue.entries()
    }

    /// The thread that is attached to it, by the handle by which kernels wake it.
    #[doc(alias = "doca_dpa_completion_get_thread")]
    pub fn thread(&self) -> Option<HandlerHandle> {
        self.queue.attached()
    }

    /// Whether more completed than it had room for: then its connections have failed.
    pub fn has_overrun(&self) -> bool {
        self.queue.has_overrun()
    }
}

/// The kernel gets the queue, and the launch keeps it.
impl IntoArg<flexio_dev::Completions<'static>> for &CompletionQueue {
    type Kept = CompletionQueue;
    fn into_arg(self) -> (CompletionsWire, CompletionQueue) {
        crate::args::belongs_to(self.nic.process());
        let record = self.queue.record();
        (CompletionsWire { record }, self.clone())
    }
}
