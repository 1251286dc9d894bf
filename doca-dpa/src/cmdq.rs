//! Command queues: many small jobs, run by few workers.

use dpa_abi::kernel::KeptOf;
use dpa_abi::{IntoArgs, Kernel};
use flexio::cmdq::{QueueError, QueueSpec};
use thiserror::Error;

use crate::args;
use crate::dpa::Dpa;

/// A command queue was not opened, or took no job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum CommandError {
    /// The queue refuses.
    #[error(transparent)]
    Queue(#[from] QueueError),
    /// Something among the job's arguments belongs to another context.
    #[error("the job `{kernel}` was given something of another context")]
    Foreign {
        /// Its kernel.
        kernel: &'static str,
    },
}

/// A command queue to be opened.
#[derive(Debug)]
#[must_use = "a builder opens nothing until `open`"]
pub struct CommandQueueBuilder<'d> {
    dpa: &'d Dpa,
    spec: QueueSpec,
}

impl Dpa {
    /// To open a command queue: jobs of plain arguments, each one thread, run by a few workers.
    pub fn command_queue(&self) -> CommandQueueBuilder<'_> {
        CommandQueueBuilder {
            dpa: self,
            spec: QueueSpec {
                workers: 1,
                batch: 16,
                capacity: 1 << 20,
            },
        }
    }
}

impl CommandQueueBuilder<'_> {
    /// Workers, each of which takes an execution unit while it has jobs. Default 1.
    pub fn workers(mut self, workers: u32) -> Self {
        self.spec.workers = workers;
        self
    }

    /// Jobs that a worker runs before it gives others their turn. Default 16.
    pub fn batch(mut self, jobs: u32) -> Self {
        self.spec.batch = jobs;
        self
    }

    /// Jobs that may wait. Default 2^20.
    pub fn capacity(mut self, jobs: usize) -> Self {
        self.spec.capacity = jobs;
        self
    }

    /// Opens it. Jobs wait until [`CommandQueue::run`].
    ///
    /// # Errors
    /// A figure out of its range; the context is closed or faulted.
    #[doc(alias = "flexio_cmdq_create")]
    pub fn open(self) -> Result<CommandQueue, CommandError> {
        let queue = self.dpa.process().command_queue(self.spec)?;
        Ok(CommandQueue { queue })
    }
}

/// A command queue. Clones are the same queue; jobs that were added are run even if the last is dropped.
#[doc(alias = "flexio_cmdq")]
#[derive(Clone, Debug)]
pub struct CommandQueue {
    queue: flexio::CommandQueue,
}

impl CommandQueue {
    /// Adds a job. Its arguments are plain, at most 32 bytes: a job keeps nothing alive, so what its addresses refer to must
    /// outlive it (an address that means nothing any more is a fault, never another object's memory).
    ///
    /// # Errors
    /// The queue is full; something of another context; the context is closed or faulted.
    #[doc(alias = "flexio_cmdq_task_add")]
    pub fn add<K: Kernel, A: IntoArgs<K::Args>>(
        &self,
        kernel: K,
        args: A,
    ) -> Result<(), CommandError> {
        const {
            assert!(
                size_of::<KeptOf<A, K::Args>>() == 0,
                "the arguments of a job are plain"
            );
        };
        let process = self.queue.process();
        let ((wire, _), foreign) = args::pack(process, || args.into_args());
        let kernel = kernel.entry();
        if foreign {
            return Err(CommandError::Foreign {
                kernel: kernel.name,
            });
        }
        Ok(self.queue.add(kernel, wire)?)
    }

    /// Runs jobs from now on. There is no way back.
    #[doc(alias = "flexio_cmdq_state_running")]
    pub fn run(&self) {
        self.queue.run();
    }

    /// Whether everything that was added is done.
    #[doc(alias = "flexio_cmdq_is_empty")]
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Jobs that are done.
    pub fn done(&self) -> u64 {
        self.queue.done()
    }

    /// Waits until everything that was added is done.
    ///
    /// Cancel safety: nothing is lost.
    ///
    /// # Errors
    /// The context is closed or faulted: some never will be.
    pub async fn idle(&self) -> Result<(), CommandError> {
        Ok(self.queue.idle().await?)
    }
}
