//! How a process ends, and what can be seen of it.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::fault::Waiting;
use crate::heap::HeapInfo;
use crate::process::Process;

/// What was still in use when a process was closed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CloseReport {
    /// Launches that had not started and were dropped. One that a worker was about to start may count neither here nor there.
    pub launches_dropped: usize,
    /// Threads that still ran and were stopped at their next safe point.
    pub threads_stopped: u32,
    /// Sync events that the host still held.
    pub events: usize,
    /// Device allocations that were still live.
    pub allocations: usize,
}

/// What a process is doing.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Snapshot {
    /// Launches, calls and steps that are not over. Some that nobody awaits may be over a moment before they are not counted.
    pub unfinished: usize,
    /// Of them, those that are ready to start.
    pub ready: usize,
    /// Threads that have units.
    pub started: u32,
    /// Of them, those that wait, and for what.
    pub waiting: Vec<Waiting>,
    /// Units of the partition that are free.
    pub free_units: u32,
    /// Live sync events.
    pub events: usize,
    /// Completion queues, receive queues, and queue pairs with their send queues.
    pub queues: usize,
    /// Registered regions.
    pub regions: usize,
    /// Its memory.
    pub heap: HeapInfo,
}

impl Process {
    /// What it is doing now. The figures are taken one after the other.
    pub fn snapshot(&self) -> Snapshot {
        let standing = self.device.sched.standing(self.number);
        Snapshot {
            unfinished: self.unfinished.count(),
            ready: standing.ready,
            started: standing.started,
            waiting: self.waiting(),
            free_units: self.device.sched.free(self.tenancy.partition.index),
            events: self.events.live(),
            queues: self.quotas.queues(),
            regions: self.quotas.regions(),
            heap: self.heap.info(),
        }
    }

    /// Refuses new work from now on.
    pub fn refuse(&self) {
        self.closing.store(true, Ordering::SeqCst);
        self.wake_all_hosts();
    }

    /// Whether nothing of it runs, steps included, or is ready to. What is parked does not count.
    pub(crate) fn is_at_rest(&self) -> bool {
        let standing = self.device.sched.standing(self.number);
        standing.started == 0 && standing.steps == 0 && standing.ready == 0
    }

    /// Ends it: what has not started is dropped, what runs stops at its next safe point, every wait resolves as
    /// closed. Waits for nothing. Memory is freed when the last thread has left and the last handle is gone.
    pub fn shut_down(self: &Arc<Self>) -> CloseReport {
        self.refuse();
        let before = self.snapshot();
        let dropped = || self.dropped.load(Ordering::Relaxed);
        let dropped_before = dropped();
        // Also where another thread has begun to: when this returns nothing of it goes on, and nobody waits.
        if !self.has_ended() {
            self.stop();
        }
        // Once: the number may be another process's by the second time.
        if !self.dismissed.swap(true, Ordering::SeqCst) {
            self.device.sched.dismiss(self.number);
        }
        self.device.notify();
        if self.device.is_stopping() {
            self.device.wake_all();
        }
        CloseReport {
            launches_dropped: dropped() - dropped_before,
            threads_stopped: before.started,
            events: before.events,
            allocations: before.heap.allocations,
        }
    }
}
