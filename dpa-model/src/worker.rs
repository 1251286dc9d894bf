//! A worker: an OS thread (or the seeded driver's only thread) that runs units.
//!
//! The scheduling loop runs *on* a kernel stack: it takes work, runs the kernel as a plain call and takes the next, so
//! that only a kernel that blocks costs a switch of stacks. When one blocks, the worker goes on on another stack.
//!
//! Rules:
//! 1. An update made at the end of a launch may hand over directly to the one launch it opened: that runs next, on
//!    this worker, with the unit of the one that ended, if nothing else is ready anywhere (it is then the head of its
//!    queue), this worker has claimed no ranks, and no suspended thread waits for it; see `handover.rs`.
//! 2. A thread that waits is registered where it waits only after it has left its stack.
//! 3. What an update opens in the middle of a kernel goes to this worker's queue; no parked worker is woken for it
//!    until the kernel's next safe point that does not block (`owed`).

use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::chunk::Chunk;
use crate::device::Device;
use crate::fiber::{Exit, Request, Resumed, Switch};
use crate::foreign::{on_own_stack, tell};
use crate::handover::Handover;
use crate::keeper::own_cpu_time;
use crate::lanes::From;
use crate::process::Process;
use crate::sched::{Release, Taking, Work};
use crate::shared::Shared;
use crate::tally::Tally;
use crate::unit::{Core, Spare, Suspended, Unit};

/// How often a thread goes on that is interrupted while it is unwound, if its process is over.
const UNWINDING_TURNS: u32 = 16;

/// Spare stacks that a worker keeps to itself.
const SPARES: usize = 16;

/// A payload that unwinds a stopped thread; the cause is recorded elsewhere.
pub(crate) struct Stop;

/// A payload that unwinds a thread that ends itself; what follows is recorded in its handler.
pub(crate) struct Leave;

/// One worker.
pub struct Worker {
    pub(crate) device: Arc<Device>,
    index: usize,
    pub(crate) pending: Cell<Option<Work<Process>>>,
    pub(crate) next: Handover,
    pub(crate) release: Cell<Option<Release>>,
    spares: Cell<Vec<Spare>>,
    pub(crate) opened: Cell<bool>,
    pub(crate) owed: Cell<bool>,
    pub(crate) tally: RefCell<Tally>,
    pub(crate) chunk: RefCell<Option<Chunk>>,
    /// Since when what runs here is to be booked; 0: it is not measured.
    stamp: Cell<u64>,
}

/// What a worker does next.
pub(crate) enum Pick {
    Resume(Suspended),
    Start(Work<Process>),
    /// Ranks that this worker has claimed already.
    Ranks,
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
            tally: RefCell::default(),
            chunk: RefCell::new(None),
            stamp: Cell::new(0),
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
    #[cfg(not(dpa_sanitize))]
    pub(crate) fn is_to_be_stopped(&self) -> bool {
        let shared = self.shared();
        shared.stop_at.load(Ordering::Relaxed) == shared.safe_points.load(Ordering::Relaxed)
    }

    /// Whether the kernel that runs now is the one whose time is over. For the signal handler.
    #[cfg(not(dpa_sanitize))]
    pub(crate) fn is_to_be_preempted(&self) -> bool {
        let shared = self.shared();
        shared.is_recalled()
            || shared.preempt_at.load(Ordering::Relaxed)
                == shared.safe_points.load(Ordering::Relaxed)
    }

    /// The kernel that runs now is not interrupted after all; false if it was not to be. For the signal handler.
    #[cfg(not(dpa_sanitize))]
    pub(crate) fn end_preemption(&self) -> bool {
        let was = self.is_to_be_preempted();
        self.shared().preempt_at.store(u64::MAX, Ordering::Relaxed);
        was
    }

    // ---- on the worker's own stack ----

    /// Runs one pick to its end or its next suspension.
    pub(crate) fn run(&self, pick: Pick) {
        let mut unit = match pick {
            Pick::Resume(suspended) => self.go_on(suspended),
            Pick::Start(work) => {
                self.pending.set(Some(work));
                self.fresh_unit()
            }
            Pick::Ranks => self.fresh_unit(),
        };
        self.shared().busy.store(true, Ordering::Relaxed);
        self.device.clock.rouse();
        while let Some(running) = unit.take() {
            unit = self.enter(running);
        }
        self.safe_point();
        self.shared().busy.store(false, Ordering::Relaxed);
        self.flush();
    }

    /// A thread that goes on. One that was interrupted, and whose process is over, does not: it would spin on. Destructors have a
    /// while.
    fn go_on(&self, suspended: Suspended) -> Option<Box<Unit>> {
        let unit = suspended.into_unit();
        let core = unit.core();
        if !core.preempted.get() {
            return Some(unit);
        }
        let unwinds = core.unwinding() && core.interruptions.get() <= UNWINDING_TURNS;
        if core.process().is_stopped() && !unwinds {
            core.preempted.set(false);
            return self.park(unit, Request::Abandon);
        }
        self.safe_point();
        let (now, shared) = (own_cpu_time(), self.shared());
        let count = shared.safe_points.load(Ordering::Relaxed);
        shared.went_on.note(now, count);
        let as_if = now.saturating_sub(core.spun.get());
        shared.carried.note(as_if, count);
        Some(unit)
    }

    /// The next work of the scheduler.
    pub(crate) fn next_of(
        &self,
        release: Option<Release>,
        held: Option<&Arc<Process>>,
        off: Option<&Switch>,
    ) -> Option<Work<Process>> {
        let (sched, fairness) = (&self.device.sched, &self.device.fairness);
        let from = match sched.count() {
            1 => From::Each(0),
            _ => self.order(),
        };
        let taking = |lane| Taking {
            fair: fairness.is_contended(lane),
            no_steps: sched.count() > 1 && self.leaves_steps(lane),
        };
        let mut after = Vec::new();
        let work = sched.next(from, taking, release, held, &mut after);
        self.follow(after, off);
        if sched.count() > 1
            && let Some(work) = &work
        {
            self.note_served(sched.of(work.launch.proc));
        }
        work
    }

    /// From which partitions it takes work (see `fairness.rs`). In the background it does what its home does not need it for.
    fn order(&self) -> From {
        let (device, shared) = (&self.device, self.shared());
        match shared.home() {
            Some(home) if shared.background.load(Ordering::Relaxed) => From::Each(home + 1),
            Some(home) => From::Only(home),
            None => {
                let has = |lane| !device.sched.lane_looks_empty(lane);
                let first = device.fairness.first(has);
                From::Each(first.unwrap_or(shared.served() + 1))
            }
        }
    }

    /// Whether steps of this partition are not for this worker: it does something in the background, for it cannot be called back from
    /// a step, and others are at home there.
    fn leaves_steps(&self, lane: usize) -> bool {
        let shared = self.shared();
        let at_home = |worker: &Shared| worker.home() == Some(lane);
        shared.background.load(Ordering::Relaxed)
            && !at_home(shared)
            && self.device.workers.iter().any(|worker| at_home(worker))
    }

    /// Whether this worker is to do what its home has, and not go on with this process.
    pub(crate) fn is_needed_at_home(&self, process: &Process) -> bool {
        let shared = self.shared();
        let elsewhere = |home: usize| home != process.tenancy.partition.index;
        shared.home().is_some_and(elsewhere)
            && (!shared.background.load(Ordering::Relaxed) || shared.is_recalled())
    }

    /// Work of this partition was taken. While workers have homes, who leaves something behind wakes another.
    fn note_served(&self, partition: usize) {
        self.shared().note_served(partition);
        if self.device.fairness.is_divided() && !self.device.sched.lane_looks_empty(partition) {
            self.device.notify();
        }
    }

    /// From now on time is booked, if it is measured.
    fn begin_charge(&self) {
        let home = self.shared().home();
        let measured = self.device.fairness.is_measured(home);
        self.stamp
            .set(if measured { self.device.clock.now() } else { 0 });
    }

    /// Whether the time of what runs here is booked.
    #[inline]
    pub(crate) fn is_measured(&self) -> bool {
        self.stamp.get() != 0
    }

    /// Books the time until now to the process whose kernels ran here.
    pub(crate) fn charge(&self, core: &Core) {
        let since = self.stamp.get();
        self.begin_charge();
        if since == 0 || self.stamp.get() == 0 {
            return;
        }
        if let Some(process) = core.process.borrow().as_ref() {
            let time = self.stamp.get().saturating_sub(since);
            self.device.fairness.book(process, time);
        }
    }

    /// CPU time that the kernel which is interrupted has used since its last safe point. For the signal handler.
    #[cfg(not(dpa_sanitize))]
    pub(crate) fn spun(&self) -> u64 {
        let shared = self.shared();
        let count = shared.safe_points.load(Ordering::Relaxed);
        let since = shared
            .carried
            .of(count)
            .or_else(|| shared.stretch.of(count));
        // Of one that began behind the last look nothing is known.
        since.map_or(0, |since| own_cpu_time().saturating_sub(since))
    }

    /// A thread that let others run: it rests, or stands in the queue of those that can go on.
    pub(crate) fn let_rest(&self, unit: Suspended) {
        if self.shared().background.load(Ordering::Relaxed) {
            self.shared().rest(unit);
        } else if unit.core().process().is_over_share() {
            self.shared().rest(unit);
            self.device.notify();
        } else {
            self.device.make_runnable(unit);
        }
    }

    /// Gives its spare stacks back, at the end.
    pub(crate) fn let_go(&self) {
        drop(self.spares.take());
    }

    /// A unit to take up the pending work, or ranks claimed before. If there is no stack for it, its process becomes fatal.
    pub(crate) fn fresh_unit(&self) -> Option<Box<Unit>> {
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
                tell(|| tracing::error!(target: "doca_dpa", %error, "no kernel stack"));
                self.fail_for_lack_of(error);
                None
            }
        }
    }

    /// Enters a unit's stack; what to enter next at once, if the unit could not wait.
    pub(crate) fn enter(&self, mut unit: Box<Unit>) -> Option<Box<Unit>> {
        if unit.core().running.borrow().is_some() {
            self.has_work();
        }
        unit.core().note_turn(&self.device);
        self.begin_charge();
        if let Some(process) = unit.core().process.borrow().as_ref() {
            self.note_share(process);
        }
        let resumed = unit.resume(self);
        self.charge(unit.core());
        self.safe_point();
        match resumed {
            Resumed::Suspended(request) => self.park(unit, request),
            Resumed::Returned(exit) => {
                match exit {
                    Exit::Abandoned(why) => {
                        self.abandoned(unit.core(), why);
                        self.leave_behind(*unit);
                    }
                    Exit::Done => self.keep_spare((*unit).into_spare()),
                }
                None
            }
        }
    }

    /// A unit whose thread is over, and whose stack cannot be used again.
    pub(crate) fn leave_behind(&self, unit: Unit) {
        let core = unit.leave_stack_behind();
        core.set_process(None, None);
    }

    pub(crate) fn keep_spare(&self, spare: Spare) {
        // A spare must not keep a process alive.
        spare.core.set_process(None, None);
        let mut spares = self.spares.take();
        if spares.len() < SPARES {
            spares.push(spare);
        }
        self.spares.set(spares);
    }

    /// Gives back what this worker holds for a moment.
    pub(crate) fn flush(&self) {
        if self.device.is_seeded() {
            self.book(None);
        }
        self.rest_chunk();
        if let Some(next) = self.next.take().filter(|next| next.unstart()) {
            self.device.sched.push(next);
        }
        if let Some(release) = self.release.take() {
            let after = self.device.sched.release(release);
            self.follow([after], None);
        }
        self.pay_owed();
    }

    /// Whether this stack is to be left although there may be work: suspended threads wait for the worker, or each
    /// choice is the driver's.
    pub(crate) fn must_leave_stack(&self) -> bool {
        self.device.is_seeded()
            || self.shared().waiting.load(Ordering::Relaxed) > 0
            || self.leaves_background()
            || self.device.is_stopping()
    }

    /// Whether it does something in the background, and is to see whether it should go on: with a home, when that has called
    /// it back.
    fn leaves_background(&self) -> bool {
        let shared = self.shared();
        shared.background.load(Ordering::Relaxed)
            && (shared.home().is_none() || shared.is_recalled())
    }

    // ---- called by the port, for a running kernel ----

    /// Something was opened in the middle of a kernel.
    pub(crate) fn opened_midway(&self) {
        self.opened.set(true);
    }

    /// A device call ends: what it opened is in this worker's queue or the scheduler's. A worker that looks will find
    /// it; a parked one is woken only at the next call (rule 3).
    pub(crate) fn call_over(&self, core: &Core) {
        if !self.tally.borrow().is_empty() {
            self.book(Some(core.switch()));
        }
        if self.opened.replace(false) {
            self.owed.set(true);
        } else {
            self.pay_owed();
        }
    }

    /// Books what has ended. What that has kept is let go of before.
    pub(crate) fn book(&self, off: Option<&Switch>) {
        let kept = self.tally.borrow_mut().take_keeping();
        if !kept.is_empty() {
            on_own_stack(off, || kept.iter().for_each(|launch| launch.release_kept()));
        }
        let ends = self.tally.borrow_mut().take(kept);
        if let Some(ends) = ends {
            ends.book(off);
        }
    }

    /// Reports the chunk if its ranks are used up; keeps it if there are more to run.
    fn rest_chunk(&self) {
        if self
            .chunk
            .borrow()
            .as_ref()
            .is_some_and(|chunk| !chunk.has_next())
            && let Some(chunk) = self.chunk.take()
        {
            self.end_chunk(chunk, None);
        }
    }

    /// Whether ranks that this worker has claimed wait to be run.
    pub(crate) fn has_ranks(&self) -> bool {
        self.chunk.borrow().as_ref().is_some_and(Chunk::has_next)
    }

    /// This worker ends something and will look for work right after it: what follows at once (the host's next launch, say)
    /// wakes nobody else.
    pub(crate) fn look_soon(&self) {
        if self.shared().background.load(Ordering::Relaxed) {
            // It is on the list of parked ones, and is woken if there is something.
            return;
        }
        self.shared().soon.say();
    }

    /// Whether this worker has said that it will look; it counts as looking now.
    pub(crate) fn takes_over_look(&self) -> bool {
        let soon = &self.shared().soon;
        let said = soon.is_said();
        if said {
            self.device.idle.mark_looking();
            soon.take_back(|| false);
        }
        said
    }

    /// It has found something to run.
    pub(crate) fn has_work(&self) {
        let more = || self.device.sees_more_than_ranks();
        if self.shared().soon.take_back(more) {
            self.device.notify();
        }
    }

    pub(crate) fn pay_owed(&self) {
        if self.owed.replace(false) {
            self.device.notify();
        }
    }

    #[inline]
    fn launches_wait(&self) -> bool {
        let sched = &self.device.sched;
        match self.shared().home() {
            Some(home) => !sched.lane_looks_empty(home),
            None => !sched.looks_empty(),
        }
    }

    /// Whether other threads wait for this worker.
    #[inline]
    pub(crate) fn others_wait(&self) -> bool {
        let shared = self.shared();
        shared.waiting.load(Ordering::Relaxed) > 0
            || self.launches_wait()
            || shared.background.load(Ordering::Relaxed) && shared.has_resting()
    }
}
