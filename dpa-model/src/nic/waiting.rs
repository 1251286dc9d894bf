//! Queues that wait: for an event, because an entry of the kind "wait" holds up what is behind it, and for the end of what is before
//! an entry that the NIC ends itself.

use std::sync::{Arc, Weak};
use std::time::Duration;

use dpa_abi::queue::WorkEntry;
use dpa_abi::{Condition, EventHandle, Handle};
use rdma::psn::Qpn;
use sync_event::{Registered, WaiterId};

use super::DeviceNic;
use super::provider::Provider;
use super::world::World;
use crate::event::EventUse;
use crate::gate::Gate;
use crate::process::Process;

/// How a queue stands with the wait at its head.
#[derive(Debug, Default)]
pub(crate) enum Waiting {
    /// There is none, or nobody has looked at it.
    #[default]
    No,
    /// It is registered with an event.
    Parked(#[expect(dead_code, reason = "taken out of the event when it is dropped")] Parked),
    /// It is over; whether the condition held, and not the event was closed.
    Over(bool),
}

/// A wait that is registered; taken out again if it is dropped.
#[derive(Debug)]
pub(crate) struct Parked {
    event: EventUse,
    waiter: WaiterId,
}

impl Drop for Parked {
    fn drop(&mut self) {
        drop(self.event.cancel(self.waiter));
    }
}

/// What is opened when the condition of a queue's wait is met.
#[derive(Debug)]
pub struct QueueGate {
    nic: Weak<DeviceNic>,
    number: Qpn,
}

impl QueueGate {
    /// The wait is over: the NIC looks at the queue again. `met`: the condition held.
    pub(crate) fn open(&self, now: u64, met: bool) {
        if let Some(nic) = self.nic.upgrade() {
            let before = nic.with(|engine| {
                let pair = engine.world.pairs.get_mut(self.number)?;
                Some(std::mem::replace(&mut pair.waiting, Waiting::Over(met)))
            });
            // Its waiter is gone from the event already.
            drop(before);
            nic.ring(now, self.number);
        }
    }
}

/// What became of the wait at the head of a queue.
#[derive(Debug)]
enum Looked {
    /// The condition holds, or has held.
    Met,
    /// The event is closed, or none that may be waited for.
    Impossible,
    /// It waits.
    Parked(Parked),
}

/// Looks at a wait for the first time.
fn begin(process: &Arc<Process>, nic: &Weak<DeviceNic>, number: Qpn, entry: &WorkEntry) -> Looked {
    let handle = Handle::from_bits(entry.remote.address);
    let [operand, mask] = entry.atomic;
    let condition = Condition::from_code(entry.remote.key, operand, mask);
    // It runs in no launch that keeps the slot from being another event's.
    let event = process.use_of(EventHandle(handle));
    let (Some(condition), Some(event)) = (condition, event) else {
        return Looked::Impossible;
    };
    if !process.events.slot(event.index()).device_subscribes() {
        return Looked::Impossible;
    }
    let gate = QueueGate {
        nic: nic.clone(),
        number,
    };
    match event.register(condition, |_| Gate::Queue(Box::new(gate))) {
        Registered::Waiting(waiter) => Looked::Parked(Parked { event, waiter }),
        Registered::Holds(..) => Looked::Met,
        Registered::Closed(..) => Looked::Impossible,
    }
}

impl World {
    /// Looks at the wait at the head of a queue; `None`: it waits, else whether its condition held.
    pub(super) fn wait(&mut self, number: Qpn, entry: &WorkEntry) -> Option<bool> {
        let pair = self.pairs.get_mut(number)?;
        let process = pair.process.clone();
        match std::mem::take(&mut pair.waiting) {
            Waiting::Over(met) => return Some(met),
            parked @ Waiting::Parked(_) => {
                pair.waiting = parked;
                return None;
            }
            Waiting::No => {}
        }
        match begin(&process, &self.nic, number, entry) {
            Looked::Met => Some(true),
            Looked::Impossible => Some(false),
            Looked::Parked(parked) => {
                pair.waiting = Waiting::Parked(parked);
                None
            }
        }
    }

    /// Whether all work before the entry at hand is over and reported, so that its own end can be: completions of a send queue
    /// come in its order. If not, the queue is looked at again. What the host posts after the first such look is behind it.
    pub(super) fn comes_next(&mut self, nic: &mut Provider, now: Duration, number: Qpn) -> bool {
        let pair = self.pairs.get_mut(number).filter(|pair| !pair.local);
        let Some(send) = pair.and_then(|pair| pair.send.as_mut()) else {
            return true;
        };
        let before = send.comes_behind(|| nic.posted(number));
        if !nic.owes(number, before) {
            return true;
        }
        if nic.has_failed(number) {
            // It may be flushed already, and only not reported.
            nic.report(now, self);
            if !nic.owes(number, before) {
                return true;
            }
        }
        nic.tell_when_over(number, before);
        self.note_posted();
        false
    }
}
