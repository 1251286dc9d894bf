//! A unit: a kernel stack, what runs on it, and how it leaves and comes back.
//!
//! Rules:
//! 1. A unit has one owner at a time: the worker that runs it; or, suspended, the event, meeting, queue or timer it
//!    waits in. Whoever takes it out of there owns it. So it is resumed exactly once for each time it is suspended.
//! 2. Its core is touched only by its owner, and by code on its stack while it runs.
//! 3. Nothing of ours is live on the stack under a kernel's frame, for the stack may be reset under it. What belongs
//!    to the running thread stands in the core.

mod unwinding;

use std::cell::{Cell, RefCell};
use std::sync::Arc as StdArc;
use std::sync::atomic::{AtomicBool, Ordering, compiler_fence};

use dpa_abi::FaultKind;
use dpa_abi::kernel::KernelEntry;
use dpa_abi::port::{CollectiveKind, READS_PER_SAFE_POINT};
use sync_event::WaiterId;
use sync_event::sync::Arc;

use crate::clock::TimerKey;
use crate::crash::stack::{Frame, StackCopy, Trap};
use crate::epoch::Entered;
use crate::fault::{self, Fault, Place};
use crate::fiber::{Fiber, Request, Resumed, Switch};
use crate::launch::Launch;
use crate::process::Process;
use crate::recent::Recent;
use crate::stack::PooledStack;
#[cfg(not(dpa_sanitize))]
use crate::trap::{self, Entered as EnteredStack};
use crate::worker::Worker;

/// How a wait of a thread ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wake {
    /// With a value: of the event, or the result of a meeting.
    Value(u64),
    /// The event (or the meeting) was closed at this value.
    Closed(u64),
    /// Its time was up.
    TimedOut,
    /// The others of its meeting do something else, this.
    Mismatch(CollectiveKind),
    /// Another thread of its launch has returned, so that its meeting is never complete.
    Missed,
}

/// The thread that a unit runs.
#[derive(Debug)]
pub struct Running {
    /// Its launch.
    pub launch: Arc<Launch>,
    /// Its rank.
    pub rank: u32,
    /// The epoch it entered when it started.
    pub epoch: Entered,
}

/// What a panic hook noted.
#[derive(Debug)]
pub struct PanicNote {
    /// The message.
    pub message: String,
    /// Where.
    pub place: Option<Place>,
    /// The stack.
    pub backtrace: Option<StdArc<std::backtrace::Backtrace>>,
    /// The stack's bytes, for a crash report.
    pub stack: Option<StackCopy>,
}

/// What must be left of a kernel's stack for it to be interrupted there.
#[cfg(not(dpa_sanitize))]
const PREEMPT_RESERVE: usize = 4 * 1024;

/// What belongs to a unit beside its stack. Its address is what the device port gets.
pub struct Core {
    worker: Cell<*const Worker>,
    switch: Cell<*const Switch>,
    stack_limit: Cell<usize>,
    stack_high: Cell<usize>,
    left_at: Cell<Frame>,
    /// What a signal handler saw when it reset the stack.
    pub(crate) trap: Cell<Option<Trap>>,
    in_kernel: AtomicBool,
    unwinding: Cell<bool>,
    /// CPU time of the OS thread when the unwinding began; 0: nothing is unwound, an error handler runs.
    unwinds_since: Cell<u64>,
    /// The thread that runs.
    pub running: RefCell<Option<Running>>,
    /// The process whose kernels ran here last.
    pub process: RefCell<Option<StdArc<Process>>>,
    /// The epoch of the thread that ended here last, to be taken over by the next of the same process.
    pub epoch: Cell<Option<Entered>>,
    /// What it has bound lately of its process's heap.
    pub(crate) recent: Recent,
    /// How the last wait ended.
    pub wake: Cell<Wake>,
    /// Where it stands in the list of blocked threads, while it waits.
    pub blocked_key: Cell<usize>,
    /// The worker that ran it last.
    pub worker_index: Cell<usize>,
    /// The timer of its wait.
    pub timer: Cell<Option<TimerKey>>,
    /// Its place among the waiters of its event.
    pub waiter: Cell<Option<WaiterId>>,
    /// Device calls since the last switch.
    pub calls: Cell<u32>,
    /// After how many reads the thread that is to run comes to its first safe point.
    pub(crate) reads: Cell<u32>,
    /// The error handler of its process runs on it, and has done nothing wrong.
    pub(crate) handling: Cell<bool>,
    /// The error handler that is run as a plain call.
    pub(crate) called: Cell<Option<&'static KernelEntry>>,
    /// The job that a worker of a command queue runs; set before any code of it runs, and of no meaning for other threads.
    pub(crate) job: Cell<Option<&'static KernelEntry>>,
    /// The error handler of its process has begun on it, and is not over.
    pub(crate) has_error_handler: Cell<bool>,
    /// What was noted of the panic that the error handler runs for.
    pub(crate) handled: Cell<Option<PanicNote>>,
    /// It was interrupted, and has not gone on yet.
    pub(crate) preempted: Cell<bool>,
    /// It was interrupted because it was urged, and not because its slice was over.
    pub(crate) urged: Cell<bool>,
    /// How often its thread was interrupted.
    pub(crate) interruptions: Cell<u32>,
    /// CPU time, in nanoseconds, that it had used since its last safe point when it was interrupted.
    pub(crate) spun: Cell<u64>,
    note: RefCell<Option<PanicNote>>,
    /// What was noted of the panic before that one.
    noted_before: Cell<Option<PanicNote>>,
    /// Nothing can catch the panic that was noted last: the program is to be aborted.
    pub(crate) uncatchable: Cell<bool>,
}

impl Core {
    /// A core that runs nothing.
    pub fn new() -> Box<Self> {
        Box::new(Self {
            worker: Cell::new(std::ptr::null()),
            switch: Cell::new(std::ptr::null()),
            stack_limit: Cell::new(0),
            stack_high: Cell::new(0),
            left_at: Cell::new(Frame::default()),
            trap: Cell::new(None),
            in_kernel: AtomicBool::new(false),
            unwinding: Cell::new(false),
            unwinds_since: Cell::new(0),
            running: RefCell::new(None),
            process: RefCell::new(None),
            epoch: Cell::new(None),
            recent: Recent::default(),
            wake: Cell::new(Wake::Value(0)),
            blocked_key: Cell::new(usize::MAX),
            worker_index: Cell::new(0),
            timer: Cell::new(None),
            waiter: Cell::new(None),
            calls: Cell::new(0),
            reads: Cell::new(READS_PER_SAFE_POINT),
            handling: Cell::new(false),
            called: Cell::new(None),
            job: Cell::new(None),
            has_error_handler: Cell::new(false),
            handled: Cell::new(None),
            preempted: Cell::new(false),
            urged: Cell::new(false),
            interruptions: Cell::new(0),
            spun: Cell::new(0),
            note: RefCell::new(None),
            noted_before: Cell::new(None),
            uncatchable: Cell::new(false),
        })
    }

    /// The worker that runs this unit now. It may be another after a suspension.
    #[inline]
    pub fn worker(&self) -> &Worker {
        // SAFETY: set by the worker before it enters the stack, and valid until it leaves it; callers do not keep the
        // reference over a suspension.
        unsafe { &*self.worker.get() }
    }

    /// This worker runs the unit from now on.
    pub(crate) fn runs_on(&self, worker: &Worker) {
        self.worker.set(worker);
        self.worker_index.set(worker.index());
    }

    /// The way off the stack.
    #[inline]
    pub fn switch(&self) -> &Switch {
        // SAFETY: set by the code on the stack before anything else; it lives at the bottom of the stack.
        unsafe { &*self.switch.get() }
    }

    pub(crate) fn set_switch(&self, switch: &Switch) {
        self.switch.set(switch);
    }

    /// Leaves the stack until the wait is over.
    pub fn suspend(&self, request: Request) -> Wake {
        self.left_at.set(Frame::here());
        self.leave_memory();
        self.switch().suspend(request);
        self.come_back_to_memory();
        self.wake.get()
    }

    /// The process of the running thread.
    #[inline]
    pub fn process(&self) -> &Process {
        let process: *const Process = StdArc::as_ptr(
            self.process
                .borrow()
                .as_ref()
                .expect("a running thread has one"),
        );
        // SAFETY: the core's own count keeps the process alive; it changes only between threads (rule 2), and callers
        // use the reference only while their thread runs.
        unsafe { &*process }
    }

    /// Goes on with another process, or with none. `off`: the caller is on this stack.
    pub fn set_process(&self, process: Option<StdArc<Process>>, off: Option<&Switch>) {
        self.rest(off);
        let _before = self.process.replace(process);
        self.recent.forget();
    }

    /// The epoch for a thread that starts: the one of the thread before it, if it is still current. `off`: the caller is on this stack.
    pub(crate) fn enter_epoch(&self, off: Option<&Switch>) -> Entered {
        let epochs = &self.process().epochs;
        if self
            .epoch
            .get()
            .is_some_and(|epoch| !epochs.is_current(epoch))
        {
            self.rest(off);
        }
        self.epoch.take().unwrap_or_else(|| epochs.enter())
    }

    /// No thread takes over the epoch of the one before. `off`: the caller is on this stack.
    pub(crate) fn rest(&self, off: Option<&Switch>) {
        if let Some(epoch) = self.epoch.take() {
            self.process().leave_epoch(epoch, off);
        }
    }

    /// A thread has ended: the next may take over its epoch.
    pub fn leave_epoch(&self, epoch: Entered) {
        let other = self.epoch.replace(Some(epoch));
        debug_assert!(other.is_none(), "a thread begins with the one before's");
    }

    /// Begins kernel code: from here on the stack may be reset.
    #[inline]
    pub fn enter_kernel(&self) {
        compiler_fence(Ordering::SeqCst);
        self.in_kernel.store(true, Ordering::Relaxed);
    }

    /// Ends kernel code.
    #[inline]
    pub fn leave_kernel(&self) {
        self.in_kernel.store(false, Ordering::Relaxed);
        compiler_fence(Ordering::SeqCst);
    }

    /// For the signal handler: whether kernel code runs, and it is the one that exceeded its time.
    #[cfg(not(dpa_sanitize))]
    pub(crate) fn may_be_stopped_here(&self) -> bool {
        self.in_kernel.load(Ordering::Relaxed)
            && self.worker().is_to_be_stopped()
            && (!self.unwinding() || self.is_in_destructor())
    }

    /// For the signal handler, on this kernel's stack: lets others run if the kernel is the one whose time is over, and
    /// nothing but its own code is interrupted.
    #[cfg(not(dpa_sanitize))]
    pub(crate) fn preempt(&self) {
        if !self.in_kernel.load(Ordering::Relaxed)
            || !self.worker().is_to_be_preempted()
            || !self.is_interruptible()
            || self.stack_left() < PREEMPT_RESERVE
            || self.unwinding() && !self.is_in_destructor()
        {
            return;
        }
        self.leave_kernel();
        self.spun.set(self.worker().spun());
        self.urged.set(self.worker().shared().is_urged());
        self.preempted.set(true);
        self.interruptions.set(self.interruptions.get() + 1);
        self.suspend(Request::Preempted);
        self.preempted.set(false);
        self.enter_kernel();
    }

    /// Whether the code that runs may be interrupted where it is: nothing in its reach rests on being the only one on its OS
    /// thread between two device calls.
    #[cfg(not(dpa_sanitize))]
    fn is_interruptible(&self) -> bool {
        if self.has_error_handler.get() {
            let called = self.called.get();
            return called.is_some_and(|entry| entry.reach.is_interruptible());
        }
        let running = self.running.try_borrow();
        running.is_ok_and(|running| {
            let launch = running.as_ref().map(|running| &running.launch);
            launch.is_some_and(|launch| launch.interruptible(self.job.get()))
        })
    }

    /// Bytes left on the stack of the caller.
    #[inline]
    pub fn stack_left(&self) -> usize {
        let here = 0u8;
        (std::ptr::from_ref(&here) as usize).saturating_sub(self.stack_limit.get())
    }

    /// Where the code on the stack was when it left it last.
    pub(crate) fn left_at(&self) -> Frame {
        self.left_at.get()
    }

    /// The addresses of the stack, from its limit up.
    pub(crate) fn stack_bounds(&self) -> std::ops::Range<u64> {
        self.stack_limit.get() as u64..self.stack_high.get() as u64
    }

    /// Called by the panic hook, on the kernel's stack. What panics may be a device call, too.
    pub(crate) fn note_panic(&self, info: &std::panic::PanicHookInfo<'_>) {
        let in_kernel = self.in_kernel.load(Ordering::Relaxed);
        self.leave_kernel();
        let uncatchable = unwinding::is_uncatchable(info);
        if !(uncatchable && self.keeps_first_note(info)) {
            self.note(info);
        }
        self.uncatchable.set(uncatchable);
        self.begin_unwinding();
        if in_kernel {
            self.enter_kernel();
        }
    }

    fn note(&self, info: &std::panic::PanicHookInfo<'_>) {
        let message = fault::kept_of(info.payload_as_str().unwrap_or("(no message)"));
        let place = info.location().map(Place::from);
        let roomy = cfg!(dpa_sanitize) || self.stack_left() > 64 * 1024;
        let backtrace = roomy
            .then(std::backtrace::Backtrace::force_capture)
            .map(StdArc::new);
        let at = Frame::here();
        let copy = |process: &StdArc<Process>| process.crash.copy_stack(self, at);
        let stack = self
            .process
            .borrow()
            .as_ref()
            .filter(|_| self.stack_left() > 16 * 1024)
            .and_then(copy);
        let before = self.note.replace(Some(PanicNote {
            message,
            place,
            backtrace,
            stack,
        }));
        self.noted_before.set(before);
    }

    /// A fault of this kind, of the thread that runs.
    pub(crate) fn fault(&self, kind: FaultKind) -> Fault {
        let running = self.running.borrow();
        let running = running.as_ref().expect("a running thread");
        Fault::of(
            kind,
            running.launch.kernel_name(self.job.get()),
            running.launch.seq,
            running.rank,
        )
        .on(running.launch.handler().and_then(|handler| handler.unit()))
    }

    pub(crate) fn put_note(&self, note: Option<PanicNote>) {
        self.noted_before.set(None);
        *self.note.borrow_mut() = note;
    }

    pub(crate) fn with_note<R>(&self, with: impl FnOnce(Option<&PanicNote>) -> R) -> R {
        with(self.note.borrow().as_ref())
    }

    pub(crate) fn has_note(&self) -> bool {
        self.note.borrow().is_some()
    }

    pub(crate) fn take_note(&self) -> Option<PanicNote> {
        self.noted_before.set(None);
        self.note.borrow_mut().take()
    }
}

/// A stack with its core.
pub struct Unit {
    fiber: Fiber,
    core: Box<Core>,
    #[cfg(not(dpa_sanitize))]
    entered: EnteredStack,
}

/// A unit that has left its stack: it can be resumed by whoever holds it, unless it is pinned.
pub struct Suspended(Box<Unit>);

// SAFETY: a suspended unit is touched by its holder only (rule 1). Its stack holds frames of a kernel that may go on on
// another thread (`KernelEntry::movable`); one that may not is only ever resumed by its own worker, and dropped by it.
unsafe impl Send for Suspended {}

impl std::fmt::Debug for Suspended {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Suspended")
    }
}

impl Suspended {
    /// Its core.
    pub fn core(&self) -> &Core {
        &self.0.core
    }

    /// The worker it must stay on, if it must. The way back from a signal handler restores what belongs to the OS thread, its
    /// alternate stack for instance.
    pub fn pinned_to(&self) -> Option<usize> {
        if self.0.core.preempted.get() {
            return Some(self.0.core.worker_index.get());
        }
        let running = self.0.core.running.borrow();
        let movable = running.as_ref().is_none_or(|r| r.launch.movable());
        (!movable).then(|| self.0.core.worker_index.get())
    }

    /// The partition of its process.
    pub fn partition(&self) -> usize {
        self.core().process().tenancy.partition.index
    }

    /// Back to a unit, to be resumed.
    pub fn into_unit(self) -> Box<Unit> {
        self.0
    }
}

/// A core and a stack that nobody uses, kept for the next unit.
pub struct Spare {
    /// The stack.
    pub stack: PooledStack,
    /// The core.
    pub core: Box<Core>,
}

impl Unit {
    /// A unit that will take up work.
    pub fn new(spare: Spare) -> Box<Self> {
        let Spare { stack, core } = spare;
        core.stack_limit.set(stack.limit_of_use());
        core.stack_high.set(stack.high());
        core.unwinding.set(false);
        #[cfg(not(dpa_sanitize))]
        let (low, limit, high) = (stack.low(), stack.limit_of_use(), stack.high());
        // SAFETY: the core lives in the unit beside the fiber, is dropped after it, and its address is stable.
        let fiber = unsafe { Fiber::new(stack, crate::taking::on_stack, &raw const *core) };
        #[cfg(not(dpa_sanitize))]
        let entered = EnteredStack {
            core: &raw const *core,
            low,
            limit,
            high,
            trap: fiber.trap_handler(),
        };
        Box::new(Self {
            fiber,
            core,
            #[cfg(not(dpa_sanitize))]
            entered,
        })
    }

    /// Its core.
    pub fn core(&self) -> &Core {
        &self.core
    }

    /// What the handlers of signals know of its stack.
    #[cfg(all(test, not(dpa_sanitize)))]
    pub(crate) fn entered(&self) -> &EnteredStack {
        &self.entered
    }

    /// Enters the stack, on this worker.
    pub fn resume(&mut self, worker: &Worker) -> Resumed {
        self.core.runs_on(worker);
        #[cfg(not(dpa_sanitize))]
        let _entered = trap::enter(&self.entered);
        self.fiber.resume()
    }

    /// Leaves the stack for good.
    pub fn abandon(&mut self) {
        self.fiber.abandon();
    }

    /// A suspended unit, from a unit that has left its stack.
    pub fn suspended(self: Box<Self>) -> Suspended {
        Suspended(self)
    }

    /// What is left of a unit whose stack has frames on it that nobody will ever go on with: those stay as they are for good.
    pub fn leave_stack_behind(self) -> Box<Core> {
        let Self { fiber, core, .. } = self;
        fiber.into_stack().leave_behind();
        core
    }

    /// The parts of a unit whose code has ended.
    pub fn into_spare(self) -> Spare {
        let Self { fiber, core, .. } = self;
        Spare {
            stack: fiber.into_stack(),
            core,
        }
    }
}
