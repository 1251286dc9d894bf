//! RDMA on the low layer: a share in a NIC, and what is registered with it, exported from it, posted to it.

use std::net::{IpAddr, SocketAddr};
use std::ops::Range;
use std::sync::Arc;

use crate::backend::{
    CompletionQueue, ContextError, ContextRef, ContextSpec, HostMemory, NicError, NicLease,
    Registration, RegistrationError,
};
use crate::process::ProcessRef;

pub use crate::backend::rdma::{
    AckTimeout, Atomic, AtomicCapability, BindError, Cause, Chosen, ConnectionInfo, Counters, Data,
    DecodeError, Flags, Incompatible, Inline, LocalKey, Lost, MAX_MESSAGE, Operation, PathMtu,
    PostReason, Provider, ROCE_PORT, ReceivedKind, RegisterError, RemoteAddress, RemoteEvent,
    RemoteKey, RemoteRegion, RetryLimit, Rights, RnrTimer, Segment, ServiceLevel, SocketCounters,
    SystemError, Tail, TransitionError, UnknownProvider, VerbsOpenError, VerbsPort, WorkError,
    WorkFailure,
};
pub use crate::backend::{
    CompletionQueue as Completions, CompletionQueueError, ConnectError,
    ConnectionRef as Connection, ConnectionState, ContextRef as Context, Ended, ExportError,
    Pending, PostHostError,
};

/// A share in a NIC of the device, for one process. The NIC stays open while there is one.
#[derive(Clone, Debug)]
pub struct Nic {
    process: ProcessRef,
    lease: Arc<NicLease>,
}

impl ProcessRef {
    /// A share in the NIC at this address; if nobody has one, opens the one that the environment variable `DPA_RDMA` asks
    /// for, or [`Provider::Auto`].
    ///
    /// # Errors
    /// The address is none of this machine's, or its port is taken; something for verbs is missing; `DPA_RDMA` names no provider;
    /// the system gives no thread for it; the process has as many NICs as it may have.
    pub fn nic(&self, address: IpAddr, port: u16) -> Result<Nic, NicError> {
        self.nic_of(address, port, &Provider::Auto)
    }

    /// As [`ProcessRef::nic`], by this provider, which `DPA_RDMA` overrides.
    ///
    /// # Errors
    /// As [`ProcessRef::nic`].
    pub fn nic_of(&self, address: IpAddr, port: u16, provider: &Provider) -> Result<Nic, NicError> {
        let lease = self.raw().nic(address, port, provider)?;
        Ok(Nic {
            process: self.clone(),
            lease,
        })
    }
}

impl ProcessRef {
    /// A share in the NIC without a network, which every partition of a device has: for copies and waits of kernels.
    ///
    /// # Errors
    /// The system gives no thread for it; the process has as many NICs as it may have.
    pub fn local_nic(&self) -> Result<Nic, NicError> {
        let lease = self.raw().local_nic()?;
        Ok(Nic {
            process: self.clone(),
            lease,
        })
    }
}

impl Nic {
    pub(crate) fn lease(&self) -> &Arc<NicLease> {
        &self.lease
    }

    /// Its address and port.
    pub fn address(&self) -> SocketAddr {
        self.lease.nic().address()
    }

    /// What carries its packets, and why that.
    pub fn chosen(&self) -> &Chosen {
        self.lease.nic().chosen()
    }

    /// The process this share is for.
    pub fn process(&self) -> &ProcessRef {
        &self.process
    }

    /// Bytes that its socket holds of what arrives.
    pub fn receive_buffer(&self) -> usize {
        self.lease.nic().receive_buffer()
    }

    /// What its socket has counted.
    pub fn socket_counters(&self) -> SocketCounters {
        self.lease.nic().socket_counters()
    }

    /// What it has dropped before a queue pair was found.
    pub fn counters(&self) -> Counters {
        self.lease.nic().counters()
    }

    /// Whether both are shares in the same NIC.
    pub fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(self.lease.nic(), other.lease.nic())
    }

    /// Registers device memory. The caller keeps the allocation while the registration lives.
    ///
    /// # Errors
    /// Not in the heap; the process or the NIC has no region left; the device behind verbs refuses; the process is stopped.
    #[doc(alias = "doca_umem_dpa_create")]
    #[doc(alias = "flexio_device_mkey_create")]
    #[doc(alias = "flexio_process_get_dumem_id")]
    pub fn register_device(
        &self,
        addr: u64,
        len: u64,
        rights: Rights,
    ) -> Result<Registration, RegistrationError> {
        Registration::of_heap(&self.lease, self.process.raw(), addr, len, rights)
    }

    /// Registers host memory.
    ///
    /// # Errors
    /// The range does not lie in it, or ends before it begins; otherwise as [`Nic::register_device`].
    pub fn register_host(
        &self,
        memory: &Arc<HostMemory>,
        range: Range<u64>,
        rights: Rights,
    ) -> Result<Registration, RegistrationError> {
        let range = (
            range.start,
            range.end.checked_sub(range.start).unwrap_or(u64::MAX),
        );
        Registration::of_host(&self.lease, self.process.raw(), memory, range, rights)
    }

    /// Registers an event, so that peers can update it. With a connection, the event is closed when that fails.
    ///
    /// # Errors
    /// As [`Nic::register_device`]; the event is one of another device; over verbs, kernels publish the event, or it has another word
    /// ([`RegistrationError::OtherWord`]).
    pub fn register_event(
        &self,
        event: &crate::Event,
        connection: Option<&Connection>,
    ) -> Result<Registration, RegistrationError> {
        Registration::of_event(&self.lease, event, connection.map(Connection::number))
    }

    /// A completion queue of at least so many entries.
    ///
    /// # Errors
    /// Too many; out of device memory, queues or events; the process is stopped.
    #[doc(alias = "flexio_cq_create")]
    pub fn completion_queue(
        &self,
        entries: u32,
    ) -> Result<Arc<CompletionQueue>, CompletionQueueError> {
        CompletionQueue::new(&self.lease, self.process.raw(), entries)
    }

    /// An RDMA context, whose completions go to this queue.
    ///
    /// # Errors
    /// A figure out of its range; out of device memory or queues; the process is stopped.
    #[doc(alias = "flexio_qp_create")]
    pub fn context(
        &self,
        spec: ContextSpec,
        completions: Option<Arc<CompletionQueue>>,
    ) -> Result<Arc<ContextRef>, ContextError> {
        ContextRef::new(&self.lease, self.process.raw(), spec, completions)
    }
}
