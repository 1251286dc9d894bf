//! The threads of a process that wait: for what, until when, and whether anybody could ever wake them.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};

use dpa_abi::kernel::KernelEntry;
use dpa_abi::{Condition, EventHandle};
use sync_event::WaiterId;

use super::Process;
use crate::activation::HandlerState;
use crate::fault::{Waiting, WaitingOn};
use crate::gate::Gate;
use crate::handler::Handler;
use crate::launch::Launch;
use crate::sched::Tenant;
use crate::unit::{Core, Suspended, Wake};

/// A thread that waits.
#[derive(Debug)]
pub(super) struct BlockedThread {
    pub(super) launch: Arc<Launch>,
    rank: u32,
    job: Option<&'static KernelEntry>,
    pub(super) on: BlockedOn,
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum BlockedOn {
    Event(EventHandle, Condition, bool),
    Meeting,
}

/// How a process stands of which every started thread waits for what only they could bring about. Nothing has moved between two that
/// are equal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Standstill {
    progress: u64,
    /// The threads, and for what, with the values of their events.
    pub(crate) waiting: Vec<Waiting>,
    /// The events at which anything waits, and their values: what is parked may be what helps.
    values: Vec<(u32, u64)>,
}

/// A timer's reference to a thread that waits for an event.
#[derive(Debug)]
pub(crate) struct UnitTimeout {
    pub(crate) process: Weak<Process>,
    pub(crate) event: u32,
    pub(crate) waiter: WaiterId,
}

impl Process {
    /// Ends the wait of a thread that this caller has taken out of where it waited.
    pub(crate) fn wake_unit(&self, unit: Suspended, wake: Wake) {
        self.no_longer_blocked(unit.core(), wake);
        self.device.make_runnable(unit);
    }

    /// Books the end of a wait.
    pub(crate) fn no_longer_blocked(&self, core: &Core, wake: Wake) {
        core.wake.set(wake);
        if let Some(timer) = core.timer.take() {
            self.device.clock.clear(timer);
        }
        self.waits.lock().remove(core.blocked_key.get());
        self.blocked.fetch_sub(1, Ordering::SeqCst);
        self.progress.fetch_add(1, Ordering::Relaxed);
    }

    /// Books that a thread waits, before it is handed to where it waits.
    pub(crate) fn now_blocked(&self, core: &Core, on: BlockedOn) {
        let running = core.running.borrow();
        let Some(running) = running.as_ref() else {
            return;
        };
        let thread = BlockedThread {
            launch: running.launch.clone(),
            rank: running.rank,
            job: core.job.get(),
            on,
        };
        core.blocked_key.set(self.waits.lock().insert(thread));
        self.blocked.fetch_add(1, Ordering::SeqCst);
        self.progress.fetch_add(1, Ordering::Relaxed);
    }

    /// The time of a waiting thread is up.
    pub(crate) fn timed_out(&self, timeout: &UnitTimeout) {
        let slot = self.events.slot(timeout.event);
        if let Some(Gate::Unit(unit)) = slot.event.cancel(timeout.waiter) {
            // Its timer has just been taken; nothing to clear.
            unit.core().timer.set(None);
            self.wake_unit(unit, Wake::TimedOut);
            self.device.notify();
        }
    }

    /// The threads that wait, and for what.
    pub fn waiting(&self) -> Vec<Waiting> {
        self.on_its_device(self.waiting_here())
    }

    /// Says on which device they wait, if there are several.
    pub(crate) fn on_its_device(&self, mut waiting: Vec<Waiting>) -> Vec<Waiting> {
        let device = self.device.number_among_several();
        waiting.iter_mut().for_each(|one| one.device = device);
        waiting
    }

    /// As [`Process::waiting`], and the same whatever devices there are beside this.
    fn waiting_here(&self) -> Vec<Waiting> {
        let waits = self.waits.lock();
        waits
            .iter()
            .map(|(_, thread)| self.describe(thread))
            .collect()
    }

    fn describe(&self, thread: &BlockedThread) -> Waiting {
        let on = match thread.on {
            BlockedOn::Meeting => WaitingOn::Meeting,
            BlockedOn::Event(event, condition, timeout) => {
                let value = self.events.event(event.0.index).get();
                WaitingOn::Event {
                    event,
                    condition,
                    value,
                    timeout,
                }
            }
        };
        Waiting {
            device: None,
            kernel: thread.launch.kernel_name(thread.job).into(),
            launch: thread.launch.seq,
            rank: thread.rank,
            on,
        }
    }

    /// Since when it was seen to stand still as it does now, if it does.
    pub(crate) fn deadlocked_since(&self, now: u64) -> Option<u64> {
        let found = self.deadlocked();
        let mut known = self.standstill.lock();
        let same = known
            .take()
            .filter(|(before, _)| Some(before) == found.as_ref());
        let since = same.map_or(now, |(_, since)| since);
        *known = found.map(|found| (found, since));
        known.is_some().then_some(since)
    }

    /// So much time that comes now is none in which it stands still.
    pub(crate) fn skips_time(&self, nanos: u64) {
        if let Some((_, since)) = &mut *self.standstill.lock() {
            *since = since.saturating_add(nanos);
        }
    }

    /// How it stands, if every started thread waits for something that only they could bring about (SEMANTICS 2.10).
    pub(crate) fn deadlocked(&self) -> Option<Standstill> {
        let progress = self.progress.load(Ordering::Relaxed);
        let standing = self.device.sched.look_at(self.number);
        // A step that is under way may bring about anything.
        if standing.started == 0
            || self.blocked() < standing.started
            || standing.steps > 0
            || standing.startable
            || self.is_stopped()
        {
            return None;
        }
        let waiting = self.waiting_here();
        let stuck = |w: &Waiting| match &w.on {
            WaitingOn::Meeting => true,
            WaitingOn::Event { event, timeout, .. } => {
                let slot = self.events.slot(event.0.index);
                !timeout && !slot.others_publish() && slot.event.closed().is_none()
            }
        };
        let all_stuck = waiting.len() == standing.started as usize && waiting.iter().all(stuck);
        if !all_stuck || self.could_be_helped() {
            return None;
        }
        // Last: it looks at every event that there is.
        let values = self.values_awaited()?;
        Some(Standstill {
            progress,
            waiting,
            values,
        })
    }

    /// Whether there is an RDMA context, whose completions may wake a thread, or a handler that may be triggered.
    fn could_be_helped(&self) -> bool {
        let may_run = |handler: &Arc<Handler>| handler.state() != HandlerState::Over;
        self.rdma.load(Ordering::Relaxed) > 0 || self.handlers.any(may_run)
    }

    /// The events at which anything waits, with their values. None if the host or a remote node may update one: a launch that is
    /// parked there, or a queue of a NIC, could do anything once opened, so nothing is proven.
    fn values_awaited(&self) -> Option<Vec<(u32, u64)>> {
        // Tasks of the host do nothing by themselves, nor does a place that shows the value.
        let acts = |gate: &Gate| matches!(gate, Gate::Launch(_) | Gate::Unit(_) | Gate::Queue(_));
        let mut values = Some(Vec::new());
        self.events.each(|index, slot| {
            if !slot.event.any_gate(acts) {
                return;
            }
            match &mut values {
                Some(values) if !slot.others_publish() => values.push((index, slot.event.get())),
                helped => *helped = None,
            }
        });
        values
    }
}
