//! How many steps a run takes, and what becomes of one that asks for more.

use std::panic::resume_unwind;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use parking_lot::Mutex;

use super::driver::Driver;
use super::ends::Endless;
use super::simulation::Simulation;
use crate::device::Device;

/// Steps that a run takes at most if its plan does not say.
pub const STEPS: u64 = 50_000_000;

/// The steps of a run.
#[derive(Debug)]
pub(super) struct Steps {
    /// As many as it takes at most.
    most: u64,
    /// Those that are left.
    left: AtomicU64,
    /// How the run stood when one was refused.
    endless: Mutex<Option<Endless>>,
    /// So many waits that block the program may end for want of steps; the next one ends it.
    refusals: AtomicU64,
}

impl Steps {
    pub(super) fn new(most: u64) -> Self {
        Self {
            most,
            left: AtomicU64::new(most),
            endless: Mutex::default(),
            refusals: AtomicU64::new(1),
        }
    }

    /// Counts a step; false if there were as many as there may be.
    fn count(&self) -> bool {
        let left = self.left.load(Ordering::Relaxed);
        self.left.store(left.saturating_sub(1), Ordering::Relaxed);
        left > 0
    }

    /// The program is over. What it has left behind may take as many again, and no wait of that is one of the program.
    pub(super) fn begin_anew(&self) {
        self.left.store(self.most, Ordering::Relaxed);
        self.refusals.store(u64::MAX, Ordering::Relaxed);
        *self.endless.lock() = None;
    }
}

/// What unwinds a program that is ended for want of steps.
struct OutOfSteps;

impl Driver {
    /// Counts a step of the run.
    pub(super) fn take_step(&self) -> Result<(), Endless> {
        let steps = &self.simulation.choices.steps;
        if !steps.count() {
            // As it stands now: what the program does for want of steps changes that.
            let mut endless = steps.endless.lock();
            endless.get_or_insert_with(|| self.endless());
        }
        self.simulation.check_steps()
    }

    /// The program is over: what it has left behind has steps of its own.
    pub(super) fn begin_anew(&self) {
        self.simulation.choices.steps.begin_anew();
    }

    fn endless(&self) -> Endless {
        let choices = &self.simulation.choices;
        Endless {
            seed: choices.seed,
            steps: choices.steps.most,
            time: Duration::from_nanos(self.simulation.now()),
            waiting: self.all_waiting(),
        }
    }
}

impl Simulation {
    /// Whether the run has not asked for more steps than it may take.
    pub(super) fn check_steps(&self) -> Result<(), Endless> {
        let endless = self.choices.steps.endless.lock().clone();
        endless.map_or(Ok(()), Err)
    }
}

impl Device {
    /// A wait that blocks the program ends without what it waits for. If that is for want of steps, and not the first time, the
    /// program is unwound: it may try again for ever, and never come back to where the run ends.
    pub(super) fn wait_ends_in_vain(&self) {
        let simulation = self.simulation.as_deref();
        let Some(simulation) = simulation.filter(|s| s.check_steps().is_err()) else {
            return;
        };
        let refusals = &simulation.choices.steps.refusals;
        match refusals.load(Ordering::Relaxed) {
            0 if thread::panicking() => {}
            0 => resume_unwind(Box::new(OutOfSteps)),
            left => refusals.store(left - 1, Ordering::Relaxed),
        }
    }
}
