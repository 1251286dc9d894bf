//! At the bottom of a kernel stack: the scheduling loop, which takes up threads and runs them as plain calls.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use dpa_abi::UnitRef;
use sync_event::sync::Arc as ModelArc;

use crate::chunk::Chunk;
use crate::fiber::Switch;
use crate::launch::{Body, Launch};
use crate::process::Process;
use crate::sched::{Release, Work};
use crate::unit::{Core, Running};
use crate::worker::Worker;

/// The code at the bottom of every kernel stack.
pub(crate) fn on_stack(core: &Core, switch: &Switch) {
    core.set_switch(switch);
    while core.worker().take_up(core) {
        let mut result = run_kernel(core);
        while result.is_ok() && core.worker().goes_again(core) {
            result = run_kernel(core);
        }
        if let Err(payload) = &result {
            crate::ending::handle_panic(core, payload.as_ref());
        }
        core.worker().thread_over(core, result);
        if core.worker().must_leave_stack() {
            break;
        }
    }
}

pub(crate) type KernelResult = Result<u64, Box<dyn std::any::Any + Send>>;

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
    let (rank, threads) = match launch.handler() {
        Some(handler) => handler.place(),
        None => (rank, launch.threads),
    };
    // SAFETY: the core is what the functions of the port expect, and outlives the thread.
    let unit = unsafe {
        UnitRef::new(
            &crate::port::PORT,
            std::ptr::NonNull::from(core).cast(),
            rank,
            threads,
        )
    };
    let unit = unit.with_reads(core.reads.get());
    core.forget_unwinding();
    catch_unwind(AssertUnwindSafe(|| {
        let _in_kernel = InKernel::enter(core);
        match &launch.body {
            Body::Kernel(entry) => {
                (entry.run)(unit, &launch.args);
                0
            }
            Body::Rpc(entry) => (entry.run)(unit, &launch.args),
            Body::Queue => {
                if let Some(queue) = launch.queue() {
                    queue.work(core, unit);
                }
                0
            }
            Body::Step(_) => 0,
        }
    }))
}

/// Kernel code runs, until it returns or its last destructor has run: what catches its panic is no kernel code.
pub(crate) struct InKernel<'a>(&'a Core);

impl<'a> InKernel<'a> {
    pub(crate) fn enter(core: &'a Core) -> Self {
        core.enter_kernel();
        Self(core)
    }
}

impl Drop for InKernel<'_> {
    fn drop(&mut self) {
        self.0.leave_kernel();
    }
}

impl Worker {
    /// Whether the activation of a handler that has just ended is followed by the next at once: it was triggered meanwhile, and
    /// nothing else is ready. The next runs as the same launch, with the same unit.
    fn goes_again(&self, core: &Core) -> bool {
        let running = core.running.borrow();
        let Some(Running { launch, epoch, .. }) = running.as_ref() else {
            return false;
        };
        let Some(handler) = launch.handler() else {
            return false;
        };
        let may =
            !self.must_leave_stack() && self.passes_nothing_by() && !core.process().is_stopped();
        if !(may && self.next.go_on(|| handler.goes_again())) {
            return false;
        }
        core.leave_epoch(*epoch);
        drop(running);
        let epoch = core.enter_epoch(Some(core.switch()));
        if let Some(running) = core.running.borrow_mut().as_mut() {
            running.epoch = epoch;
        }
        core.calls.set(0);
        self.safe_point();
        true
    }

    /// Takes up the next thread to run on this stack; false if there is none.
    pub(crate) fn take_up(&self, core: &Core) -> bool {
        loop {
            let Some((launch, rank)) = self.claim(core) else {
                return false;
            };
            if matches!(launch.body, Body::Step(_)) {
                core.switch()
                    .on_parent_stack(|| self.run_step(core, &launch));
                // A row of steps takes as long as it likes, and none of them has a safe point.
                if self.must_leave_stack() {
                    return false;
                }
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

    pub(crate) fn begin_thread(&self, core: &Core, launch: ModelArc<Launch>, rank: u32) {
        debug_assert_eq!(launch.proc, core.process().number, "in its own process");
        self.has_work();
        if rank == 0 && launch.is_timed() {
            launch.set_start_time(self.device.clock.now());
        }
        let epoch = core.enter_epoch(Some(core.switch()));
        core.calls.set(0);
        core.interruptions.set(0);
        self.note_share(core.process());
        *core.running.borrow_mut() = Some(Running {
            launch,
            rank,
            epoch,
        });
        if let Some(choices) = self.device.choices() {
            core.note_turn(&self.device);
            core.reads.set(choices.reads_to_safe_point());
        }
        self.safe_point();
    }

    /// The next launch and rank: of the pending work, of the chunk of ranks this worker has claimed, of the direct
    /// hand-over, or from the scheduler.
    pub(crate) fn claim(&self, core: &Core) -> Option<(ModelArc<Launch>, u32)> {
        let pending = self.pending.take();
        if let Some(claimed) = pending.and_then(|work| self.accept(core, work)) {
            return Some(claimed);
        }
        if let Some(claimed) = self.claim_from_chunk(core) {
            return Some(claimed);
        }
        if let Some(next) = self.next.take() {
            // Its unit is the one that the launch before it had: it is not given back.
            self.keep_unit(next.proc);
            return Some((next, 0));
        }
        self.next.end_streak();
        loop {
            self.charge(core);
            let (held, off) = (core.process.borrow(), Some(core.switch()));
            let work = self.next_of(self.release.take(), held.as_ref(), off)?;
            drop(held);
            if let Some(claimed) = self.accept(core, work) {
                return Some(claimed);
            }
        }
    }

    /// The next rank of the launch this worker has claimed ranks of; more of them, if those are used up.
    fn claim_from_chunk(&self, core: &Core) -> Option<(ModelArc<Launch>, u32)> {
        if self.chunk.borrow().is_none() {
            return None;
        }
        let mut chunk = self.chunk.take()?;
        if !chunk.has_next() && !self.more_ranks(&mut chunk) {
            self.end_chunk(chunk, Some(core.switch()));
            return None;
        }
        let claimed = (chunk.launch.clone(), chunk.next()?);
        let held = core
            .process
            .borrow()
            .as_ref()
            .is_some_and(|held| Arc::ptr_eq(held, &chunk.process));
        if !held {
            self.go_on_with(core, chunk.process.clone());
        }
        self.chunk.replace(Some(chunk));
        Some(claimed)
    }

    /// Claims more ranks of the same launch. Under the seeded driver who runs them is the driver's choice.
    ///
    /// Ranks that are not of this worker's home are left to others when it is needed there.
    fn more_ranks(&self, chunk: &mut Chunk) -> bool {
        if self.device.is_seeded() || self.is_needed_at_home(&chunk.process) {
            return false;
        }
        let workers = self.device.worker_count() as u32;
        let (more, worth_waking) = chunk.claim_more(self.device.clock.now(), workers);
        if worth_waking {
            self.device.notify();
        }
        more
    }

    pub(crate) fn keep_unit(&self, proc: u32) {
        debug_assert!(self.release_is_of(proc), "it has the unit of another");
        match self.release.take() {
            Some(Release {
                units: 1, steps: 0, ..
            }) => {}
            Some(release) => self.release.set(Some(Release {
                units: release.units - 1,
                ..release
            })),
            None => {}
        }
    }

    /// Goes on with another process. What has ended is booked before, for what comes next may run for long without a safe point:
    /// that is not to delay another process. The time it takes is that of the process that it is booked for.
    fn go_on_with(&self, core: &Core, process: Arc<Process>) {
        if !self.tally.borrow().is_empty() {
            self.book(Some(core.switch()));
            self.charge(core);
        }
        core.set_process(Some(process), Some(core.switch()));
    }

    /// Claims ranks of the work's launch.
    pub(crate) fn accept(
        &self,
        core: &Core,
        work: Work<Process>,
    ) -> Option<(ModelArc<Launch>, u32)> {
        if let Some(process) = work.process {
            self.go_on_with(core, process);
        }
        if work.launch.gang().is_none() {
            return Some((work.launch, 0));
        }
        let process = core.process.borrow();
        let now = self.device.clock.now();
        let mut chunk = Chunk::first(
            &work.launch,
            process.as_ref().expect("set with the work"),
            now,
        )?;
        let rank = chunk.next()?;
        if let Some(other) = self.chunk.replace(Some(chunk)) {
            debug_assert!(!other.has_next(), "ranks that nobody would run");
            drop(process);
            self.end_chunk(other, Some(core.switch()));
        }
        // Others may run its other threads: a parked worker is woken for them at the first safe point, if it gets there.
        self.owed.set(true);
        Some((work.launch, rank))
    }
}
