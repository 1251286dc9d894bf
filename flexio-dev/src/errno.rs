//! The last refusal of a device call, kept for each thread.
//!
//! Every call here answers with a value; nobody needs this to find out how a call ended. It is for code that looks once
//! after many calls, and for messages. Rules:
//!
//! 1. A device call that is refused sets it, to what is listed at [`Errno`]. One that succeeds leaves it alone.
//! 2. It belongs to one thread: a launch's threads each have their own, and an event handler begins each activation with
//!    none.

use core::fmt;

use dpa_abi::EventError;
use dpa_abi::queue::bell::RingError;

use crate::context::ThreadContext;
use crate::hash_table::TableFull;
use crate::queue::{CompletionError, PostError};

/// Why a device call was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
#[non_exhaustive]
pub enum Errno {
    /// A bind of memory that is not there, unaligned, or without rights.
    BadMemory = 1,
    /// An update of or a wait for an event that is closed.
    EventClosed = 2,
    /// The time of a wait was up: for an event or for a completion.
    TimedOut = 3,
    /// A trigger of a handler that is none any more.
    NoHandler = 4,
    /// A post to a queue whose entries are all in use.
    QueueFull = 5,
    /// A post to a connection that is not connected.
    NotConnected = 6,
    /// A look into a completion queue that has overrun.
    Overrun = 7,
    /// A wait for a completion queue that is closed.
    QueueClosed = 8,
    /// An insertion into a hash table that is full.
    TableFull = 9,
    /// A message to a stream that there is not.
    NoStream = 10,
    /// A doorbell through an outbox that the process has not.
    NoOutbox = 11,
    /// A doorbell for a queue that the process has not.
    NoQueue = 12,
    /// A doorbell with an index that the queue cannot have.
    BadIndex = 13,
    /// A post of more bytes than an entry names, or than the place in the peer's memory has.
    TooLong = 14,
}

impl Errno {
    /// Its number; 0 is none's.
    pub const fn code(self) -> u8 {
        self as u8
    }
}

impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::BadMemory => "memory that cannot be bound",
            Self::EventClosed => "the event is closed",
            Self::TimedOut => "the time was up",
            Self::NoHandler => "no such handler",
            Self::QueueFull => "the queue is full",
            Self::NotConnected => "not connected",
            Self::Overrun => "the completion queue has overrun",
            Self::QueueClosed => "the completion queue is closed",
            Self::TableFull => "the hash table is full",
            Self::NoStream => "no such message stream",
            Self::NoOutbox => "no such outbox",
            Self::NoQueue => "no such queue",
            Self::BadIndex => "an index that the queue cannot have",
            Self::TooLong => "more bytes than an entry names or its place has",
        })
    }
}

impl From<&EventError> for Errno {
    fn from(error: &EventError) -> Self {
        match error {
            EventError::TimedOut { .. } => Self::TimedOut,
            // The other refusals are faults: nobody is left to read this.
            _ => Self::EventClosed,
        }
    }
}

impl From<&PostError> for Errno {
    fn from(error: &PostError) -> Self {
        match error {
            PostError::NotConnected => Self::NotConnected,
            PostError::TooLong { .. } | PostError::NoRoom { .. } => Self::TooLong,
            PostError::Full { .. } => Self::QueueFull,
        }
    }
}

impl From<&CompletionError> for Errno {
    fn from(error: &CompletionError) -> Self {
        match error {
            CompletionError::Overrun => Self::Overrun,
            CompletionError::TimedOut => Self::TimedOut,
            _ => Self::QueueClosed,
        }
    }
}

impl From<&RingError> for Errno {
    fn from(error: &RingError) -> Self {
        match error {
            RingError::NoQueue { .. } => Self::NoQueue,
            RingError::BadIndex { .. } => Self::BadIndex,
            _ => Self::NoOutbox,
        }
    }
}

impl From<&TableFull> for Errno {
    fn from(_: &TableFull) -> Self {
        Self::TableFull
    }
}

impl ThreadContext<'_> {
    /// The last refusal of a device call of this thread, since its start or since it was reset.
    #[doc(alias = "flexio_dev_get_errno")]
    pub fn errno(&self) -> Option<Errno> {
        self.refusal().get()
    }

    /// Forgets it.
    #[doc(alias = "flexio_dev_rst_errno")]
    pub fn reset_errno(&self) {
        self.refusal().set(None);
    }

    /// Gives it and forgets it.
    #[doc(alias = "flexio_dev_get_and_rst_errno")]
    pub fn take_errno(&self) -> Option<Errno> {
        self.refusal().take()
    }

    /// A call was refused.
    #[cold]
    pub(crate) fn refused(&self, why: Errno) {
        self.refusal().set(Some(why));
    }

    /// Notes a refusal, if it is one.
    #[inline]
    pub(crate) fn noting<R, E>(&self, result: Result<R, E>) -> Result<R, E>
    where
        for<'e> Errno: From<&'e E>,
    {
        if let Err(error) = &result {
            self.refused(error.into());
        }
        result
    }
}
