//! One launch, call or step, from its submission to its end.
//!
//! Its state is one word. Rules:
//!
//! 1. Phases go `WAITING -> READY -> STARTED -> DONE`; `WAITING` and `READY` may also go to `DONE` directly (cancelled,
//!    dropped, faulted before the start). A direct hand-over goes `WAITING -> STARTED`, and back to `READY` if it does not
//!    come about. Each step is one read-modify-write, and whoever makes it owns what follows:
//!    who makes `WAITING -> READY` puts the launch into the inbox, who makes `READY -> STARTED` runs it, who makes
//!    `.. -> DONE` settles it, once.
//! 2. `WATCHED` is set while a handle to it exists: only then are its times taken.
//! 3. `WAKER` is set, under the lock of `cell`, while `cell` holds a waker. Who makes the step to `DONE` and finds it
//!    set takes the waker and wakes it. It is cleared before `WATCHED` is: a launch that nobody watches has no waker.
//! 4. `KEEPS` is set from the beginning if the launch keeps something alive. Who makes the step to `DONE` lets go of that: if
//!    somebody may await the launch and it has started, before the step, which nobody else can make then.
//! 5. `times` and `closed` are written before the step to `DONE` by its maker, and read only after it.

mod body;
mod gang;
mod watchers;

use std::fmt;
use std::task::{Context, Poll, Waker};

use dpa_abi::{Condition, EventHandle, Update};
use smallvec::SmallVec;
use sync_event::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use sync_event::sync::{Arc, Mutex};
use sync_event::{CloseReason, Closed, WaiterId};

use crate::foreign;
use watchers::Watchers;

pub use body::{Body, Step};
pub use gang::Gang;

const PHASE: u32 = 0b11;
const WAITING: u32 = 0;
const READY: u32 = 1;
const STARTED: u32 = 2;
const DONE: u32 = 3;
const WAKER: u32 = 1 << 2;
const WATCHED: u32 = 1 << 3;
const KEEPS: u32 = 1 << 4;
const OUTCOME_SHIFT: u32 = 8;

/// How a launch ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Outcome {
    /// All threads returned, and the completion update was made.
    Completed = 0,
    /// All threads returned, but the event to update was closed.
    CompletedButEventClosed = 1,
    /// It was taken back before it started.
    Cancelled = 2,
    /// Its process became fatal.
    Faulted = 3,
    /// The event it waited for was closed.
    WaitEventClosed = 4,
    /// Its process was closed before it started.
    ContextClosed = 5,
}

impl Outcome {
    fn from_bits(bits: u32) -> Self {
        match bits {
            0 => Self::Completed,
            1 => Self::CompletedButEventClosed,
            2 => Self::Cancelled,
            3 => Self::Faulted,
            4 => Self::WaitEventClosed,
            _ => Self::ContextClosed,
        }
    }
}

/// Packed arguments; few bytes are kept in place.
pub type ArgBytes = SmallVec<[u8; 16]>;

/// What a launch keeps alive. It is let go of where the launch ends; the memory that it lay in goes back where the next launch
/// is submitted, for an allocator is slow where one thread frees what another takes.
pub trait Keep: Send {
    /// Drops what is kept.
    fn let_go(&mut self);
}

impl fmt::Debug for dyn Keep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("something kept")
    }
}

impl<T: Send> Keep for Option<T> {
    fn let_go(&mut self) {
        drop(self.take());
    }
}

/// What only some launches have.
#[derive(Default)]
pub struct Extra {
    /// The stream it belongs to.
    pub stream: Option<Arc<crate::stream::Stream>>,
    /// The condition it waits for, while it waits in its stream.
    pub wait: Option<(EventHandle, Condition)>,
    /// What its threads share, if it has more than one.
    pub gang: Option<Gang>,
    /// Whose activation it is.
    #[cfg(not(dpa_loom))]
    pub handler: Option<std::sync::Arc<crate::handler::Handler>>,
    /// The queue whose jobs it runs.
    #[cfg(not(dpa_loom))]
    pub queue: Option<std::sync::Arc<crate::cmdq::CommandQueue>>,
}

#[derive(Debug, Default)]
struct CellState {
    watchers: Watchers,
    /// As what it waits where it is parked.
    parked_as: Option<WaiterId>,
    /// What must stay alive until the launch is over.
    keep: Option<Box<dyn Keep>>,
}

/// One launch.
pub struct Launch {
    state: AtomicU32,
    /// The event it is parked at, if `cell` says that it is: with its lock only.
    parked_event: AtomicU32,
    pub(crate) threads: u32,
    pub(crate) proc: u32,
    /// Its number, in order of submission.
    pub seq: u64,
    pub(crate) body: Body,
    pub(crate) args: ArgBytes,
    then: Option<Then>,
    cell: Mutex<CellState>,
    times: [AtomicU64; 2],
    pub(crate) extra: Option<Box<Extra>>,
}

crate::anywhere::goes_anywhere!(Launch {
    state,
    parked_event,
    threads,
    proc,
    seq,
    body,
    args,
    then,
    cell,
    times,
    extra,
});

impl fmt::Debug for Launch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Launch")
            .field("name", &self.body.name())
            .field("seq", &self.seq)
            .finish_non_exhaustive()
    }
}

/// What a launch is made of.
#[derive(Debug)]
pub struct Parts {
    /// What it does.
    pub body: Body,
    /// Its packed arguments.
    pub args: ArgBytes,
    /// Its threads.
    pub threads: u32,
    /// Its process's number in the scheduler.
    pub proc: u32,
    /// Its place in the order of submission.
    pub seq: u64,
    /// Its completion update.
    pub then: Option<(u32, Update)>,
    /// What must stay alive until it is over.
    pub keep: Option<Box<dyn Keep>>,
}

/// A completion update, in two words.
#[derive(Clone, Copy, Debug)]
struct Then {
    value: u64,
    event: u32,
    add: bool,
}

impl Then {
    fn new(event: u32, update: Update) -> Self {
        match update {
            Update::Add(value) => Self {
                value,
                event,
                add: true,
            },
            Update::Set(value) => Self {
                value,
                event,
                add: false,
            },
        }
    }
}

impl Launch {
    /// The event it updates when it has completed, and how.
    #[inline]
    pub(crate) fn then(&self) -> Option<(u32, Update)> {
        let Then { value, event, add } = self.then?;
        Some((
            event,
            if add {
                Update::Add(value)
            } else {
                Update::Set(value)
            },
        ))
    }

    /// A launch that waits, watched by a handle.
    pub fn new(parts: Parts, extra: Option<Box<Extra>>) -> Self {
        // The work of a step keeps what it was given.
        let keeps = match parts.keep.is_some() || matches!(parts.body, Body::Step(_)) {
            true => KEEPS,
            false => 0,
        };
        let cell = CellState {
            keep: parts.keep,
            ..CellState::default()
        };
        Self {
            state: AtomicU32::new(WAITING | WATCHED | keeps),
            parked_event: AtomicU32::new(0),
            threads: parts.threads,
            proc: parts.proc,
            seq: parts.seq,
            body: parts.body,
            args: parts.args,
            then: parts.then.map(|(event, update)| Then::new(event, update)),
            cell: Mutex::new(cell),
            times: [AtomicU64::new(0), AtomicU64::new(0)],
            extra,
        }
    }

    /// What it was made of, again.
    pub(crate) fn into_parts(self) -> Parts {
        let then = self.then();
        Parts {
            body: self.body,
            args: self.args,
            threads: self.threads,
            proc: self.proc,
            seq: self.seq,
            then,
            keep: self.cell.into_inner().keep,
        }
    }

    /// Whether its threads may go on on another worker after they were suspended.
    pub(crate) fn movable(&self) -> bool {
        match &self.body {
            Body::Kernel(entry) => entry.reach.is_movable(),
            Body::Rpc(entry) => entry.reach.is_movable(),
            // Jobs are kernels of crates like any other; one that must stay where it is stays, for all do.
            Body::Queue => false,
            Body::Step(_) => true,
        }
    }

    /// Whether its threads may be interrupted between two device calls; `job`: the one that runs now, of a queue.
    #[cfg(not(dpa_sanitize))]
    pub(crate) fn interruptible(&self, job: Option<&dpa_abi::kernel::KernelEntry>) -> bool {
        match &self.body {
            Body::Kernel(entry) => entry.reach.is_interruptible(),
            Body::Rpc(entry) => entry.reach.is_interruptible(),
            Body::Queue => job.is_some_and(|entry| entry.reach.is_interruptible()),
            Body::Step(_) => false,
        }
    }

    /// The name of what its threads run; `job`: the one that runs now, of a queue.
    pub(crate) fn kernel_name(&self, job: Option<&dpa_abi::kernel::KernelEntry>) -> &'static str {
        match (&self.body, job) {
            (Body::Queue, Some(job)) => job.name,
            (body, _) => body.name(),
        }
    }

    /// Whether it has one thread, and nothing follows its end but its update, and that what it keeps is let go of.
    #[inline]
    pub(crate) fn is_plain(&self) -> bool {
        self.extra.is_none()
    }

    /// Whether it was made to keep something alive.
    #[inline]
    pub(crate) fn keeps(&self) -> bool {
        self.state.load(Ordering::Relaxed) & KEEPS != 0
    }

    /// Whether something of its process started it, and not the host.
    #[cfg(not(dpa_loom))]
    pub(crate) fn is_beside(&self) -> bool {
        let extra = self.extra.as_ref();
        extra.is_some_and(|extra| extra.handler.is_some() || extra.queue.is_some())
    }

    /// What its threads share, if it has more than one.
    pub fn gang(&self) -> Option<&Gang> {
        self.extra.as_ref()?.gang.as_ref()
    }

    /// The handler whose activation it is.
    #[cfg(not(dpa_loom))]
    pub(crate) fn handler(&self) -> Option<&std::sync::Arc<crate::handler::Handler>> {
        self.extra.as_ref()?.handler.as_ref()
    }

    /// The queue whose jobs it runs.
    #[cfg(not(dpa_loom))]
    pub(crate) fn queue(&self) -> Option<&std::sync::Arc<crate::cmdq::CommandQueue>> {
        self.extra.as_ref()?.queue.as_ref()
    }

    /// Units it takes: one for each thread, none for a step.
    pub(crate) fn units(&self) -> u32 {
        if matches!(self.body, Body::Step(_)) {
            0
        } else {
            self.threads
        }
    }

    /// Records where it is parked, before its gate is published.
    pub(crate) fn parked(&self, event: u32, waiter: WaiterId) {
        let mut cell = self.cell.lock();
        self.parked_event.store(event, Ordering::Relaxed);
        cell.parked_as = Some(waiter);
    }

    pub(crate) fn parked_at(&self) -> Option<(u32, WaiterId)> {
        let waiter = self.cell.lock().parked_as?;
        Some((self.parked_event.load(Ordering::Relaxed), waiter))
    }

    fn step(&self, from: &[u32], to: u32) -> Option<u32> {
        let mut word = self.state.load(Ordering::Relaxed);
        while from.contains(&(word & PHASE)) {
            let next = word & !PHASE | to;
            match self
                .state
                .compare_exchange_weak(word, next, Ordering::AcqRel, Ordering::Relaxed)
            {
                Ok(_) => return Some(word),
                Err(now) => word = now,
            }
        }
        None
    }

    /// `WAITING -> READY`. True for whoever may put it into the inbox.
    pub fn open(&self) -> bool {
        self.step(&[WAITING], READY).is_some()
    }

    /// `READY -> STARTED`. True for whoever may run it.
    pub fn start(&self) -> bool {
        self.step(&[READY], STARTED).is_some()
    }

    /// `WAITING -> STARTED`, for a direct hand-over. True for whoever may run it.
    pub fn open_and_start(&self) -> bool {
        self.step(&[WAITING], STARTED).is_some()
    }

    /// `STARTED -> READY`, for a hand-over that did not come about. Nothing of it has run.
    pub fn unstart(&self) -> bool {
        self.step(&[STARTED], READY).is_some()
    }

    /// `STARTED -> DONE`. True for whoever made the step, once.
    pub fn finish(&self, outcome: Outcome) -> bool {
        self.settle(&[STARTED], outcome)
    }

    /// `WAITING | READY -> DONE`. True for whoever made the step: the launch will never start.
    pub fn take_back(&self, outcome: Outcome) -> bool {
        #[cfg(not(dpa_mutant = "launch_take_back_started"))]
        let before_start = [WAITING, READY];
        #[cfg(dpa_mutant = "launch_take_back_started")]
        let before_start = [WAITING, READY, STARTED];
        self.settle(&before_start, outcome)
    }

    /// `WAITING -> DONE` because the event it waited for was closed.
    pub fn wait_closed(&self, outcome: Outcome, closed: Closed) -> bool {
        self.times[0].store(closed.last, Ordering::Relaxed);
        let gone = closed.reason == CloseReason::PublisherGone;
        self.times[1].store(gone.into(), Ordering::Relaxed);
        self.settle(&[WAITING], outcome)
    }

    /// How the event was closed that it waited for, of one that ended with [`Outcome::WaitEventClosed`]: what closes the events of
    /// a whole process ends it with another outcome.
    pub fn wait_event(&self) -> Closed {
        let [last, gone] = self.times();
        let reason = match gone {
            0 => CloseReason::Explicit,
            _ => CloseReason::PublisherGone,
        };
        Closed { reason, last }
    }

    fn settle(&self, from: &[u32], outcome: Outcome) -> bool {
        let Some(before) = self.step(from, DONE | (outcome as u32) << OUTCOME_SHIFT) else {
            return false;
        };
        if before & WAKER != 0 {
            self.wake();
        }
        true
    }

    #[cold]
    fn wake(&self) {
        let watchers = std::mem::take(&mut self.cell.lock().watchers);
        watchers.wake();
    }

    /// How it ended, if it has.
    #[inline]
    pub fn outcome(&self) -> Option<Outcome> {
        let word = self.state.load(Ordering::Acquire);
        (word & PHASE == DONE).then(|| Outcome::from_bits(word >> OUTCOME_SHIFT))
    }

    /// Whether its threads have been given units.
    pub fn started(&self) -> bool {
        self.state.load(Ordering::Acquire) & PHASE >= STARTED
    }

    /// Polls for its end. The last task that polled is woken.
    pub fn poll(&self, cx: &Context<'_>) -> Poll<Outcome> {
        self.poll_as(|watchers| watchers.task(cx.waker()))
    }

    /// Polls for its end for a thread that blocks until then: woken beside any other.
    pub fn poll_blocking(&self, cx: &Context<'_>) -> Poll<Outcome> {
        self.poll_as(|watchers| {
            watchers.thread(cx.waker());
            None
        })
    }

    fn poll_as(&self, watch: impl FnOnce(&mut Watchers) -> Option<Waker>) -> Poll<Outcome> {
        if let Some(outcome) = self.outcome() {
            return Poll::Ready(outcome);
        }
        // Dropped behind the lock, as it is declared before: what its task owned may be dropped with it.
        let _before;
        let mut cell = self.cell.lock();
        _before = watch(&mut cell.watchers);
        #[cfg(not(dpa_mutant = "launch_poll_no_recheck"))]
        self.state.fetch_or(WAKER, Ordering::AcqRel);
        #[cfg(dpa_mutant = "launch_poll_no_recheck")]
        return Poll::Pending;
        #[cfg(not(dpa_mutant = "launch_poll_no_recheck"))]
        self.outcome().map_or(Poll::Pending, Poll::Ready)
    }

    /// The handle is gone. The waker it left goes first: a launch that nobody watches has none.
    pub fn unwatch(&self) {
        let left_waker = self.state.load(Ordering::Relaxed) & WAKER != 0;
        if left_waker && cfg!(not(dpa_mutant = "launch_unwatch_keeps_waker")) {
            let mut cell = self.cell.lock();
            self.state.fetch_and(!WAKER, Ordering::AcqRel);
            let watchers = std::mem::take(&mut cell.watchers);
            drop(cell);
            drop(watchers);
        }
        self.state.fetch_and(!WATCHED, Ordering::Relaxed);
    }

    /// Whether a handle exists.
    #[inline]
    pub fn watched(&self) -> bool {
        self.state.load(Ordering::Relaxed) & WATCHED != 0
    }

    /// Whether somebody may ask when it started and ended. Of a call nobody does.
    #[inline]
    pub(crate) fn is_timed(&self) -> bool {
        self.watched() && !matches!(self.body, Body::Rpc(_))
    }

    pub(crate) fn set_start_time(&self, raw: u64) {
        self.times[0].store(raw, Ordering::Relaxed);
    }

    pub(crate) fn set_end_time(&self, raw: u64) {
        self.times[1].store(raw, Ordering::Relaxed);
    }

    /// The two numbers that belong to its end: start and end time of a launch that completed, the last value of the
    /// event that closed under one that waited and why, the result of a call in place of its start time.
    pub fn times(&self) -> [u64; 2] {
        [
            self.times[0].load(Ordering::Relaxed),
            self.times[1].load(Ordering::Relaxed),
        ]
    }

    /// Lets go of what it kept alive; called by the one who makes the step to its end (rule 4). What that calls finds the launch
    /// unlocked.
    #[inline]
    pub(crate) fn release_kept(&self) {
        if self.keeps() {
            let kept = self.cell.lock().keep.take();
            if let Some(mut kept) = kept {
                foreign::let_go(self.body.name(), || {
                    kept.let_go();
                    self.cell.lock().keep = Some(kept);
                });
            }
            if let Body::Step(step) = &self.body {
                let work = step.work.lock().take();
                foreign::let_go(step.name, || drop(work));
            }
        }
    }
}

// A million launches may be parked: with what the event keeps of each, a launch stays within 256 bytes.
#[cfg(all(not(dpa_loom), target_pointer_width = "64"))]
const _: () = assert!(size_of::<Launch>() <= 152);

#[cfg(all(test, not(dpa_loom)))]
mod tests;
