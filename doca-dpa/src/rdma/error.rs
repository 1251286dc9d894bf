//! What can go wrong with RDMA, one enum for each kind of operation.

use flexio::rdma::{
    CompletionQueueError, ConnectError as LowConnectError, DecodeError, ExportError, Incompatible,
    PostHostError, PostReason, RegisterError, SystemError, TransitionError, WorkError, WorkFailure,
};
use flexio::{ContextError, NicError, QuotaExceeded, RegistrationError};
use thiserror::Error;

/// An RDMA context could not be opened.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum RdmaOpenError {
    /// Its NIC could not be opened.
    #[error(transparent)]
    Nic(#[from] NicError),
    /// A figure is out of its range, or there is no device memory for its queues.
    #[error(transparent)]
    Context(#[from] ContextError),
    /// Its completion queue could not be made.
    #[error(transparent)]
    Queue(#[from] QueueError),
    /// A time that the transport has no code for.
    #[error("{what} of {asked_us} us was asked for, at most {max_us} us are possible")]
    Time {
        /// Which time.
        what: &'static str,
        /// Microseconds asked for.
        asked_us: u128,
        /// The most that is possible, in microseconds.
        max_us: u128,
    },
    /// The queue of asynchronous operations could not be made.
    #[error(transparent)]
    Export(#[from] ExportError),
    /// There is no such service level.
    #[error("service level {asked} was asked for, allowed are 0 to 15")]
    ServiceLevel {
        /// What was asked for.
        asked: u8,
    },
    /// User data that completions cannot carry.
    #[error("user data {asked} was asked for, allowed are 0 to {max}")]
    UserData {
        /// What was asked for.
        asked: u32,
        /// The most that is possible.
        max: u32,
    },
    /// The completion queue belongs to another NIC.
    #[error("the completion queue belongs to another NIC or another context")]
    ForeignQueue,
}

/// A completion queue could not be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("completion queue: {0}")]
pub struct QueueError(#[from] pub CompletionQueueError);

/// Memory or an event could not be registered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum MapError {
    /// The NIC refuses.
    #[error(transparent)]
    Register(RegisterError),
    /// The range does not lie in the memory.
    #[error("{len} bytes at {offset} do not lie in memory of {size} bytes")]
    OutOfRange {
        /// The first byte asked for.
        offset: u64,
        /// Bytes asked for.
        len: u64,
        /// Bytes there are.
        size: u64,
    },
    /// As many regions as the context may have: [`Builder::max_regions`](crate::Builder::max_regions).
    #[error(transparent)]
    Quota(QuotaExceeded),
    /// The device behind verbs refuses.
    #[error(transparent)]
    System(SystemError),
    /// Over verbs, an event that peers signal is not updated by kernels and launches.
    #[error("{}", RegistrationError::DevicePublisher)]
    DevicePublisher,
    /// Over verbs, an event has one word that the NIC writes, and this one has another already.
    #[error("{}", RegistrationError::OtherWord)]
    OtherWord,
    /// The context is closed or faulted.
    #[error("the context is closed or faulted")]
    Stopped,
    /// The buffer or event belongs to another context.
    #[error("the buffer or event belongs to another context")]
    Foreign,
    /// The event cannot be updated by a remote node: say so when it is made.
    #[error("a remote node is not among the publishers of the event ({publishers})")]
    NotRemote {
        /// Who is.
        publishers: sync_event::LocationSet,
    },
}

impl From<RegistrationError> for MapError {
    fn from(error: RegistrationError) -> Self {
        match error {
            RegistrationError::Register(error) => Self::Register(error),
            RegistrationError::OutOfRange { offset, len, size } => {
                Self::OutOfRange { offset, len, size }
            }
            RegistrationError::Quota(error) => Self::Quota(error),
            RegistrationError::System(error) => Self::System(error),
            RegistrationError::DevicePublisher => Self::DevicePublisher,
            RegistrationError::OtherWord => Self::OtherWord,
            RegistrationError::ForeignEvent => Self::Foreign,
            _ => Self::Stopped,
        }
    }
}

/// Bytes of a peer are not what they should be.
#[derive(Debug, Error)]
#[error("the peer's {what} cannot be used: {source}")]
pub struct BlobError {
    /// What they should be.
    pub what: &'static str,
    /// What is wrong.
    pub source: DecodeError,
}

/// A connection could not be connected.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// The peer's bytes are no connection data.
    #[error(transparent)]
    Blob(#[from] BlobError),
    /// The two cannot talk.
    #[error("the two cannot talk: {0}")]
    Incompatible(Incompatible),
    /// The device behind verbs refuses.
    #[error(transparent)]
    System(SystemError),
    /// It was connected before, or is over.
    #[error("the connection was connected before, or is over; export a new one")]
    State,
}

impl From<LowConnectError> for ConnectError {
    fn from(error: LowConnectError) -> Self {
        match error {
            LowConnectError::Incompatible(why) => Self::Incompatible(why),
            LowConnectError::State(TransitionError::System(error)) => Self::System(error),
            _ => Self::State,
        }
    }
}

/// Work of the host was not taken. Nothing was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum WorkRefused {
    /// The memory it works on could not be registered.
    #[error(transparent)]
    Map(#[from] MapError),
    /// The connection does not take it.
    #[error(transparent)]
    Refused(PostReason),
    /// The connection is gone.
    #[error("the connection is gone")]
    Gone,
    /// The range is not within the peer's memory.
    #[error("{len} bytes at {offset} do not lie in the peer's memory of {size} bytes")]
    OutOfRange {
        /// The first byte asked for.
        offset: u64,
        /// Bytes asked for.
        len: u64,
        /// Bytes there are.
        size: u64,
    },
}

impl From<PostHostError> for WorkRefused {
    fn from(error: PostHostError) -> Self {
        match error {
            PostHostError::Refused(reason) => Self::Refused(reason),
            _ => Self::Gone,
        }
    }
}

/// Work of the host failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum WorkUnfinished {
    /// It was not taken. Nothing was sent.
    #[error(transparent)]
    Refused(#[from] WorkRefused),
    /// It failed; unless it was never sent, what it did to the peer is unknown.
    #[error(transparent)]
    Failed(WorkFailure),
    /// A receive failed.
    #[error("the receive failed: {0}")]
    Receive(WorkError),
    /// The connection, its context or its process ended first; or a receive was posted to a context whose receives are
    /// the kernels' ([`Rdma::receive`](super::Rdma::receive)).
    #[error(
        "the connection, its context or its process is gone, or the receives of the context are those of kernels"
    )]
    Gone,
}

impl WorkUnfinished {
    /// Whether the peer may have seen something of it.
    pub fn may_have_been_sent(&self) -> bool {
        matches!(self, Self::Failed(failure) if failure.sent)
    }
}
