//! Simulations: the same host program and the same kernels, on one thread, replayed by a seed.

use std::sync::Arc;

use flexio::{OpenError, SimPlan};

use crate::builder::Builder;
use crate::dpa::Dpa;
use crate::testing::number;
use crate::watch::Watch;

pub use flexio::{
    Actor, Chance, Diary, Endless, Fate, MishapCounters, Mishaps, NetworkCounters, NetworkSpec,
    Note, SimError, Simulated, Struck, Stuck, VirtualNetwork, When,
};

/// A simulation to be run.
///
/// The host program's future and the devices take turns on the calling thread. What goes on when, where threads are
/// switched and how much virtual time passes are drawn from the seed: the same seed gives the same run.
///
/// ```
/// # use doca_dpa::{Dpa, Sim, SyncEvent};
/// # use std::time::Duration;
/// let late = Sim::new(7).run(async |dpa: Dpa| {
///     let never = SyncEvent::device_to_host(&dpa).expect("an event");
///     never.ge(1).timeout(Duration::from_secs(3600)).await.is_err() && dpa.now() >= Duration::from_secs(3600)
/// });
/// assert!(late.expect("ends").value);
/// ```
#[derive(Clone, Debug)]
pub struct Sim {
    seed: u64,
    builder: Builder,
    network: NetworkSpec,
    mishaps: Mishaps,
    diary: Option<Arc<Diary>>,
    steps: Option<u64>,
}

impl Sim {
    /// With this seed, on the default device.
    pub fn new(seed: u64) -> Self {
        Self {
            seed,
            builder: Builder::default(),
            network: NetworkSpec::default(),
            mishaps: Mishaps::NONE,
            diary: None,
            steps: None,
        }
    }

    /// The same with another seed.
    pub(crate) fn at(self, seed: u64) -> Self {
        Self { seed, ..self }
    }

    /// What is to go wrong beside packets.
    pub(crate) fn asked(&self) -> &Mishaps {
        &self.mishaps
    }

    /// The figures of its first device. Others the program opens with [`Dpa::open_device`].
    pub fn on(mut self, builder: Builder) -> Self {
        self.builder = builder;
        self
    }

    /// What the network between the NICs does to packets. Default: it carries each once, in order, within 3 us.
    ///
    /// Every NIC of every device of the simulation is on it, at whatever address it was opened. So devices that the program opens
    /// ([`Dpa::open_device`]), and contexts on one device ([`Dpa::open_beside`]) that each have a NIC of their own, are nodes of one
    /// simulated cluster. While the program runs, [`Dpa::network`] changes the network and cuts it.
    pub fn network(mut self, network: NetworkSpec) -> Self {
        self.network = network;
        self
    }

    /// What goes wrong beside packets: kernels panic, memory is refused, queues are full, completions are late, NICs stand still, time
    /// jumps.
    /// Default: nothing. It begins when the context is open; [`Dpa::fate`] changes it while the program runs.
    pub fn mishaps(mut self, mishaps: Mishaps) -> Self {
        self.mishaps = mishaps;
        self
    }

    /// Notes there what happens: who updates which event, what that opens, which packet goes where. It changes nothing
    /// else about the run.
    pub fn diary(mut self, diary: &Arc<Diary>) -> Self {
        self.diary = Some(diary.clone());
        self
    }

    /// The most steps that the run takes: turns of the host program or of a kernel's thread, moves of time. Default: 50 million, which
    /// is minutes. The environment variable `DPA_STEPS` is stronger.
    pub fn steps(mut self, steps: u64) -> Self {
        self.steps = Some(steps);
        self
    }

    /// Runs the program to its end, and then what it has left behind.
    ///
    /// # Errors
    /// The device or its context could not be made; the program waits for what nothing in the simulation brings about, as it does for
    /// threads, timers and I/O outside of it; the run does not end within its [steps](Sim::steps). The error names the seed and the
    /// kernels' threads that wait. A kernel that comes to no safe point takes no steps and is waited for; each ten seconds of real time in
    /// which nothing was chosen while the program ran are said on standard error, with the seed.
    ///
    /// # Panics
    /// As the program does; `DPA_STEPS` is no number.
    pub fn run<T>(self, program: impl AsyncFnOnce(Dpa) -> T) -> Result<Simulated<T>, SimError> {
        let (config, process) = self.builder.into_parts()?;
        let plan = SimPlan {
            seed: self.seed,
            steps: number("DPA_STEPS").or(self.steps),
            config,
            network: self.network,
            diary: self.diary,
        };
        let seed = self.seed;
        let run = flexio::simulate(plan, |device| async move {
            let _watch = Watch::begin(seed, device.clone());
            let dpa = Dpa::on(&device, &process)?;
            if let Some(fate) = device.fate() {
                fate.set(self.mishaps);
            }
            Ok::<_, OpenError>(program(dpa).await)
        })?;
        Ok(run.transpose()?)
    }
}
