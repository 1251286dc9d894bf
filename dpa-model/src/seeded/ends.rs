//! How a simulation ends that does not give its program's result.

use std::time::Duration;

use thiserror::Error;

use crate::device::OpenError;
use crate::fault::Waiting;

/// A run that does not go on: the host program waits, and nothing in the simulation is left that could wake it.
#[derive(Clone, Debug, Error)]
#[error(
    "seed {seed}: the host program waits, and nothing in the simulation can wake it{}; {}",
    describe(.waiting),
    outside(*.woken_from_outside)
)]
pub struct Stuck {
    /// The seed that replays it.
    pub seed: u64,
    /// Threads of kernels that wait.
    pub waiting: Vec<Waiting>,
    /// A thread outside of the simulation has woken the host program before: the run depends on more than its seed.
    pub woken_from_outside: bool,
}

fn outside(woken: bool) -> &'static str {
    match woken {
        true => "a thread outside of it has woken it before: the run depends on more than its seed",
        false => {
            "threads, timers and I/O outside of it do not count, `Dpa::sleep`, contexts and devices beside this do"
        }
    }
}

/// A run that has taken as many steps as it may, and is not over.
#[derive(Clone, Debug, Error)]
#[error("seed {seed}: the run does not end: {steps} steps and {time:?} of virtual time{}", describe(.waiting))]
pub struct Endless {
    /// The seed that replays it.
    pub seed: u64,
    /// The steps that it may take.
    pub steps: u64,
    /// How late it was by then, in virtual time.
    pub time: Duration,
    /// Threads of kernels that wait. Others may run.
    pub waiting: Vec<Waiting>,
}

fn describe(waiting: &[Waiting]) -> String {
    waiting.iter().map(|w| format!("; {w}")).collect()
}

/// Why a simulation did not give the program's result.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SimError {
    /// The device could not be made.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The program waits for what nothing in the simulation brings about.
    #[error(transparent)]
    Stuck(#[from] Stuck),
    /// The program, or what it left behind, does not end.
    #[error(transparent)]
    Endless(#[from] Endless),
}
