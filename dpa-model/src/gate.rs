//! What waits at an event inside the device: launches that have not started, and kernels' threads.

use sync_event::Closed;
use sync_event::sync::Arc;

use crate::launch::Launch;
use crate::unit::Suspended;

/// What is opened when a condition is met.
#[derive(Debug)]
pub enum Gate {
    /// A launch becomes ready.
    Launch(Arc<Launch>),
    /// A suspended thread can go on.
    Unit(Suspended),
}

impl sync_event::Gate for Gate {
    /// Never called: the device always takes the gates itself (`update_with`, `close_with`), because it knows whose
    /// queues they go to. A gate that is opened here could only be dropped, which would lose a wake.
    fn open(self, outcome: Result<u64, Closed>) {
        unreachable!("gates of a device are opened by their process, not with {outcome:?}");
    }
}
