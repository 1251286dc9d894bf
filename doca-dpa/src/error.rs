//! Errors: one enum for each kind of operation, and one for all of them. What they carry of the low layer stands here too:
//!
//! ```
//! use doca_dpa::error::{LaunchRefused, SubmitError};
//!
//! fn is_full(refused: &LaunchRefused) -> bool {
//!     matches!(refused, LaunchRefused::Refused(SubmitError::QueueFull { .. }))
//! }
//! # assert!(!is_full(&LaunchRefused::Refused(SubmitError::Closed)));
//! ```

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use flexio::handler::AttachError;
use flexio::rdma::SystemError;
use flexio::{EventLimit, EventUseError, Fault, FunctionError, Outcome, WindowError};
use sync_event::CloseReason;
use thiserror::Error;

pub use flexio::cmdq::QueueError as CommandQueueError;
pub use flexio::{
    AccessError, ConfigError, ErrorHandlerError, LogOpenError, OpenError, OutOfMemory, SubmitError,
    TraceOpenError,
};
pub use flexio_dev::TableFull;
pub use sync_event::Closed;
pub use sync_event::location::{LocationsError, NotPublisher, NotSubscriber};

use crate::cmdq::CommandError;
use crate::function::NoGroup;
use crate::hash_table::HashTableError;
use crate::log::{FlushError, MessageStreamError};
use crate::rdma::{
    BlobError, ConnectError, ExportError, HostRangeError, MapError, QueueError, RdmaOpenError,
    WorkRefused, WorkUnfinished,
};
use crate::thread::ThreadError;

/// A context could not be opened.
#[derive(Debug, Error)]
#[error("the device could not be opened: {0}")]
pub struct DpaOpenError(#[from] pub OpenError);

/// An event could not be made.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum EventCreateError {
    /// Its publishers and subscribers make no event.
    #[error(transparent)]
    Locations(#[from] LocationsError),
    /// There are as many as there may be.
    #[error("the context has {limit} sync events, as many as it may have")]
    Full {
        /// How many there may be.
        limit: usize,
    },
    /// The context is closed or faulted.
    #[error("the context is closed or faulted")]
    Stopped,
    /// It was to stand in memory, where there are no eight aligned bytes.
    #[error("an event stands in 8 bytes aligned to 8, which are not at {at:#x}")]
    NotThere {
        /// The offset in the host buffer, or the device address.
        at: u64,
    },
    /// Another event stands there.
    #[error("another event stands at {at:#x}")]
    Taken {
        /// The offset in the host buffer, or the device address.
        at: u64,
    },
    /// Peers can write there already, by a device behind verbs, which tells nobody of what it writes.
    #[error(
        "over verbs peers can already write at {at:#x}: make an event that they publish before its memory is registered"
    )]
    Registered {
        /// The offset in the host buffer, or the device address.
        at: u64,
    },
    /// The buffer it was to stand in is one of another context.
    #[error("the event was to stand in a buffer of another context")]
    Foreign,
}

impl From<EventLimit> for EventCreateError {
    fn from(error: EventLimit) -> Self {
        match error {
            EventLimit::Full { limit } => Self::Full { limit },
            EventLimit::NotThere { at } => Self::NotThere { at },
            EventLimit::Taken { at } => Self::Taken { at },
            EventLimit::Registered { at } => Self::Registered { at },
            _ => Self::Stopped,
        }
    }
}

/// The host could not use an event.
#[derive(Clone, Debug, Error)]
#[non_exhaustive]
pub enum EventError {
    /// The host is not among its publishers.
    #[error(transparent)]
    NotPublisher(NotPublisher),
    /// The host is not among its subscribers.
    #[error(transparent)]
    NotSubscriber(NotSubscriber),
    /// It was closed, or nobody is left who could update it.
    #[error(transparent)]
    Closed(Closed),
    /// Its context was closed.
    #[error("the context is closed; the event's last value is {last}")]
    ContextClosed {
        /// Its last value.
        last: u64,
    },
    /// Its process became fatal.
    #[error("the process faulted: {0}")]
    Faulted(Arc<Fault>),
    /// The wait's time was up.
    #[error("timed out at value {value}")]
    TimedOut {
        /// The value then.
        value: u64,
    },
    /// A device behind verbs, which makes its updates, refused one.
    #[error(transparent)]
    Device(SystemError),
    /// Under a simulation: nothing can happen any more that would end the wait.
    #[error("the wait can never end: nothing is left to run")]
    Stuck,
}

impl EventError {
    pub(crate) fn closed(closed: Closed, fault: Option<Arc<Fault>>) -> Self {
        match (closed.reason, fault) {
            (CloseReason::Faulted, Some(fault)) => Self::Faulted(fault),
            (CloseReason::ContextClosed, _) => Self::ContextClosed { last: closed.last },
            _ => Self::Closed(closed),
        }
    }

    pub(crate) fn of(error: EventUseError, fault: Option<Arc<Fault>>) -> Self {
        match error {
            EventUseError::NotPublisher(error) => Self::NotPublisher(error),
            EventUseError::NotSubscriber(error) => Self::NotSubscriber(error),
            EventUseError::Closed(closed) => Self::closed(closed, fault),
            EventUseError::TimedOut { value } => Self::TimedOut { value },
            EventUseError::Device(error) => Self::Device(error),
            _ => Self::Stuck,
        }
    }
}

/// Device memory could not be allocated or accessed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum MemoryError {
    /// Out of memory.
    #[error(transparent)]
    OutOfMemory(#[from] OutOfMemory),
    /// More elements than there are.
    #[error("elements {first}..{end} asked, the buffer has {len}")]
    Range {
        /// The first element asked for.
        first: usize,
        /// The one behind the last.
        end: usize,
        /// How many there are.
        len: usize,
    },
    /// The device refused the access.
    #[error(transparent)]
    Access(#[from] AccessError),
    /// The context is closed.
    #[error("the context is closed")]
    ContextClosed,
}

/// A launch, a call or a step was not accepted.
#[derive(Clone, Debug, Error)]
#[non_exhaustive]
pub enum LaunchRefused {
    /// The process is fatal.
    #[error("the process faulted: {0}")]
    Faulted(Arc<Fault>),
    /// Any other reason.
    #[error(transparent)]
    Refused(SubmitError),
    /// The event belongs to another context.
    #[error("the event to {what} belongs to another context")]
    ForeignEvent {
        /// What it was to be used for.
        what: &'static str,
    },
    /// A buffer or an event among the arguments belongs to another context.
    #[error("an argument of {kernel} refers to a buffer or an event of another context")]
    ForeignArgument {
        /// The kernel or call.
        kernel: &'static str,
    },
    /// The range of a copy or fill is not within the buffer.
    #[error(transparent)]
    Memory(#[from] MemoryError),
}

impl LaunchRefused {
    pub(crate) fn of(error: SubmitError, fault: Option<Arc<Fault>>) -> Self {
        match (error, fault) {
            (SubmitError::Faulted, Some(fault)) => Self::Faulted(fault),
            (error, _) => Self::Refused(error),
        }
    }
}

/// A launch did not complete.
#[derive(Clone, Debug, Error)]
#[non_exhaustive]
pub enum LaunchError {
    /// It was taken back before it started.
    #[error("the launch was cancelled before it started")]
    Cancelled,
    /// Its process became fatal.
    #[error("the process faulted: {0}")]
    Faulted(Arc<Fault>),
    /// All threads returned, but the event to update was closed.
    #[error("the launch completed, but the event it was to update is closed")]
    CompletedButEventClosed,
    /// The event it waited for was closed.
    #[error("the event that the launch waited for was closed at value {last}")]
    WaitEventClosed {
        /// The event's last value.
        last: u64,
    },
    /// Its context was closed.
    #[error("the context was closed before the launch completed")]
    ContextClosed,
    /// Its copy or fill was refused where it was done.
    #[error(transparent)]
    Memory(MemoryError),
    /// The result of the step was given to somebody already.
    #[error("the result of the step has been taken already")]
    Taken,
    /// Under a simulation: nothing can happen any more that would end it.
    #[error("the launch can never end: nothing is left to run")]
    Stuck,
}

impl LaunchError {
    pub(crate) fn of_memory(error: MemoryError) -> Self {
        match error {
            MemoryError::ContextClosed => Self::ContextClosed,
            _ => Self::Memory(error),
        }
    }

    pub(crate) fn of(outcome: Outcome, launch: &flexio::Submitted) -> Option<Self> {
        Some(match outcome {
            Outcome::Completed => return None,
            Outcome::CompletedButEventClosed => Self::CompletedButEventClosed,
            Outcome::Cancelled => Self::Cancelled,
            Outcome::WaitEventClosed => Self::WaitEventClosed {
                last: launch.wait_closed().last,
            },
            Outcome::Faulted => match launch.process().fault() {
                Some(fault) => Self::Faulted(fault),
                None => Self::ContextClosed,
            },
            Outcome::ContextClosed => Self::ContextClosed,
        })
    }
}

/// A call gave no result.
#[derive(Clone, Debug, Error)]
#[non_exhaustive]
pub enum CallError {
    /// It was not accepted.
    #[error(transparent)]
    Refused(#[from] LaunchRefused),
    /// It did not complete.
    #[error(transparent)]
    Failed(#[from] LaunchError),
}

/// A context could not be closed in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("kernels still ran {waited:?} after the context was closed; {} threads were stopped, {} launches dropped", .report.threads_stopped, .report.launches_dropped)]
pub struct CloseTimedOut {
    /// How long was waited.
    pub waited: Duration,
    /// What was still in use.
    pub report: flexio::CloseReport,
}

/// A kernel for errors was not set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum OnErrorError {
    /// There is one already, or the context is closed or faulted.
    #[error(transparent)]
    Refused(#[from] ErrorHandlerError),
    /// Something among its arguments belongs to another context.
    #[error("the error handler `{kernel}` was given something of another context")]
    Foreign {
        /// The kernel.
        kernel: &'static str,
    },
}

/// Any error of this crate.
#[derive(Error)]
#[non_exhaustive]
pub enum Error {
    /// Opening a context.
    #[error(transparent)]
    Open(#[from] DpaOpenError),
    /// A function of the device.
    #[error(transparent)]
    Function(#[from] FunctionError),
    /// A group of execution units.
    #[error(transparent)]
    Group(#[from] NoGroup),
    /// Making an event.
    #[error(transparent)]
    EventCreate(#[from] EventCreateError),
    /// Using an event.
    #[error(transparent)]
    Event(#[from] EventError),
    /// Device memory.
    #[error(transparent)]
    Memory(#[from] MemoryError),
    /// A hash table.
    #[error(transparent)]
    HashTable(#[from] HashTableError),
    /// Submitting.
    #[error(transparent)]
    Refused(#[from] LaunchRefused),
    /// A launch's end.
    #[error(transparent)]
    Launch(#[from] LaunchError),
    /// A call.
    #[error(transparent)]
    Call(#[from] CallError),
    /// Closing.
    #[error(transparent)]
    Close(#[from] CloseTimedOut),
    /// Opening an RDMA context.
    #[error(transparent)]
    RdmaOpen(#[from] RdmaOpenError),
    /// Making a completion queue.
    #[error(transparent)]
    Queue(#[from] QueueError),
    /// Exporting a connection.
    #[error(transparent)]
    Export(#[from] ExportError),
    /// Connecting.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// Registering memory or events.
    #[error(transparent)]
    Map(#[from] MapError),
    /// Understanding what a peer has exported.
    #[error(transparent)]
    Blob(#[from] BlobError),
    /// Posting work from the host.
    #[error(transparent)]
    WorkRefused(#[from] WorkRefused),
    /// Work of the host that failed.
    #[error(transparent)]
    Work(#[from] WorkUnfinished),
    /// Bytes of a host buffer.
    #[error(transparent)]
    HostRange(#[from] HostRangeError),
    /// Opening a window.
    #[error(transparent)]
    Window(#[from] WindowError),
    /// A DPA thread or a group of them.
    #[error(transparent)]
    Thread(#[from] ThreadError),
    /// Attaching a thread to completions.
    #[error(transparent)]
    Attach(#[from] AttachError),
    /// Setting a kernel for errors.
    #[error(transparent)]
    OnError(#[from] OnErrorError),
    /// A command queue.
    #[error(transparent)]
    Command(#[from] CommandError),
    /// Opening a message stream.
    #[error(transparent)]
    MessageStream(#[from] MessageStreamError),
    /// Writing messages or the trace out.
    #[error(transparent)]
    Flush(#[from] FlushError),
}

/// In words, as it is displayed: what `fn main() -> Result<(), Error>` prints is for people.
impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_device_behind_verbs_refuses_of_an_event_is_handed_on() {
        let cause = SystemError {
            what: "posting an update",
            errno: 12,
        };
        let error = EventError::of(cause.into(), None);
        assert_eq!(error.to_string(), cause.to_string());
        let stuck = EventError::of(EventUseError::Stuck, None);
        assert!(matches!(stuck, EventError::Stuck), "{stuck:?}");
    }
}
