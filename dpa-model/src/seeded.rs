//! The seeded driver: one thread, virtual time, and every choice drawn from a seed.
//!
//! The host program's future and the devices take turns on the calling thread. Which of them goes on, which suspended
//! thread is resumed, whether a new launch starts first, whether a thread is switched at a safe point, how much time
//! passes: all of it comes from the seed, so the same seed gives the same run.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, ThreadId};

use crate::config::DeviceConfig;
use crate::device::{Device, OpenError};
use crate::diary::{Actor, Diary};
use crate::foreign;
use crate::network::{Network, NetworkSpec};

mod choices;
mod deadlocks;
mod driver;
mod ends;
mod simulation;
mod steps;

pub use choices::Choices;
use driver::{Driver, Driving};
pub use ends::{Endless, SimError, Stuck};
pub(crate) use simulation::Simulation;
pub use steps::STEPS;

/// A simulation to be run.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// Where its choices come from.
    pub seed: u64,
    /// The most steps that it takes: turns of the host program or of a thread, moves of time. `None`: [`STEPS`].
    pub steps: Option<u64>,
    /// The figures of its first device.
    pub config: DeviceConfig,
    /// What its network does to packets.
    pub network: NetworkSpec,
    /// What happens is noted here.
    pub diary: Option<Arc<Diary>>,
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

/// Makes a device, runs the host program that `program` makes with it to its end, and then the device to its own, with those that
/// were [opened beside it](Device::open_beside).
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
    let choices = Choices::new(plan.seed, plan.steps.unwrap_or(STEPS), plan.diary);
    let simulation = Arc::new(Simulation::new(choices));
    simulation.network.set(plan.network);
    let device = Device::new(plan.config, Some(simulation.clone()))?;
    let driving = Driving::begin(simulation);
    let driver = driving.driver();
    driver.take(device.clone());
    let ended = drive_to_end(driver, || program(device));
    driver.stop_when_empty();
    let wound_down = wind_down(driver);
    drop(driving);
    let value = ended.unwrap_or_else(|panic| resume_unwind(panic))?;
    wound_down?;
    Ok(value)
}

/// As [`drive`]; a panic of the program is caught here, for no kernel runs right on a thread that panics.
fn drive_to_end<T, F: Future<Output = T>>(
    driver: &Driver,
    program: impl FnOnce() -> F,
) -> Result<Result<T, SimError>, Box<dyn Any + Send>> {
    let ended = catch_unwind(AssertUnwindSafe(|| drive(driver, program)));
    ended.or_else(|panic| match driver.simulation.check_steps() {
        Ok(()) => Err(panic),
        // A wait that ended for want of steps was not what the program expected.
        Err(endless) => {
            foreign::discard(panic);
            Ok(Err(endless.into()))
        }
    })
}

fn drive<T, F: Future<Output = T>>(
    driver: &Driver,
    program: impl FnOnce() -> F,
) -> Result<T, SimError> {
    let simulation = &driver.simulation;
    let woken = Arc::new(Woken::new());
    let waker = Waker::from(woken.clone());
    let mut cx = Context::from_waker(&waker);
    let mut future = pin!(program());
    // The host program was woken by the time that its turn ended: it lets others go first, and does not wait.
    let mut yields = false;
    let mut woken_from_outside = false;
    loop {
        driver.take_step()?;
        let went_on = match woken.goes_on() {
            false => driver.go_on(),
            true => driver.goes_before_host(yields),
        };
        if went_on {
            continue;
        }
        if !woken.goes_on.swap(false, Ordering::SeqCst) {
            return Err(driver.stuck(woken_from_outside).into());
        }
        simulation.note_turn(|| Actor::Host);
        if woken.from_outside.swap(false, Ordering::SeqCst) {
            woken_from_outside = true;
            simulation.note(None, || {
                "was woken by a thread outside of the simulation".to_owned()
            });
        }
        if let Poll::Ready(value) = future.as_mut().poll(&mut cx) {
            // A wait within the program may have ended for want of steps.
            simulation.check_steps()?;
            return Ok(value);
        }
        yields = woken.goes_on();
    }
}

/// Stops what the program has left behind, and lets it run out.
fn wind_down(driver: &Driver) -> Result<(), SimError> {
    driver.begin_anew();
    for process in driver.processes() {
        process.shut_down();
    }
    while !driver.is_over() && driver.step() {}
    Ok(driver.simulation.check_steps()?)
}

/// Owns a device that was opened beside another of its simulation. When it is dropped, the device ends as soon as its last process
/// has; with the simulation at the latest.
#[derive(Debug)]
pub struct Beside {
    device: Arc<Device>,
}

impl Beside {
    /// The device.
    pub fn device(&self) -> &Arc<Device> {
        &self.device
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        self.device.stop_when_empty();
    }
}

impl Device {
    /// Whether the seeded driver runs it.
    #[inline]
    pub fn is_seeded(&self) -> bool {
        self.simulation.is_some()
    }

    /// The choices of the seeded driver.
    #[inline]
    pub fn choices(&self) -> Option<&Choices> {
        self.simulation.as_deref().map(|s| &s.choices)
    }

    /// Whether nothing comes of it any more.
    fn is_let_go(&self) -> bool {
        self.is_over() && self.nics.is_empty()
    }

    /// Its number, if it is one of several of a simulation.
    pub(crate) fn number_among_several(&self) -> Option<u32> {
        let simulation = self.simulation.as_deref()?;
        simulation.has_several().then_some(self.number)
    }

    /// What is between the NICs of its simulation.
    pub fn network(&self) -> Option<&Arc<Network>> {
        self.simulation.as_deref().map(|s| &s.network)
    }

    /// Another device of its simulation: with other figures, the same time and network, and choices from the same seed.
    ///
    /// # Errors
    /// As [`Threads::open`](crate::threads::Threads::open); it is of no simulation, or of one that the calling thread does not run, or no
    /// longer.
    pub fn open_beside(&self, config: DeviceConfig) -> Result<Beside, OpenError> {
        let driver = self.driver().filter(|driver| !driver.winds_down.get());
        let driver = driver.ok_or(OpenError::NotSimulating)?;
        let device = Self::new(config, Some(driver.simulation.clone()))?;
        driver.take(device.clone());
        Ok(Beside { device })
    }

    /// Whether the host program lets others go on before it does what it could do at once. Never with another driver.
    #[inline]
    pub fn host_steps_aside(&self) -> bool {
        self.choices().is_some_and(Choices::switch_here)
    }

    fn driver(&self) -> Option<Rc<Driver>> {
        Driver::of(self.simulation.as_ref()?)
    }

    /// One step of the seeded driver: runs one thread of any device of the simulation to its next switch, or moves time on. False if
    /// nothing is left to do, or the run has taken as many steps as it may. Has no effect on a device of the threads driver, or from
    /// a thread that does not run the simulation.
    pub fn step(&self) -> bool {
        self.driver().is_some_and(|driver| driver.step())
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
