//! Time slices: a kernel that passes no safe point is interrupted when others wait, and stopped when it exceeds the
//! run-time limit.
//!
//! Rules:
//! 1. A kernel is interrupted only while something else waits for its worker, or when its process is over; and only one that has
//!    neither the standard library nor an allocator in its reach, in code of its own (see `trap.rs`).
//! 2. An interrupted thread rests for [`REST`] slices while there is other work, so that threads that never pause have a
//!    quarter of a worker at most beside those that do; one that was urged (`urge.rs`) until its process is not over its share. It
//!    stays on its worker; if that has another home meanwhile (see
//!    `fairness.rs`), it rests four times as long each time it is interrupted, at most [`REST_AWAY`] slices.
//! 3. Time counts as CPU time of the worker's thread, and an interruption is no safe point: what a kernel has used before counts
//!    for the limit when it goes on.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::device::Device;
use crate::keeper::cpu_time;
use crate::shared::{Shared, Since};
use crate::unit::Suspended;

/// What a kernel may use without a safe point while others wait.
pub(crate) const SLICE: Duration = Duration::from_millis(10);
/// How many slices an interrupted thread rests while others have work.
const REST: u32 = 3;
/// The same, at most, on a worker whose home is another partition than its own. (It cannot leave its worker.)
const REST_AWAY: u32 = 40;

/// What is known of the kernel that runs on a worker.
#[derive(Clone, Copy)]
struct Stretch {
    /// The count of its last safe point.
    count: u64,
    /// The worker's CPU time then, or as if it had never been interrupted.
    since: Duration,
    /// The worker's CPU time when this was seen first, or when it was interrupted last.
    slice: Duration,
}

/// Watches the workers of a device.
pub(crate) struct Slices {
    limit: Option<Duration>,
    interrupts: bool,
    seen: Vec<Option<Stretch>>,
    /// The count of safe points of each worker at the last look.
    counted: Vec<u64>,
    rested: Vec<Instant>,
}

impl Slices {
    pub(crate) fn new(workers: usize, limit: Option<Duration>, interrupts: bool) -> Self {
        Self {
            limit,
            interrupts: interrupts && cfg!(not(dpa_sanitize)),
            seen: vec![None; workers],
            counted: vec![0; workers],
            rested: vec![Instant::now(); workers],
        }
    }

    /// Looks at all workers; whether one of them runs a kernel, has run one since the last look, or has one that rests.
    pub(crate) fn look(&mut self, device: &Device) -> bool {
        let mut any = false;
        for (index, worker) in device.workers.iter().enumerate() {
            self.end_rest(device, index, worker);
            any |= self.look_at(device, index, worker);
        }
        any
    }

    /// A thread that has rested long enough takes its turn among the others.
    fn end_rest(&mut self, device: &Device, index: usize, worker: &Shared) {
        let rested = self.rested[index].elapsed();
        let home = worker.home();
        let may_go_on = |unit: &Suspended| {
            let core = unit.core();
            let at_home = home.is_none_or(|home| unit.partition() == home);
            let enough = core.urged.get()
                || rested >= SLICE * slices_of_rest(at_home, core.interruptions.get());
            let process = core.process();
            process.is_stopped() || (enough || !core.preempted.get()) && !process.is_over_share()
        };
        if !worker.has_resting() {
            self.rested[index] = Instant::now();
        } else if let Some(unit) = worker.take_rested_if(may_go_on) {
            self.rested[index] = Instant::now();
            device.make_runnable(unit);
            device.notify();
        }
    }

    fn look_at(&mut self, device: &Device, index: usize, worker: &Shared) -> bool {
        let count = worker.safe_points.load(Ordering::Relaxed);
        let active = worker.has_resting() || self.counted[index] != count;
        self.counted[index] = count;
        let pthread = worker.pthread.load(Ordering::Acquire);
        let used = worker.busy.load(Ordering::Relaxed);
        let Some(used) = used.then(|| cpu_time(pthread)).flatten() else {
            self.seen[index] = None;
            return active;
        };
        let stretch = match self.seen[index] {
            Some(stretch) if stretch.count == count => stretch,
            _ => begun(worker, count, used),
        };
        self.seen[index] = Some(stretch);
        worker.stretch.note(stretch.since.as_nanos() as u64, count);
        let spun = used.saturating_sub(stretch.since);
        if self.limit.is_some_and(|limit| spun > limit) {
            worker.stop_at.store(count, Ordering::Relaxed);
            #[cfg(not(dpa_sanitize))]
            crate::trap::interrupt(pthread);
        } else if self.interrupts
            && used.saturating_sub(stretch.slice) >= SLICE / 2
            && is_wanted(device, index)
        {
            // What the kernel itself has opened, and may have told nobody of yet.
            device.notify();
            worker.preempt_at.store(count, Ordering::Relaxed);
            #[cfg(not(dpa_sanitize))]
            crate::trap::preempt(pthread);
            // It gets the signal when it gets the processor. Until then more of them would add up, and are handled one on top of the
            // other, each on the stack of the kernel.
            self.seen[index] = Some(Stretch {
                slice: used,
                ..stretch
            });
        }
        true
    }
}

/// How many slices a thread rests that was interrupted so often (rule 2).
fn slices_of_rest(at_home: bool, interruptions: u32) -> u32 {
    let times = interruptions.saturating_sub(1).min(8);
    match at_home {
        true => REST,
        false => (REST << (2 * times)).min(REST_AWAY),
    }
}

fn begun(worker: &Shared, count: u64, used: Duration) -> Stretch {
    let or_now = |of: &Since| of.of(count).map_or(used, Duration::from_nanos).min(used);
    Stretch {
        count,
        since: or_now(&worker.carried),
        slice: or_now(&worker.went_on),
    }
}

/// Whether something else is to be done on this worker, or what runs there may be of a process that is over.
fn is_wanted(device: &Device, worker: usize) -> bool {
    device.workers[worker].waiting.load(Ordering::Relaxed) > 0
        || device.sees_work_for(worker)
        || device
            .sched
            .processes()
            .iter()
            .any(|process| process.is_stopped())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::DeviceConfig;
    use crate::threads::Threads;

    /// As a timer may that has its time when the device is about to end: what the worker's thread was is no thread any more.
    #[test]
    fn who_calls_a_worker_back_that_has_ended_interrupts_nobody() {
        let config = DeviceConfig {
            workers: 1,
            ..DeviceConfig::default()
        };
        let threads = Threads::open(config).expect("a device");
        let device = threads.device().clone();
        let worker = &device.workers[0];
        let begun = || worker.pthread.load(Ordering::SeqCst);
        wait_until("it has begun", || begun() != 0);
        let pthread = begun();
        drop(threads);
        let thread = worker.identity.get().expect("kept");
        wait_until("it has ended", || thread.is_finished());
        worker.background.store(true, Ordering::SeqCst);
        worker.woken.store(true, Ordering::SeqCst);
        assert!(worker.is_recalled());
        device.interrupt_recalled(0);
        // As who has read it before it ended.
        #[cfg(not(dpa_sanitize))]
        crate::trap::preempt(pthread);
        assert_eq!(cpu_time(pthread), None);
    }

    /// Uses this much CPU time.
    #[cfg(not(dpa_sanitize))]
    fn work(time: Duration) {
        let begun = crate::keeper::own_cpu_time();
        while crate::keeper::own_cpu_time() - begun < time.as_nanos() as u64 {
            std::hint::spin_loop();
        }
    }

    /// Of one that the keeper has looked at, and of one that went on, which knows it better.
    #[cfg(not(dpa_sanitize))]
    #[test]
    fn rule_3_what_a_kernel_has_used_since_its_last_safe_point_is_known_when_it_is_interrupted() {
        let process = crate::rig::Still::new();
        let worker = crate::worker::Worker::new(process.device.clone(), 0);
        let shared = worker.shared();
        shared.safe_points.store(3, Ordering::Relaxed);
        work(SLICE);
        let now = crate::keeper::own_cpu_time();
        assert_eq!(worker.spun(), 0, "nobody has looked");
        shared.stretch.note(now - 1_000_000, 2);
        assert_eq!(worker.spun(), 0, "it has passed a safe point since");
        shared.stretch.note(now - 1_000_000, 3);
        assert!((1_000_000..now).contains(&worker.spun()));
        shared.carried.note(0, 3);
        assert!(worker.spun() >= now);
    }

    #[cfg(not(dpa_sanitize))]
    #[test]
    fn rule_1_a_worker_that_does_not_get_the_processor_is_interrupted_once() {
        let process = crate::rig::Still::new();
        let device = &process.device;
        crate::trap::install();
        let (begun, has_begun) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            work(2 * SLICE);
            begun.send(()).expect("it is waited for");
            std::thread::park();
        });
        has_begun.recv().expect("it works");
        let worker = &device.workers[0];
        let pthread = std::os::unix::thread::JoinHandleExt::as_pthread_t(&thread);
        worker.pthread.store(pthread, Ordering::SeqCst);
        worker.busy.store(true, Ordering::SeqCst);
        worker.waiting.store(1, Ordering::SeqCst);
        let mut slices = Slices::new(1, None, true);
        slices.seen[0] = Some(Stretch {
            count: 0,
            since: Duration::ZERO,
            slice: Duration::ZERO,
        });
        let mut interrupts = || {
            worker.preempt_at.store(u64::MAX, Ordering::SeqCst);
            slices.look(device);
            worker.preempt_at.load(Ordering::SeqCst) == 0
        };
        assert_eq!([(); 3].map(|()| interrupts()), [true, false, false]);
        worker.waiting.store(0, Ordering::SeqCst);
        worker.pthread.store(0, Ordering::SeqCst);
        thread.thread().unpark();
        thread.join().expect("it ends");
    }

    fn wait_until(what: &str, holds: impl Fn() -> bool) {
        let begun = Instant::now();
        while !holds() {
            assert!(begun.elapsed() < Duration::from_secs(60), "{what}");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    #[test]
    fn who_spins_away_from_home_rests_longer_each_time() {
        let rests = |at_home| [1, 2, 3, 4, 1000].map(|times| slices_of_rest(at_home, times));
        assert_eq!(rests(true), [REST; 5]);
        assert_eq!(rests(false), [3, 12, 40, 40, 40]);
    }
}
