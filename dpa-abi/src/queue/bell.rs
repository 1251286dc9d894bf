//! Doorbells by number: what a kernel says to the NIC through an outbox about a queue of the low layer.

use core::fmt;

use crate::handle::Handle;
use crate::pod::{Load, Pod, Store};

/// An outbox of a process, as its kernels name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct OutboxHandle(pub Handle);

impl OutboxHandle {
    /// The outbox that every thread begins with.
    pub const DEFAULT: Self = Self(Handle::from_bits(0));
}

#[diagnostic::do_not_recommend]
impl Pod for OutboxHandle {
    const SIZE: usize = 8;
    const ALIGN: usize = 8;
    fn load<L: Load + ?Sized>(from: &L, at: usize) -> Self {
        Self(Handle::from_bits(from.u64(at)))
    }
    fn store<S: Store + ?Sized>(self, to: &mut S, at: usize) {
        to.put_u64(at, self.0.to_bits());
    }
}

/// What is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ring {
    /// Nothing: is this an outbox of the process?
    Check,
    /// The entries of this send queue below `producer`, modulo 2^16, are there.
    Send {
        /// The number of the send queue or queue pair.
        number: u32,
        /// The entry after the last.
        producer: u16,
    },
    /// A notification is asked for when there is more in this completion queue than the first `consumer` entries.
    Arm {
        /// The number of the completion queue.
        number: u32,
        /// Entries that were read, ever.
        consumer: u64,
    },
    /// An entry of nothing is to be written into this completion queue.
    Dummy {
        /// The number of the completion queue.
        number: u32,
    },
}

/// Why it was refused. Nothing was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RingError {
    /// The process has no such outbox.
    NoOutbox,
    /// The process has no queue of this kind with this number.
    NoQueue {
        /// The number.
        number: u32,
    },
    /// More entries than the queue has, or fewer read than it says.
    BadIndex {
        /// The number of the queue.
        number: u32,
        /// The producer or consumer index.
        index: u64,
    },
}

impl fmt::Display for RingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoOutbox => f.write_str("the process has no such outbox"),
            Self::NoQueue { number } => {
                write!(
                    f,
                    "the process has no queue of this kind with number {number:#x}"
                )
            }
            Self::BadIndex { number, index } => {
                write!(
                    f,
                    "index {index} is none that queue {number:#x} can have now"
                )
            }
        }
    }
}

impl core::error::Error for RingError {}
