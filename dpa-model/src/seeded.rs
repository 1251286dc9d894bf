//! The seeded driver: one thread, virtual time, and every choice drawn from a seed.
//!
//! The host program's future and the model take turns on the calling thread. Which of them goes on, which suspended
//! thread is resumed, whether a new launch starts first, whether a thread is switched at a safe point, how much time
//! passes: all of it comes from the seed, so the same seed gives the same run.

use std::any::Any;
use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, ThreadId};

use dpa_abi::port::READS_PER_SAFE_POINT;

use crate::config::DeviceConfig;
use crate::device::Device;
use crate::diary::{Actor, Diary};
use crate::fault::Waiting;
use crate::foreign;
use crate::mishaps;
use crate::network::NetworkSpec;
use crate::process::Process;
use crate::trap;
use crate::worker::{Pick, Worker};

mod deadlocks;
mod ends;
mod steps;

pub use ends::{Endless, SimError, Stuck};
pub use steps::STEPS;
use steps::Steps;

/// At a safe point a thread is switched one time in so many. So is the host program where it awaits what it need not wait for.
const SWITCH_ONE_IN: u64 = 4;
/// Virtual nanoseconds that a step takes, at most.
const STEP_NANOS: u64 = 400;

/// Where choices come from: a generator (SplitMix64) and a digest of what it gave.
#[derive(Debug)]
pub struct Choices {
    seed: u64,
    steps: Steps,
    /// When deadlocks are looked for again, whoever can go on.
    next_look: AtomicU64,
    state: AtomicU64,
    made: AtomicU64,
    digest: AtomicU64,
    pub(crate) diary: Option<Arc<Diary>>,
    pub(crate) mishaps: mishaps::State,
}

/// A simulation to be run.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// Where its choices come from.
    pub seed: u64,
    /// The most steps that it takes: turns of the host program or of a thread, moves of time. `None`: [`STEPS`].
    pub steps: Option<u64>,
    /// The figures of its device.
    pub config: DeviceConfig,
    /// What its network does to packets.
    pub network: NetworkSpec,
    /// What happens is noted here.
    pub diary: Option<Arc<Diary>>,
}

impl Choices {
    pub(crate) fn new(seed: u64, steps: u64, diary: Option<Arc<Diary>>) -> Self {
        Self {
            seed,
            steps: Steps::new(steps),
            next_look: AtomicU64::new(0),
            diary,
            mishaps: mishaps::State::default(),
            state: AtomicU64::new(seed),
            made: AtomicU64::new(0),
            digest: AtomicU64::new(0xcbf2_9ce4_8422_2325),
        }
    }

    fn next(&self) -> u64 {
        let state = self
            .state
            .fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
        let mut z = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `n`, which is at least 1.
    pub fn below(&self, n: u64) -> u64 {
        let choice = self.next() % n;
        self.made.fetch_add(1, Ordering::Relaxed);
        let digest = self.digest.load(Ordering::Relaxed);
        self.digest.store(
            (digest ^ choice).wrapping_mul(0x0000_0100_0000_01b3),
            Ordering::Relaxed,
        );
        choice
    }

    /// Whether a thread is switched at this safe point, or the host program where it awaits something.
    pub(crate) fn switch_here(&self) -> bool {
        self.below(SWITCH_ONE_IN) == 0
    }

    /// After how many reads a thread comes to its next safe point: a few or many, each order of magnitude as likely.
    pub(crate) fn reads_to_safe_point(&self) -> u32 {
        let magnitude = self.below(u64::from(READS_PER_SAFE_POINT.ilog2()) + 1);
        1 + self.below(1 << magnitude) as u32
    }

    /// How many choices were made.
    pub fn made(&self) -> u64 {
        self.made.load(Ordering::Relaxed)
    }

    /// A digest of all choices: two runs with equal digests took the same way.
    pub fn digest(&self) -> u64 {
        self.digest.load(Ordering::Relaxed)
    }
}

thread_local! {
    static STEPPER: RefCell<Option<Rc<Worker>>> = const { RefCell::new(None) };
}

/// Who wakes the host program.
struct Woken {
    /// It is to go on.
    goes_on: AtomicBool,
    /// The thread of the simulation.
    here: ThreadId,
    /// Another thread has woken it since it was looked at last.
    from_outside: AtomicBool,
}

impl Woken {
    fn new() -> Self {
        Self {
            goes_on: AtomicBool::new(true),
            here: thread::current().id(),
            from_outside: AtomicBool::new(false),
        }
    }

    fn goes_on(&self) -> bool {
        self.goes_on.load(Ordering::SeqCst)
    }
}

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        if thread::current().id() != self.here {
            self.from_outside.store(true, Ordering::SeqCst);
        }
        self.goes_on.store(true, Ordering::SeqCst);
    }
}

/// The calling thread is the worker of a simulation until this is dropped.
struct Stepping {
    /// The one that it is of otherwise.
    before: Option<Rc<Worker>>,
}

impl Stepping {
    fn begin(device: &Arc<Device>) -> Self {
        let before = STEPPER.replace(Some(Rc::new(Worker::new(device.clone(), 0))));
        trap::ready_thread();
        device.i_am(0);
        Self { before }
    }
}

impl Drop for Stepping {
    fn drop(&mut self) {
        Device::i_am_nobody();
        if let Some(worker) = STEPPER.replace(self.before.take()) {
            worker.let_go();
        }
    }
}

/// Makes a device, runs the host program that `program` makes with it to its end, and then the device to its own.
///
/// # Errors
/// The device could not be made; the program waits for what nothing in the simulation brings about; it does not end within its steps.
///
/// # Panics
/// As the program does, when what it has left behind has run out.
pub fn run<T, F>(plan: Plan, program: impl FnOnce(Arc<Device>) -> F) -> Result<T, SimError>
where
    F: Future<Output = T>,
{
    let seed = plan.seed;
    let choices = Choices::new(seed, plan.steps.unwrap_or(STEPS), plan.diary);
    let device = Device::new(plan.config, Some(choices))?;
    device.network.set(plan.network);
    let stepping = Stepping::begin(&device);
    let ended = drive_to_end(seed, &device, program);
    device.stop_when_empty();
    let wound_down = wind_down(&device);
    drop(stepping);
    let value = ended.unwrap_or_else(|panic| resume_unwind(panic))?;
    wound_down?;
    Ok(value)
}

/// As [`drive`]; a panic of the program is caught here, for no kernel runs right on a thread that panics.
fn drive_to_end<T, F: Future<Output = T>>(
    seed: u64,
    device: &Arc<Device>,
    program: impl FnOnce(Arc<Device>) -> F,
) -> Result<Result<T, SimError>, Box<dyn Any + Send>> {
    let ended = catch_unwind(AssertUnwindSafe(|| drive(seed, device, program)));
    ended.or_else(|panic| match device.check_steps() {
        Ok(()) => Err(panic),
        // A wait that ended for want of steps was not what the program expected.
        Err(endless) => {
            foreign::discard(panic);
            Ok(Err(endless.into()))
        }
    })
}

fn drive<T, F: Future<Output = T>>(
    seed: u64,
    device: &Arc<Device>,
    program: impl FnOnce(Arc<Device>) -> F,
) -> Result<T, SimError> {
    let woken = Arc::new(Woken::new());
    let waker = Waker::from(woken.clone());
    let mut cx = Context::from_waker(&waker);
    let mut future = pin!(program(device.clone()));
    // The host program was woken by the time that its turn ended: it lets others go first, and does not wait.
    let mut yields = false;
    let mut woken_from_outside = false;
    loop {
        device.take_step()?;
        // Time passes only when nobody can go on: a host program takes none, but for one that polls.
        let went_on = match woken.goes_on() {
            false => device.go_on(),
            true => device.choose(2) == 0 && (device.work() || (yields && device.pass_moment())),
        };
        if went_on {
            continue;
        }
        if !woken.goes_on.swap(false, Ordering::SeqCst) {
            let stuck = Stuck {
                seed,
                waiting: device.all_waiting(),
                woken_from_outside,
            };
            return Err(stuck.into());
        }
        device.note_turn(|| Actor::Host);
        if woken.from_outside.swap(false, Ordering::SeqCst) {
            woken_from_outside = true;
            device.note(|| "was woken by a thread outside of the simulation".to_owned());
        }
        if let Poll::Ready(value) = future.as_mut().poll(&mut cx) {
            // A wait within the program may have ended for want of steps.
            device.check_steps()?;
            return Ok(value);
        }
        yields = woken.goes_on();
    }
}

/// Stops what the program has left behind, and lets it run out.
fn wind_down(device: &Arc<Device>) -> Result<(), SimError> {
    if let Some(choices) = &device.choices {
        choices.steps.begin_anew();
    }
    for process in device.sched.processes() {
        process.shut_down();
    }
    while !device.is_over() && device.step() {}
    Ok(device.check_steps()?)
}

impl Device {
    /// Whether the seeded driver runs it.
    pub fn is_seeded(&self) -> bool {
        self.choices.is_some()
    }

    /// The choices of the seeded driver.
    pub fn choices(&self) -> Option<&Choices> {
        self.choices.as_ref()
    }

    /// Whether the host program lets others go on before it does what it could do at once. Never with another driver.
    #[inline]
    pub fn host_steps_aside(&self) -> bool {
        self.choices.as_ref().is_some_and(Choices::switch_here)
    }

    fn choose(&self, n: u64) -> u64 {
        self.choices.as_ref().map_or(0, |choices| choices.below(n))
    }

    fn all_waiting(&self) -> Vec<Waiting> {
        self.sched
            .processes()
            .iter()
            .flat_map(|process| process.waiting())
            .collect()
    }

    /// One step of the seeded driver: runs one thread to its next switch, or moves time on. False if nothing is left
    /// to do, or the run has taken as many steps as it may. Has no effect on a device of the threads driver.
    pub fn step(&self) -> bool {
        self.take_step().is_ok() && self.go_on()
    }

    /// As [`Device::step`], but counts nothing.
    fn go_on(&self) -> bool {
        self.work() || (self.is_stepped_here() && (self.pass_time() || self.report_deadlocks(0)))
    }

    fn is_stepped_here(&self) -> bool {
        STEPPER.with_borrow(|w| w.as_ref().is_some_and(|w| w.is_of(self)))
    }

    /// As [`Device::step`], but does not move time on to the next timer.
    fn work(&self) -> bool {
        self.note_turn(|| Actor::Device);
        let worker = STEPPER.with_borrow(Clone::clone);
        let Some(worker) = worker.filter(|worker| worker.is_of(self)) else {
            return false;
        };
        let choices = self.choices.as_ref();
        let moved = choices.is_some_and(|choices| self.between_steps(choices));
        if let Some(pick) = self.pick_any(&worker) {
            worker.run(pick);
            self.let_pass(self.choose(STEP_NANOS));
            self.watch_deadlocks();
            return true;
        }
        let drained = |process: &Arc<Process>| process.drain_stores();
        // What has moved between steps may be all that does now: whom that woke goes on before time does.
        self.sched.processes().iter().any(drained) || self.poll_nics(None, &|| false) || moved
    }

    /// So many nanoseconds pass; whether the time of anything came.
    fn let_pass(&self, nanos: u64) -> bool {
        self.clock
            .advance_to(self.clock.now().saturating_add(nanos));
        self.run_timers()
    }

    /// Whether a timer or a NIC did something.
    fn between_steps(&self, choices: &Choices) -> bool {
        let jump = choices.mishaps.clock_jump(choices);
        let mut moved = jump.is_some_and(|nanos| self.jump(nanos));
        self.may_stall_nic(choices);
        let processes = self.sched.processes();
        processes.iter().for_each(|p| p.age_caches(choices));
        // Workers look at the NICs now and then, also while there are kernels to run.
        let due = || self.nics.next_timer() <= Some(self.clock.now());
        let something = self.network.carry(self, choices) || (!self.nics.is_empty() && due());
        if something && choices.below(2) == 0 {
            moved |= self.poll_nics(None, &|| false);
        }
        moved
    }

    /// As [`Device::let_pass`], with nobody having had the time.
    fn jump(&self, nanos: u64) -> bool {
        self.note(|| format!("mishap: time jumps by {nanos} ns"));
        for process in self.sched.processes() {
            process.skips_time(nanos);
        }
        self.let_pass(nanos)
    }

    fn may_stall_nic(&self, choices: &Choices) {
        if self.nics.is_empty() {
            return;
        }
        if let Some(nanos) = choices.mishaps.nic_stall(choices) {
            let until = self.clock.now().saturating_add(nanos);
            let stalled = self.nics.stall(choices.below(1 << 32), until);
            self.note(|| match stalled {
                Some(nic) => format!("mishap: the NIC {nic} stands still for {nanos} ns"),
                None => String::new(),
            });
        }
    }

    fn pick_any(&self, worker: &Worker) -> Option<Pick> {
        let shared = worker.shared();
        let resumable = shared.waiting.load(Ordering::Relaxed) as u64;
        let startable = u64::from(!self.sched.looks_empty());
        if resumable + startable == 0 {
            return None;
        }
        let choice = self.choose(resumable + startable);
        let start = || worker.next_of(None, None, None).map(Pick::Start);
        let resume = |at: u64| {
            shared
                .take_by(|units| units.len().checked_sub(1).map(|last| last.min(at as usize)))
                .map(Pick::Resume)
        };
        if choice < resumable {
            resume(choice)
        } else {
            start().or_else(|| resume(choice.saturating_sub(1)))
        }
    }

    /// Nobody can go on but a host program that does not wait.
    fn pass_moment(&self) -> bool {
        self.let_pass(self.choose(STEP_NANOS));
        self.watch_deadlocks();
        self.carry();
        true
    }

    /// What has arrived is delivered, and NICs do what is due.
    fn carry(&self) {
        if let Some(choices) = &self.choices {
            self.network.carry(self, choices);
        }
        self.poll_nics(None, &|| false);
    }

    fn pass_time(&self) -> bool {
        let arrival = self.network.next_arrival();
        let next = [self.clock.next(), self.nics.next_timer(), arrival];
        let Some(next) = next.into_iter().flatten().min() else {
            return false;
        };
        let grace = self.deadlock_grace();
        if let Some(at) = self.next_deadlock(grace).filter(|&at| at <= next) {
            self.clock.advance_to(at);
            return self.report_deadlocks(grace);
        }
        self.clock.advance_to(next);
        self.run_timers();
        self.carry();
        true
    }

    /// Steps until `ready` gives something; `None` if nothing is left to do before it does, or the run has taken as many steps as it
    /// may. That is what it ends with then: a program that comes here again is unwound.
    pub fn step_until<R>(&self, mut ready: impl FnMut() -> Option<R>) -> Option<R> {
        loop {
            if let Some(result) = ready() {
                return Some(result);
            }
            if !self.step() {
                let ended = ready();
                if ended.is_none() {
                    self.wait_ends_in_vain();
                }
                return ended;
            }
        }
    }
}
