//! A worker: an OS thread (or the seeded driver's only thread) that runs units.
//!
//! The scheduling loop runs *on* a kernel stack: it takes work, runs the kernel as a plain call and takes the next, so
//! that only a kernel that blocks costs a switch of stacks. When one blocks, the worker goes on on another stack.
//!
//! Rules:
//! 1. An update made at the end of a launch may hand over directly to the one launch it opened: that runs next, on
//!    this worker, with the unit of the one that ended, if nothing else is ready anywhere (it is then the head of its
//!    queue) and no suspended thread waits for this worker; see `handover.rs`.
//! 2. A thread that waits is registered where it waits only after it has left its stack.
//! 3. What an update opens in the middle of a kernel goes to this worker's queue; no parked worker is woken for it
//!    until the kernel's next safe point that does not block (`owed`).

use std::cell::Cell;
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use dpa_abi::{FaultKind, UnitRef};
use parking_lot::Mutex;
use sync_event::Registered;
use sync_event::sync::Arc as ModelArc;

use crate::device::Device;
use crate::fault::Fault;
use crate::fiber::{Exit, Request, Resumed, Switch};
use crate::gate::Gate;
use crate::handover::Handover;
use crate::launch::{Body, Launch, Outcome};
use crate::meeting::{self, Arrival};
use crate::process::{BlockedOn, Process, UnitTimeout};
use crate::sched::{Release, Work};
use crate::trap::Trapped;
use crate::unit::{Core, Running, Spare, Suspended, Unit, Wake};

/// Spare stacks that a worker keeps to itself.
const SPARES: usize = 16;

/// What others see of a worker.
#[derive(Debug, Default)]
pub struct Shared {
    /// Suspended threads that can go on, in order.
    pub runnable: Mutex<VecDeque<Suspended>>,
    /// How many they are.
    pub waiting: AtomicUsize,
    /// Set by whoever takes this worker off the list of parked ones.
    pub woken: AtomicBool,
    /// Counts safe points.
    pub safe_points: AtomicU64,
    /// The count at which the kernel is to be stopped by the run-time limit; `u64::MAX`: none.
    pub stop_at: AtomicU64,
    /// Whether it runs a kernel.
    pub busy: AtomicBool,
    /// Its OS thread, to unpark.
    pub thread: std::sync::OnceLock<std::thread::Thread>,
    /// Its OS thread, to interrupt and to ask for CPU time.
    pub pthread: AtomicU64,
}

/// A payload that unwinds a stopped thread; the cause is recorded elsewhere.
pub(crate) struct Stop;

/// One worker.
pub struct Worker {
    device: Arc<Device>,
    index: usize,
    pending: Cell<Option<Work<Process>>>,
    next: Handover,
    release: Cell<Option<Release>>,
    spares: Cell<Vec<Spare>>,
    opened: Cell<bool>,
    owed: Cell<bool>,
}

/// What a worker does next.
pub(crate) enum Pick {
    Resume(Suspended),
    Start(Work<Process>),
}

/// The code at the bottom of every kernel stack.
pub(crate) fn on_stack(core: &Core, switch: &Switch) {
    core.set_switch(switch);
    while core.worker().take_up(core) {
        let result = run_kernel(core);
        core.worker().thread_over(core, result);
        if core.worker().must_leave_stack() {
            break;
        }
    }
}

type KernelResult = Result<u64, Box<dyn std::any::Any + Send>>;

/// Runs the thread that the core holds. Nothing of ours is live on the stack meanwhile but plain copies.
#[inline(never)]
fn run_kernel(core: &Core) -> KernelResult {
    let (launch, rank) = {
        let running = core.running.borrow();
        let running = running.as_ref().expect("taken up");
        (ModelArc::as_ptr(&running.launch), running.rank)
    };
    // SAFETY: the core holds a count of the launch until the thread is over.
    let launch: &Launch = unsafe { &*launch };
    // SAFETY: the core is what the functions of the port expect, and outlives the thread.
    let unit = unsafe {
        UnitRef::new(
            &crate::port::PORT,
            std::ptr::NonNull::from(core).cast(),
            rank,
            launch.threads,
        )
    };
    core.enter_kernel();
    let result = catch_unwind(AssertUnwindSafe(|| match &launch.body {
        Body::Kernel(entry) => {
            (entry.run)(unit, &launch.args);
            0
        }
        Body::Rpc(entry) => (entry.run)(unit, &launch.args),
        Body::Step(_) => 0,
    }));
    core.leave_kernel();
    result
}

impl Worker {
    pub(crate) fn new(device: Arc<Device>, index: usize) -> Self {
        Self {
            device,
            index,
            pending: Cell::new(None),
            next: Handover::default(),
            release: Cell::new(None),
            spares: Cell::new(Vec::new()),
            opened: Cell::new(false),
            owed: Cell::new(false),
        }
    }

    /// Its number.
    pub fn index(&self) -> usize {
        self.index
    }

    /// Its device.
    pub fn device(&self) -> &Arc<Device> {
        &self.device
    }

    /// What others see of it.
    #[inline]
    pub fn shared(&self) -> &Shared {
        &self.device.workers[self.index]
    }

    /// Counts a safe point.
    #[inline]
    pub fn safe_point(&self) {
        let count = &self.shared().safe_points;
        count.store(count.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    }

    /// Whether the kernel that runs now is the one that exceeded its time. For the signal handler.
    pub(crate) fn is_to_be_stopped(&self) -> bool {
        let shared = self.shared();
        shared.stop_at.load(Ordering::Relaxed) == shared.safe_points.load(Ordering::Relaxed)
    }

    // ---- on the worker's own stack ----

    /// Runs one pick to its end or its next suspension.
    pub(crate) fn run(&self, pick: Pick) {
        let mut unit = match pick {
            Pick::Resume(suspended) => Some(suspended.into_unit()),
            Pick::Start(work) => {
                self.pending.set(Some(work));
                self.fresh_unit()
            }
        };
        self.shared().busy.store(true, Ordering::Relaxed);
        while let Some(running) = unit.take() {
            unit = self.enter(running);
        }
        self.safe_point();
        self.shared().busy.store(false, Ordering::Relaxed);
        self.flush();
    }

    /// Gives its spare stacks back, at the end.
    pub(crate) fn let_go(&self) {
        drop(self.spares.take());
    }

    /// A unit to take up the pending work. If there is no stack for it, its process becomes fatal.
    fn fresh_unit(&self) -> Option<Box<Unit>> {
        let mut spares = self.spares.take();
        let spare = spares.pop();
        self.spares.set(spares);
        if let Some(spare) = spare {
            return Some(Unit::new(spare));
        }
        match self.device.stacks.take() {
            Ok(stack) => Some(Unit::new(Spare {
                stack,
                core: Core::new(),
            })),
            Err(error) => {
                tracing::error!(target: "doca_dpa", %error, "no kernel stack");
                self.fail_pending();
                None
            }
        }
    }

    fn fail_pending(&self) {
        let Some(work) = self.pending.take() else {
            return;
        };
        let process = work.process.or_else(|| {
            self.device
                .sched
                .processes()
                .into_iter()
                .find(|p| p.number == work.launch.proc)
        });
        let Some(process) = process else {
            return;
        };
        let kind = FaultKind::NoStack {
            limit: self.device.stacks.limit() as u64,
        };
        process.fail(Fault::of(kind, work.launch.body.name(), work.launch.seq, 0));
        let lost = match work.launch.gang() {
            Some(gang) => std::iter::from_fn(|| gang.claim(work.launch.threads)).count() as u32,
            None => 1,
        };
        let last = work
            .launch
            .gang()
            .is_none_or(|gang| lost > 0 && gang.returned(lost));
        self.give_back(work.launch.proc, lost);
        if last && work.launch.finish(Outcome::Faulted) {
            process.settled(&work.launch, Outcome::Faulted);
        }
    }

    /// Enters a unit's stack; what to enter next at once, if the unit could not wait.
    fn enter(&self, mut unit: Box<Unit>) -> Option<Box<Unit>> {
        let resumed = unit.resume(self);
        self.safe_point();
        match resumed {
            Resumed::Suspended(request) => self.park(unit, request),
            Resumed::Returned(exit) => {
                if let Exit::Abandoned(why) = exit {
                    self.abandoned(unit.core(), why);
                }
                self.keep_spare(unit.into_spare());
                None
            }
        }
    }

    fn keep_spare(&self, spare: Spare) {
        // A spare must not keep a process alive.
        drop(spare.core.process.take());
        let mut spares = self.spares.take();
        if spares.len() < SPARES {
            spares.push(spare);
        }
        self.spares.set(spares);
    }

    /// The stack was reset under a kernel: its process becomes fatal, its thread is over.
    fn abandoned(&self, core: &Core, why: Trapped) {
        core.leave_kernel();
        let config = &self.device.config;
        let kind = match why {
            Trapped::Overflow => FaultKind::StackOverflow {
                size: config.stack_bytes as u64,
            },
            Trapped::Native(signal) => FaultKind::Native { signal },
            Trapped::RunTime => FaultKind::RunTimeExceeded {
                limit_ms: config
                    .run_time_limit
                    .map_or(0, |limit| limit.as_millis() as u64),
            },
        };
        self.fail_running(core, kind, None);
        self.end_thread(core, None, None);
    }

    /// Hands a suspended unit to where it waits (rule 2).
    fn park(&self, mut unit: Box<Unit>, request: Request) -> Option<Box<Unit>> {
        let process = unit
            .core()
            .process
            .borrow()
            .clone()
            .expect("a running thread has one");
        match request {
            Request::Yield => {
                self.device.make_runnable(unit.suspended());
                None
            }
            Request::Abandon => {
                unit.abandon();
                unit.core().set_unwinding(false);
                self.end_thread(unit.core(), None, None);
                self.keep_spare(unit.into_spare());
                None
            }
            Request::Wait(event, condition, until) => {
                self.park_at_event(&process, unit, (event, condition, until))
            }
            Request::Meet(what) => {
                let rank = unit.core().running.borrow().as_ref().map_or(0, |r| r.rank);
                self.park_at_meeting(&process, unit, meeting::own(rank, what))
            }
        }
    }

    fn park_at_event(
        &self,
        process: &Arc<Process>,
        unit: Box<Unit>,
        (event, condition, until): (dpa_abi::EventHandle, dpa_abi::Condition, Option<u64>),
    ) -> Option<Box<Unit>> {
        process.now_blocked(
            unit.core(),
            BlockedOn::Event(event, condition, until.is_some()),
        );
        let slot = process.events.slot(event.0.index);
        let registered = slot.event.register(condition, |waiter| {
            if let Some(at) = until {
                let timeout = UnitTimeout {
                    process: Arc::downgrade(process),
                    event: event.0.index,
                    waiter,
                };
                unit.core().timer.set(Some(
                    self.device
                        .clock
                        .set(at, crate::clock::Action::Unit(timeout)),
                ));
            }
            Gate::Unit(unit.suspended())
        });
        let (gate, wake) = match registered {
            Registered::Waiting(_) => return None,
            Registered::Holds(gate, value) => (gate, Wake::Value(value)),
            Registered::Closed(gate, closed) => (gate, Wake::Closed(closed.last)),
        };
        let Gate::Unit(suspended) = gate else {
            return None;
        };
        process.no_longer_blocked(suspended.core(), wake);
        Some(suspended.into_unit())
    }

    fn park_at_meeting(
        &self,
        process: &Arc<Process>,
        unit: Box<Unit>,
        what: dpa_abi::port::Collective,
    ) -> Option<Box<Unit>> {
        let launch = unit
            .core()
            .running
            .borrow()
            .as_ref()
            .map(|r| r.launch.clone())?;
        process.now_blocked(unit.core(), BlockedOn::Meeting);
        // A stop that came before this thread was booked as blocked has not seen it.
        let arrival = match launch.gang() {
            Some(gang) if !process.is_stopped() => gang.meeting.arrive(unit.suspended(), what),
            _ => Arrival::Closed(Some(unit.suspended())),
        };
        let (own, wake) = match arrival {
            Arrival::Last(own, others, value) => {
                others
                    .into_iter()
                    .for_each(|other| process.wake_unit(other, Wake::Value(value)));
                self.device.notify();
                (own, Wake::Value(value))
            }
            Arrival::Closed(own) => (own, Wake::Closed(0)),
            Arrival::Mismatch(own) => {
                let kernel = launch.body.name();
                process.fail(Fault::of(
                    FaultKind::CollectiveMismatch,
                    kernel,
                    launch.seq,
                    0,
                ));
                (own, Wake::Closed(0))
            }
            Arrival::Waits | Arrival::MustWait => return None,
        };
        let own = own?;
        process.no_longer_blocked(own.core(), wake);
        Some(own.into_unit())
    }

    /// Gives back what this worker holds for a moment.
    fn flush(&self) {
        if let Some(next) = self.next.take() {
            self.device.sched.push(next);
        }
        if let Some(release) = self.release.take() {
            self.device.sched.release(release);
        }
        self.pay_owed();
    }

    // ---- at the bottom of a kernel stack ----

    /// Takes up the next thread to run on this stack; false if there is none.
    fn take_up(&self, core: &Core) -> bool {
        loop {
            let Some((launch, rank)) = self.claim(core) else {
                return false;
            };
            if matches!(launch.body, Body::Step(_)) {
                core.switch()
                    .on_parent_stack(|| self.run_step(core, &launch));
                continue;
            }
            self.begin_thread(core, launch, rank);
            let stopped = core.process().is_stopped();
            if !stopped {
                return true;
            }
            self.end_thread(core, None, Some(core.switch()));
        }
    }

    fn begin_thread(&self, core: &Core, launch: ModelArc<Launch>, rank: u32) {
        if rank == 0 && launch.watched() {
            launch.set_start_time(self.device.clock.now());
        }
        let epoch = core.process().epochs.enter();
        core.calls.set(0);
        *core.running.borrow_mut() = Some(Running {
            launch,
            rank,
            epoch,
        });
        self.safe_point();
    }

    /// The next launch and rank: of the pending work, of the launch this stack just ran a thread of, of the direct
    /// hand-over, or from the scheduler.
    fn claim(&self, core: &Core) -> Option<(ModelArc<Launch>, u32)> {
        if let Some(work) = self.pending.take() {
            if let Some(claimed) = self.accept(core, work) {
                return Some(claimed);
            }
        }
        if let Some(next) = self.next.take() {
            if next.start() {
                // Its unit is the one that the launch before it had: it is not given back.
                self.keep_unit(next.proc);
                return Some((next, 0));
            }
        }
        self.next.end_streak();
        loop {
            let work = self
                .device
                .sched
                .next(self.release.take(), core.process.borrow().as_ref())?;
            if let Some(claimed) = self.accept(core, work) {
                return Some(claimed);
            }
        }
    }

    fn keep_unit(&self, proc: u32) {
        match self.release.take() {
            Some(Release { units: 1, .. }) => {}
            Some(release) => self.release.set(Some(Release {
                units: release.units - 1,
                ..release
            })),
            None => debug_assert!(false, "a hand-over from process {proc} without a unit"),
        }
    }

    /// Claims a rank of the work's launch.
    fn accept(&self, core: &Core, work: Work<Process>) -> Option<(ModelArc<Launch>, u32)> {
        let rank = match work.launch.gang() {
            Some(gang) => gang.claim(work.launch.threads)?,
            None => 0,
        };
        if let Some(process) = work.process {
            *core.process.borrow_mut() = Some(process);
        }
        Some((work.launch, rank))
    }

    /// A thread has returned or was unwound. Still on its stack, which is empty but for the loop.
    fn thread_over(&self, core: &Core, result: KernelResult) {
        match result {
            Ok(value) => self.end_thread(core, Some(value), Some(core.switch())),
            Err(payload) => core
                .switch()
                .on_parent_stack(|| self.unwound(core, payload)),
        }
    }

    #[cold]
    fn unwound(&self, core: &Core, payload: Box<dyn std::any::Any + Send>) {
        core.set_unwinding(false);
        if !payload.is::<Stop>() {
            self.fail_running(core, FaultKind::Panic, core.take_note());
        }
        // A payload's own destructor may panic; it is the kernel's.
        let _ = catch_unwind(AssertUnwindSafe(|| drop(payload)));
        self.end_thread(core, None, None);
    }

    fn fail_running(&self, core: &Core, kind: FaultKind, note: Option<crate::unit::PanicNote>) {
        let process = core
            .process
            .borrow()
            .clone()
            .expect("a running thread has one");
        let mut fault = {
            let running = core.running.borrow();
            let running = running.as_ref().expect("a running thread");
            Fault::of(
                kind,
                running.launch.body.name(),
                running.launch.seq,
                running.rank,
            )
        };
        if let Some(note) = note {
            fault.message = Some(note.message);
            fault.place = note.place;
            fault.backtrace = note.backtrace;
        }
        process.fail(fault);
    }

    /// Books the end of a thread; the last one of a launch completes it.
    fn end_thread(&self, core: &Core, value: Option<u64>, off: Option<&Switch>) {
        let Some(Running { launch, epoch, .. }) = core.running.borrow_mut().take() else {
            return;
        };
        core.process().epochs.leave(epoch);
        self.give_back(launch.proc, 1);
        if launch.gang().is_none_or(|gang| gang.returned(1)) {
            let process = core.process.borrow();
            let process = process.as_ref().expect("a running thread has one");
            self.complete(process, &launch, value, off);
        }
    }

    fn give_back(&self, proc: u32, units: u32) {
        let release = match self.release.take() {
            Some(mut release) if release.proc == proc => {
                release.units += units;
                release
            }
            other => {
                other
                    .into_iter()
                    .for_each(|release| self.device.sched.release(release));
                Release { proc, units }
            }
        };
        self.release.set(Some(release));
    }

    /// All threads have returned: the completion update, then the launch's own end (SEMANTICS 2.5).
    ///
    /// Wakers and destructors are foreign code and run on the worker's own stack: by `off`, where the caller is at the
    /// bottom of a kernel's. A launch that nobody watches and that keeps nothing has none.
    fn complete(
        &self,
        process: &Arc<Process>,
        launch: &ModelArc<Launch>,
        value: Option<u64>,
        off: Option<&Switch>,
    ) {
        process.progress.fetch_add(1, Ordering::Relaxed);
        if process.is_stopped() {
            return Self::settle(process, launch, process.stop_outcome(), off);
        }
        if let (Body::Rpc(_), Some(value)) = (&launch.body, value) {
            launch.set_start_time(value);
        }
        if launch.watched() {
            launch.set_end_time(self.device.clock.now());
        }
        let outcome = self.completion_update(process, launch);
        Self::settle(process, launch, outcome, off);
    }

    fn settle(
        process: &Arc<Process>,
        launch: &ModelArc<Launch>,
        outcome: Outcome,
        off: Option<&Switch>,
    ) {
        let settle = || {
            if launch.finish(outcome) {
                process.settled(launch, outcome);
            }
        };
        match off {
            Some(switch) if launch.watched() || launch.extra.is_some() => {
                switch.on_parent_stack(settle)
            }
            _ => settle(),
        }
    }

    fn completion_update(&self, process: &Arc<Process>, launch: &Launch) -> Outcome {
        let Some((index, update)) = launch.then else {
            return Outcome::Completed;
        };
        let slot = process.events.slot(index);
        let mut pushed = false;
        let result = match slot.event.try_update_fast(update) {
            Ok(previous) => Ok(previous),
            Err(reached) => slot.event.finish_update(reached, |gate, value| match gate {
                Gate::Launch(next) => pushed |= self.hand_over(next),
                Gate::Unit(unit) => {
                    process.wake_unit(unit, Wake::Value(value));
                    pushed = true;
                }
            }),
        };
        if pushed {
            self.device.notify();
        }
        if result.is_ok() {
            Outcome::Completed
        } else {
            Outcome::CompletedButEventClosed
        }
    }

    /// A launch that the end of another has opened (rule 1). True if it went to the queue.
    fn hand_over(&self, launch: ModelArc<Launch>) -> bool {
        if !launch.open() {
            return false;
        }
        let direct = launch.units() == 1
            && self.release_is_of(launch.proc)
            && self.device.allows_hand_over()
            && self.shared().waiting.load(Ordering::Relaxed) == 0;
        self.next
            .offer(launch, direct, |launch| self.device.sched.push(launch))
    }

    fn release_is_of(&self, proc: u32) -> bool {
        let release = self.release.take();
        self.release.set(release);
        release.is_some_and(|release| release.proc == proc && release.units > 0)
    }

    fn run_step(&self, core: &Core, launch: &ModelArc<Launch>) {
        if launch.watched() {
            launch.set_start_time(self.device.clock.now());
        }
        let process = core.process.borrow();
        let process = process.as_ref().expect("set with the work");
        if let Body::Step(step) = &launch.body {
            let work = step.work.lock().take();
            if let Some(work) = work.filter(|_| !process.is_stopped()) {
                work();
            }
        }
        self.complete(process, launch, None, None);
    }

    /// Whether this stack is to be left although there may be work: suspended threads wait for the worker, or each
    /// choice is the driver's.
    fn must_leave_stack(&self) -> bool {
        self.device.choices.is_some()
            || self.shared().waiting.load(Ordering::Relaxed) > 0
            || self.device.is_stopping()
    }

    // ---- called by the port, for a running kernel ----

    /// Something was opened in the middle of a kernel.
    pub(crate) fn opened_midway(&self) {
        self.opened.set(true);
    }

    /// A device call ends: what it opened is in this worker's queue or the scheduler's. A worker that looks will find
    /// it; a parked one is woken only at the next call (rule 3).
    pub(crate) fn call_over(&self) {
        if self.opened.replace(false) {
            self.owed.set(true);
        } else {
            self.pay_owed();
        }
    }

    fn pay_owed(&self) {
        if self.owed.replace(false) {
            self.device.notify();
        }
    }

    /// Whether other threads wait for this worker.
    #[inline]
    pub(crate) fn others_wait(&self) -> bool {
        self.shared().waiting.load(Ordering::Relaxed) > 0 || !self.device.sched.looks_empty()
    }
}

impl Shared {
    pub(crate) fn new() -> Self {
        Self {
            stop_at: AtomicU64::new(u64::MAX),
            ..Self::default()
        }
    }

    /// Puts a thread at the end of the queue.
    pub(crate) fn push(&self, unit: Suspended) {
        let mut runnable = self.runnable.lock();
        runnable.push_back(unit);
        dpa_abi::sync::publish(|| self.waiting.swap(runnable.len(), Ordering::SeqCst));
    }

    /// Takes the first thread.
    pub(crate) fn pop(&self) -> Option<Suspended> {
        self.take_by(|runnable| if runnable.is_empty() { None } else { Some(0) })
    }

    /// Takes the first thread that another worker may run.
    pub(crate) fn take_movable(&self) -> Option<Suspended> {
        self.take_by(|runnable| runnable.iter().position(|unit| unit.pinned_to().is_none()))
    }

    /// Takes the thread that `choose` names.
    pub(crate) fn take_by(
        &self,
        choose: impl FnOnce(&VecDeque<Suspended>) -> Option<usize>,
    ) -> Option<Suspended> {
        if self.waiting.load(Ordering::SeqCst) == 0 {
            return None;
        }
        let mut runnable = self.runnable.lock();
        let at = choose(&runnable)?;
        let unit = runnable.remove(at);
        self.waiting.store(runnable.len(), Ordering::SeqCst);
        unit
    }
}
