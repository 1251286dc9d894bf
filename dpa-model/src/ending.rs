//! How a thread ends, and with its last thread a launch.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use dpa_abi::FaultKind;
use sync_event::Reached;
use sync_event::sync::Arc as ModelArc;

use crate::chunk::Chunk;
use crate::crash::stack::StackCopy;
use crate::fault::{self, Fault};
use crate::fiber::Switch;
use crate::foreign::{discard, on_own_stack};
use crate::gate::Gate;
use crate::launch::{Body, Launch, Outcome};
use crate::process::Process;
use crate::sched::{After, Release, Work};
use crate::stack::StackError;
use crate::taking::KernelResult;
use crate::tally::Added;
use crate::trap::Trapped;
use crate::unit::{Core, PanicNote, Running, Wake};
use crate::worker::{Leave, Stop, Worker};

/// How far a completion update has come.
enum Updated {
    /// It is made, or there is none to make.
    Done(Outcome),
    /// It is made, and may have opened something.
    Reached(u32, Reached),
    /// It is made, and with this value opens this gate.
    Opened(Gate, u64),
}

/// A thread was unwound; still on its stack. If it was by a panic, the error handler of its process runs.
#[cold]
pub(crate) fn handle_panic(core: &Core, payload: &(dyn std::any::Any + Send)) {
    if !payload.is::<Stop>() && !payload.is::<Leave>() {
        let cause = || core.with_note(|note| core.fault(FaultKind::Panic).told(note));
        crate::port::handler::handle_error(core, cause);
    }
}

/// A kernel may have lost its stack while the standard library formatted what it panics with. For that, its OS thread is in the
/// panic hook still, and the next panic of anybody there would abort the program. One that is caught ends it; else it changes nothing.
#[cold]
#[inline(never)]
fn leave_panic_hook() {
    if std::thread::panicking() {
        let _caught = catch_unwind(|| resume_unwind(Box::new(())));
    }
}

impl Worker {
    /// The stack was reset under a kernel: its process becomes fatal, its thread is over.
    pub(crate) fn abandoned(&self, core: &Core, why: Trapped) {
        let panicked = core.unwinding() && core.still_unwinds();
        let note = core.take_note().filter(|_| panicked);
        self.no_code_left(core);
        let config = &self.device.config;
        let kind = match why {
            // That came first: it was being unwound.
            _ if note.is_some() => FaultKind::Panic,
            Trapped::Panic => FaultKind::Panic,
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
        let stray = matches!(why, Trapped::Native(_));
        let trap = core
            .trap
            .take()
            .filter(|_| core.process().crash.wants_core());
        let stack = trap.map(|trap| StackCopy::trapped(core, trap, stray));
        // One whose process is over only came, on its way out, to a function that it cannot leave.
        let is_stop = matches!(why, Trapped::Panic) && core.process().is_stopped();
        if !is_stop {
            self.fail_running(core, kind, note, stack);
        }
        self.end_thread(core, None, None);
    }

    /// The stack of a thread was left for good, with its code.
    fn no_code_left(&self, core: &Core) {
        core.leave_kernel();
        leave_panic_hook();
        core.handling.set(false);
        core.set_unwinding(false);
        core.uncatchable.set(false);
        if core.has_error_handler.take() {
            core.process().error_handler_ran(None);
        }
    }

    /// A thread has left its stack for good: it was being unwound and did something wrong once more, or its process is over and it
    /// spins. A process that goes on is fatal then: its thread has not ended as it should have.
    pub(crate) fn left_for_good(&self, core: &Core) {
        self.no_code_left(core);
        let note = core.take_note();
        if !core.process().is_stopped() {
            // Without a panic: it was ending itself, and a destructor did so once more.
            let mut note = note.unwrap_or_else(PanicNote::left_again);
            let stack = note.stack.take();
            self.fail_running(core, FaultKind::Panic, Some(note), stack);
        }
        self.end_thread(core, None, None);
    }

    /// A thread has returned or was unwound. Still on its stack, which is empty but for the loop.
    pub(crate) fn thread_over(&self, core: &Core, result: KernelResult) {
        match result {
            Ok(value) => self.end_thread(core, Some(value), Some(core.switch())),
            Err(payload) => core
                .switch()
                .on_parent_stack(|| self.unwound(core, payload)),
        }
    }

    #[cold]
    pub(crate) fn unwound(&self, core: &Core, payload: Box<dyn std::any::Any + Send>) {
        core.set_unwinding(false);
        if !payload.is::<Stop>() && !payload.is::<Leave>() {
            let mut note = core.take_note();
            let stack = note.as_mut().and_then(|note| note.stack.take());
            self.fail_running(core, FaultKind::Panic, note, stack);
        } else if payload.is::<Leave>() {
            self.job_left(core);
        }
        discard(payload);
        self.end_thread(core, None, None);
    }

    /// A thread has ended itself; if it was a job of a command queue, that is done.
    fn job_left(&self, core: &Core) {
        let running = core.running.borrow();
        let queue = running.as_ref().and_then(|running| running.launch.queue());
        if let Some(queue) = queue {
            queue.job_left();
        }
    }

    pub(crate) fn fail_running(
        &self,
        core: &Core,
        kind: FaultKind,
        note: Option<crate::unit::PanicNote>,
        stack: Option<StackCopy>,
    ) {
        let process = core
            .process
            .borrow()
            .clone()
            .expect("a running thread has one");
        process.fail_on(stack, core.fault(kind).told(note.as_ref()));
    }

    /// There is no stack for the pending work, or else for the ranks claimed before: its process becomes fatal, and what was to
    /// run is over.
    #[cold]
    pub(crate) fn fail_for_lack_of(&self, error: StackError) {
        let kind = match error {
            StackError::Exhausted { limit } => {
                let limit = limit as u64;
                FaultKind::NoStack { limit }
            }
            StackError::Refused { errno, .. } => FaultKind::StackRefused { errno },
        };
        match self.pending.take() {
            Some(work) => self.fail_work(work, kind),
            None => self.fail_chunk(kind),
        }
    }

    /// Ranks that nobody runs any more, neither those of this chunk nor those that nobody has claimed, count as ended. Those that
    /// wait on stacks of their own end as threads of a stopped process do.
    fn fail_chunk(&self, kind: FaultKind) {
        let Some(mut chunk) = self.chunk.take() else {
            return;
        };
        let (launch, rank) = (chunk.launch.clone(), chunk.next_rank());
        let fault = Fault::of(kind, launch.body.name(), launch.seq, rank);
        chunk.process.fail(fault);
        self.give_back(Release::units(launch.proc, chunk.lose_rest()), None);
        self.end_chunk(chunk, None);
    }

    fn fail_work(&self, work: Work<Process>, kind: FaultKind) {
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
        process.fail(Fault::of(kind, work.launch.body.name(), work.launch.seq, 0));
        let lost = match work.launch.gang() {
            Some(gang) => gang
                .claim(work.launch.threads, work.launch.threads)
                .map_or(0, |(first, end)| end - first),
            None => 1,
        };
        let last = work
            .launch
            .gang()
            .is_none_or(|gang| lost > 0 && gang.returned(lost));
        let lost = match work.launch.body {
            Body::Step(_) => Release::step(work.launch.proc),
            _ => Release::units(work.launch.proc, lost),
        };
        self.give_back(lost, None);
        if last {
            process.ended(&work.launch, Outcome::Faulted);
        }
    }

    /// Books the end of a thread; the last one of a launch completes it.
    pub(crate) fn end_thread(&self, core: &Core, value: Option<u64>, off: Option<&Switch>) {
        let Some(Running { launch, epoch, .. }) = core.running.borrow_mut().take() else {
            return;
        };
        core.memory_of_thread_over();
        core.leave_epoch(epoch);
        self.give_back(Release::units(launch.proc, 1), off);
        if self.counted_in_chunk(&launch) {
            return;
        }
        {
            let process = core.process.borrow();
            let process = process.as_ref().expect("a running thread has one");
            match launch.gang().is_none_or(|gang| gang.returned(1)) {
                true => self.complete(process, &launch, value, off),
                false => self.leave_meeting(process, &launch, off),
            }
        }
        if !self.device.is_seeded() && off.is_some() && launch.is_plain() {
            self.tally.borrow_mut().keep(launch);
        }
    }

    /// Whether the end of a thread is counted with the chunk its launch's ranks are run in.
    fn counted_in_chunk(&self, launch: &ModelArc<Launch>) -> bool {
        let mut chunk = self.chunk.borrow_mut();
        chunk.as_mut().is_some_and(|chunk| chunk.count_end(launch))
    }

    /// Reports what a chunk has counted; the last threads of a launch complete it.
    pub(crate) fn end_chunk(&self, mut chunk: Chunk, off: Option<&Switch>) {
        match chunk.report() {
            Some(true) => self.complete(&chunk.process, &chunk.launch, None, off),
            Some(false) => self.leave_meeting(&chunk.process, &chunk.launch, off),
            None => {}
        }
    }

    /// Threads of a launch have returned, and others have not: those that wait for them are told.
    fn leave_meeting(&self, process: &Arc<Process>, launch: &Launch, off: Option<&Switch>) {
        let missed = launch.gang().map(|gang| gang.meeting.leave());
        let Some(missed) = missed.filter(|units| !units.is_empty()) else {
            return;
        };
        on_own_stack(off, || {
            for unit in missed {
                // Who stops the process meanwhile does not find it here.
                if process.is_stopped() {
                    process.crash.saw_blocked(unit.core());
                }
                process.wake_unit(unit, Wake::Missed);
            }
            self.device.notify();
        });
    }

    pub(crate) fn give_back(&self, back: Release, off: Option<&Switch>) {
        let release = match self.release.take() {
            Some(release) if release.proc == back.proc => Release {
                units: release.units + back.units,
                steps: release.steps + back.steps,
                ..back
            },
            other => {
                if let Some(release) = other {
                    let after = self.device.sched.release(release);
                    self.follow([after], off);
                }
                back
            }
        };
        self.release.set(Some(release));
    }

    /// Does what follows when units were given back or work was looked for. `off`: the caller is on the stack of a kernel.
    pub(crate) fn follow(
        &self,
        after: impl IntoIterator<Item = After<Process>>,
        off: Option<&Switch>,
    ) {
        let some = after.into_iter().filter(|after| !after.is_nothing());
        some.for_each(|after| on_own_stack(off, || after.follow()));
    }

    /// All threads have returned: the completion update, then the launch's own end (SEMANTICS 2.5).
    ///
    /// Wakers and destructors are foreign code and run on the worker's own stack: by `off`, where the caller is at the
    /// bottom of a kernel's. A plain launch has none.
    pub(crate) fn complete(
        &self,
        process: &Arc<Process>,
        launch: &ModelArc<Launch>,
        value: Option<u64>,
        off: Option<&Switch>,
    ) {
        if let (Body::Rpc(_), Some(value)) = (&launch.body, value) {
            launch.set_start_time(value);
        }
        if launch.is_timed() {
            launch.set_end_time(self.device.clock.now());
        }
        let update = if process.is_stopped() || process.fault().is_some() {
            Updated::Done(process.stop_outcome())
        } else {
            self.begin_update(process, launch, off)
        };
        if matches!(update, Updated::Done(_)) && self.next.is_free() {
            self.look_soon();
        }
        match (off, update) {
            (Some(_), Updated::Done(outcome)) if self.ends_plainly(launch) => {
                self.settle_plain(process, launch, outcome, off);
            }
            (off, update) => on_own_stack(off, || self.settle(process, launch, update)),
        }
    }

    /// The part of the completion update that runs nobody else's code.
    ///
    /// Where it opens one plain launch and nothing else, as in most chains, that is handed over at once if the caller is on the
    /// stack of a kernel.
    fn begin_update(
        &self,
        process: &Arc<Process>,
        launch: &Launch,
        off: Option<&Switch>,
    ) -> Updated {
        let Some((index, update)) = launch.then() else {
            return Updated::Done(Outcome::Completed);
        };
        let event = process.events.event(index);
        process.note_update(index, update, event);
        let reached = match event.try_update_fast(update) {
            Ok(_) => return Updated::Done(Outcome::Completed),
            Err(reached) if off.is_some() => reached,
            Err(reached) => return Updated::Reached(index, reached),
        };
        let value = reached.value();
        match event.take_gate(reached) {
            Ok(Gate::Launch(next)) if next.is_plain() => {
                process.note_opens(&next, value);
                if self.hand_over(process, next, off) {
                    self.device.notify();
                }
                Updated::Done(Outcome::Completed)
            }
            Ok(gate) => Updated::Opened(gate, value),
            Err(reached) => Updated::Reached(index, reached),
        }
    }

    fn finish_update(&self, process: &Arc<Process>, index: u32, reached: Reached) -> Outcome {
        let mut pushed = false;
        let result = process
            .events
            .slot(index)
            .event
            .finish_update(reached, |gate, value| {
                pushed |= self.open_gate(process, gate, value);
            });
        if pushed {
            self.device.notify();
        }
        if result.is_ok() {
            Outcome::Completed
        } else {
            Outcome::CompletedButEventClosed
        }
    }

    /// Opens a gate; true if what waited behind it went to a queue.
    fn open_gate(&self, process: &Arc<Process>, gate: Gate, value: u64) -> bool {
        process.note_opened(&gate, value);
        match gate {
            Gate::Launch(next) => self.hand_over(process, next, None),
            Gate::Unit(unit) => {
                process.wake_unit(unit, Wake::Value(value));
                true
            }
            Gate::Queue(queue) => {
                queue.open(self.device.clock.now(), true);
                true
            }
            Gate::Place(placed) => {
                placed.follow(process);
                false
            }
        }
    }

    fn settle(&self, process: &Arc<Process>, launch: &ModelArc<Launch>, update: Updated) {
        let outcome = match update {
            Updated::Done(outcome) => outcome,
            Updated::Reached(index, reached) => self.finish_update(process, index, reached),
            Updated::Opened(gate, value) => {
                if self.open_gate(process, gate, value) {
                    self.device.notify();
                }
                Outcome::Completed
            }
        };
        if self.next.is_free() {
            self.look_soon();
        }
        if launch.is_plain() && !launch.watched() {
            self.settle_plain(process, launch, outcome, None);
        } else {
            process.ended(launch, outcome);
        }
    }

    /// Whether nobody watches a launch, and nothing follows its end but that what it keeps is let go of. Under the seeded
    /// driver that happens at once.
    fn ends_plainly(&self, launch: &Launch) -> bool {
        let at_once = self.device.is_seeded() && launch.keeps();
        !launch.watched() && launch.is_plain() && !at_once
    }

    /// The end of a launch that nobody watches and that nothing else follows: booked later, with others. `off`: the caller is at
    /// the bottom of a kernel's stack, and keeps the launch; what that keeps is let go of when it is booked.
    fn settle_plain(
        &self,
        process: &Arc<Process>,
        launch: &ModelArc<Launch>,
        outcome: Outcome,
        off: Option<&Switch>,
    ) {
        if launch.finish(outcome) {
            process.note_settled(launch, outcome);
            let keeps = off.is_some() && launch.keeps();
            if !keeps {
                launch.release_kept();
            }
            self.count_end(process, launch, keeps, off);
        }
    }

    /// Counts an end that is booked later, with others.
    fn count_end(
        &self,
        process: &Arc<Process>,
        launch: &ModelArc<Launch>,
        keeps: bool,
        off: Option<&Switch>,
    ) {
        loop {
            // Nothing of the tally is held while others' code may run.
            let added = self.tally.borrow_mut().add(process, launch, keeps);
            match added {
                Added::Counted => return,
                Added::OfAnotherEvent { index, count } => {
                    return process.let_go_of_event(index, count, off);
                }
                Added::Full => self.book(off),
            }
        }
    }

    /// A launch that the end of another has opened (rule 1). True if it went to the queue.
    fn hand_over(
        &self,
        process: &Arc<Process>,
        launch: ModelArc<Launch>,
        off: Option<&Switch>,
    ) -> bool {
        let direct = launch.units() == 1
            && self.release_is_of(launch.proc)
            && self.passes_nothing_by()
            && self.shared().waiting.load(Ordering::Relaxed) == 0;
        let push = |launch| self.device.sched.push(launch);
        let queued = self.next.offer(launch, direct, push);
        if queued && process.is_stopped() {
            on_own_stack(off, || process.end_late());
        }
        queued
    }

    /// Whether what runs next here without the queue passes nothing by that is ready; nor ranks that this worker has claimed: those
    /// run before what is handed over, and may be of another process.
    pub(crate) fn passes_nothing_by(&self) -> bool {
        self.device.allows_hand_over(self.shared().home()) && self.chunk.borrow().is_none()
    }

    pub(crate) fn release_is_of(&self, proc: u32) -> bool {
        let release = self.release.take();
        self.release.set(release);
        release.is_some_and(|release| release.proc == proc && release.units > 0)
    }

    pub(crate) fn run_step(&self, core: &Core, launch: &ModelArc<Launch>) {
        // It may follow an end, and takes as long as it likes. It is no kernel that could make room.
        self.has_work();
        self.safe_point();
        self.shared().note_over(None);
        core.rest(None);
        if launch.watched() {
            launch.set_start_time(self.device.clock.now());
        }
        let process = core.process.borrow();
        let process = process.as_ref().expect("set with the work");
        if let Body::Step(step) = &launch.body {
            let work = match process.is_stopped() {
                true => None,
                false => step.work.lock().take(),
            };
            if let Some(Err(payload)) = work.map(|work| catch_unwind(AssertUnwindSafe(work))) {
                let mut fault = Fault::of(FaultKind::Panic, step.name, launch.seq, 0);
                fault.message = fault::message_of(&*payload);
                process.fail_on(None, fault);
                discard(payload);
            }
        }
        self.complete(process, launch, None, None);
        // Behind its update: what that opened is in its queue before nothing of the process seems to be under way.
        self.give_back(Release::step(launch.proc), None);
    }
}

#[cfg(test)]
mod tests;
