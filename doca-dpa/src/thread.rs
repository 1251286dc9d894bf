//! DPA threads: kernels that run from the top once for each event.

use std::fmt;
use std::sync::Arc;

use dpa_abi::{DevAddr, HandlerHandle, IntoArg, IntoArgs, Kernel, Pod};
use flexio::handler::{Affinity, AttachError};
use flexio::{EventHandler, EventHandlerBuilder, HandlerError, HandlerState, ProcessRef};
use thiserror::Error;

use crate::args;
use crate::buffer::{DeviceBuffer, Hold};
use crate::dpa::Dpa;
use crate::launch::boxed;
use crate::rdma::CompletionQueue;

/// Something was wrong with a DPA thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ThreadError {
    /// It could not be made or run.
    #[error(transparent)]
    Handler(#[from] HandlerError),
    /// It could not be attached.
    #[error(transparent)]
    Attach(#[from] AttachError),
    /// Something among its arguments, or its storage, belongs to another context.
    #[error("the thread `{kernel}` was given something of another context")]
    Foreign {
        /// Its kernel.
        kernel: &'static str,
    },
    /// A group has no threads, or one of them belongs to another context.
    #[error("a group needs threads, all of one context")]
    Group,
}

/// A DPA thread to be made.
#[doc(alias = "doca_dpa_thread")]
#[must_use = "a builder makes nothing until `start`"]
pub struct ThreadBuilder {
    handler: EventHandlerBuilder,
    process: ProcessRef,
    kernel: &'static str,
    foreign: bool,
    storage: Option<Hold>,
    affinity: Affinity,
}

impl fmt::Debug for ThreadBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ThreadBuilder")
            .field("kernel", &self.kernel)
            .finish_non_exhaustive()
    }
}

impl Dpa {
    /// To make a DPA thread: it runs this kernel with these arguments, from the top, once for each event, and holds no
    /// execution unit between. What the arguments refer to is kept alive as long as the thread.
    ///
    /// ```
    /// # mod kernels {
    /// use doca_dpa_dev::prelude::*;
    ///
    /// #[dpa_kernel]
    /// pub fn count(_thread: &Thread, total: DevEvent) {
    ///     total.add(1);
    /// }
    /// # }
    /// # use kernels::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use doca_dpa::{Dpa, SyncEvent};
    /// # let dpa = Dpa::open()?;
    /// let total = SyncEvent::device_to_host(&dpa)?;
    /// let thread = dpa.thread(count, CountArgs { total: &total }).start()?;
    /// thread.run()?;
    /// thread.notify();
    /// total.ge(1).await?;
    /// # Ok(())
    /// # }
    /// ```
    #[doc(alias = "doca_dpa_thread_create")]
    #[doc(alias = "doca_dpa_thread_set_func_arg")]
    pub fn thread<K: Kernel, A: IntoArgs<K::Args>>(&self, kernel: K, args: A) -> ThreadBuilder {
        let process = self.process().clone();
        let ((wire, kept), foreign) = args::pack(&process, || args.into_args());
        let handler = process.event_handler(kernel.entry(), wire);
        ThreadBuilder {
            handler: handler.keep(boxed(kept)),
            process,
            kernel: kernel.entry().name,
            foreign,
            storage: None,
            affinity: Affinity::None,
        }
    }
}

impl ThreadBuilder {
    /// Memory of its own, which stays from one activation to the next: `thread.local_storage()` is its address.
    #[doc(alias = "doca_dpa_thread_set_local_storage")]
    pub fn storage<T: Pod>(mut self, storage: &DeviceBuffer<T>) -> Self {
        let all = storage.all();
        self.foreign |= !all.hold().process().is(&self.process);
        self.handler = self.handler.storage(all.addr());
        self.storage = Some(all.into_hold());
        self
    }

    /// The one execution unit it runs on, or the group of units. Default: any unit, at each activation.
    #[doc(alias = "doca_dpa_thread_set_affinity")]
    #[doc(alias = "doca_dpa_eu_affinity_set")]
    pub fn affinity(mut self, affinity: Affinity) -> Self {
        self.handler = self.handler.affinity(affinity);
        self.affinity = affinity;
        self
    }

    /// Its kernel may wait, where it is, for the next event (`thread.await_trigger()`, `thread.yield_and_retrigger()`),
    /// with its stack and its execution unit. It takes a sync event of the context.
    pub fn continuable(mut self) -> Self {
        self.handler = self.handler.continuable();
        self
    }

    /// Makes it. It may be attached now; nothing runs before [`DpaThread::run`].
    ///
    /// # Errors
    /// Something of another context; no such execution unit; no sync event is left for one that is continuable; the
    /// context is closed or faulted.
    #[doc(alias = "doca_dpa_thread_start")]
    pub fn start(self) -> Result<DpaThread, ThreadError> {
        if self.foreign {
            return Err(ThreadError::Foreign {
                kernel: self.kernel,
            });
        }
        Ok(DpaThread {
            thread: Arc::new(Inner {
                handler: self.handler.create()?,
                storage: self.storage,
                kernel: self.kernel,
                affinity: self.affinity,
            }),
        })
    }
}

/// A DPA thread. Clones are the same thread; when the last is dropped it ends, with the activation that runs then.
#[doc(alias = "doca_dpa_thread")]
#[doc(alias = "doca_dpa_notification_completion")]
#[doc(alias = "doca_dpa_thread_destroy")]
#[doc(alias = "doca_dpa_thread_stop")]
#[doc(alias = "doca_dpa_notification_completion_create")]
#[doc(alias = "doca_dpa_notification_completion_start")]
#[doc(alias = "doca_dpa_notification_completion_destroy")]
#[derive(Clone, Debug)]
pub struct DpaThread {
    thread: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    handler: EventHandler,
    storage: Option<Hold>,
    kernel: &'static str,
    affinity: Affinity,
}

impl DpaThread {
    /// Runs it: each event starts it from now on, those that came before start it once.
    ///
    /// # Errors
    /// It has been run before, or has finished; the context is closed or faulted.
    #[doc(alias = "doca_dpa_thread_run")]
    pub fn run(&self) -> Result<(), ThreadError> {
        Ok(self.thread.handler.run()?)
    }

    /// Wakes it: it runs once more from now on. Nothing travels with it.
    pub fn notify(&self) {
        self.thread.handler.trigger();
    }

    /// The handle by which kernels wake it. Plain: it keeps nothing alive.
    #[doc(alias = "doca_dpa_notification_completion_get_dpa_handle")]
    #[doc(alias = "doca_dpa_thread_get_id")]
    pub fn handle(&self) -> HandlerHandle {
        self.thread.handler.handle()
    }

    /// The name of its kernel.
    #[doc(alias = "doca_dpa_thread_get_func_arg")]
    pub fn kernel(&self) -> &'static str {
        self.thread.kernel
    }

    /// Where it may run.
    #[doc(alias = "doca_dpa_thread_get_affinity")]
    #[doc(alias = "doca_dpa_eu_affinity_get")]
    pub fn affinity(&self) -> Affinity {
        self.thread.affinity
    }

    /// The address of its storage, if it was given one.
    #[doc(alias = "doca_dpa_thread_get_local_storage")]
    pub fn storage(&self) -> Option<DevAddr<u8>> {
        self.thread.storage.as_ref().map(Hold::addr)
    }

    /// How it stands.
    pub fn state(&self) -> HandlerState {
        self.thread.handler.state()
    }

    /// How often it has been started.
    pub fn activations(&self) -> u64 {
        self.thread.handler.activations()
    }

    /// Attaches it to a completion queue: it is started when something completes after `request_notification`. The first
    /// completion counts as asked for.
    ///
    /// It may also be started with nothing new in the queue: a completion that it took while it ran had started it once
    /// more. So it looks, and assumes nothing.
    ///
    /// # Errors
    /// The queue has a thread already, or belongs to another context.
    #[doc(alias = "doca_dpa_completion_set_thread")]
    pub fn attach_to(&self, queue: &CompletionQueue) -> Result<(), ThreadError> {
        Ok(self.thread.handler.attach_to(&queue.queue)?)
    }
}

/// The kernel gets the handle.
impl IntoArg<HandlerHandle> for &DpaThread {
    type Kept = DpaThread;
    fn into_arg(self) -> (HandlerHandle, DpaThread) {
        args::belongs_to(self.thread.handler.process());
        (self.handle(), self.clone())
    }
}

/// DPA threads with ranks, from 0: `thread.rank()` and `thread.threads()` in each are those of the group.
///
/// Each runs for its own events, so they do not meet: `barrier`, `broadcast` and `reduce` in a group of two or more are faults. They
/// tell each other by events, memory and notifications.
#[doc(alias = "doca_dpa_tg")]
#[doc(alias = "doca_dpa_thread_group_stop")]
#[doc(alias = "doca_dpa_thread_group_destroy")]
#[derive(Clone, Debug)]
pub struct ThreadGroup {
    threads: Vec<DpaThread>,
}

impl ThreadGroup {
    /// The threads of one group, in the order of their ranks.
    ///
    /// # Errors
    /// There is none; one has been run, is in a group already, is there twice, or belongs to another context than the first. Then
    /// none of them is in a group for it.
    #[doc(alias = "doca_dpa_thread_group_create")]
    #[doc(alias = "doca_dpa_thread_group_set_thread")]
    #[doc(alias = "doca_dpa_thread_group_start")]
    pub fn new(threads: Vec<DpaThread>) -> Result<Self, ThreadError> {
        let process = |thread: &DpaThread| thread.thread.handler.process().clone();
        let first = threads.first().map(process).ok_or(ThreadError::Group)?;
        if !threads.iter().all(|thread| process(thread).is(&first)) {
            return Err(ThreadError::Group);
        }
        EventHandler::group(threads.iter().map(|thread| &thread.thread.handler))?;
        Ok(Self { threads })
    }

    /// Runs all of them.
    ///
    /// # Errors
    /// As [`DpaThread::run`], for one of them: then none is run. (If somebody runs one of them at the same time, those before it are.)
    pub fn run(&self) -> Result<(), ThreadError> {
        let is_new = |thread: &DpaThread| thread.state() == HandlerState::New;
        if !self.threads.iter().all(is_new) {
            return Err(HandlerError::NotNew.into());
        }
        self.threads.iter().try_for_each(DpaThread::run)
    }

    /// The threads, by rank.
    pub fn threads(&self) -> &[DpaThread] {
        &self.threads
    }

    /// How many there are.
    #[doc(alias = "doca_dpa_thread_group_get_num_threads")]
    pub fn len(&self) -> usize {
        self.threads.len()
    }

    /// Whether there are none: never.
    pub fn is_empty(&self) -> bool {
        self.threads.is_empty()
    }
}
