//! The driver for real time: OS threads that run units, and one that keeps the time.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::Instant;

use crate::config::DeviceConfig;
use crate::device::{Device, OpenError};
use crate::fairness::PATIENCE;
use crate::keeper;
use crate::trap;
use crate::unit::Suspended;
use crate::worker::{Pick, Worker};

/// Owns a device under the threads driver. When it is dropped, the device ends as soon as its last process has.
#[derive(Debug)]
pub struct Threads {
    device: Arc<Device>,
}

impl Threads {
    /// Opens a device and starts its workers.
    ///
    /// # Errors
    /// A figure out of its range; no memory or threads to be had.
    pub fn open(config: DeviceConfig) -> Result<Self, OpenError> {
        let device = Device::new(config, None)?;
        let owner = Self {
            device: device.clone(),
        };
        let workers = device.worker_count();
        for index in 0..workers {
            let its = device.clone();
            let name = format!("dpa-worker-{index}");
            let thread = start(name, workers, move || work(&Worker::new(its, index)))?;
            let _ = device.workers[index].identity.set(thread);
        }
        drop(start("dpa-keeper".into(), workers, move || {
            keeper::keep(&device);
        })?);
        Ok(owner)
    }

    /// The device.
    pub fn device(&self) -> &Arc<Device> {
        &self.device
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        self.device.stop_when_empty();
    }
}

/// Starts a thread of a device with so many workers. It ends with the device.
fn start(
    name: String,
    workers: usize,
    run: impl FnOnce() + Send + 'static,
) -> Result<JoinHandle<()>, OpenError> {
    let thread = std::thread::Builder::new().name(name.clone());
    let refused = |source| OpenError::Thread {
        name,
        workers,
        source,
    };
    thread.spawn(run).map_err(refused)
}

fn work(worker: &Worker) {
    let device = worker.device();
    trap::ready_thread();
    device.i_am(worker.index());
    let shared = worker.shared();
    let _ = shared.thread.set(std::thread::current());
    // SAFETY: asks for this thread's own identity.
    shared
        .pthread
        .store(unsafe { libc::pthread_self() } as u64, Ordering::Release);
    let mut turn = 0u32;
    while let Some(pick) = next(worker, &mut turn) {
        worker.run(pick);
    }
    shared.pthread.store(0, Ordering::Release);
    worker.let_go();
}

/// What to do next; `None` when the device is over.
fn next(worker: &Worker, turn: &mut u32) -> Option<Pick> {
    *turn = turn.wrapping_add(1);
    pick(worker, *turn).or_else(|| idle(worker))
}

/// Suspended threads and new launches take turns.
fn pick(worker: &Worker, turn: u32) -> Option<Pick> {
    let suspended = |worker: &Worker| resume(worker).map(Pick::Resume);
    let start = |worker: &Worker| match worker.has_ranks() {
        true => Some(Pick::Ranks),
        false => worker.next_of(None, None, None).map(Pick::Start),
    };
    if turn.is_multiple_of(2) {
        suspended(worker).or_else(|| start(worker))
    } else {
        start(worker).or_else(|| suspended(worker))
    }
}

/// A thread that can go on: of its own queue, where only those are that its home has or that cannot leave it; or of its home, if
/// it has one.
fn resume(worker: &Worker) -> Option<Suspended> {
    let (device, home) = (worker.device(), worker.shared().home());
    let wanted = |unit: &Suspended| home.is_none_or(|home| unit.partition() == home);
    worker
        .shared()
        .pop()
        .or_else(|| device.take_injected(wanted))
        .or_else(|| device.steal(worker.index(), wanted))
}

/// Looks for work for a while, then parks, until there is some.
fn idle(worker: &Worker) -> Option<Pick> {
    let device = worker.device();
    let mut looking = worker.takes_over_look() || start_looking(worker);
    loop {
        if looking && !device.fairness.is_divided() {
            device.nics.each(|nic| nic.begin_looking());
        }
        if let Some(pick) = looking.then(|| look(worker)).flatten() {
            found_while_looking(worker);
            return Some(pick);
        }
        worker.book(None);
        let (last_look, wake_up) = (|| last_look(worker), || take_wake_up(worker));
        let found = device
            .idle
            .park_unless(worker.index(), looking, last_look, wake_up);
        if let Some(found) = found {
            if found.was_woken {
                found_while_looking(worker);
            }
            return found.work;
        }
        if !device.someone_looks_at_nics() {
            device.nics.each(|nic| nic.end_looking());
        }
        park(worker);
        looking = true;
    }
}

/// Whether this worker looks for work before it parks. Who has a home does: others look for something else.
fn start_looking(worker: &Worker) -> bool {
    let idle = &worker.device().idle;
    let has_home = worker.shared().home().is_some();
    if has_home {
        idle.mark_looking();
    }
    has_home || idle.start_looking()
}

/// Whoever was the last to look sees to it that someone looks while there is work.
fn found_while_looking(worker: &Worker) {
    let device = worker.device();
    let was_last = device.idle.stop_looking();
    if (was_last || device.fairness.is_divided()) && device.sees_work() {
        device.notify();
    }
}

/// The look behind the publication that this worker parks: work, or `Some(None)` if the device is over.
fn last_look(worker: &Worker) -> Option<Option<Pick>> {
    let device = worker.device();
    if let Some(pick) = pick(worker, 1) {
        return Some(Some(pick));
    }
    device.is_over().then(|| {
        device.wake_all();
        device.clock.stop();
        None
    })
}

/// Sleeps until there is a wake-up, and takes it. Meanwhile threads that rest may go on, and after a while what is not of its
/// home is done.
fn park(worker: &Worker) {
    let shared = worker.shared();
    let begun = Instant::now();
    while !shared.woken.swap(false, Ordering::Acquire) {
        let has_home = shared.home().is_some();
        let patient = has_home && begun.elapsed() < PATIENCE;
        if work_in_background(worker, patient) {
            continue;
        }
        match has_home {
            true => std::thread::park_timeout(PATIENCE),
            false => std::thread::park(),
        }
    }
}

/// Does something until it ends, waits, lets others run, or this worker is woken; `patient`: of its home. False if there is
/// nothing.
fn work_in_background(worker: &Worker, patient: bool) -> bool {
    let shared = worker.shared();
    shared.background.store(true, Ordering::SeqCst);
    // Whoever wakes this worker from here on interrupts what runs.
    let woken = shared.woken.load(Ordering::SeqCst);
    let pick = match woken {
        true => None,
        false => of_the_background(worker, patient),
    };
    let some = pick.is_some();
    match pick {
        Some(Pick::Resume(unit)) if shared.woken.load(Ordering::SeqCst) => shared.rest_first(unit),
        Some(pick) => {
            let interrupted = |unit: &Suspended| unit.core().preempted.get();
            shared.set_fresh(!matches!(&pick, Pick::Resume(unit) if interrupted(unit)));
            worker.run(pick);
            // It may sleep behind this, or go on in the background for long.
            worker.book(None);
        }
        None => {}
    }
    shared.background.store(false, Ordering::SeqCst);
    if some && worker.device().sees_work() {
        worker.device().notify();
    }
    some || woken
}

/// Ranks that this worker has claimed, which nobody else can run; a thread that rests; or, of a home that has had nothing for a while,
/// whatever others have to do.
fn of_the_background(worker: &Worker, patient: bool) -> Option<Pick> {
    let (device, shared) = (worker.device(), worker.shared());
    if worker.has_ranks() {
        return Some(Pick::Ranks);
    }
    let home = shared.home();
    let wanted = |unit: &Suspended| !patient || home.is_none_or(|home| unit.partition() == home);
    let rested = shared.take_rested_if(wanted);
    let rested = rested.or_else(|| device.steal_rested(worker.index(), wanted));
    if patient || home.is_none() {
        return rested.map(Pick::Resume);
    }
    let any = |_: &Suspended| true;
    let resumed = rested.or_else(|| device.take_injected(any));
    let resumed = resumed.or_else(|| device.steal(worker.index(), any));
    let start = || worker.next_of(None, None, None).map(Pick::Start);
    resumed.map(Pick::Resume).or_else(start)
}

/// Waits for a wake-up that is under way, and takes it.
fn take_wake_up(worker: &Worker) {
    while !worker.shared().woken.swap(false, Ordering::Acquire) {
        std::thread::park();
    }
}

fn look(worker: &Worker) -> Option<Pick> {
    let device = worker.device();
    let mut until = None;
    loop {
        for _ in 0..32 {
            let picked = if device.sees_work_for(worker.index()) {
                pick(worker, 0)
            } else {
                None
            };
            if picked.is_some() {
                return picked;
            }
            std::hint::spin_loop();
        }
        let enough = || device.sees_work_for(worker.index());
        if device.poll_nics(worker.shared().home(), &enough) {
            // Where one packet came, more may follow.
            until = None;
            continue;
        }
        // What has ended is booked once nothing comes at once, so that it delays nobody.
        worker.book(None);
        let now = Instant::now();
        if now >= *until.get_or_insert(now + device.config.spin) {
            return None;
        }
        // Who would bring the work may wait for this very core.
        std::thread::yield_now();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chunk::Chunk;
    use crate::rig::{Still, launch, spec};

    #[test]
    fn rule_2_3_a_worker_in_the_background_goes_on_with_the_ranks_it_has_claimed() {
        let [process, home] = Still::on_functions(["pf0", "vf0"]);
        let device = process.device();
        let worker = Worker::new(device.clone(), 0);
        worker.shared().set_home(Some(home.tenancy.partition.index));
        worker.shared().background.store(true, Ordering::SeqCst);
        process.accept(spec());
        let claimed = || Chunk::first(&launch(0, 8), &process, 0);
        for patient in [true, false] {
            worker.chunk.replace(claimed());
            let pick = of_the_background(&worker, patient);
            assert!(matches!(pick, Some(Pick::Ranks)), "{patient}");
        }
        worker.chunk.replace(None);
        assert!(of_the_background(&worker, true).is_none());
        let pick = of_the_background(&worker, false);
        assert!(matches!(pick, Some(Pick::Start(_))));
    }
}
