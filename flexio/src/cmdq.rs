//! Command queues: many small jobs, run by few workers.

use std::sync::Arc;

use dpa_abi::pod::Bytes;
use dpa_abi::{KernelEntry, Pod};

use crate::backend::{self, Job};
use crate::process::ProcessRef;

pub use crate::backend::{JOB_BYTES, QueueError, QueueSpec};

/// A command queue. Jobs that were added are run even if it is dropped.
#[doc(alias = "flexio_cmdq")]
#[derive(Clone, Debug)]
pub struct CommandQueue {
    process: ProcessRef,
    queue: Arc<backend::CommandQueue>,
}

impl ProcessRef {
    /// A command queue, which runs nothing before [`CommandQueue::run`].
    ///
    /// # Errors
    /// A figure out of its range; the process is stopped.
    #[doc(alias = "flexio_cmdq_create")]
    pub fn command_queue(&self, spec: QueueSpec) -> Result<CommandQueue, QueueError> {
        Ok(CommandQueue {
            process: self.clone(),
            queue: self.raw().command_queue(spec)?,
        })
    }
}

impl CommandQueue {
    /// Its process.
    pub fn process(&self) -> &ProcessRef {
        &self.process
    }

    /// Its figures.
    pub fn spec(&self) -> &QueueSpec {
        self.queue.spec()
    }

    /// Adds a job: this kernel, one thread, with these arguments, at most [`JOB_BYTES`] bytes.
    ///
    /// # Errors
    /// The arguments are not as long as the kernel's; the queue is full; the process is stopped.
    #[doc(alias = "flexio_cmdq_task_add")]
    pub fn add<A: Pod>(&self, entry: &'static KernelEntry, args: A) -> Result<(), QueueError> {
        const {
            assert!(
                A::SIZE <= JOB_BYTES,
                "a job has room for 32 bytes of arguments"
            );
        };
        let (given, takes) = (A::SIZE, entry.arg_bytes);
        if given != takes {
            return Err(QueueError::Arguments { given, takes });
        }
        let mut bytes = [0; JOB_BYTES];
        args.store(&mut Bytes(&mut bytes[..]), 0);
        let job = Job::new(entry, &bytes[..A::SIZE]);
        job.map_or(Ok(()), |job| self.process.raw().add_job(&self.queue, job))
    }

    /// Runs jobs from now on. There is no way back.
    #[doc(alias = "flexio_cmdq_state_running")]
    pub fn run(&self) {
        self.process.raw().run_queue(&self.queue);
    }

    /// Whether jobs are run.
    pub fn is_running(&self) -> bool {
        self.queue.is_running()
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
    /// # Cancel safety
    /// Nothing is lost or left behind when the future is dropped.
    ///
    /// # Errors
    /// The process is stopped: some never will be.
    pub async fn idle(&self) -> Result<(), QueueError> {
        self.queue.idle(self.process.raw()).await
    }
}
