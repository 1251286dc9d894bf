//! Processes of one partition whose workers have no homes: who has used less than its share waits for no kernel that passes no safe
//! point.
//!
//! Rules:
//! 1. A process that has nothing else unfinished submits something that is ready, or the host opens something of one; no worker looks
//!    for work or is parked, and one runs a kernel of a process of the same partition that is over its share (rule 6 of
//!    `fairness.rs`), as the first is not: that kernel is *urged*.
//! 2. One that is urged and has passed no safe point [`FIRST`] later is interrupted, as one whose slice is over (`slices.rs`). Where it
//!    cannot be just then (in a device call, say) it is tried again, each time after twice as long, [`LAST`] at most.
//! 3. One kernel of a partition is urged at a time: for what waits behind the first there are slices.

use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::clock::Action;
use crate::device::Device;
use crate::process::Process;
use crate::shared::Shared;
use crate::slices::SLICE;
use crate::worker::Worker;

/// What a kernel that is urged has yet: it may end by itself.
const FIRST: Duration = Duration::from_micros(100);
/// How long until it is tried again, at most.
const LAST: Duration = SLICE;

/// A kernel that is urged.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Urge {
    worker: usize,
    /// Its worker's count of safe points.
    count: u64,
    /// How long it is until this time.
    after: Duration,
}

impl Shared {
    /// Whether it runs what it did when it had passed so many safe points.
    fn still_runs(&self, count: u64) -> bool {
        self.busy.load(Ordering::Relaxed) && self.safe_points.load(Ordering::Relaxed) == count
    }

    fn is_urged(&self) -> bool {
        self.still_runs(self.urged_at.load(Ordering::Relaxed))
    }
}

impl Device {
    /// Something of this process is ready, and whoever is idle knows.
    #[inline]
    pub(crate) fn urge_for(&self, process: &Process) {
        if self.fairness.is_contended(process.tenancy.partition.index) {
            self.urge_one_for(process);
        }
    }

    #[cold]
    fn urge_one_for(&self, process: &Process) {
        let partition = process.tenancy.partition.index;
        let idle = self.idle.counts() != (0, 0);
        if idle || self.fairness.is_divided() || process.is_over_share() {
            return;
        }
        let of_it =
            |worker: &&Shared| worker.busy.load(Ordering::Relaxed) && worker.served() == partition;
        let workers = || self.workers.iter().map(|worker| &**worker).filter(of_it);
        if workers().any(Shared::is_urged) {
            return;
        }
        let over = |worker: &&Shared| worker.over.load(Ordering::Relaxed);
        let all = self.workers.iter().enumerate();
        let found = all
            .map(|(n, worker)| (n, &**worker))
            .find(|(_, worker)| of_it(worker) && over(worker));
        if let Some((worker, shared)) = found {
            let count = shared.safe_points.load(Ordering::Relaxed);
            shared.urged_at.store(count, Ordering::Relaxed);
            self.urge(Urge {
                worker,
                count,
                after: FIRST,
            });
        }
    }

    fn urge(&self, urge: Urge) {
        self.clock
            .set(self.clock.after(urge.after), Action::Urge(urge));
    }

    /// The time of a kernel that is urged is over, unless it has passed a safe point.
    pub(crate) fn end_urge(&self, urge: Urge) {
        let Urge {
            worker,
            count,
            after,
        } = urge;
        let shared = &self.workers[worker];
        if !shared.still_runs(count) {
            return;
        }
        shared.spun.store(0, Ordering::Relaxed);
        shared.preempt_at.store(count, Ordering::Relaxed);
        #[cfg(not(dpa_sanitize))]
        crate::trap::preempt(shared.pthread.load(Ordering::Acquire));
        self.urge(Urge {
            after: (after * 2).min(LAST),
            ..urge
        });
    }
}

impl Worker {
    /// A thread of this process begins or goes on here.
    #[inline]
    pub(crate) fn note_share(&self, process: &Process) {
        let over = &self.shared().over;
        let is = self.is_measured() && process.is_over_share();
        if over.load(Ordering::Relaxed) != is {
            over.store(is, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rig::Still;

    fn looks(device: &Device, urge: Urge) -> (u64, Option<u64>) {
        let shared = &device.workers[urge.worker];
        shared.preempt_at.store(u64::MAX, Ordering::Relaxed);
        device.end_urge(urge);
        let at = shared.preempt_at.load(Ordering::Relaxed);
        let _ = device.clock.due();
        (at, device.clock.next())
    }

    #[test]
    fn rule_2_who_has_passed_a_safe_point_is_not_interrupted() {
        let process = Still::new();
        let device = &process.device;
        let shared = &device.workers[0];
        shared.safe_points.store(5, Ordering::Relaxed);
        let urge = |count| Urge {
            worker: 0,
            count,
            after: LAST,
        };
        assert_eq!(looks(device, urge(5)), (u64::MAX, None), "it is idle");
        shared.busy.store(true, Ordering::Relaxed);
        assert_eq!(looks(device, urge(4)), (u64::MAX, None));
        let (at, again) = looks(device, urge(5));
        assert!(at == 5 && again.is_some(), "{at} {again:?}");
        shared.busy.store(false, Ordering::Relaxed);
    }
}
