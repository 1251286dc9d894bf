//! Events of a process: what an update opens, and what ends with one that is closed.

use std::sync::Arc;

use dpa_abi::Update;
use sync_event::{CloseReason, Closed, Event, Reached};

use super::Process;
use crate::foreign;
use crate::gate::Gate;
use crate::launch::{Launch, Outcome};
use crate::unit::Wake;

impl Process {
    /// Closes an event and settles what waited for it; false if it was closed before.
    pub(crate) fn close_event(self: &Arc<Self>, index: u32, reason: CloseReason) -> bool {
        let slot = self.events.slot(index);
        if slot.event.closed().is_none() {
            self.note_closed(index, reason);
        }
        let first = slot
            .event
            .close_with(reason, |gate, outcome| match outcome {
                Ok(last) => self.opened(gate, last),
                Err(closed) => self.closed(gate, closed),
            });
        self.device.notify();
        first
    }

    /// Closes an event that nobody can update any more. While everything is stopped that is why, and not who let go of it.
    pub(crate) fn publisher_gone(self: &Arc<Self>, index: u32) {
        let reason = match self.is_stopped() {
            false => CloseReason::PublisherGone,
            true => self.stop_reason(),
        };
        self.close_event(index, reason);
    }

    fn closed(self: &Arc<Self>, gate: Gate, closed: Closed) {
        match gate {
            Gate::Launch(launch) => self.wait_event_closed(&launch, closed),
            Gate::Unit(unit) => {
                self.crash.saw_blocked(unit.core());
                self.wake_unit(unit, Wake::Closed(closed.last));
            }
            Gate::Queue(queue) => queue.open(self.device.clock.now(), false),
            Gate::Place(placed) => {
                placed.end(self);
                foreign::let_go("an event in memory", || drop(placed));
            }
        }
    }

    pub(crate) fn wait_event_closed(self: &Arc<Self>, launch: &Arc<Launch>, closed: Closed) {
        let outcome = match closed.reason {
            CloseReason::Faulted => Outcome::Faulted,
            CloseReason::ContextClosed => Outcome::ContextClosed,
            _ => Outcome::WaitEventClosed,
        };
        if launch.wait_closed(outcome, closed) {
            self.crash.saw_parked();
            self.never_started(launch, outcome);
        }
    }

    /// Updates an event from outside of any kernel, and sends what it opened on its way.
    ///
    /// # Errors
    /// The event is closed.
    pub(crate) fn update(self: &Arc<Self>, index: u32, update: Update) -> Result<u64, Closed> {
        let event = self.events.event(index);
        self.note_update(index, update, event);
        match event.try_update_fast(update) {
            Ok(previous) => Ok(previous),
            Err(reached) => self.finish_update(event, reached),
        }
    }

    /// The second half of an update: what it opened is sent on its way.
    pub(crate) fn finish_update(
        self: &Arc<Self>,
        event: &Event<Gate>,
        reached: Reached,
    ) -> Result<u64, Closed> {
        let mut opened = false;
        let result = event.finish_update(reached, |gate, value| {
            opened = true;
            self.opened(gate, value);
        });
        if opened {
            self.device.notify();
            self.device.urge_for(self);
        }
        result
    }

    /// Sends an opened gate on its way. The caller notifies the workers.
    pub(crate) fn opened(self: &Arc<Self>, gate: Gate, value: u64) {
        self.note_opened(&gate, value);
        match gate {
            Gate::Launch(launch) => self.make_ready(launch),
            Gate::Unit(unit) => self.wake_unit(unit, Wake::Value(value)),
            Gate::Queue(queue) => queue.open(self.device.clock.now(), true),
            Gate::Place(placed) => placed.follow(self),
        }
    }

    pub(crate) fn make_ready(self: &Arc<Self>, launch: Arc<Launch>) {
        if launch.open() {
            let seen = launch.clone();
            self.device.sched.push(launch);
            // A stop that came meanwhile may have looked for what is ready before this was there, and the scheduler may have forgotten
            // the process by now: it would let go of the launch without an end.
            if self.is_stopped() {
                self.take_back(&seen, self.stop_outcome());
            }
        }
    }
}
