//! On the worker's own stack: a thread that has left its stack is handed to where it waits.

use std::sync::Arc;

use sync_event::Registered;

use crate::fiber::Request;
use crate::gate::Gate;
use crate::meeting::{self, Arrival};
use crate::process::{BlockedOn, Process, UnitTimeout};
use crate::unit::{Suspended, Unit, Wake};
use crate::worker::Worker;

impl Worker {
    /// Hands a suspended unit to where it waits (rule 2).
    pub(crate) fn park(&self, mut unit: Box<Unit>, request: Request) -> Option<Box<Unit>> {
        let process = unit
            .core()
            .process
            .borrow()
            .clone()
            .expect("a running thread has one");
        if !matches!(request, Request::Yield | Request::Preempted) {
            self.look_soon();
        }
        match request {
            Request::Yield => {
                self.let_rest(unit.suspended());
                None
            }
            Request::Preempted => {
                self.shared().rest(unit.suspended());
                None
            }
            Request::Abandon => {
                unit.abandon();
                self.left_for_good(unit.core());
                self.leave_behind(*unit);
                None
            }
            Request::Wait(event, condition, until) => {
                self.park_at_event(&process, unit, (event, condition, until))
            }
            Request::Meet(what) => {
                let rank = unit.core().running.borrow().as_ref().map_or(0, |r| r.rank);
                self.park_at_meeting(&process, unit, meeting::own(rank, what))
            }
        }
    }

    pub(crate) fn park_at_event(
        &self,
        process: &Arc<Process>,
        unit: Box<Unit>,
        (event, condition, until): (dpa_abi::EventHandle, dpa_abi::Condition, Option<u64>),
    ) -> Option<Box<Unit>> {
        process.now_blocked(
            unit.core(),
            BlockedOn::Event(event, condition, until.is_some()),
        );
        let slot = process.events.slot(event.0.index);
        process.note_waits(event.0.index, condition);
        let registered = slot.event.register(condition, |waiter| {
            if let Some(at) = until {
                let timeout = UnitTimeout {
                    process: Arc::downgrade(process),
                    event: event.0.index,
                    waiter,
                };
                unit.core().timer.set(Some(
                    self.device
                        .clock
                        .set(at, crate::clock::Action::Unit(timeout)),
                ));
            }
            Gate::Unit(unit.suspended())
        });
        let (gate, wake) = match registered {
            Registered::Waiting(_) => return None,
            Registered::Holds(gate, value) => (gate, Wake::Value(value)),
            Registered::Closed(gate, closed) => (gate, Wake::Closed(closed.last)),
        };
        let Gate::Unit(suspended) = gate else {
            return None;
        };
        process.no_longer_blocked(suspended.core(), wake);
        self.go_on_at_once(suspended)
    }

    /// A thread that left its stack to wait, and need not: it goes on at once if nobody else waits for this worker, else when it is
    /// its turn. For one that waits again and again the whole may be a loop, and its waits are safe points.
    fn go_on_at_once(&self, unit: Suspended) -> Option<Box<Unit>> {
        if self.must_leave_stack() || self.others_wait() {
            self.let_rest(unit);
            return None;
        }
        Some(unit.into_unit())
    }

    pub(crate) fn park_at_meeting(
        &self,
        process: &Arc<Process>,
        unit: Box<Unit>,
        what: dpa_abi::port::Collective,
    ) -> Option<Box<Unit>> {
        let launch = unit
            .core()
            .running
            .borrow()
            .as_ref()
            .map(|r| r.launch.clone())?;
        process.now_blocked(unit.core(), BlockedOn::Meeting);
        self.device
            .note(|| "waits for the other threads of its launch".to_owned());
        // A stop that came before this thread was booked as blocked has not seen it.
        let arrival = match launch.gang() {
            Some(gang) if !process.is_stopped() => gang.meeting.arrive(unit.suspended(), what),
            _ => Arrival::Closed(Some(unit.suspended())),
        };
        let (own, wake) = match arrival {
            Arrival::Last(own, others, value) => {
                others
                    .into_iter()
                    .for_each(|other| process.wake_unit(other, Wake::Value(value)));
                self.device.notify();
                (own, Wake::Value(value))
            }
            Arrival::Closed(own) => (own, Wake::Closed(0)),
            // On its own stack it is its own fault.
            Arrival::Mismatch(own, others) => (own, Wake::Mismatch(others)),
            Arrival::Missed(own) => (own, Wake::Missed),
            Arrival::Waits | Arrival::MustWait => return None,
        };
        let own = own?;
        process.no_longer_blocked(own.core(), wake);
        self.go_on_at_once(own)
    }
}
