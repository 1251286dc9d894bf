//! Queues of the low layer: each an object of its own, worked by kernels by number and index.
//!
//! They are what the connections of an RDMA context are: entries of the NIC's list of queue pairs, and pools of receives
//! beside it. What differs is who says how far entries are there: a doorbell with an index, not a phase.

pub mod outbox;
pub mod pair;
pub mod queue;
