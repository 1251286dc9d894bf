//! What a kernel can do wrong, and what an event operation can answer it.

use core::fmt;

use crate::handle::EventHandle;
use crate::location::LocationSet;
use crate::port::CollectiveKind;

/// What a kernel wants to do with memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Rights {
    /// Loads only.
    Read,
    /// Loads and stores.
    ReadWrite,
    /// Loads, stores and atomic operations.
    Atomic,
}

/// What went wrong in a kernel. Each of these makes its process fatal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FaultKind {
    /// The kernel panicked.
    Panic,
    /// An access or a bind outside of what is allocated, or of memory that was freed.
    OutOfRange {
        /// First byte asked for.
        addr: u64,
        /// Bytes asked for.
        len: u64,
    },
    /// An index outside of a bound view.
    OutOfBounds {
        /// The index asked for.
        index: u64,
        /// The length of the view, in elements.
        len: u64,
    },
    /// An address that is not a multiple of its type's alignment.
    Unaligned {
        /// The address.
        addr: u64,
        /// The alignment it needs, in bytes.
        align: u32,
    },
    /// A store to memory that may only be read.
    NotWritable {
        /// The address.
        addr: u64,
    },
    /// There is no memory for a global variable.
    OutOfMemory {
        /// Bytes asked for.
        asked: u64,
        /// Bytes free in all.
        free: u64,
        /// Bytes of the largest free block.
        largest: u64,
    },
    /// A handle that refers to nothing (any more).
    StaleHandle {
        /// The handle's bits.
        bits: u64,
    },
    /// An event was used from a side it is not configured for.
    EventSide {
        /// The event.
        event: EventHandle,
        /// What it is configured for.
        error: EventError,
    },
    /// The kernel ran longer than the limit without a safe point.
    RunTimeExceeded {
        /// The limit, in milliseconds.
        limit_ms: u64,
    },
    /// The kernel's stack overflowed.
    StackOverflow {
        /// The size of the stack, in bytes.
        size: u64,
    },
    /// The kernel ended itself with an error code.
    User {
        /// Its code.
        code: u64,
    },
    /// A kernel ended its process, for no error.
    Finished,
    /// A call ended itself as threads of handlers do, without its result.
    NoResult,
    /// Every started thread waits for events that only the device can update.
    Deadlock,
    /// The threads of a launch met in different collectives (one in a barrier, one in a reduction).
    CollectiveMismatch {
        /// What this thread called.
        called: CollectiveKind,
        /// What the threads wait in that were there before.
        others: CollectiveKind,
    },
    /// A thread waits for the others of its launch in a collective, and one of them has returned: they never all meet.
    CollectiveMissed {
        /// What this thread called.
        called: CollectiveKind,
    },
    /// A DPA thread of a group called a collective: each runs for its own events, so they do not meet.
    NoMeeting {
        /// What it called.
        called: CollectiveKind,
        /// How many threads its group has.
        threads: u32,
    },
    /// A thread could not be started because all kernel stacks are in use.
    NoStack {
        /// How many there may be.
        limit: u64,
    },
    /// A thread could not be started because the system refused memory for another kernel stack.
    StackRefused {
        /// The error number of the native machine.
        errno: i32,
    },
    /// A memory access the model's own checks did not foresee (signal and address of the native machine).
    Native {
        /// The signal's number.
        signal: i32,
    },
}

impl fmt::Display for FaultKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Panic => f.write_str("panic"),
            Self::OutOfRange { addr, len } => {
                write!(
                    f,
                    "access out of range: {len} bytes at {addr:#x} are not allocated"
                )
            }
            Self::OutOfBounds { index, len } => {
                write!(
                    f,
                    "index out of bounds: the view has {len} elements but the index is {index}"
                )
            }
            Self::Unaligned { addr, align } => {
                write!(
                    f,
                    "unaligned access: {addr:#x} is not a multiple of {align}"
                )
            }
            Self::NotWritable { addr } => write!(f, "store to read-only memory at {addr:#x}"),
            Self::OutOfMemory {
                asked,
                free,
                largest,
            } => {
                write!(
                    f,
                    "out of device memory: {asked} bytes asked, {free} free, the largest block has {largest}"
                )
            }
            Self::StaleHandle { bits } => write!(f, "stale handle {bits:#x}"),
            Self::EventSide { event, error } => write!(f, "sync event {}: {error}", event.0.index),
            Self::RunTimeExceeded { limit_ms } => {
                write!(f, "ran longer than {limit_ms} ms without a safe point")
            }
            Self::StackOverflow { size } => write!(f, "stack overflow ({size} bytes)"),
            Self::User { code } => write!(f, "ended with error code {code}"),
            Self::Finished => f.write_str("a kernel ended its process"),
            Self::NoResult => f.write_str("a call ended itself without a result"),
            Self::Deadlock => {
                f.write_str("deadlock: every started thread waits for the device itself")
            }
            Self::CollectiveMismatch { called, others } => {
                write!(
                    f,
                    "{called} was called while other threads of the launch wait in {others}"
                )
            }
            Self::CollectiveMissed { called } => {
                write!(
                    f,
                    "{called} was called, but another thread of the launch has returned and never calls it"
                )
            }
            Self::NoMeeting { called, threads } => {
                write!(
                    f,
                    "{called} was called in a group of {threads} threads, which run each for its own events and do not meet"
                )
            }
            Self::NoStack { limit } => write!(f, "all {limit} kernel stacks are in use"),
            Self::StackRefused { errno } => {
                write!(
                    f,
                    "the system refused memory for a kernel stack (error {errno})"
                )
            }
            Self::Native { signal } => write!(f, "native memory fault (signal {signal})"),
        }
    }
}

/// Why an event operation in a kernel did not do what was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum EventError {
    /// The event is closed; its last value stays readable.
    Closed {
        /// The value when it was closed.
        last: u64,
    },
    /// The device is not a publisher of this event.
    NotPublisher {
        /// Who publishes.
        allowed: LocationSet,
    },
    /// The device is not a subscriber of this event.
    NotSubscriber {
        /// Who subscribes.
        allowed: LocationSet,
    },
    /// The handle refers to no event of this process.
    Stale,
    /// The wait's timeout passed.
    TimedOut {
        /// The value then.
        value: u64,
    },
}

impl fmt::Display for EventError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Closed { last } => write!(f, "closed (last value {last})"),
            Self::NotPublisher { allowed } => {
                write!(f, "the device is not among its publishers ({allowed})")
            }
            Self::NotSubscriber { allowed } => {
                write!(f, "the device is not among its subscribers ({allowed})")
            }
            Self::Stale => f.write_str("no such event in this process"),
            Self::TimedOut { value } => write!(f, "timed out at value {value}"),
        }
    }
}

impl core::error::Error for EventError {}
