//! What waits at an event inside the device, launches that have not started and kernels' threads, and how a launch is
//! parked there and taken back.
//!
//! A launch may be cancelled while it is being parked. Rules:
//! 1. Whoever parks records the place in the launch, under the launch's lock, before the gate is published; then looks
//!    whether the launch is over already, and if so takes its gate out itself.
//! 2. Whoever takes back first ends the launch, then reads the place under the launch's lock and takes the gate out.
//! 3. So at least one of the two sees the other, and no gate of a launch that is over stays behind.

use dpa_abi::Condition;
use sync_event::sync::Arc;
use sync_event::{Closed, Event, Registered};

use crate::launch::{Launch, Outcome};
use crate::unit::Suspended;

/// What is opened when a condition is met.
#[derive(Debug)]
pub enum Gate {
    /// A launch becomes ready.
    Launch(Arc<Launch>),
    /// A suspended thread can go on.
    Unit(Suspended),
    /// A queue of a NIC can go on.
    #[cfg(not(dpa_loom))]
    Queue(Box<crate::nic::QueueGate>),
    /// The value is shown where the event stands in memory.
    #[cfg(not(dpa_loom))]
    Place(std::sync::Arc<crate::placed::Placed>),
}

impl sync_event::Gate for Gate {
    /// Never called: the device always takes the gates itself (`update_with`, `close_with`), because it knows whose
    /// queues they go to. A gate that is opened here could only be dropped, which would lose a wake.
    fn open(self, outcome: Result<u64, Closed>) {
        unreachable!("gates of a device are opened by their process, not with {outcome:?}");
    }
}

/// What became of parking a launch.
#[derive(Debug)]
pub enum Parking {
    /// It waits, or was cancelled meanwhile.
    Done,
    /// Its condition holds already, with this value.
    Holds(Gate, u64),
    /// The event is closed.
    Closed(Closed),
    /// The event is gone, and its place may be another's. The launch is parked nowhere.
    Gone,
}

/// Parks a launch at the event of this index until the condition holds. `is_it`: the event is still the one that is meant.
pub fn park(
    event: &Event<Gate>,
    index: u32,
    launch: &Arc<Launch>,
    condition: Condition,
    is_it: impl Fn() -> bool,
) -> Parking {
    let is_it = || cfg!(dpa_mutant = "park_trusts_the_slot") || is_it();
    let registered = event.register_if(condition, is_it, |id| {
        launch.parked(index, id);
        Gate::Launch(launch.clone())
    });
    let Some(registered) = registered else {
        return Parking::Gone;
    };
    match registered {
        Registered::Waiting(waiter) => {
            if cfg!(not(dpa_mutant = "park_no_cancel_check")) && launch.outcome().is_some() {
                drop(event.cancel(waiter));
            }
            Parking::Done
        }
        Registered::Holds(gate, value) => Parking::Holds(gate, value),
        Registered::Closed(_, closed) => Parking::Closed(closed),
    }
}

/// Takes back a launch that has not started, with its gate. True if this call ended it.
pub fn take_back<'e>(
    launch: &Launch,
    outcome: Outcome,
    event: impl FnOnce(u32) -> &'e Event<Gate>,
) -> bool {
    if !launch.take_back(outcome) {
        return false;
    }
    if let Some((index, waiter)) = launch.parked_at() {
        drop(event(index).cancel(waiter));
    }
    true
}

#[cfg(all(test, not(dpa_loom)))]
mod tests;
