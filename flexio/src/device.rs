//! Devices.

use std::net::IpAddr;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use crate::backend::{
    self, DeviceConfig, FunctionError, FunctionInfo, MishapCounters, Mishaps, NetworkCounters,
    NetworkSpec, OpenError, PartitionSpec, ProcessSpec, SimError, SimPlan, TimerKey,
};
use crate::process::{Process, ProcessRef};

/// What kind of device it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DeviceKind {
    /// The software device, in this program.
    Model,
}

/// A device that can be opened.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DeviceInfo {
    /// Its name.
    pub name: String,
    /// Its kind.
    pub kind: DeviceKind,
    /// Its figures.
    pub config: DeviceConfig,
}

/// An open device. Clones are the same device; it ends when the last clone and the last process are gone.
#[derive(Clone, Debug)]
pub struct Device {
    engine: Arc<backend::Device>,
    _owner: Owner,
}

/// What ends a device with its last clone.
#[derive(Clone, Debug)]
enum Owner {
    /// Its own threads drive it.
    Threads(#[expect(dead_code, reason = "it is dropped")] Arc<backend::Threads>),
    /// It was opened beside another of a simulation.
    Beside(#[expect(dead_code, reason = "it is dropped")] Arc<backend::seeded::Beside>),
    /// The simulation, whose first device it is.
    Simulation,
}

impl Device {
    /// The devices that can be opened on this machine.
    pub fn list() -> Vec<DeviceInfo> {
        let config = DeviceConfig::default();
        vec![DeviceInfo {
            name: config.name.clone(),
            kind: DeviceKind::Model,
            config,
        }]
    }

    /// Opens a device of these figures, driven by threads in real time.
    ///
    /// # Errors
    /// A figure is out of its range; its functions and partitions do not fit together; the system gives no memory or threads.
    pub fn open(config: DeviceConfig) -> Result<Self, OpenError> {
        let driver = backend::Threads::open(config)?;
        Ok(Self {
            engine: driver.device().clone(),
            _owner: Owner::Threads(Arc::new(driver)),
        })
    }

    /// Opens another device, driven as this one is: in real time by threads of its own, or in the same simulation. There it shares
    /// the virtual time and the network of the others, and the choices are drawn from the same seed.
    ///
    /// # Errors
    /// As [`Device::open`]; this one is of a simulation that the calling thread does not run, or that is over.
    pub fn open_beside(&self, config: DeviceConfig) -> Result<Self, OpenError> {
        if !self.is_simulated() {
            return Self::open(config);
        }
        let beside = self.engine.open_beside(config)?;
        Ok(Self {
            engine: beside.device().clone(),
            _owner: Owner::Beside(Arc::new(beside)),
        })
    }

    /// A new process: an application with its own heap, events, launches and faults.
    ///
    /// # Errors
    /// No address space for its heap; the first function has no partition, or as many processes are open on it as may be, or ever were.
    #[doc(alias = "flexio_process_create")]
    pub fn process(&self) -> Result<Process, OpenError> {
        self.process_with(&ProcessSpec::default())
    }

    /// A new process, with a log and a trace of these figures.
    ///
    /// # Errors
    /// As [`Device::process`], for the function that is asked for; there is no such function; a figure is out of its range; a file
    /// could not be opened: which, and why.
    pub fn process_with(&self, spec: &ProcessSpec) -> Result<Process, OpenError> {
        Ok(Process::new(self.clone(), self.engine.process_with(spec)?))
    }

    /// Whether both are the same device.
    pub fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.engine, &other.engine)
    }

    /// Its functions: their kinds, the addresses of their NICs, their partitions, and how many processes are open on each.
    #[doc(alias = "flexio_resources_create")]
    pub fn functions(&self) -> Vec<FunctionInfo> {
        self.engine.functions()
    }

    /// Gives a function other execution units and groups; none: takes its partition away.
    ///
    /// # Errors
    /// There is no such function; processes are open on it; the units are another's, or there are none of these numbers.
    pub fn resize(
        &self,
        function: &str,
        partition: Option<PartitionSpec>,
    ) -> Result<(), FunctionError> {
        self.engine.resize(function, partition)
    }

    /// The address of a function's NIC.
    ///
    /// # Errors
    /// There is no such function; it has no address.
    pub fn address_of(&self, function: &str) -> Result<IpAddr, FunctionError> {
        self.engine.address_of(function)
    }

    /// Its figures.
    pub fn config(&self) -> &DeviceConfig {
        &self.engine.config
    }

    /// Whether the seeded driver runs it: then time is virtual, and blocking calls step the device.
    pub fn is_simulated(&self) -> bool {
        self.engine.is_seeded()
    }

    /// Whether it is the host program's turn. In a simulation the seed may say that it is not: then its task is woken at once, and
    /// others may go on before it is polled again. Else it always is.
    #[inline]
    pub fn poll_turn(&self, cx: &Context<'_>) -> Poll<()> {
        if !self.engine.host_steps_aside() {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Whether what is submitted now starts at once, because a worker looks for work.
    pub fn is_awake(&self) -> bool {
        self.engine.is_awake()
    }

    /// Device time: nanoseconds since it was opened; of a simulation, since that began.
    pub fn now(&self) -> Duration {
        Duration::from_nanos(self.engine.clock.now())
    }

    /// Wakes `waker` when device time has come to `at`, for a process of this device; the key takes that back. A waker that takes
    /// long holds up others of the same process, and of no other.
    pub fn wake_at(&self, at: Duration, process: &ProcessRef, waker: Waker) -> TimerKey {
        self.engine.wake_at(nanos(at), process.number(), waker)
    }

    /// Takes a timer back.
    pub fn forget_timer(&self, key: TimerKey) {
        self.engine.clock.clear(key);
    }

    /// Under the seeded driver: steps the devices of the simulation until `ready` gives something; `None` if nothing is left to do, or the run is out of
    /// steps. With a driver of its own the device needs no steps, and this asks `ready` once.
    ///
    /// # Panics
    /// Without a message, if the run is out of steps, and one such call was told so: the program is unwound, and its run ends.
    pub fn step_until<R>(&self, ready: impl FnMut() -> Option<R>) -> Option<R> {
        self.engine.step_until(ready)
    }

    /// How many choices the seeded driver has made, and a digest of them: two runs with equal digests took the same
    /// way. `None` with another driver.
    pub fn choices(&self) -> Option<(u64, u64)> {
        self.engine
            .choices()
            .map(|choices| (choices.made(), choices.digest()))
    }

    /// The virtual network of its simulation; `None` with another driver than the seeded one.
    pub fn network(&self) -> Option<VirtualNetwork> {
        let network = self.engine.network()?.clone();
        Some(VirtualNetwork { network })
    }

    /// What goes wrong in its simulation because it is asked to; `None` with another driver than the seeded one.
    pub fn fate(&self) -> Option<Fate> {
        let engine = self.engine.clone();
        engine.is_seeded().then_some(Fate { engine })
    }

    /// Kernel stacks in use, those that idle workers keep included: up to 16 each.
    pub fn stacks_in_use(&self) -> usize {
        self.engine.stacks_in_use()
    }
}

/// The network of a simulation: what it does to the packets that the NICs of its devices send each other.
///
/// It works in virtual time, and draws from the seed what becomes of each packet.
#[derive(Clone, Debug)]
pub struct VirtualNetwork {
    network: Arc<backend::Network>,
}

impl VirtualNetwork {
    /// From now on it does this to packets that are sent.
    pub fn set(&self, spec: NetworkSpec) {
        self.network.set(spec);
    }

    /// What it does to packets.
    pub fn spec(&self) -> NetworkSpec {
        self.network.spec()
    }

    /// No packet passes between these two any more, in either direction. Those on their way arrive.
    pub fn cut(&self, a: IpAddr, b: IpAddr) {
        self.network.cut(a, b);
    }

    /// Packets pass between these two again.
    pub fn mend(&self, a: IpAddr, b: IpAddr) {
        self.network.mend(a, b);
    }

    /// What it has done so far.
    pub fn counters(&self) -> NetworkCounters {
        self.network.counters()
    }
}

/// What goes wrong in a simulation because it is asked to, beside what becomes of packets.
#[derive(Clone, Debug)]
pub struct Fate {
    engine: Arc<backend::Device>,
}

impl Fate {
    /// From now on this goes wrong: what is to strike at its n-th chance counts them from here.
    pub fn set(&self, mishaps: Mishaps) {
        if let Some(state) = self.engine.mishaps() {
            state.set(mishaps);
        }
    }

    /// What goes wrong.
    pub fn mishaps(&self) -> Mishaps {
        let state = self.engine.mishaps();
        state.map_or(Mishaps::NONE, backend::MishapState::spec)
    }

    /// How often each mishap could have struck so far, and has.
    pub fn counters(&self) -> MishapCounters {
        let state = self.engine.mishaps();
        state.map_or_else(MishapCounters::default, backend::MishapState::counters)
    }
}

fn nanos(at: Duration) -> u64 {
    u64::try_from(at.as_nanos()).unwrap_or(u64::MAX)
}

/// What a simulation gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Simulated<T> {
    /// The program's result.
    pub value: T,
    /// How many choices were drawn from the seed.
    pub choices: u64,
    /// A digest of them.
    pub digest: u64,
    /// What had gone wrong because it was asked to, when the program ended.
    pub mishaps: MishapCounters,
}

impl<T, E> Simulated<Result<T, E>> {
    /// The program's error, or what the simulation gave with the program's value.
    ///
    /// # Errors
    /// The program's.
    pub fn transpose(self) -> Result<Simulated<T>, E> {
        let Self {
            value,
            choices,
            digest,
            mishaps,
        } = self;
        value.map(|value| Simulated {
            value,
            choices,
            digest,
            mishaps,
        })
    }
}

/// Runs a host program and a device, with those that it opens [beside it](Device::open_beside), together on this thread, with virtual time and every choice drawn from the plan's
/// seed.
///
/// # Errors
/// The device could not be made, the program waits for what nothing in the simulation brings about, or it does not end within its steps.
pub fn simulate<T, F: Future<Output = T>>(
    plan: SimPlan,
    program: impl FnOnce(Device) -> F,
) -> Result<Simulated<T>, SimError> {
    backend::seeded::run(plan, |engine| {
        let device = Device {
            engine,
            _owner: Owner::Simulation,
        };
        let running = program(device.clone());
        async move {
            let value = running.await;
            let (choices, digest) = device.choices().unwrap_or_default();
            let fate = device.fate();
            Simulated {
                value,
                choices,
                digest,
                mishaps: fate.map_or_else(MishapCounters::default, |fate| fate.counters()),
            }
        }
    })
}
