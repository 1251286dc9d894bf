//! Event handlers: kernels that run from the top once for each event, and hold no execution unit between.

use std::any::Any;
use std::sync::Arc;

use dpa_abi::{DevAddr, HandlerHandle, KernelEntry, Pod};

use crate::backend::{Handler, HandlerSpec};
use crate::command::packed;
use crate::process::ProcessRef;
use crate::rdma::Completions;

pub use crate::backend::{Affinity, AttachError, HandlerError, HandlerState};

/// An event handler to be made.
#[derive(Debug)]
#[must_use = "a builder makes nothing until `create`"]
pub struct EventHandlerBuilder {
    process: ProcessRef,
    spec: HandlerSpec,
}

impl ProcessRef {
    /// To make an event handler of a kernel: each activation gets these arguments.
    #[doc(alias = "flexio_event_handler_create")]
    pub fn event_handler<A: Pod>(
        &self,
        entry: &'static KernelEntry,
        args: A,
    ) -> EventHandlerBuilder {
        EventHandlerBuilder {
            process: self.clone(),
            spec: HandlerSpec {
                entry,
                args: packed(args),
                storage: DevAddr::from_raw(0),
                affinity: Affinity::None,
                continuable: false,
                keep: None,
            },
        }
    }
}

impl EventHandlerBuilder {
    /// Its local storage, in device memory that the caller keeps.
    pub fn storage<T>(mut self, at: DevAddr<T>) -> Self {
        self.spec.storage = at.cast();
        self
    }

    /// Where it may run. Default: anywhere.
    pub fn affinity(mut self, affinity: Affinity) -> Self {
        self.spec.affinity = affinity;
        self
    }

    /// Its kernel may wait, where it is, to be triggered again (`await_trigger`, `yield_and_retrigger`), with its stack
    /// and its execution unit. It takes a sync event of its process.
    pub fn continuable(mut self) -> Self {
        self.spec.continuable = true;
        self
    }

    /// Keeps something alive as long as it may run.
    pub fn keep(mut self, kept: Option<Box<dyn Any + Send>>) -> Self {
        self.spec.keep = kept;
        self
    }

    /// Makes it. It is [`HandlerState::New`]: triggers are kept until it is run.
    ///
    /// # Errors
    /// The arguments are not as long as the kernel's; no such execution unit or group; no sync event is left for one that is continuable; the
    /// process is stopped.
    pub fn create(self) -> Result<EventHandler, HandlerError> {
        let (given, takes) = (self.spec.args.len(), self.spec.entry.arg_bytes);
        if given != takes {
            return Err(HandlerError::Arguments { given, takes });
        }
        let (handler, handle) = self.process.raw().handler(self.spec)?;
        Ok(EventHandler {
            process: self.process,
            handler,
            handle: HandlerHandle(handle),
        })
    }
}

/// An event handler. When it is dropped it is over, with the activation that runs then.
#[doc(alias = "flexio_event_handler")]
#[derive(Debug)]
pub struct EventHandler {
    process: ProcessRef,
    handler: Arc<Handler>,
    handle: HandlerHandle,
}

impl EventHandler {
    /// Its process.
    pub fn process(&self) -> &ProcessRef {
        &self.process
    }

    /// The handle by which kernels of its process trigger it.
    #[doc(alias = "flexio_event_handler_get_id")]
    pub fn handle(&self) -> HandlerHandle {
        self.handle
    }

    /// Runs it: each trigger starts it from now on; those that came before start it once.
    ///
    /// # Errors
    /// It has been run before, or has finished; the process is stopped.
    #[doc(alias = "flexio_event_handler_run")]
    pub fn run(&self) -> Result<(), HandlerError> {
        self.process.raw().run_handler(&self.handler)
    }

    /// Triggers it from the host.
    pub fn trigger(&self) {
        self.process.raw().trigger(&self.handler);
    }

    /// How it stands.
    pub fn state(&self) -> HandlerState {
        self.handler.state()
    }

    /// How often it has been started.
    pub fn activations(&self) -> u64 {
        self.handler.activations()
    }

    /// Attaches it to a completion queue: it is triggered when something completes after a notification was asked for.
    /// The first notification counts as asked for.
    ///
    /// # Errors
    /// The queue has one already, or belongs to another process.
    pub fn attach_to(&self, queue: &Completions) -> Result<(), AttachError> {
        if !queue.is_of(self.process.raw()) {
            return Err(AttachError::Foreign);
        }
        queue.attach(&self.handler)
    }

    /// Makes handlers the threads of one group: each has its place in the list as its rank. They do not meet: a barrier in one of
    /// two or more is a fault.
    ///
    /// # Errors
    /// One of them has been run, is in a group already, or is there twice: then none is in this one.
    pub fn group<'h>(handlers: impl IntoIterator<Item = &'h Self>) -> Result<(), HandlerError> {
        let handlers: Vec<_> = handlers.into_iter().map(|h| h.handler.clone()).collect();
        crate::backend::Process::handler_group(&handlers)
    }
}

impl Drop for EventHandler {
    fn drop(&mut self) {
        let raw = self.process.raw();
        raw.drop_handler(&self.handler, self.handle.0);
    }
}
