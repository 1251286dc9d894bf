//! A completion queue, as its owner on the host holds it.

use std::sync::Arc;

use dpa_abi::queue::{MAX_ENTRIES, entries_for};
use sync_event::{Location, Locations};
use thiserror::Error;

use super::NicLease;
use super::queues::CompletionRing;
use crate::event::EventLimit;
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

/// A completion queue. Freed when it and all contexts that report to it are gone.
#[derive(Debug)]
pub struct CompletionQueue {
    lease: Arc<NicLease>,
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
