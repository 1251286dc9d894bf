//! Asynchronous operations of kernels that need no peer: copies, and waits for events.

use std::sync::Arc;

use dpa_abi::{IntoArg, Pod};
use flexio::ContextSpec;
use flexio::rdma::{self as low, Nic, Rights};
use flexio_dev::rdma::RdmaWire;

use super::context::{CompletionQueue, Rdma};
use super::error::{MapError, RdmaOpenError};
use super::memory::{HostBuffer, HostMap, MemoryMap};
use super::returned::Returned;
use crate::buffer::DeviceBuffer;
use crate::dpa::Dpa;

/// The largest user data: 24 bits, as in the original.
pub const MAX_USER_DATA: u32 = (1 << 24) - 1;

/// A queue of asynchronous operations to be opened.
#[derive(Debug)]
#[must_use = "a builder opens nothing until `open`"]
pub struct AsyncOpsBuilder {
    nic: Result<Nic, RdmaOpenError>,
    entries: u32,
    user_data: u32,
    completion_entries: u32,
    completions: Option<CompletionQueue>,
}

impl AsyncOpsBuilder {
    fn new(nic: Result<Nic, RdmaOpenError>) -> Self {
        Self {
            nic,
            entries: 256,
            user_data: 0,
            completion_entries: 1024,
            completions: None,
        }
    }

    /// Entries of its queue, rounded up to a power of two. Default 256.
    pub fn queue(mut self, entries: u32) -> Self {
        self.entries = entries;
        self
    }

    /// What its completions carry, below 2^24. Default 0.
    pub fn user_data(mut self, user_data: u32) -> Self {
        self.user_data = user_data;
        self
    }

    /// Reports to this completion queue, which others of the same NIC may report to as well.
    #[doc(alias = "doca_dpa_async_ops_attach")]
    pub fn completions(mut self, queue: &CompletionQueue) -> Self {
        self.completions = Some(queue.clone());
        self
    }

    /// Entries of the completion queue that is made for it, if none is given. Default 1,024.
    pub fn completion_entries(mut self, entries: u32) -> Self {
        self.completion_entries = entries;
        self
    }

    /// Opens it.
    ///
    /// # Errors
    /// The user data is too large; a figure is out of its range; the completion queue is another NIC's; out of device
    /// memory, queues, events or NICs; the context is closed or faulted.
    #[doc(alias = "doca_dpa_async_ops_start")]
    pub fn open(self) -> Result<AsyncOps, RdmaOpenError> {
        if self.user_data > MAX_USER_DATA {
            return Err(RdmaOpenError::UserData {
                asked: self.user_data,
                max: MAX_USER_DATA,
            });
        }
        let nic = self.nic?;
        let completions = match self.completions {
            Some(queue) if queue.is_of(&nic) => queue,
            Some(_) => return Err(RdmaOpenError::ForeignQueue),
            None => CompletionQueue::new(&nic, self.completion_entries)?,
        };
        let rdma = Rdma::new(
            nic,
            ContextSpec::local(self.entries, self.user_data),
            completions,
        )?;
        let queue = rdma.context().open_local()?;
        Ok(AsyncOps {
            parts: Arc::new(Parts {
                _queue: queue,
                rdma,
                user_data: self.user_data,
            }),
        })
    }
}

impl Dpa {
    /// To open a queue of asynchronous operations: copies and waits that kernels post and go on.
    #[doc(alias = "doca_dpa_async_ops_create")]
    pub fn async_ops(&self) -> AsyncOpsBuilder {
        AsyncOpsBuilder::new(self.process().local_nic().map_err(RdmaOpenError::from))
    }
}

impl Rdma {
    /// To open a queue of asynchronous operations on the same NIC, whose completions can go to the same queue.
    pub fn async_ops(&self) -> AsyncOpsBuilder {
        AsyncOpsBuilder::new(Ok(self.nic().clone()))
    }
}

/// A queue of asynchronous operations. Clones are the same queue; it stays open while one exists, or an unfinished launch
/// that was given it.
#[doc(alias = "doca_dpa_async_ops")]
#[doc(alias = "doca_dpa_async_ops_get_dpa_handle")]
#[doc(alias = "doca_dpa_async_ops_destroy")]
#[derive(Clone, Debug)]
pub struct AsyncOps {
    parts: Arc<Parts>,
}

#[derive(Debug)]
struct Parts {
    _queue: low::Connection,
    rdma: Rdma,
    user_data: u32,
}

impl AsyncOps {
    /// Entries of its queue.
    #[doc(alias = "doca_dpa_async_ops_get_queue_size")]
    pub fn queue(&self) -> u32 {
        self.parts.rdma.send_queue()
    }

    /// What its completions carry.
    #[doc(alias = "doca_dpa_async_ops_get_user_data")]
    pub fn user_data(&self) -> u32 {
        self.parts.user_data
    }

    /// Its completion queue.
    pub fn completions(&self) -> &CompletionQueue {
        self.parts.rdma.completions()
    }

    /// Makes a device buffer known to it: kernels may copy from it, and to it.
    ///
    /// # Errors
    /// As [`Rdma::map`].
    pub fn map<T: Pod>(&self, buffer: &DeviceBuffer<T>) -> Result<MemoryMap, MapError> {
        self.parts.rdma.map(buffer, Rights::empty())
    }

    /// Makes a host buffer known to it.
    ///
    /// # Errors
    /// As [`Rdma::map_host`].
    pub fn map_host(&self, buffer: HostBuffer) -> Result<HostMap, Returned<MapError>> {
        self.parts.rdma.map_host(buffer, Rights::empty())
    }
}

/// The kernel gets the queue, and the launch keeps it open.
impl IntoArg<flexio_dev::AsyncOps<'static>> for &AsyncOps {
    type Kept = AsyncOps;
    fn into_arg(self) -> (RdmaWire, AsyncOps) {
        crate::args::belongs_to(self.parts.rdma.nic().process());
        let (table, words) = self.parts.rdma.context().table();
        (RdmaWire { table, words }, self.clone())
    }
}
