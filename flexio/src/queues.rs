//! The queues of the low layer, each an object of its own: completion queues, send queues, receive queues, RC queue
//! pairs, outboxes.
//!
//! ```text
//!  Nic::queue_pair(spec, QueuePairQueues) -> QueuePair --init, ready_to_receive, ready_to_send--> works
//!        |                        |
//!        |                        `-- completions: CompletionQueue, of its own or shared
//!        `-- receives: ReceiveQueue, of its own or shared by several queue pairs
//! ```
//!
//! Kernels get them as arguments (`&QueuePair`, `&ReceiveQueue`, `&CompletionQueue`: see `flexio_dev::raw`), write their
//! entries, and ring by number through an outbox. All are cheap to clone; a queue stays as long as a clone of it or
//! something that uses it does, so they may be dropped in any order.
//!
//! Their entries lie in device memory, or in host memory behind a window: [`QueueMemory`].
//!
//! What comes of what goes wrong:
//!
//! * A handler that never arms its completion queue again is not triggered again. Nothing is lost: completions wait in
//!   the queue until it overruns, and one that arms later is told of them at once.
//! * A completion queue that overruns: see [`OverrunPolicy`].
//! * A receive queue that runs empty: the peer is told that the receiver is not ready, and sends again after the RNR
//!   timer as often as its [`rnr_retries`](QueuePairSpec::rnr_retries) allow; then its send completes with
//!   [`Syndrome::RNR_RETRIES_EXCEEDED`] and its queue pair is in ERR. Ours stays as it is.
//! * A number of another process's queue, or outbox: the doorbell is refused, and nothing is done.
//!
//! The contexts of [`rdma`](crate::rdma) stand on the same queue pairs and pools of receives; what they add is that any
//! number of threads may post to them at once.

mod completion;
mod memory;
mod outbox;
mod pair;
mod work;

pub use completion::CompletionQueue;
pub use flexio_dev::raw::{CompletionEntry, CompletionKind, OutboxHandle, Syndrome};
pub use memory::QueueMemory;
pub use outbox::{Outbox, Uar};
pub use pair::{QueuePair, QueuePairQueues};
pub use work::{ReceiveQueue, SendQueue};

pub use crate::backend::rdma::QueuePairState;
pub use crate::backend::{
    CompletionSpec, HostReadError, Moderation, ModifyError, OutboxError, OverrunPolicy,
    QueueMemoryError, QueuePairSpec, QueuePairStep, RawQueueError,
};
