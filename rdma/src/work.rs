//! Work requests and completions: what a queue pair is told to do, and what became of it.

use bitflags::bitflags;
use thiserror::Error;

use crate::memory::Atomic;
use crate::region::{LocalKey, RemoteKey};

/// The longest message, in bytes.
pub const MAX_MESSAGE: u32 = 1 << 30;
/// The most bytes that can travel inside a work request.
pub const MAX_INLINE: usize = 32;

/// A range of local memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[doc(alias = "ibv_sge")]
pub struct Segment {
    /// The first byte, as the region's local base counts.
    pub address: u64,
    /// Bytes.
    pub len: u32,
    /// The region's local key.
    pub key: LocalKey,
}

/// A place in a peer's memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RemoteAddress {
    /// The address, as the region's remote base counts.
    pub address: u64,
    /// The region's remote key.
    pub key: RemoteKey,
}

/// What a send or a write carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Data {
    /// Bytes of a region, read when they are sent (and again when they are sent again).
    Local(Segment),
    /// Bytes of the work request itself.
    Inline(Inline),
}

impl Data {
    /// Bytes in all.
    pub const fn len(&self) -> u32 {
        match self {
            Self::Local(segment) => segment.len,
            Self::Inline(inline) => inline.len as u32,
        }
    }

    /// Whether there are none.
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// At most [`MAX_INLINE`] bytes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Inline {
    bytes: [u8; MAX_INLINE],
    len: u8,
}

impl Inline {
    /// A copy of `data`, or `None` if it is too long.
    pub fn new(data: &[u8]) -> Option<Self> {
        let mut bytes = [0; MAX_INLINE];
        bytes.get_mut(..data.len())?.copy_from_slice(data);
        Some(Self {
            bytes,
            len: data.len() as u8,
        })
    }

    /// The first `len` of these, or all if there are not so many.
    #[inline]
    pub fn first<const N: usize>(first: &[u8; N], len: u8) -> Self {
        const { assert!(N <= MAX_INLINE, "more than it holds") };
        let mut bytes = [0; MAX_INLINE];
        bytes[..N].copy_from_slice(first);
        let len = len.min(N as u8);
        Self { bytes, len }
    }

    /// The bytes.
    #[inline]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

impl std::fmt::Debug for Inline {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Inline").field(&self.bytes()).finish()
    }
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[doc(alias = "ibv_wr_opcode")]
pub enum Operation {
    /// Into the peer's next receive.
    Send {
        /// What is sent.
        data: Data,
        /// What travels beside it.
        tail: Tail,
    },
    /// Into the peer's memory.
    Write {
        /// What is written.
        data: Data,
        /// To where.
        to: RemoteAddress,
        /// Takes one of the peer's receives and arrives in its completion.
        immediate: Option<u32>,
    },
    /// From the peer's memory.
    Read {
        /// From where.
        from: RemoteAddress,
        /// To where, and how much.
        into: Segment,
    },
    /// A read-modify-write of eight bytes in the peer's memory.
    Atomic {
        /// Where: a multiple of eight.
        at: RemoteAddress,
        /// What.
        operation: Atomic,
        /// Eight bytes for the word before the operation, if anybody wants it in memory.
        result: Option<Segment>,
    },
}

/// What travels beside a send.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Tail {
    /// Nothing.
    #[default]
    Plain,
    /// Four bytes for the completion.
    Immediate(u32),
    /// A key of the peer's that becomes invalid.
    Invalidate(RemoteKey),
}

bitflags! {
    /// How a work request is carried out.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
    #[doc(alias = "ibv_send_flags")]
    pub struct Flags: u8 {
        /// Success makes a completion. (Failure always does.)
        const SIGNALED = 1;
        /// Begins only when all reads and atomics posted before have been answered.
        const FENCE = 2;
        /// The peer's completion is a solicited one.
        const SOLICITED = 4;
    }
}

/// Something to do, as posted to a queue pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[doc(alias = "ibv_send_wr")]
pub struct WorkRequest {
    /// Comes back in the completion. Means nothing to the NIC.
    pub id: u64,
    /// What to do.
    pub operation: Operation,
    /// How.
    pub flags: Flags,
}

impl Operation {
    /// Bytes of the message.
    pub const fn len(&self) -> u32 {
        match self {
            Self::Send { data, .. } | Self::Write { data, .. } => data.len(),
            Self::Read { into, .. } => into.len,
            Self::Atomic { .. } => 8,
        }
    }

    /// Whether the message has no bytes.
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Which kind of operation it is.
    pub const fn kind(&self) -> WorkKind {
        match self {
            Self::Send { .. } => WorkKind::Send,
            Self::Write { .. } => WorkKind::Write,
            Self::Read { .. } => WorkKind::Read,
            Self::Atomic { .. } => WorkKind::Atomic,
        }
    }

    /// Whether the peer answers it with data: a read or an atomic.
    pub(crate) const fn is_exchange(&self) -> bool {
        matches!(self, Self::Read { .. } | Self::Atomic { .. })
    }
}

/// The kind of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum WorkKind {
    /// A send.
    Send,
    /// A write.
    Write,
    /// A read.
    Read,
    /// A fetch-add or compare-swap.
    Atomic,
}

/// Why a work request was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum PostReason {
    /// The queue pair cannot send yet.
    #[error("the queue pair is not ready to send")]
    NotReady,
    /// So many are posted and not yet completed.
    #[error("{limit} work requests are outstanding")]
    Full {
        /// How many may be.
        limit: usize,
    },
    /// The message is too long.
    #[error("a message of {len} bytes is longer than {MAX_MESSAGE}")]
    TooLong {
        /// Its bytes.
        len: u32,
    },
    /// An atomic whose result slot is not eight bytes.
    #[error("the result of an atomic takes 8 bytes, not {len}")]
    ResultSize {
        /// Bytes of the slot.
        len: u32,
    },
    /// The device behind verbs did not take it.
    #[error("the device refused it: {}", std::io::Error::from_raw_os_error(*errno))]
    Device {
        /// The number of the system's error.
        errno: i32,
    },
    /// A read or atomic on a connection whose peers agreed on none.
    #[error("the connection allows no reads and atomics")]
    NoExchanges,
}

/// A work request that was not taken comes back with the reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("work request {} was not taken: {reason}", request.id)]
pub struct PostError {
    /// The request, unchanged.
    pub request: WorkRequest,
    /// Why.
    #[source]
    pub reason: PostReason,
}

/// A buffer for one incoming message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[doc(alias = "ibv_recv_wr")]
pub struct Receive {
    /// Comes back in the completion.
    pub id: u64,
    /// Where the message goes.
    pub buffer: Segment,
}

/// Where a queue pair gets receives from: a queue that several queue pairs of a context may share.
pub trait Receives {
    /// The next receive, or `None`: the peer is told that the receiver is not ready.
    fn take(&mut self) -> Option<Receive>;
}

/// A source without receives: for calls that take none, and for queue pairs that never receive.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoReceives;

impl Receives for NoReceives {
    fn take(&mut self) -> Option<Receive> {
        None
    }
}

impl Receives for std::collections::VecDeque<Receive> {
    fn take(&mut self) -> Option<Receive> {
        self.pop_front()
    }
}

/// Something is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[doc(alias = "ibv_wc")]
pub enum Completion {
    /// A work request.
    Work(WorkDone),
    /// A receive.
    Received(Received),
}

/// A work request is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WorkDone {
    /// The request's.
    pub id: u64,
    /// Which kind of operation it was.
    pub kind: WorkKind,
    /// Bytes of the message.
    pub len: u32,
    /// For an atomic that succeeded, the word before it; else 0.
    pub original: u64,
    /// How it ended.
    pub outcome: Result<(), WorkFailure>,
}

/// A work request failed; what it did to the peer is unknown, unless it was never sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("{cause} ({})", if *.sent { "its outcome is unknown" } else { "it was never sent" })]
pub struct WorkFailure {
    /// Why.
    #[source]
    pub cause: WorkError,
    /// Whether any packet of it left: if not, the peer has seen nothing of it.
    pub sent: bool,
}

/// Why a work request or a receive failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Error)]
#[doc(alias = "ibv_wc_status")]
#[non_exhaustive]
pub enum WorkError {
    /// The local key, range or right is wrong.
    #[error("local memory is not registered for this")]
    LocalProtection,
    /// A message was longer than the receive.
    #[error("the message is longer than the receive")]
    LocalLength,
    /// The peer found the request invalid.
    #[error("the peer found the request invalid")]
    RemoteInvalidRequest,
    /// The remote key, range or right is wrong.
    #[error("the peer does not allow the access")]
    RemoteAccess,
    /// The peer had a problem of its own.
    #[error("the peer could not carry it out")]
    RemoteOperation,
    /// The peer did not acknowledge in time, however often it was asked.
    #[error("the peer did not answer within {attempts} attempts")]
    RetriesExceeded {
        /// How often it was sent.
        attempts: u32,
    },
    /// The peer was never ready to receive.
    #[error("the peer was not ready to receive, {attempts} times")]
    RnrRetriesExceeded {
        /// How often it was sent.
        attempts: u32,
    },
    /// The device behind verbs had a problem of its own with it.
    #[error("the device failed with status {status}")]
    Device {
        /// What its completion said: an `ibv_wc_status`.
        status: u32,
    },
    /// Something of the device behind verbs is lost, and what it had to do with it.
    #[error("{0}")]
    Lost(Lost),
    /// The queue pair failed or was closed before it was this one's turn.
    #[error("flushed: the queue pair is in error")]
    Flushed,
}

/// What a device behind verbs has said of itself, by no completion.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Error)]
#[non_exhaustive]
pub enum Lost {
    /// All of it failed, or it was taken out.
    #[error("the device is gone")]
    Device,
    /// A completion queue failed: what ends is told no more.
    #[error("a completion queue of the device failed")]
    Completions,
    /// A receive queue failed: nothing is received any more.
    #[error("a receive queue of the device failed")]
    Receives,
    /// It has put a queue pair into ERR.
    #[error("the device failed a queue pair: event {event}")]
    QueuePair {
        /// How it calls that: an `ibv_event_type`.
        event: u32,
    },
}

/// A receive is over: it holds a message, or never will.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Received {
    /// The receive's.
    pub id: u64,
    /// What arrived.
    pub kind: ReceivedKind,
    /// Bytes: in the receive for a send, in the region for a write.
    pub len: u32,
    /// Whether the sender asked for a solicited event.
    pub solicited: bool,
    /// How it ended.
    pub outcome: Result<(), WorkError>,
}

/// What a receive was used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReceivedKind {
    /// A send.
    Send,
    /// A send with immediate data.
    SendImmediate(u32),
    /// A send that took back this key.
    SendInvalidate(RemoteKey),
    /// A write with immediate data.
    WriteImmediate(u32),
}
