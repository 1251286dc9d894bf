//! Queues of the low layer: a kernel writes their entries itself, counts its own indices, and rings by number.
//!
//! ```text
//!  SendQueue::write(index, Wqe)  -> thread.qp_sq_ring_db(index + 1, number)  -> the NIC takes entries below
//!  ReceiveQueue::write(index, buf) -> ReceiveQueue::inc_pi(1)                -> the NIC may receive into it
//!  thread.cq_arm(consumer, number) -> the handler runs, or the host is woken -> CompletionQueue::poll(consumer)
//!                                                                            -> CompletionQueue::set_ci(consumer)
//! ```
//!
//! Each queue has one thread at a time that writes or reads it; the queues of [`rdma`](crate::rdma) are for any number.
//! A handler finds the index it has come to in the queue itself ([`SendQueue::producer`], [`ReceiveQueue::producer`],
//! [`CompletionQueue::consumer`]), for nothing on its stack survives it.
//!
//! A doorbell goes through the thread's outbox. A number that is none of a queue of this process, an outbox that is none
//! of its outboxes, and an index that the queue cannot have are refused with a [`RingError`], and nothing is done.
//!
//! There are no event queues: what they are for is done by completion queues that a handler or the host waits for. Nor
//! are there Ethernet queues, so no Ethernet segment.

mod bound;
mod completion;
mod outbox;
mod receive;
mod send;
mod wqe;

pub use completion::{CompletionQueue, PollError};
pub use dpa_abi::queue::bell::{OutboxHandle, RingError};
pub use dpa_abi::queue::{
    CompletionEntry, CompletionKind, ENTRY_WORDS, Matrix, Syndrome, WorkFlags, WorkOpcode,
};
pub use receive::ReceiveQueue;
pub use send::SendQueue;
pub use wqe::{InlineTooLong, Wqe};

use bound::{Bound, Layout};
use dpa_abi::Pod;
use dpa_abi::pod::{Load, Store};

/// How a queue travels: the place of its record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueWire {
    /// The address of the record.
    pub record: u64,
}

#[diagnostic::do_not_recommend]
impl Pod for QueueWire {
    const SIZE: usize = 8;
    const ALIGN: usize = 8;
    fn load<L: Load + ?Sized>(from: &L, at: usize) -> Self {
        Self {
            record: from.u64(at),
        }
    }
    fn store<S: Store + ?Sized>(self, to: &mut S, at: usize) {
        to.put_u64(at, self.record);
    }
}
