//! The steps of a simulation: what moves next, and how time passes.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::choices::Choices;
use super::simulation::Simulation;
use crate::device::Device;
use crate::diary::Actor;
use crate::process::Process;
use crate::trap;
use crate::worker::{Pick, Worker};

/// Virtual nanoseconds that a step takes, at most.
const STEP_NANOS: u64 = 400;

thread_local! {
    static DRIVER: RefCell<Option<Rc<Driver>>> = const { RefCell::new(None) };
}

/// Drives the devices of a simulation on the thread that runs it: there is one worker for each.
pub(super) struct Driver {
    pub(super) simulation: Arc<Simulation>,
    /// Taken out whole by whoever goes through them: what they run may open a device.
    workers: RefCell<Rc<[Rc<Worker>]>>,
    /// The program is over: no device is opened any more.
    pub(super) winds_down: Cell<bool>,
}

/// The calling thread drives a simulation until this is dropped.
pub(super) struct Driving {
    driver: Rc<Driver>,
    /// The one that it drives otherwise.
    before: Option<Rc<Driver>>,
}

impl Driving {
    pub(super) fn begin(simulation: Arc<Simulation>) -> Self {
        let driver = Rc::new(Driver {
            simulation,
            workers: RefCell::new(Rc::from([])),
            winds_down: Cell::new(false),
        });
        let before = DRIVER.replace(Some(driver.clone()));
        trap::ready_thread();
        Self { driver, before }
    }

    pub(super) fn driver(&self) -> &Driver {
        &self.driver
    }
}

impl Drop for Driving {
    fn drop(&mut self) {
        DRIVER.set(self.before.take());
        for worker in self.driver.workers().iter() {
            worker.let_go();
        }
    }
}

impl Driver {
    /// The one that the calling thread is, of this simulation.
    pub(super) fn of(simulation: &Arc<Simulation>) -> Option<Rc<Self>> {
        let driver = DRIVER.with_borrow(Clone::clone);
        driver.filter(|driver| Arc::ptr_eq(&driver.simulation, simulation))
    }

    /// Drives this device as well, and no longer those that are over and have no NIC: from one something may be on its way yet.
    pub(super) fn take(&self, device: Arc<Device>) {
        let worker = Rc::new(Worker::new(device, 0));
        let workers = self.workers();
        let (over, going): (Vec<_>, Vec<_>) = workers
            .iter()
            .cloned()
            .partition(|w| w.device().is_let_go());
        *self.workers.borrow_mut() = going.into_iter().chain([worker]).collect();
        over.iter().for_each(|worker| worker.let_go());
        // It may be less patient than those before.
        self.choices().next_look.store(0, Ordering::Relaxed);
    }

    fn workers(&self) -> Rc<[Rc<Worker>]> {
        self.workers.borrow().clone()
    }

    fn choices(&self) -> &Choices {
        &self.simulation.choices
    }

    fn choose(&self, n: u64) -> u64 {
        self.choices().below(n)
    }

    /// Something for each device; whether it gave true for any.
    fn any(&self, mut f: impl FnMut(&Device) -> bool) -> bool {
        let workers = self.workers();
        let each = workers.iter().map(|worker| f(worker.device()));
        each.fold(false, |any, one| any | one)
    }

    /// The processes of all devices.
    pub(super) fn processes(&self) -> Vec<Arc<Process>> {
        let workers = self.workers();
        let devices = workers.iter().map(|worker| worker.device());
        devices.flat_map(|d| d.sched.processes()).collect()
    }

    fn has_nics(&self) -> bool {
        self.any(|device| !device.nics.is_empty())
    }

    /// The earliest that `f` gives for a device.
    pub(super) fn earliest(&self, f: impl Fn(&Device) -> Option<u64>) -> Option<u64> {
        let workers = self.workers();
        workers.iter().filter_map(|w| f(w.device())).min()
    }

    /// Whether all devices are over.
    pub(super) fn is_over(&self) -> bool {
        self.workers().iter().all(|w| w.device().is_over())
    }

    /// The program is over: every device ends once its last process has.
    pub(super) fn stop_when_empty(&self) {
        self.winds_down.set(true);
        let workers = self.workers();
        workers.iter().for_each(|w| w.device().stop_when_empty());
    }

    /// One step: runs one thread to its next switch, or moves time on. False if nothing is left to do, or the run has taken as many
    /// steps as it may.
    pub(super) fn step(&self) -> bool {
        self.take_step().is_ok() && self.go_on()
    }

    /// As [`Driver::step`], but counts nothing.
    pub(super) fn go_on(&self) -> bool {
        self.work() || self.pass_time() || self.report_deadlocks(|_| 0)
    }

    /// Whether others than the host program go on, which could: they may, or it lets them and they do.
    pub(super) fn goes_before_host(&self, yields: bool) -> bool {
        // Time passes only when nobody can go on: a host program takes none, but for one that polls.
        self.choose(2) == 0 && (self.work() || (yields && self.pass_moment()))
    }

    /// As [`Driver::step`], but does not move time on to the next timer.
    fn work(&self) -> bool {
        self.simulation.note_turn(|| Actor::Device);
        let moved = self.between_steps();
        let workers = self.workers();
        if let Some((worker, pick)) = self.pick_any(&workers) {
            worker.run(pick);
            self.simulation.note_turn(|| Actor::Device);
            self.let_pass(self.choose(STEP_NANOS));
            self.watch_deadlocks();
            return true;
        }
        let drained = |process: &Arc<Process>| process.drain_stores();
        // What has moved between steps may be all that does now: whom that woke goes on before time does.
        self.processes().iter().any(drained) || self.poll_nics() || moved
    }

    fn poll_nics(&self) -> bool {
        self.any(|device| device.poll_nics(None, &|| false))
    }

    /// So many nanoseconds pass; whether the time of anything came.
    fn let_pass(&self, nanos: u64) -> bool {
        let now = self.simulation.now();
        self.simulation.advance_to(now.saturating_add(nanos));
        self.any(Device::run_timers)
    }

    /// What has arrived is delivered, and what was sent is on its way; whether anything was delivered.
    fn carry(&self) -> bool {
        let workers = self.workers();
        let devices = || workers.iter().map(|worker| &**worker.device());
        self.simulation.network.carry(devices, &self.simulation)
    }

    /// Whether a timer or a NIC did something.
    fn between_steps(&self) -> bool {
        let choices = self.choices();
        let jump = choices.mishaps.clock_jump(choices);
        let mut moved = jump.is_some_and(|nanos| self.jump(nanos));
        self.may_stall_nic();
        self.processes().iter().for_each(|p| p.age_caches(choices));
        // Workers look at the NICs now and then, also while there are kernels to run.
        let now = self.simulation.now();
        let due = |device: &Device| device.nics.next_timer() <= Some(now);
        let due = || self.any(|device| !device.nics.is_empty() && due(device));
        let something = self.carry() || due();
        if something && self.choose(2) == 0 {
            moved |= self.poll_nics();
        }
        moved
    }

    /// As [`Driver::let_pass`], with nobody having had the time.
    fn jump(&self, nanos: u64) -> bool {
        let note = || format!("mishap: time jumps by {nanos} ns");
        self.simulation.note(None, note);
        for process in self.processes() {
            process.skips_time(nanos);
        }
        self.let_pass(nanos)
    }

    fn may_stall_nic(&self) {
        let choices = self.choices();
        if !self.has_nics() {
            return;
        }
        if let Some(nanos) = choices.mishaps.nic_stall(choices) {
            let until = self.simulation.now().saturating_add(nanos);
            self.stall_nic(choices.below(1 << 32), nanos, until);
        }
    }

    /// The `which`-th of all NICs stands still, modulo how many there are.
    fn stall_nic(&self, which: u64, nanos: u64, until: u64) {
        let workers = self.workers();
        let nics = |worker: &Worker| worker.device().nics.len();
        let which = which.checked_rem(total(&workers, nics)).unwrap_or(0);
        if let Some((worker, which)) = nth(&workers, which, nics)
            && let Some(nic) = worker.device().nics.stall(which, until)
        {
            let note = || format!("mishap: the NIC {nic} stands still for {nanos} ns");
            worker.device().note(note);
        }
    }

    /// A thread that goes on, or a launch that starts, on any device.
    fn pick_any<'a>(&self, workers: &'a [Rc<Worker>]) -> Option<(&'a Worker, Pick)> {
        let all = total(workers, choices_of);
        if all == 0 {
            return None;
        }
        let chosen = nth(workers, self.choose(all), choices_of)?;
        // What looked startable may not fit yet: then the other devices have their turn.
        let others = workers.iter().filter(|w| !Rc::ptr_eq(w, chosen.0));
        let turns = [chosen].into_iter().chain(others.map(|other| (other, 0)));
        let mut picks = turns.map(|(worker, choice)| Some((&**worker, pick(worker, choice)?)));
        picks.find_map(|picked| picked)
    }

    /// Nobody can go on but a host program that does not wait.
    fn pass_moment(&self) -> bool {
        self.let_pass(self.choose(STEP_NANOS));
        self.watch_deadlocks();
        self.carry();
        self.poll_nics();
        true
    }

    fn pass_time(&self) -> bool {
        let arrival = self.simulation.network.next_arrival();
        let timer = self.earliest(|device| device.clock.next());
        let nic = self.earliest(|device| device.nics.next_timer());
        let Some(next) = [timer, nic, arrival].into_iter().flatten().min() else {
            return false;
        };
        if let Some(at) = self.next_deadlock().filter(|&at| at <= next) {
            self.simulation.advance_to(at);
            return self.report_deadlocks(Process::deadlock_grace);
        }
        self.simulation.advance_to(next);
        self.any(Device::run_timers);
        self.carry();
        self.poll_nics();
        true
    }
}

/// How many threads can be resumed.
fn resumable(worker: &Worker) -> u64 {
    worker.shared().waiting.load(Ordering::Relaxed) as u64
}

/// Among how many things a device can choose what it does next: threads that go on, and something new.
fn choices_of(worker: &Worker) -> u64 {
    resumable(worker) + u64::from(!worker.device().sched.looks_empty())
}

/// How many things all devices have, each so many.
fn total(workers: &[Rc<Worker>], each: impl Fn(&Worker) -> u64) -> u64 {
    workers.iter().map(|worker| each(worker)).sum()
}

/// The `n`-th of them: whose it is, and the how many-th of those.
fn nth(
    workers: &[Rc<Worker>],
    mut n: u64,
    each: impl Fn(&Worker) -> u64,
) -> Option<(&Rc<Worker>, u64)> {
    for worker in workers {
        match n.checked_sub(each(worker)) {
            Some(further) => n = further,
            None => return Some((worker, n)),
        }
    }
    None
}

/// What a device does next: it resumes its `choice`-th thread, or else begins something new.
fn pick(worker: &Worker, choice: u64) -> Option<Pick> {
    let start = || worker.next_of(None, None, None).map(Pick::Start);
    let resume = |at: u64| {
        worker
            .shared()
            .take_by(|units| units.len().checked_sub(1).map(|last| last.min(at as usize)))
            .map(Pick::Resume)
    };
    if choice < resumable(worker) {
        resume(choice)
    } else {
        start().or_else(|| resume(choice.saturating_sub(1)))
    }
}
