//! The one seam between the host's crates and a device.
//!
//! Everything above names devices, processes, launches and events by the names that are gathered here. Another backend
//! takes the place of these types; nothing above this file names the model.

pub use dpa_model::activation::HandlerState;
pub use dpa_model::cmdq::{JOB_BYTES, QueueError, QueueSpec};
pub use dpa_model::crash::report::{CrashProblem, CrashReport};
pub use dpa_model::crash::{CrashFiles, CrashSpec};
pub use dpa_model::diary::{Actor, Diary, Note};
pub use dpa_model::error_handler::ErrorHandlerError;
pub use dpa_model::fault::{Place, Waiting, WaitingOn};
pub use dpa_model::handler::{Affinity, HandlerError};
pub use dpa_model::heap::{HeapInfo, OutOfMemory};
pub use dpa_model::launch::Outcome;
pub use dpa_model::layout::{
    DeviceFileError, FunctionKind, FunctionSpec, GroupSpec, LayoutError, NoUnitSet, PartitionSpec,
    UnitSet, check as check_layout,
};
pub use dpa_model::message::{
    Delivery, FileError, FlushError, Layout, LogOpenError, LogSpec, MessageStream as RawStream,
    Overflow, Sink, SinkError, StreamError as MessageStreamError, StreamSpec,
};
pub use dpa_model::mishaps::{MishapCounters, Mishaps, State as MishapState, Struck, When};
pub use dpa_model::network::{Chance, NetworkCounters, NetworkSpec};
pub use dpa_model::nic::{
    AttachError, CompletionQueue, CompletionQueueError, CompletionSpec, ConnectError,
    ConnectionRef, ConnectionState, ContextError, ContextRef, ContextSpec, Ended, ExportError,
    HostMemory, HostReadError, KeptWork, Moderation, ModifyError, NicError, OutboxError,
    OverrunPolicy, Pending, PostHostError, QUEUE_ALIGN, QueueMemory, QueueMemoryError,
    QueuePairRef, QueuePairSpec, QueuePairStep, RawQueueError, ReceiveQueueRef, Registration,
    RegistrationError, SendQueueRef,
};
pub use dpa_model::partition::{FunctionError, FunctionInfo};
pub use dpa_model::placed::{EventPlace, Keep};
pub use dpa_model::seeded::{Endless, Plan as SimPlan, SimError, Stuck};
pub use dpa_model::stream::Stream;
pub use dpa_model::trace::{TraceOpenError, TraceSpec};
pub use dpa_model::windows::WindowError;
pub use dpa_model::{
    CloseReport, ConfigError, DeviceConfig, EventLimit, EventRef as Event, EventUseError, Fault,
    HostWait, OpenError, ProcessSpec, QuotaExceeded, Snapshot, SubmitError,
};

/// Trace files.
pub mod trace {
    pub use dpa_model::trace::format::{
        HEADER_BYTES, MAGIC, RECORD_BYTES, TraceReadError, TraceReader, TraceRecord, VERSION,
    };
}

/// What the NIC's crate gives names to.
pub mod rdma {
    pub use rdma::codec::DecodeError;
    pub use rdma::config::{AckTimeout, RetryLimit, ServiceLevel};
    pub use rdma::connection::{
        AtomicCapability, ConnectionInfo, Incompatible, RemoteEvent, RemoteRegion,
    };
    pub use rdma::counters::Counters;
    pub use rdma::memory::Atomic;
    pub use rdma::mtu::PathMtu;
    pub use rdma::nic::TransitionError;
    pub use rdma::provider::{
        Chosen, Provider, SystemError, UnknownProvider, VerbsOpenError, VerbsPort,
    };
    pub use rdma::queue_pair::{Cause, State as QueuePairState};
    pub use rdma::region::{LocalKey, RegisterError, RemoteKey, Rights};
    pub use rdma::udp::{BindError, ROCE_PORT, SocketCounters};
    pub use rdma::wire::RnrTimer;
    pub use rdma::work::{
        Data, Flags, Inline, Lost, MAX_MESSAGE, Operation, PostReason, ReceivedKind, RemoteAddress,
        Segment, Tail, WorkError, WorkFailure,
    };
}

pub(crate) use dpa_model::cmdq::{CommandQueue, Job};
pub(crate) use dpa_model::error_handler::ErrorHandler;
pub(crate) use dpa_model::handler::{Handler, HandlerSpec};
pub(crate) use dpa_model::launch::{ArgBytes, Body, Launch, Step};
pub(crate) use dpa_model::network::Network;
pub(crate) use dpa_model::nic::NicLease;
pub(crate) use dpa_model::seeded;
pub(crate) use dpa_model::threads::Threads;
pub(crate) use dpa_model::{Device, Process, Spec, TimerKey};
