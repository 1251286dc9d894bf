//! A completion queue, as its owner on the host holds it.

use std::sync::Arc;

use dpa_abi::HandlerHandle;
use dpa_abi::queue::{MAX_ENTRIES, entries_for};
use sync_event::{Location, Locations};
use thiserror::Error;

use super::NicLease;
use super::queues::CompletionRing;
use crate::event::EventLimit;
use crate::handler::Handler;
use crate::heap::OutOfMemory;
use crate::process::Process;

/// Why a completion queue could not be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum CompletionQueueError {
    /// Too many entries.
    #[error("a completion queue of {asked} entries was asked for, at most {max} are possible")]
    TooLarge {
        /// Entries asked for.
        asked: u32,
        /// The most there can be.
        max: u32,
    },
    /// No device memory.
    #[error(transparent)]
    Memory(#[from] OutOfMemory),
    /// No event for its notifications.
    #[error(transparent)]
    Event(#[from] EventLimit),
}

/// A handler could not be attached to a completion queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum AttachError {
    /// It has one.
    #[error("the completion queue has a thread already")]
    Taken,
    /// The handler is one of another process.
    #[error("the thread belongs to another context than the completion queue")]
    Foreign,
}

/// A completion queue. Freed when it and all contexts that report to it are gone.
#[derive(Debug)]
pub struct CompletionQueue {
    lease: Arc<NicLease>,
    process: Arc<Process>,
    key: usize,
    record: u64,
    entries: u32,
}

impl CompletionQueue {
    /// A queue of at least so many entries.
    ///
    /// # Errors
    /// Too many; out of device memory or events.
    pub fn new(
        lease: &Arc<NicLease>,
        process: &Arc<Process>,
        asked: u32,
    ) -> Result<Arc<Self>, CompletionQueueError> {
        let max = MAX_ENTRIES;
        let entries = entries_for(asked).ok_or(CompletionQueueError::TooLarge { asked, max })?;
        let locations = Locations::new(Location::Remote, Location::Device)
            .expect("a remote publisher and a device subscriber");
        let event = process.event(0, locations)?;
        let ring = CompletionRing::new(process, entries, event)?;
        let record = ring.addr();
        let key = lease.nic().with(|engine| engine.world.queues.insert(ring));
        Ok(Arc::new(Self {
            lease: lease.clone(),
            process: process.clone(),
            key,
            record,
            entries,
        }))
    }

    /// The address of its record, by which kernels know it.
    pub fn record(&self) -> u64 {
        self.record
    }

    /// Its entries.
    pub fn entries(&self) -> u32 {
        self.entries
    }

    /// Whether more completed than it had room for.
    pub fn has_overrun(&self) -> bool {
        let nic = self.lease.nic();
        nic.with(|engine| {
            engine
                .world
                .queues
                .get(self.key)
                .is_some_and(CompletionRing::has_overrun)
        })
    }

    /// Whether it is a queue of this process.
    pub fn is_of(&self, process: &Arc<Process>) -> bool {
        Arc::ptr_eq(&self.process, process)
    }

    /// Attaches a handler: it is triggered when an entry is written after a notification was asked for. The first
    /// notification counts as asked for.
    ///
    /// # Errors
    /// There is one already.
    pub fn attach(&self, handler: &Arc<Handler>) -> Result<(), AttachError> {
        self.lease.nic().with(|engine| {
            let world = &mut engine.world;
            let Some(ring) = world.queues.get_mut(self.key) else {
                return Err(AttachError::Taken);
            };
            if ring.is_attached() {
                return Err(AttachError::Taken);
            }
            let after = ring.attach(handler.clone());
            after.into_iter().for_each(|after| world.later(after));
            Ok(())
        })
    }

    /// The handle of the handler that is attached.
    pub fn attached(&self) -> Option<HandlerHandle> {
        self.lease.nic().with(|engine| {
            let ring = engine.world.queues.get(self.key)?;
            ring.attached().map(|handler| handler.handle())
        })
    }

    /// Takes the handler off, if one is attached.
    pub fn detach(&self) {
        let handler = self.lease.nic().with(|engine| {
            let ring = engine.world.queues.get_mut(self.key);
            ring.and_then(CompletionRing::detach)
        });
        drop(handler);
    }

    pub(crate) fn key(&self) -> usize {
        self.key
    }
}

impl Drop for CompletionQueue {
    fn drop(&mut self) {
        let ring = self
            .lease
            .nic()
            .with(|engine| engine.world.queues.try_remove(self.key));
        // Its event is closed with it, without the NIC's lock.
        drop(ring);
    }
}
