//! A completion queue, as its owner on the host holds it.

use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use dpa_abi::HandlerHandle;
use dpa_abi::queue::{CompletionEntry, MAX_ENTRIES, entries_for};
use sync_event::{Location, Locations};
use thiserror::Error;

use super::NicLease;
use super::completion_ring::{CompletionRing, CompletionSpec, Moderation, OverrunPolicy};
use super::queue_of::QueueOf;
use super::ring::{QueueMemory, QueueMemoryError};
use crate::event::EventLimit;
use crate::handler::Handler;
use crate::heap::OutOfMemory;
use crate::process::Process;
use crate::quota::{QuotaExceeded, Share};
use crate::wakers::{Awaited, Until};

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
    /// Its entries cannot lie there.
    #[error(transparent)]
    External(#[from] QueueMemoryError),
    /// No event for its notifications.
    #[error(transparent)]
    Event(#[from] EventLimit),
    /// As many queues as the process may have.
    #[error(transparent)]
    Quota(#[from] QuotaExceeded),
    /// Moderation without a period that is above 0 and short enough: the last completions would never be told of.
    #[error("a moderation period of {asked:?} was asked for, from 1 us to {max:?} are possible")]
    Period {
        /// What was asked for.
        asked: Duration,
        /// The longest.
        max: Duration,
    },
    /// The process is fatal or closed.
    #[error("the process is stopped")]
    Stopped,
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

/// Why the host gets no entry of a completion queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum HostReadError {
    /// More completed than there was room for, and the oldest were overwritten: the next call gives what is left.
    #[error("{count} completions are lost: nobody read them in time")]
    Lost {
        /// How many.
        count: u64,
    },
    /// More completed than there was room for: what came after is lost, and the queue pairs have failed.
    #[error("the completion queue has overrun")]
    Overrun,
    /// The process is fatal or closed, and everything before has been read.
    #[error("the process is stopped")]
    Stopped,
}

/// The moderation, with whole microseconds.
fn checked(moderation: Moderation) -> Result<Moderation, CompletionQueueError> {
    if moderation.count <= 1 {
        return Ok(Moderation::NONE);
    }
    let (asked, max) = (moderation.period, Moderation::MAX_PERIOD);
    if asked < Duration::from_micros(1) || asked > max {
        return Err(CompletionQueueError::Period { asked, max });
    }
    let micros = u64::from(asked.subsec_micros());
    let period = Duration::from_micros(micros);
    Ok(Moderation {
        period,
        ..moderation
    })
}

/// A completion queue. Freed when it and all contexts that report to it are gone.
#[derive(Debug)]
pub struct CompletionQueue {
    lease: Arc<NicLease>,
    process: Arc<Process>,
    key: usize,
    record: u64,
    number: u32,
    entries: u32,
    overrun: OverrunPolicy,
    _share: Share,
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
        let entries = asked;
        let spec = CompletionSpec {
            entries,
            ..CompletionSpec::default()
        };
        Self::with_spec(lease, process, spec, &QueueMemory::Device)
    }

    /// A queue of these figures, its entries in this memory.
    ///
    /// # Errors
    /// A figure out of its range; memory that it cannot lie in; out of device memory or events; the process is stopped.
    pub fn with_spec(
        lease: &Arc<NicLease>,
        process: &Arc<Process>,
        mut spec: CompletionSpec,
        memory: &QueueMemory,
    ) -> Result<Arc<Self>, CompletionQueueError> {
        let (asked, max) = (spec.entries, MAX_ENTRIES);
        spec.entries = entries_for(asked).ok_or(CompletionQueueError::TooLarge { asked, max })?;
        spec.moderation = checked(spec.moderation)?;
        let share = process.quotas.queue()?;
        let locations = Locations::new(Location::Remote, Location::Device)
            .expect("a remote publisher and a device subscriber");
        let event = process.event(0, locations)?;
        let ring = CompletionRing::new(process, spec, memory, event)?;
        let record = ring.addr();
        let (key, number) = Self::enter(lease, process, ring)?;
        Ok(Arc::new(Self {
            lease: lease.clone(),
            process: process.clone(),
            key,
            record,
            number,
            entries: spec.entries,
            overrun: spec.overrun,
            _share: share,
        }))
    }

    fn enter(
        lease: &Arc<NicLease>,
        process: &Arc<Process>,
        mut ring: CompletionRing,
    ) -> Result<(usize, u32), CompletionQueueError> {
        lease.nic().with(|engine| {
            if process.is_stopped() {
                return Err(CompletionQueueError::Stopped);
            }
            let world = &mut engine.world;
            let entry = world.queues.vacant_key();
            let number = loop {
                let number = world.completion_number();
                if process
                    .doorbells
                    .enter_completions(lease.nic(), number, entry)
                {
                    break number;
                }
            };
            ring.enter(number);
            Ok((world.queues.insert(ring), number))
        })
    }

    /// Its number: doorbells name it so.
    pub fn number(&self) -> u32 {
        self.number
    }

    /// What happens when it is full.
    pub fn overrun_policy(&self) -> OverrunPolicy {
        self.overrun
    }

    /// How many completions one notification stands for.
    pub fn moderation(&self) -> Moderation {
        self.ring(|ring| ring.moderation()).unwrap_or_default()
    }

    /// From now on so many completions stand behind one notification. What was held back is told of now.
    ///
    /// # Errors
    /// Moderation without a period, or with one that is too long.
    pub fn set_moderation(&self, moderation: Moderation) -> Result<(), CompletionQueueError> {
        let moderation = checked(moderation)?;
        self.lease.nic().with(|engine| {
            let ring = engine.world.queues.get_mut(self.key);
            let after = ring.and_then(|ring| ring.moderate(moderation));
            after
                .into_iter()
                .for_each(|after| engine.world.later(after));
        });
        Ok(())
    }

    /// Takes the next entry, as the host: what it has read is free again. Who has overrun gives what came before.
    ///
    /// # Errors
    /// Entries are lost; it has overrun and all before that is read.
    pub fn take(&self) -> Result<Option<CompletionEntry>, HostReadError> {
        let taken = self.ring(|ring| (ring.take(), ring.has_overrun()));
        let (taken, overrun) = taken.unwrap_or((None, false));
        match taken {
            Some(Ok(entry)) => Ok(Some(entry)),
            Some(Err(count)) => Err(HostReadError::Lost { count }),
            None if overrun => Err(HostReadError::Overrun),
            None if self.process.is_stopped() => Err(HostReadError::Stopped),
            None => Ok(None),
        }
    }

    /// As [`CompletionQueue::take`]; if there is nothing, it asks for a notification and waits for that.
    pub fn next(&self) -> Until<&Self> {
        Until::new(self)
    }

    fn ring<R>(&self, f: impl FnOnce(&mut CompletionRing) -> R) -> Option<R> {
        let nic = self.lease.nic();
        nic.with(|engine| engine.world.queues.get_mut(self.key).map(f))
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

    /// The share in its NIC.
    pub fn lease(&self) -> &Arc<NicLease> {
        &self.lease
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
        let before = self.lease.nic().with(|engine| {
            let world = &mut engine.world;
            let Some(ring) = world.queues.get_mut(self.key) else {
                return Err(AttachError::Taken);
            };
            if ring.attached().is_some() {
                return Err(AttachError::Taken);
            }
            let (before, after) = ring.attach(handler.clone());
            after.into_iter().for_each(|after| world.later(after));
            let nic = world.nic.clone();
            handler.triggered_by(QueueOf { nic, key: self.key });
            Ok(before)
        });
        before.map(drop)
    }

    /// The handle of the handler that is attached.
    pub fn attached(&self) -> Option<HandlerHandle> {
        self.lease.nic().with(|engine| {
            let ring = engine.world.queues.get(self.key)?;
            ring.attached().map(|handler| handler.handle())
        })
    }

    pub(crate) fn key(&self) -> usize {
        self.key
    }
}

impl Awaited for &CompletionQueue {
    type Output = Result<CompletionEntry, HostReadError>;

    fn look(&self) -> Option<Result<CompletionEntry, HostReadError>> {
        self.take().transpose()
    }

    fn wait(&self, number: &mut Option<u64>, waker: Waker) -> Option<Waker> {
        self.ring(|ring| ring.wait(number, waker)).flatten()
    }

    fn leave(&self, number: u64) -> Option<Waker> {
        self.ring(|ring| ring.leave(number)).flatten()
    }
}

impl Drop for CompletionQueue {
    fn drop(&mut self) {
        self.process.doorbells.remove_completions(self.number);
        let ring = self
            .lease
            .nic()
            .with(|engine| engine.world.queues.try_remove(self.key));
        // Its event is closed with it, without the NIC's lock.
        drop(ring);
    }
}
