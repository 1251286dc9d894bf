//! A device: its figures, its scheduler, its workers, its clock.

use std::cell::Cell;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use crossbeam::utils::CachePadded;
use parking_lot::Mutex;
use thiserror::Error;

use crate::clock::{Action, Clock};
use crate::config::{ConfigError, DeviceConfig};
use crate::crash::Crash;
use crate::fairness::Fairness;
use crate::heap::Heap;
use crate::idle::Idle;
use crate::lanes::Lanes;
use crate::layout::{self, DeviceFileError};
use crate::message::{Lingering, LogOpenError, Messages};
use crate::nic::Nics;
use crate::partition::{FunctionError, Functions};
use crate::pool::Pool;
use crate::process::{Outlets, Process, ProcessSpec};
use crate::seeded::Simulation;
use crate::shared::Shared;
use crate::stack::{StackError, StackPool};
use crate::trace::{TraceOpenError, Tracer};
use crate::unit::Suspended;

/// How long a kernel that began in the background has to end by itself when its worker is called back.
const RECALL: std::time::Duration = std::time::Duration::from_micros(100);

/// Why a device or a process could not be made.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum OpenError {
    /// A figure is out of its range.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Kernel stacks could not be reserved.
    #[error("kernel stacks: {0}")]
    Stacks(#[from] StackError),
    /// A heap could not be reserved.
    #[error("the heap of {bytes} bytes could not be reserved: {source}")]
    Heap {
        /// Its size.
        bytes: usize,
        /// What the system said.
        source: std::io::Error,
    },
    /// The functions of the device do not fit together, or the one asked for cannot be used.
    #[error(transparent)]
    Function(#[from] FunctionError),
    /// A device of a simulation is opened elsewhere.
    #[error(
        "a device is opened beside one of a simulation by the program of that, on its thread, while it runs"
    )]
    NotSimulating,
    /// The device file is wrong.
    #[error(transparent)]
    DeviceFile(#[from] DeviceFileError),
    /// A worker's thread could not be started, or the one that keeps the time.
    #[error("the thread {name} of a device with {workers} workers could not be started: {source}")]
    Thread {
        /// Its name: `dpa-worker-0` and so on, `dpa-keeper`.
        name: String,
        /// How many workers the device was to have.
        workers: usize,
        /// What the system said.
        source: std::io::Error,
    },
    /// The log of a process could not be made: its figures, or its file.
    #[error(transparent)]
    Log(#[from] LogOpenError),
    /// The trace of a process could not be made: its figures, or its file.
    #[error(transparent)]
    Trace(#[from] TraceOpenError),
}

/// The shared part of a device.
#[derive(Debug)]
pub struct Device {
    /// Its figures.
    pub config: DeviceConfig,
    /// Its schedulers.
    pub sched: Lanes<Process>,
    pub(crate) idle: Idle,
    pub(crate) workers: Vec<CachePadded<Shared>>,
    pub(crate) stacks: Arc<StackPool>,
    pub(crate) pool: Pool,
    pub(crate) functions: Functions,
    /// Its clock.
    pub clock: Clock,
    /// The simulation that it is of.
    pub(crate) simulation: Option<Arc<Simulation>>,
    /// Its number in that.
    pub(crate) number: u32,
    pub(crate) nics: Nics,
    pub(crate) fairness: Fairness,
    /// Message streams that are closed and wait for their sinks.
    lingering: Arc<Lingering>,
    injector: Mutex<VecDeque<Suspended>>,
    injected: AtomicUsize,
    stopping: AtomicBool,
    seq: CachePadded<AtomicU64>,
}

crate::anywhere::goes_anywhere!(Device {
    config,
    sched,
    idle,
    workers,
    stacks,
    pool,
    functions,
    clock,
    simulation,
    number,
    nics,
    fairness,
    lingering,
    injector,
    injected,
    stopping,
    seq,
});

thread_local! {
    /// Which worker of which device this OS thread is.
    static HERE: Cell<(usize, usize)> = const { Cell::new((0, 0)) };
}

impl Device {
    pub(crate) fn new(
        config: DeviceConfig,
        simulation: Option<Arc<Simulation>>,
    ) -> Result<Arc<Self>, OpenError> {
        config.validate()?;
        let checked = layout::check(&config.functions, config.usable_eus());
        checked.map_err(FunctionError::from)?;
        let (functions, units) = Functions::new(&config);
        crate::trap::install();
        let workers = match (&simulation, config.workers) {
            (Some(_), _) => 1,
            (None, 0) => std::thread::available_parallelism().map_or(1, usize::from),
            (None, n) => n,
        };
        // A stack for each unit, and one more for each worker's scheduling loop.
        let stacks = StackPool::new(
            config.stack_bytes,
            config.usable_eus() as usize + workers * 32,
        )?;
        let clock = match &simulation {
            Some(simulation) => Clock::simulated(simulation.now.clone()),
            None => Clock::real(),
        };
        Ok(Arc::new(Self {
            fairness: Fairness::new(units.len()),
            lingering: Arc::default(),
            sched: Lanes::new(units),
            idle: Idle::new((workers as u32 / 2).max(1)),
            workers: (0..workers)
                .map(|_| CachePadded::new(Shared::new()))
                .collect(),
            functions,
            config,
            stacks,
            pool: Pool::default(),
            clock,
            number: simulation.as_ref().map_or(0, |s| s.next_device()),
            simulation,
            nics: Nics::default(),
            injector: Mutex::default(),
            injected: AtomicUsize::new(0),
            stopping: AtomicBool::new(false),
            seq: CachePadded::new(AtomicU64::new(0)),
        }))
    }

    /// A new process on this device.
    ///
    /// # Errors
    /// No address space for its heap.
    pub fn process(self: &Arc<Self>) -> Result<Arc<Process>, OpenError> {
        self.process_with(&ProcessSpec::default())
    }

    /// A new process on this device, opened with this.
    ///
    /// # Errors
    /// No address space for its heap; a figure or a file of its log or its trace; the function is full.
    pub fn process_with(self: &Arc<Self>, spec: &ProcessSpec) -> Result<Arc<Process>, OpenError> {
        let tenancy = self.settle_on(spec.function.as_deref())?;
        let (partition, function) = (tenancy.partition.index, tenancy.function.clone());
        let bytes = self.config.heap_bytes;
        let heap = Heap::new(bytes, self.is_seeded())
            .map_err(|source| OpenError::Heap { bytes, source })?;
        // The trace last: it takes the place of what its file had.
        let lingering = Lingering::of_process(&self.lingering);
        let messages = Messages::open(&spec.log, self.is_seeded(), &lingering)?;
        let tracer = Tracer::open(&spec.trace, self.is_seeded(), &lingering)?;
        let crash = Crash::new(&spec.crash);
        let make = |number| {
            let outlets = Outlets {
                messages,
                tracer,
                crash,
            };
            Process::new(self.clone(), number, tenancy, heap, outlets)
        };
        let make = |number| Arc::new(make(number));
        let admitted = self.sched.admit(partition, make);
        admitted.ok_or_else(|| FunctionError::UsedUp { function }.into())
    }

    pub(crate) fn next_seq(&self) -> u64 {
        self.seq.fetch_add(1, Ordering::Relaxed)
    }

    /// How many workers it has.
    pub fn worker_count(&self) -> usize {
        self.workers.len()
    }

    /// Whether a worker looks for work at the moment, so that what is submitted now starts within a microsecond or so.
    pub fn is_awake(&self) -> bool {
        self.idle.someone_looks() || self.someone_looks_soon()
    }

    /// Whether a worker ends something, and looks right after it.
    #[cold]
    fn someone_looks_soon(&self) -> bool {
        self.workers.iter().any(|worker| worker.soon.is_said())
    }

    /// Whether a worker looks for work at the moment, and so at the NICs. Who has a home looks at its own only: then it is not
    /// known whether somebody looks at a given one.
    pub(crate) fn someone_looks_at_nics(&self) -> bool {
        !self.fairness.is_divided() && self.is_awake()
    }

    /// Works the NICs, if there are any, until there is `enough` else to do; whether there was something to do. A worker with a home
    /// works those of its home.
    #[inline]
    pub(crate) fn poll_nics(&self, home: Option<usize>, enough: &dyn Fn() -> bool) -> bool {
        !self.nics.is_empty() && self.nics.poll(self.clock.now(), home, enough).worked
    }

    /// Kernel stacks in use, those of idle workers included.
    pub fn stacks_in_use(&self) -> usize {
        self.stacks.in_use()
    }

    /// Says that the calling thread is this worker.
    pub(crate) fn i_am(&self, index: usize) {
        HERE.set((std::ptr::from_ref(self) as usize, index));
    }

    /// Which worker of this device the calling thread is. Not inlined, so that no thread-bound address is kept over a
    /// switch of stacks.
    #[inline(never)]
    pub(crate) fn here(&self) -> Option<usize> {
        let (device, index) = HERE.get();
        (device == std::ptr::from_ref(self) as usize).then_some(index)
    }

    /// Puts a thread that can go on where a worker will find it: its own worker's queue if it is pinned, the calling
    /// worker's, else everyone's. The caller notifies.
    pub(crate) fn make_runnable(&self, unit: Suspended) {
        let here = self.here();
        match unit.pinned_to() {
            Some(home) => {
                self.workers[home].push(unit);
                if here != Some(home) && self.idle.take(home) {
                    self.wake(home);
                }
            }
            None => match here.filter(|&index| self.is_at_home(index, &unit)) {
                Some(index) => self.workers[index].push(unit),
                None if self.is_seeded() => self.workers[0].push(unit),
                None => {
                    let mut injector = self.injector.lock();
                    injector.push_back(unit);
                    dpa_abi::sync::publish(|| self.injected.swap(injector.len(), Ordering::SeqCst));
                }
            },
        }
    }

    /// Whether a thread may wait in the queue of this worker: it has no home, or that of the thread.
    fn is_at_home(&self, worker: usize, unit: &Suspended) -> bool {
        let home = self.workers[worker].home();
        home.is_none_or(|home| unit.partition() == home)
    }

    /// Takes a thread that can go on and is in no worker's queue, of those that `wanted` holds for.
    pub(crate) fn take_injected(&self, wanted: impl Fn(&Suspended) -> bool) -> Option<Suspended> {
        if self.injected.load(Ordering::SeqCst) == 0 {
            return None;
        }
        let mut injector = self.injector.lock();
        let at = injector.iter().position(wanted)?;
        let unit = injector.remove(at);
        self.injected.store(injector.len(), Ordering::SeqCst);
        unit
    }

    fn others(&self, than: usize) -> impl Iterator<Item = &Shared> {
        let workers = self.workers.iter().enumerate();
        let others = workers.filter(move |&(index, _)| index != than);
        others.map(|(_, worker)| &**worker)
    }

    /// Takes a thread that may move from another worker's queue, of those that `wanted` holds for.
    pub(crate) fn steal(
        &self,
        thief: usize,
        wanted: impl Fn(&Suspended) -> bool,
    ) -> Option<Suspended> {
        self.others(thief)
            .find_map(|worker| worker.take_movable(&wanted))
    }

    /// Takes a thread that rests at another worker and may move, of those that `wanted` holds for.
    pub(crate) fn steal_rested(
        &self,
        thief: usize,
        wanted: impl Fn(&Suspended) -> bool,
    ) -> Option<Suspended> {
        let movable = |unit: &Suspended| unit.pinned_to().is_none() && wanted(unit);
        self.others(thief)
            .find_map(|worker| worker.take_rested_if(movable))
    }

    /// Whether there may be something to do that this worker takes: for its home, if it has one.
    #[inline]
    pub(crate) fn sees_work_for(&self, worker: usize) -> bool {
        match self.workers[worker].home() {
            None => self.sees_work(),
            Some(home) => self.sees_work_of(home, worker),
        }
    }

    fn sees_work_of(&self, home: usize, worker: usize) -> bool {
        let injected = || {
            self.injected.load(Ordering::SeqCst) > 0
                && self.injector.lock().iter().any(|u| u.partition() == home)
        };
        !self.sched.lane_looks_empty(home)
            || self.workers[worker].waiting.load(Ordering::SeqCst) > 0
            || injected()
            || self.others(worker).any(|other| other.has_movable_of(home))
    }

    /// Whether there may be something to do, as far as can be seen without a lock.
    #[inline]
    pub(crate) fn sees_work(&self) -> bool {
        !self.sched.looks_empty()
            || self.injected.load(Ordering::SeqCst) > 0
            || self
                .workers
                .iter()
                .any(|worker| worker.waiting.load(Ordering::SeqCst) > 0)
    }

    /// As [`Device::sees_work`], but for ranks of launches that are started already.
    pub(crate) fn sees_more_than_ranks(&self) -> bool {
        !self.sched.has_no_launches()
            || self.injected.load(Ordering::SeqCst) > 0
            || self
                .workers
                .iter()
                .any(|worker| worker.waiting.load(Ordering::SeqCst) > 0)
    }

    /// Whether a launch may be handed over directly on a worker of this home: nothing that is ready would be passed by.
    #[inline]
    pub(crate) fn allows_hand_over(&self, home: Option<usize>) -> bool {
        let nothing_waits = match home {
            None => self.sched.looks_empty(),
            Some(home) => self.sched.lane_looks_empty(home),
        };
        !self.is_seeded() && nothing_waits && self.injected.load(Ordering::Relaxed) == 0
    }

    /// After work was published: wakes a parked worker if nobody looks; while workers have homes, one of each home that has
    /// something to do.
    #[inline]
    pub(crate) fn notify(&self) {
        if self.fairness.is_divided() {
            return self.notify_homes();
        }
        if let Some(worker) = self.idle.notify(|| self.someone_looks_soon()) {
            self.wake(worker);
        }
    }

    #[cold]
    fn notify_homes(&self) {
        let home = |worker: usize| self.workers[worker].home();
        let wants = |worker: usize| self.sees_work_for(worker);
        for worker in self.idle.notify_each(self.workers.len(), home, wants) {
            self.wake(worker);
        }
    }

    #[cold]
    fn wake(&self, worker: usize) {
        let shared = &self.workers[worker];
        shared.woken.store(true, Ordering::SeqCst);
        if shared.background.load(Ordering::SeqCst) {
            self.recall(worker);
        }
        if let Some(thread) = shared.thread.get() {
            thread.unpark();
        }
    }

    /// A worker is to leave what it does in the background: at once what was interrupted before; what began there may end
    /// within [`RECALL`], for once it is interrupted it cannot leave this worker.
    fn recall(&self, worker: usize) {
        if self.workers[worker].is_fresh() {
            let at = self.clock.after(RECALL);
            self.clock.set(at, Action::Recall(worker));
        } else {
            self.interrupt_recalled(worker);
        }
    }

    pub(crate) fn interrupt_recalled(&self, worker: usize) {
        let shared = &self.workers[worker];
        #[cfg(not(dpa_sanitize))]
        if shared.is_recalled() {
            crate::trap::preempt(shared.pthread.load(Ordering::Acquire));
        }
        #[cfg(dpa_sanitize)]
        let _ = shared;
    }

    /// Wakes all parked workers.
    pub(crate) fn wake_all(&self) {
        for worker in self.idle.take_all() {
            self.wake(worker);
        }
    }

    /// Whether the device is to end once its last process has.
    #[inline]
    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }

    /// The device ends when its last process has: nothing is waited for here.
    pub(crate) fn stop_when_empty(&self) {
        self.stopping.store(true, Ordering::SeqCst);
        self.wake_all();
    }

    pub(crate) fn is_over(&self) -> bool {
        self.is_stopping() && self.sched.processes().is_empty()
    }

    /// Wakes a task of the host at a time of the device, for a process. A waker that takes long holds up others of this process
    /// only.
    pub fn wake_at(
        &self,
        at: u64,
        process: u32,
        waker: std::task::Waker,
    ) -> crate::clock::TimerKey {
        self.clock.set_wake(at, process, waker)
    }

    /// Does what is due by the clock; whether anything was.
    pub(crate) fn run_timers(&self) -> bool {
        let due = self.clock.due();
        let any = !due.is_empty();
        due.into_iter().for_each(|action| self.run_timer(action));
        any
    }

    /// As [`Device::run_timers`], but for tasks of the host: `wake` has [`Clock::waking`](crate::clock::Clock::waking) called for
    /// this process.
    pub(crate) fn run_timers_beside_tasks(&self, wake: impl Fn(u32)) {
        let (actions, processes) = self.clock.due_beside_tasks();
        processes.into_iter().for_each(wake);
        let actions = actions.into_iter();
        actions.for_each(|action| self.run_timer(action));
    }

    fn run_timer(&self, action: Action) {
        match action {
            Action::Wake(_, waker) => sync_event::wake(waker),
            Action::Recall(worker) => self.interrupt_recalled(worker),
            Action::Urge(urge) => self.end_urge(urge),
            Action::Unit(timeout) => {
                if let Some(process) = timeout.process.upgrade() {
                    process.timed_out(&timeout);
                }
            }
        }
    }
}
