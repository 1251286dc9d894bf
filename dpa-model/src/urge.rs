//! Processes of one partition whose workers have no homes: who has used less than its share waits for no kernel that passes no safe
//! point.
//!
//! Rules:
//! 1. A process that has nothing else unfinished submits something that is ready, or an update opens something of one; no worker
//!    looks for work or is parked, and one runs a kernel that began when its process, of the same partition, was over its share
//!    (rule 6 of `fairness.rs`), as the first is not: that kernel is *urged*.
//! 2. One that is urged and has passed no safe point [`FIRST`] later, while something still waits, is interrupted, as one whose slice
//!    is over (`slices.rs`). Where it cannot be just then (in a device call, say) it is tried again, [`TRIES`] times in all, each
//!    time after twice as long: what is left is for the slices.
//! 3. It gets the signal when it gets the processor, and no second one before: they would be handled one on top of the other.
//! 4. One kernel of a partition is urged at a time: for what waits behind the first there are slices.
//! 5. Under a debugger nobody is urged.

use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::clock::Action;
use crate::device::Device;
use crate::keeper::cpu_time;
use crate::process::Process;
use crate::shared::Shared;
use crate::worker::Worker;

/// What a kernel that is urged has yet: it may end by itself.
const FIRST: Duration = Duration::from_micros(100);
/// How often it is tried: for some 6 ms.
const TRIES: u32 = 6;

/// A kernel that is urged.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Urge {
    worker: usize,
    /// Its worker's count of safe points.
    count: u64,
    /// How often it was tried.
    tried: u32,
    /// The CPU time of the worker's thread when it was sent the last signal.
    sent: Duration,
}

impl Shared {
    /// Whether it runs what it did when it had passed so many safe points.
    fn still_runs(&self, count: u64) -> bool {
        self.busy.load(Ordering::Relaxed) && self.safe_points.load(Ordering::Relaxed) == count
    }

    pub(crate) fn is_urged(&self) -> bool {
        self.still_runs(self.urged_at.load(Ordering::Relaxed))
    }

    /// Whether it runs, for this partition, a kernel that can be urged.
    fn can_be_urged(&self, partition: usize) -> bool {
        self.is_over_in(partition)
            && self.busy.load(Ordering::Relaxed)
            && !self.still_runs(self.deaf_at.load(Ordering::Relaxed))
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
        if idle || !self.fairness.urges() || process.is_over_share() {
            return;
        }
        let urged = |worker: &Shared| worker.is_over_in(partition) && worker.is_urged();
        if self.workers.iter().any(|worker| urged(worker)) {
            return;
        }
        // The count first: what has begun behind it is not what is urged.
        let counted = |worker: usize| {
            let count = self.workers[worker].safe_points.load(Ordering::Acquire);
            (worker, count)
        };
        let can_be = |&(worker, _): &(usize, u64)| self.workers[worker].can_be_urged(partition);
        let mut all = (0..self.workers.len()).map(counted);
        if let Some((worker, count)) = all.find(can_be) {
            let shared = &self.workers[worker];
            shared.urged_at.store(count, Ordering::Relaxed);
            self.urge(Urge {
                worker,
                count,
                ..Urge::default()
            });
        }
    }

    fn urge(&self, urge: Urge) {
        let at = self.clock.after(FIRST * (1 << urge.tried));
        self.clock.set(at, Action::Urge(urge));
    }

    /// The time of a kernel that is urged is over, unless it has passed a safe point.
    pub(crate) fn end_urge(&self, mut urge: Urge) {
        let shared = &self.workers[urge.worker];
        if !shared.still_runs(urge.count) {
            return;
        }
        if urge.tried == TRIES || !self.sees_work_for(urge.worker) {
            if urge.tried == TRIES {
                shared.deaf_at.store(urge.count, Ordering::Relaxed);
            }
            shared.urged_at.store(u64::MAX, Ordering::Relaxed);
            return;
        }
        shared.preempt_at.store(urge.count, Ordering::Relaxed);
        let pthread = shared.pthread.load(Ordering::Acquire);
        if let Some(used) = cpu_time(pthread).filter(|used| *used != urge.sent) {
            urge.sent = used;
            #[cfg(not(dpa_sanitize))]
            crate::trap::preempt(pthread);
        }
        urge.tried += 1;
        self.urge(urge);
    }
}

impl Worker {
    /// A thread of this process begins or goes on here.
    #[inline]
    pub(crate) fn note_share(&self, process: &Process) {
        let is_over = self.is_measured() && process.is_over_share();
        let partition = process.tenancy.partition.index;
        self.shared().note_over(is_over.then_some(partition));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rig::{Still, spec};

    /// Where the kernel is to be interrupted by then, and the urge that is left.
    fn after(device: &Device, urge: Urge) -> (u64, Option<Urge>) {
        let shared = &device.workers[urge.worker];
        shared.preempt_at.store(u64::MAX, Ordering::Relaxed);
        shared.urged_at.store(urge.count, Ordering::Relaxed);
        device.end_urge(urge);
        let at = shared.preempt_at.load(Ordering::Relaxed);
        let left = device.clock.next().map(|_| {
            std::thread::sleep(FIRST * (1 << TRIES));
            match device.clock.due().pop() {
                Some(Action::Urge(urge)) => urge,
                other => panic!("{other:?}"),
            }
        });
        (at, left)
    }

    fn urge(count: u64) -> Urge {
        Urge {
            count,
            ..Urge::default()
        }
    }

    #[test]
    fn rule_2_who_has_passed_a_safe_point_or_is_not_waited_for_is_not_interrupted() {
        let process = Still::new();
        let device = &process.device;
        let shared = &device.workers[0];
        let nothing = |(at, left): (u64, Option<Urge>)| at == u64::MAX && left.is_none();
        shared.safe_points.store(5, Ordering::Relaxed);
        let _launch = process.accept(spec());
        assert!(nothing(after(device, urge(5))), "it is idle");
        shared.busy.store(true, Ordering::Relaxed);
        assert!(nothing(after(device, urge(4))));
        let (at, left) = after(device, urge(5));
        let left = left.expect("it is tried again");
        assert_eq!((at, left.tried, left.count), (5, 1, 5));
        process.stop();
        process.device.sched.take_ready(process.number(), |_| ());
        assert!(nothing(after(device, urge(5))), "nothing waits");
        assert!(!shared.is_urged());
        shared.busy.store(false, Ordering::Relaxed);
    }

    #[test]
    fn rule_2_who_does_not_hear_is_left_to_the_slices() {
        let process = Still::new();
        let device = &process.device;
        let shared = &device.workers[0];
        let _launch = process.accept(spec());
        shared.busy.store(true, Ordering::Relaxed);
        shared.note_over(Some(0));
        // It may have gone on after others of another partition had begun here.
        shared.note_served(1);
        assert!(shared.can_be_urged(0) && !shared.can_be_urged(1));
        let mut tries = 0;
        let mut left = Some(urge(0));
        while let Some(urge) = left {
            left = after(device, urge).1;
            tries += 1;
        }
        assert_eq!(tries, TRIES + 1, "the last gives up");
        assert!(!shared.is_urged() && !shared.can_be_urged(0));
        shared.safe_points.store(1, Ordering::Relaxed);
        assert!(shared.can_be_urged(0), "the next one");
        shared.busy.store(false, Ordering::Relaxed);
    }
}
