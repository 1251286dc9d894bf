//! Command queues: many small jobs, run by few workers.
//!
//! A worker is a launch of one thread that takes jobs one after the other, at most a batch, and calls each kernel as a plain
//! function. Then it goes to the end of the line if there are more, and ends if there are none. Rules:
//!
//! 1. What is added is in the queue before it is decided, under the same lock, whether a worker must be started for it; a
//!    worker ends under that lock, having found nothing. So no job waits without a worker.
//! 2. A job is plain bytes: nothing of it is dropped on a kernel's stack.
//!    A job that ends itself, by unwinding, ends its worker: it is done when its last destructor has run.
//! 3. A worker looks for its next job outside of kernel code, so it is neither interrupted nor reset while it holds the lock. Each
//!    job begins with a safe point: a batch is no kernel that runs long, however many short jobs it has.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Waker;

use dpa_abi::UnitRef;
use dpa_abi::kernel::KernelEntry;
use parking_lot::Mutex;
use thiserror::Error;

use crate::launch::{ArgBytes, Body, Extra, Launch, Parts};
use crate::process::Process;
use crate::unit::Core;
use crate::wakers::{Awaited, Until, Wakers};

/// Bytes of arguments that a job has room for.
pub const JOB_BYTES: usize = 32;

/// One job.
#[derive(Clone, Copy, Debug)]
pub struct Job {
    entry: &'static KernelEntry,
    args: [u8; JOB_BYTES],
}

impl Job {
    /// This kernel, with these packed arguments. `None`: they are too long.
    pub fn new(entry: &'static KernelEntry, args: &[u8]) -> Option<Self> {
        let mut bytes = [0; JOB_BYTES];
        bytes.get_mut(..args.len())?.copy_from_slice(args);
        Some(Self { entry, args: bytes })
    }
}

/// What a command queue is made with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueSpec {
    /// Workers at a time.
    pub workers: u32,
    /// Jobs that a worker runs before it goes to the end of the line.
    pub batch: u32,
    /// Jobs that may wait.
    pub capacity: usize,
}

/// Why a command queue was not made, or took no job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum QueueError {
    /// A figure is out of its range.
    #[error("command queue: {what} is {asked}, allowed are 1 to {max}")]
    Range {
        /// Which figure.
        what: &'static str,
        /// What was asked for.
        asked: u64,
        /// The most it may be.
        max: u64,
    },
    /// As many jobs wait as may.
    #[error("the command queue is full: {limit} jobs wait")]
    Full {
        /// How many may wait.
        limit: usize,
    },
    /// The arguments are not as many bytes as the kernel takes.
    #[error("{given} bytes of arguments were given, the kernel takes {takes}")]
    Arguments {
        /// How many were given.
        given: usize,
        /// How many it takes.
        takes: usize,
    },
    /// The process is fatal or closed.
    #[error("the process is stopped")]
    Stopped,
}

#[derive(Debug, Default)]
struct State {
    jobs: VecDeque<Job>,
    active: u32,
    running: bool,
    done: u64,
    wakers: Wakers,
}

impl State {
    fn is_idle(&self) -> bool {
        self.jobs.is_empty() && self.active == 0
    }
}

/// A command queue.
#[derive(Debug)]
pub struct CommandQueue {
    spec: QueueSpec,
    state: Mutex<State>,
}

impl CommandQueue {
    /// Its figures.
    pub fn spec(&self) -> &QueueSpec {
        &self.spec
    }

    /// Whether everything that was added is done.
    pub fn is_empty(&self) -> bool {
        self.state.lock().is_idle()
    }

    /// Whether jobs are run.
    pub fn is_running(&self) -> bool {
        self.state.lock().running
    }

    /// Jobs that are done.
    pub fn done(&self) -> u64 {
        self.state.lock().done
    }

    /// Until everything that was added is done, or never will be.
    ///
    /// # Errors
    /// The process is stopped.
    pub async fn idle(&self, process: &Process) -> Result<(), QueueError> {
        let queue = self;
        let mut idle = Until::new(Idle { queue, process });
        // A stop ends it, too, also where nothing runs that would tell.
        let mut stopped = process.stopped();
        poll_fn(|cx| {
            let idle = Pin::new(&mut idle).poll(cx);
            idle.is_pending()
                .then(|| Pin::new(&mut stopped).poll(cx))
                .map_or(idle, |stopped| stopped.map(|()| Err(QueueError::Stopped)))
        })
        .await
    }

    /// Runs jobs as one worker, on a kernel's stack, in kernel code (rule 3).
    pub(crate) fn work(&self, core: &Core, unit: UnitRef<'_>) {
        let mut ran = 0;
        while let Some(job) = self.next_for(core, ran) {
            core.job.set(Some(job.entry));
            let unit = unit.with_reads(unit.out_of_reads());
            (job.entry.run)(unit, &job.args[..job.entry.arg_bytes]);
            ran += 1;
        }
    }

    fn next_for(&self, core: &Core, ran: u32) -> Option<Job> {
        core.leave_kernel();
        let job = self.next(ran);
        core.enter_kernel();
        job
    }

    /// The next job of a worker that has run so many. The one before it is done.
    fn next(&self, ran: u32) -> Option<Job> {
        let mut state = self.state.lock();
        state.done += u64::from(ran > 0);
        match ran < self.spec.batch {
            true => state.jobs.pop_front(),
            false => None,
        }
    }

    /// The job that a worker ran has ended itself, and the worker with it.
    pub(crate) fn job_left(&self) {
        self.state.lock().done += 1;
    }

    fn wake(&self) {
        let woken = self.state.lock().wakers.take();
        woken.wake();
    }
}

/// A queue of a process that has nothing to do.
struct Idle<'q> {
    queue: &'q CommandQueue,
    process: &'q Process,
}

impl Awaited for Idle<'_> {
    type Output = Result<(), QueueError>;

    fn look(&self) -> Option<Result<(), QueueError>> {
        match self.process.is_stopped() {
            true => Some(Err(QueueError::Stopped)),
            false => self.queue.is_empty().then_some(Ok(())),
        }
    }

    fn wait(&self, number: &mut Option<u64>, waker: Waker) -> Option<Waker> {
        self.queue.state.lock().wakers.wait(number, waker)
    }

    fn leave(&self, number: u64) -> Option<Waker> {
        self.queue.state.lock().wakers.leave(number)
    }
}

impl Process {
    /// A command queue, which runs nothing yet.
    ///
    /// # Errors
    /// A figure out of its range; the process is stopped.
    pub fn command_queue(&self, spec: QueueSpec) -> Result<Arc<CommandQueue>, QueueError> {
        let units = self.units();
        range("workers", spec.workers.into(), units.into())?;
        range("batch", spec.batch.into(), u64::from(u32::MAX))?;
        range("capacity", spec.capacity as u64, 1 << 32)?;
        if self.is_stopped() {
            return Err(QueueError::Stopped);
        }
        let queue = CommandQueue {
            spec,
            state: Mutex::default(),
        };
        Ok(Arc::new(queue))
    }

    /// Adds a job.
    ///
    /// # Errors
    /// The queue is full; the process is stopped.
    pub fn add_job(
        self: &Arc<Self>,
        queue: &Arc<CommandQueue>,
        job: Job,
    ) -> Result<(), QueueError> {
        if self.is_stopped() || self.closing.load(std::sync::atomic::Ordering::Acquire) {
            return Err(QueueError::Stopped);
        }
        let mut state = queue.state.lock();
        let limit = queue.spec.capacity;
        if state.jobs.len() >= limit {
            return Err(QueueError::Full { limit });
        }
        state.jobs.push_back(job);
        let start = state.running && state.active < queue.spec.workers;
        state.active += u32::from(start);
        drop(state);
        if start {
            self.start_worker(queue);
        }
        Ok(())
    }

    /// Runs jobs from now on. There is no way back.
    pub fn run_queue(self: &Arc<Self>, queue: &Arc<CommandQueue>) {
        let mut state = queue.state.lock();
        state.running = true;
        let wanted = (state.jobs.len() as u64).min(queue.spec.workers.into()) as u32;
        let more = wanted.saturating_sub(state.active);
        state.active += more;
        drop(state);
        (0..more).for_each(|_| self.start_worker(queue));
    }

    fn start_worker(self: &Arc<Self>, queue: &Arc<CommandQueue>) {
        let parts = Parts {
            body: Body::Queue,
            args: ArgBytes::new(),
            threads: 1,
            proc: self.number,
            seq: self.device.next_seq(),
            then: None,
            keep: None,
        };
        let extra = Extra {
            queue: Some(queue.clone()),
            ..Extra::default()
        };
        self.start_internal(parts, extra);
    }

    /// A worker of a queue has ended.
    pub(crate) fn worker_ended(self: &Arc<Self>, queue: &Arc<CommandQueue>) {
        let mut state = queue.state.lock();
        if self.is_stopped() {
            state.jobs.clear();
        }
        let again = !state.jobs.is_empty();
        state.active -= u32::from(!again);
        let idle = state.is_idle();
        drop(state);
        if again {
            self.start_worker(queue);
        }
        if idle {
            queue.wake();
        }
    }

    /// Starts a launch that belongs to something of this process, beside the limit of its queue.
    pub(crate) fn start_internal(self: &Arc<Self>, parts: Parts, extra: Extra) {
        self.unfinished.take_beside();
        let launch = Launch::new(parts, Some(Box::new(extra)));
        let launch = self.device.pool.fill(launch);
        launch.unwatch();
        self.make_ready(launch.clone());
        self.device.notify();
        // A stop that came meanwhile may have looked through the queues before this launch was there.
        if self.is_stopped() {
            self.take_back(&launch, self.stop_outcome());
        }
    }
}

fn range(what: &'static str, asked: u64, max: u64) -> Result<(), QueueError> {
    match (1..=max).contains(&asked) {
        true => Ok(()),
        false => Err(QueueError::Range { what, asked, max }),
    }
}

#[cfg(test)]
mod tests;
