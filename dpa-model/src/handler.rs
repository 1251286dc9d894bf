//! Event handlers: kernels that run from the top once for each event, and hold no execution unit between.
//!
//! An activation is a launch of one thread that carries its handler; when it ends the handler decides what follows
//! ([`crate::activation`]). It is triggered by a completion queue, by a kernel, by the host.

use std::any::Any;
use std::collections::HashSet;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use dpa_abi::kernel::KernelEntry;
use dpa_abi::{DevAddr, EventHandle, Handle, HandlerHandle, Update};
use parking_lot::Mutex;
use sync_event::{Location, Locations};
use thiserror::Error;

use crate::activation::{Activation, HandlerState, Next};
use crate::affinity::Bound;
use crate::event::InnerUse;
use crate::foreign::let_go_in_turn;
use crate::launch::{ArgBytes, Body, Extra, Parts};
use crate::nic::QueueOf;
use crate::process::Process;
use crate::turns::Turns;

/// Where a handler may run.
#[doc(alias = "flexio_affinity")]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Affinity {
    /// On any execution unit.
    #[default]
    None,
    /// On this one only: at most one handler with this unit runs at a time, of all processes.
    Strict(u32),
    /// On those of this group.
    Group(u32),
}

/// What a handler is made of.
#[derive(Debug)]
pub struct HandlerSpec {
    /// The kernel.
    pub entry: &'static KernelEntry,
    /// Its packed arguments, the same for every activation.
    pub args: ArgBytes,
    /// The address of its local storage.
    pub storage: DevAddr<u8>,
    /// Where it may run.
    pub affinity: Affinity,
    /// Whether its kernel may wait, where it is, to be triggered again.
    pub continuable: bool,
    /// What must stay alive as long as it may run.
    pub keep: Option<Box<dyn Any + Send>>,
}

/// Why a handler was not made, or could not do what was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum HandlerError {
    /// There is no such execution unit.
    #[error("execution unit {asked} was asked for, there are {units}, from 0")]
    NoUnit {
        /// What was asked for.
        asked: u32,
        /// How many there are.
        units: u32,
    },
    /// There is no such group.
    #[error("group {asked} of execution units was asked for, there are {groups}, from 0")]
    NoGroup {
        /// What was asked for.
        asked: u32,
        /// How many there are.
        groups: u32,
    },
    /// It has been run before, or is over.
    #[error("the handler has been run before, or has finished")]
    NotNew,
    /// It is in a group of threads already.
    #[error("the thread is in a group already")]
    InGroup,
    /// It is to be continuable, which takes a sync event, and there are as many as there may be.
    #[error(
        "a continuable handler takes a sync event, and the process has {limit}, as many as it may have"
    )]
    Events {
        /// How many there may be.
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

pub(crate) type Units = Turns<(Arc<Process>, Arc<Handler>)>;

/// An event handler.
pub struct Handler {
    entry: &'static KernelEntry,
    args: ArgBytes,
    storage: DevAddr<u8>,
    /// Where it takes turns for a unit, if it asked for one.
    bound: Option<Bound>,
    /// The unit it has then, while it runs.
    unit: AtomicU32,
    place: OnceLock<(u32, u32)>,
    activation: Activation,
    activations: AtomicU64,
    keep: Mutex<Option<Box<dyn Any + Send>>>,
    handle: OnceLock<Handle>,
    /// What its triggers are counted at, if it is continuable; closed when it is over.
    resumes: Option<Resumes>,
    /// The completion queues that trigger it, or have.
    queues: Mutex<Vec<QueueOf>>,
}

/// The event of a continuable handler. Its slot is no other event's as long as somebody may trigger the handler.
struct Resumes {
    event: EventHandle,
    _used: InnerUse,
}

impl std::fmt::Debug for Handler {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Handler")
            .field("name", &self.entry.name)
            .field("state", &self.state())
            .finish_non_exhaustive()
    }
}

impl Handler {
    /// How it stands.
    pub fn state(&self) -> HandlerState {
        self.activation.state()
    }

    /// How often it has been started.
    pub fn activations(&self) -> u64 {
        self.activations.load(Ordering::Relaxed)
    }

    /// The kernel's name.
    pub fn name(&self) -> &'static str {
        self.entry.name
    }

    /// Its rank and the number of threads of its group.
    pub(crate) fn place(&self) -> (u32, u32) {
        self.place.get().copied().unwrap_or((0, 1))
    }

    /// The address of its local storage.
    pub(crate) fn storage(&self) -> DevAddr<u8> {
        self.storage
    }

    /// The unit that it has by number, if it asked for one. It runs.
    pub(crate) fn unit(&self) -> Option<u32> {
        let bound = self.bound.as_ref();
        bound.map(|_| self.unit.load(Ordering::Relaxed))
    }

    /// The handle by which kernels trigger it.
    pub(crate) fn handle(&self) -> HandlerHandle {
        let handle = self.handle.get().copied();
        HandlerHandle(handle.unwrap_or(Handle::from_bits(0)))
    }

    /// The event that its triggers are counted at, if it is continuable.
    pub(crate) fn resumes(&self) -> Option<EventHandle> {
        self.resumes.as_ref().map(|resumes| resumes.event)
    }

    /// Takes a trigger that came while it runs.
    pub(crate) fn take_trigger(&self) -> bool {
        self.activation.take()
    }

    /// The activation that ran has ended on a worker that would run the next at once: true if there is one to run. A handler that
    /// asked for units by number gives its unit back first, so that others have their turn.
    pub(crate) fn goes_again(&self) -> bool {
        let goes = self.bound.is_none() && self.activation.goes_again();
        if goes {
            self.activations.fetch_add(1, Ordering::Relaxed);
        }
        goes
    }

    /// Triggers it if nobody has to be told of that: it runs, and will look before it ends.
    pub(crate) fn trigger_running(&self) -> bool {
        self.resumes.is_none() && self.activation.trigger_running()
    }

    /// The activation that runs is its last.
    pub(crate) fn finish(&self) {
        self.activation.finish();
    }

    /// It is to run again right after the activation that runs.
    pub(crate) fn retrigger(&self) {
        let started = self.activation.trigger();
        debug_assert!(!started, "an activation runs");
    }

    /// Whether a trigger may still make it run: not in its last activation.
    pub(crate) fn takes_triggers(&self) -> bool {
        self.activation.takes_triggers()
    }

    /// This completion queue triggers it from now on.
    pub(crate) fn triggered_by(&self, queue: QueueOf) {
        let mut queues = self.queues.lock();
        queues.retain(|of| of.nic.strong_count() > 0);
        if !queues.contains(&queue) {
            queues.push(queue);
        }
    }

    /// How many completion queues it remembers.
    #[cfg(test)]
    pub(crate) fn queues(&self) -> usize {
        self.queues.lock().len()
    }

    /// Nobody may start it any more.
    pub(crate) fn stop(&self) {
        self.activation.stop();
        self.leave_queues();
        if self.state() == HandlerState::Over {
            self.let_go();
        }
    }

    /// It takes no trigger any more, and may not have looked since its last: who else waits at its queues looks instead.
    fn leave_queues(&self) {
        let queues = std::mem::take(&mut *self.queues.lock());
        queues.iter().for_each(|queue| queue.leave(self));
    }

    fn let_go(&self) {
        let kept = self.keep.lock().take();
        if let Some(kept) = kept {
            let_go_in_turn(self.entry.name, kept);
        }
    }
}

impl Process {
    /// A handler, with the handle by which kernels trigger it.
    ///
    /// # Errors
    /// No such unit or group; the process is stopped.
    pub fn handler(
        self: &Arc<Self>,
        spec: HandlerSpec,
    ) -> Result<(Arc<Handler>, Handle), HandlerError> {
        if self.is_stopped() {
            return Err(HandlerError::Stopped);
        }
        let bound = self.tenancy.partition.affinities.bound(spec.affinity)?;
        let resumes = match spec.continuable {
            true => Some(self.trigger_event()?),
            false => None,
        };
        let handler = Arc::new(Handler {
            entry: spec.entry,
            args: spec.args,
            storage: spec.storage,
            bound,
            unit: AtomicU32::new(0),
            place: OnceLock::new(),
            activation: Activation::new(),
            activations: AtomicU64::new(0),
            keep: Mutex::new(spec.keep),
            handle: OnceLock::new(),
            resumes,
            queues: Mutex::default(),
        });
        let handle = self.handlers.add(handler.clone());
        let _ = handler.handle.set(handle);
        Ok((handler, handle))
    }

    /// An event that stays open until its handler is dropped.
    fn trigger_event(self: &Arc<Self>) -> Result<Resumes, HandlerError> {
        let limit = self.device.config.max_events;
        let locations = Locations::new(Location::Host | Location::Device, Location::Device);
        let handle = locations
            .ok()
            .and_then(|at| self.events.create(&self.epochs, 0, at));
        let event = handle.ok_or(HandlerError::Events { limit })?;
        Ok(Resumes {
            event,
            _used: InnerUse::begin(self, event.0.index),
        })
    }

    /// Makes these handlers the threads of one group: each has its place in the list as its rank.
    ///
    /// # Errors
    /// One of them has been run, is in a group already, or is there twice: then none is in this one.
    pub fn handler_group(handlers: &[Arc<Handler>]) -> Result<(), HandlerError> {
        // Two groups that share handlers are made one after the other.
        static ALONE: Mutex<()> = Mutex::new(());
        let _alone = ALONE.lock();
        let mut seen = HashSet::new();
        for handler in handlers {
            if handler.state() != HandlerState::New {
                return Err(HandlerError::NotNew);
            }
            if handler.place.get().is_some() || !seen.insert(Arc::as_ptr(handler)) {
                return Err(HandlerError::InGroup);
            }
        }
        let threads = handlers.len() as u32;
        for (rank, handler) in handlers.iter().enumerate() {
            // It has none: places are given under the lock only.
            let _ = handler.place.set((rank as u32, threads));
        }
        Ok(())
    }

    /// Runs a handler: triggers start it from now on, those that came before once.
    ///
    /// # Errors
    /// It has been run before; the process is stopped.
    pub fn run_handler(self: &Arc<Self>, handler: &Arc<Handler>) -> Result<(), HandlerError> {
        if self.is_stopped() {
            return Err(HandlerError::Stopped);
        }
        match handler.activation.run() {
            Some(true) => self.activate(handler.clone()),
            Some(false) => {}
            None => return Err(HandlerError::NotNew),
        }
        Ok(())
    }

    /// Triggers a handler.
    pub fn trigger(self: &Arc<Self>, handler: &Arc<Handler>) {
        if handler.activation.trigger() {
            self.activate(handler.clone());
        } else if let Some(event) = handler.resumes() {
            // It waits where it is, or will look before it does. A closed event has nobody that waits.
            let _ = self.update(event.0.index, Update::Add(1));
        }
    }

    /// Triggers the handler of this handle; false if it names none.
    pub(crate) fn trigger_by(self: &Arc<Self>, handle: Handle) -> bool {
        let handler = self.handlers.get(handle, Arc::clone);
        handler.inspect(|handler| self.trigger(handler)).is_some()
    }

    /// Nobody holds the handler any more: it ends with the activation that runs, if one does.
    pub fn drop_handler(self: &Arc<Self>, handler: &Handler, handle: Handle) {
        self.handlers.remove(handle);
        handler.stop();
        self.let_go_of_trigger(handler);
    }

    /// Nobody will trigger it any more: what waits for that ends.
    fn let_go_of_trigger(self: &Arc<Self>, handler: &Handler) {
        if let Some(event) = handler.resumes() {
            self.let_go_of_event(event.0.index, 1, None);
        }
    }

    /// Starts a handler that was triggered: now, or when one of its units is free.
    fn activate(self: &Arc<Self>, handler: Arc<Handler>) {
        let Some(bound) = handler.bound.clone() else {
            return self.start(handler);
        };
        if let Some(((process, handler), unit)) =
            bound.turns.take(&bound.set, (self.clone(), handler))
        {
            handler.unit.store(unit, Ordering::Relaxed);
            process.start(handler);
        }
    }

    fn start(self: &Arc<Self>, handler: Arc<Handler>) {
        handler.activations.fetch_add(1, Ordering::Relaxed);
        let parts = Parts {
            body: Body::Kernel(handler.entry),
            args: handler.args.clone(),
            threads: 1,
            proc: self.number,
            seq: self.device.next_seq(),
            then: None,
            keep: None,
        };
        let extra = Extra {
            handler: Some(handler),
            ..Extra::default()
        };
        self.start_internal(parts, extra);
    }

    /// An activation has ended.
    pub(crate) fn activation_ended(self: &Arc<Self>, handler: &Arc<Handler>) {
        let next = match self.is_stopped() {
            true => {
                handler.activation.stop();
                handler.activation.ended()
            }
            false => handler.activation.ended(),
        };
        let lives = |(process, _): &(Arc<Self>, Arc<Handler>)| !process.is_stopped();
        if let Some(bound) = &handler.bound {
            let unit = handler.unit.load(Ordering::Relaxed);
            if let Some((process, other)) = bound.turns.give(unit, lives) {
                other.unit.store(unit, Ordering::Relaxed);
                process.start(other);
            }
        }
        match next {
            Next::Again => self.activate(handler.clone()),
            Next::Over => {
                handler.leave_queues();
                handler.let_go();
            }
            Next::Idle => {}
        }
    }
}
