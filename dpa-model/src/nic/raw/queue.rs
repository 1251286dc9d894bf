//! Send queues and receive queues by themselves.

use std::sync::Arc;
use std::time::Duration;

use dpa_abi::queue::record::{
    CONNECTION_WORDS, HEAD_WORDS, QUEUE_PAIR, RECEIVE_ENTRIES, RECEIVE_NUMBER, RECEIVE_RING,
    SEND_ENTRIES, SEND_RING, STATE, STATE_READY,
};
use dpa_abi::queue::work::RECEIVE_WORDS;
use dpa_abi::queue::{
    CompletionEntry, CompletionKind, ENTRY_WORDS, MAX_ENTRIES, Syndrome, entries_for,
};
use rdma::config::Config;
use rdma::provider::SystemError;
use rdma::psn::{Psn, Qpn};
use rdma::queue_pair::Cause;
use thiserror::Error;

use super::super::NicLease;
use super::super::completions::CompletionQueue;
use super::super::context::domain;
use super::super::engine::Engine;
use super::super::pairs::{Pair, Pool};
use super::super::queues::{Block, IndexedReceives, Record, SendRing};
use super::super::ring::{QueueMemory, QueueMemoryError};
use super::super::waiting::Waiting;
use super::super::watch::Watch;
use crate::heap::OutOfMemory;
use crate::process::Process;
use crate::quota::{QuotaExceeded, Share};

/// Why a queue of the low layer could not be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum RawQueueError {
    /// A figure is out of its range.
    #[error("{what}: {asked} was asked for, from {min} to {max} are possible")]
    Range {
        /// Which figure.
        what: &'static str,
        /// What was asked for.
        asked: u64,
        /// The least it may be.
        min: u64,
        /// The most it may be.
        max: u64,
    },
    /// A completion queue or receive queue belongs to another process, or to another NIC.
    #[error("the {what} belongs to another process or NIC")]
    Foreign {
        /// Which queue.
        what: &'static str,
    },
    /// No device memory.
    #[error(transparent)]
    Memory(#[from] OutOfMemory),
    /// Its entries cannot lie there.
    #[error(transparent)]
    External(#[from] QueueMemoryError),
    /// As many queues as the process may have.
    #[error(transparent)]
    Quota(#[from] QuotaExceeded),
    /// The device behind verbs refuses, or too many queue pairs have ended of late to give it a number (R 6.4).
    #[error(transparent)]
    System(#[from] SystemError),
    /// The process is fatal or closed.
    #[error("the process is stopped")]
    Stopped,
}

/// Whether a queue may be used with this process and NIC.
pub(super) fn check_completions(
    lease: &NicLease,
    process: &Arc<Process>,
    queue: &CompletionQueue,
) -> Result<(), RawQueueError> {
    let what = "completion queue";
    let same = queue.is_of(process) && Arc::ptr_eq(queue.lease().nic(), lease.nic());
    same.then_some(()).ok_or(RawQueueError::Foreign { what })
}

pub(super) fn sized(what: &'static str, asked: u32) -> Result<u32, RawQueueError> {
    let size = entries_for(asked).filter(|_| asked > 0);
    size.ok_or(RawQueueError::Range {
        what,
        asked: asked.into(),
        min: 1,
        max: MAX_ENTRIES.into(),
    })
}

/// What a queue pair is entered with.
pub(super) struct Entry<'m> {
    pub(super) name: u32,
    pub(super) send_memory: &'m QueueMemory,
    pub(super) local: bool,
    pub(super) send_entries: u32,
    pub(super) send_completions: Option<usize>,
    pub(super) receive_completions: Option<usize>,
    pub(super) pool: Option<usize>,
}

/// A queue pair in the NIC's list; out of it when this is dropped.
#[derive(Debug)]
pub(super) struct Entered {
    pub(super) lease: Arc<NicLease>,
    pub(super) process: Arc<Process>,
    pub(super) number: Qpn,
    pub(super) record: Record,
    pub(super) watch: Arc<Watch>,
}

impl Entered {
    /// Enters a queue pair with a random number that the process has not at any NIC.
    pub(super) fn new(
        lease: &Arc<NicLease>,
        process: &Arc<Process>,
        entry: &Entry<'_>,
        config: impl Fn(Qpn) -> Config,
    ) -> Result<Self, RawQueueError> {
        let share = process.quotas.queue()?;
        let record = Record::new(Arc::new(Block::new(process, CONNECTION_WORDS)?), 0);
        let send = send_ring(process, &record, entry)?;
        let watch = Arc::<Watch>::default();
        let number = lease.nic().with(|engine| {
            if process.is_stopped() {
                return Err(RawQueueError::Stopped);
            }
            let number = create(lease, process, engine, entry.pool, config)?;
            record.store(QUEUE_PAIR, number.value().into());
            let pair = Pair {
                process: process.clone(),
                name: entry.name,
                local: entry.local,
                record: record.clone(),
                send,
                send_completions: entry.send_completions,
                receive_completions: entry.receive_completions,
                pool: entry.pool,
                watch: watch.clone(),
                events: Vec::new(),
                waiting: Waiting::No,
                _share: share,
            };
            engine.world.pairs.insert(number, pair);
            Ok(number)
        })?;
        process.rdma_opened();
        Ok(Self {
            lease: lease.clone(),
            process: process.clone(),
            number,
            record,
            watch,
        })
    }

    pub(super) fn now(&self) -> Duration {
        Duration::from_nanos(self.lease.now())
    }

    /// Moves it to ERR.
    pub(super) fn fail(&self) {
        let now = self.now();
        self.lease.nic().with(|engine| {
            // Gone or over already: nothing to do.
            let _ = engine.provider.fail(self.number, Cause::Closed);
            engine.send(now);
        });
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        self.process.doorbells.remove_send(self.number);
        self.fail();
        let now = self.now();
        let gone = self.lease.nic().with(|engine| {
            engine.destroy(now, self.number);
            engine.world.remove(self.number)
        });
        drop(gone);
        self.process.rdma_closed();
    }
}

/// How many numbers are tried, if a device's are taken by queue pairs at another NIC.
const TRIES: usize = 64;

fn create(
    lease: &Arc<NicLease>,
    process: &Process,
    engine: &mut Engine,
    pool: Option<usize>,
    config: impl Fn(Qpn) -> Config,
) -> Result<Qpn, RawQueueError> {
    let now = Duration::from_nanos(lease.now());
    let mut taken = Vec::new();
    let found = loop {
        let draw = || config(Qpn::from_random(lease.random() as u32));
        let number = match engine.provider.create(now, pool, draw) {
            Ok(number) => number,
            Err(error) => break Err(error.into()),
        };
        if process.doorbells.enter_send(lease.nic(), number) {
            break Ok(number);
        }
        // Kept until another is found, so that a device gives another.
        taken.push(number);
        if taken.len() == TRIES {
            let what = "queue pair's number";
            break Err(RawQueueError::Foreign { what });
        }
    };
    taken
        .into_iter()
        .for_each(|number| engine.destroy(now, number));
    found
}

fn send_ring(
    process: &Arc<Process>,
    record: &Record,
    entry: &Entry<'_>,
) -> Result<Option<SendRing>, RawQueueError> {
    let entries = entry.send_entries;
    if entries == 0 {
        return Ok(None);
    }
    let words = entries as usize * ENTRY_WORDS;
    let ring = entry.send_memory.ring::<RawQueueError>(process, words)?;
    let ring = SendRing::indexed(ring, record.clone(), entries);
    record.store(SEND_RING, ring.addr());
    record.store(SEND_ENTRIES, entries.into());
    Ok(Some(ring))
}

/// A send queue without a peer: it copies memory of this node, and waits for events.
#[derive(Debug)]
pub struct SendQueueRef {
    queue: Entered,
    entries: u32,
    _completions: Arc<CompletionQueue>,
}

impl SendQueueRef {
    /// A send queue of at least so many entries, in this memory, whose completions carry `name`.
    ///
    /// # Errors
    /// Too many entries; memory that they cannot lie in; a completion queue of another; out of device memory; the process is stopped.
    pub fn new(
        lease: &Arc<NicLease>,
        process: &Arc<Process>,
        (memory, entries): (&QueueMemory, u32),
        completions: &Arc<CompletionQueue>,
        name: u32,
    ) -> Result<Self, RawQueueError> {
        check_completions(lease, process, completions)?;
        let entries = sized("entries of a send queue", entries)?;
        let entry = Entry {
            name,
            send_memory: memory,
            local: true,
            send_entries: entries,
            send_completions: Some(completions.key()),
            receive_completions: None,
            pool: None,
        };
        let first = Psn::new(0);
        let config = |number| Config::new(number, first, domain(process));
        let queue = Entered::new(lease, process, &entry, config)?;
        queue.record.store(STATE, STATE_READY);
        Ok(Self {
            queue,
            entries,
            _completions: completions.clone(),
        })
    }

    /// Its number.
    pub fn number(&self) -> u32 {
        self.queue.number.value()
    }

    /// The address of its record.
    pub fn record(&self) -> u64 {
        self.queue.record.addr()
    }

    /// Its entries.
    pub fn entries(&self) -> u32 {
        self.entries
    }
}

/// A receive queue, of one queue pair or shared by several. Freed when it and all of them are gone.
#[derive(Debug)]
pub struct ReceiveQueueRef {
    lease: Arc<NicLease>,
    process: Arc<Process>,
    record: Record,
    pub(super) pool: usize,
    number: u32,
    entries: u32,
    _share: Share,
}

impl ReceiveQueueRef {
    /// A receive queue of at least so many entries, in this memory.
    ///
    /// # Errors
    /// Too many entries; memory that they cannot lie in; out of device memory; the process is stopped.
    pub fn new(
        lease: &Arc<NicLease>,
        process: &Arc<Process>,
        (memory, entries): (&QueueMemory, u32),
    ) -> Result<Arc<Self>, RawQueueError> {
        let entries = sized("entries of a receive queue", entries)?;
        let share = process.quotas.queue()?;
        let record = Record::new(Arc::new(Block::new(process, HEAD_WORDS)?), 0);
        let ring = memory.ring::<RawQueueError>(process, entries as usize * RECEIVE_WORDS)?;
        record.store(RECEIVE_RING, ring.addr());
        record.store(RECEIVE_ENTRIES, entries.into());
        let receives = IndexedReceives::new(ring, record.clone(), entries);
        let (pool, number) = lease.nic().with(|engine| {
            if process.is_stopped() {
                return Err(RawQueueError::Stopped);
            }
            let world = &mut engine.world;
            let number = world.receive_number();
            let receives = Pool::Indexed(receives.numbered(number));
            Ok((world.pairs.pools.insert(receives), number))
        })?;
        record.store(RECEIVE_NUMBER, number.into());
        Ok(Arc::new(Self {
            lease: lease.clone(),
            process: process.clone(),
            record,
            pool,
            number,
            entries,
            _share: share,
        }))
    }

    /// Its number.
    pub fn number(&self) -> u32 {
        self.number
    }

    /// The address of its record.
    pub fn record(&self) -> u64 {
        self.record.addr()
    }

    /// Its entries.
    pub fn entries(&self) -> u32 {
        self.entries
    }

    pub(super) fn is_of(&self, lease: &NicLease, process: &Arc<Process>) -> bool {
        Arc::ptr_eq(&self.process, process) && Arc::ptr_eq(self.lease.nic(), lease.nic())
    }

    /// Moves it to the error state: it gives nothing any more, and the queue pairs that take from it fail. If that is
    /// one, what was posted and not used is reported as flushed.
    pub fn fail(&self) {
        let now = Duration::from_nanos(self.lease.now());
        self.lease.nic().with(|engine| {
            let world = &mut engine.world;
            let Some(Pool::Indexed(receives)) = world.pairs.pools.get_mut(self.pool) else {
                return;
            };
            let rest = receives.fail().into_iter().map(u64::from).collect();
            let takers = world.pairs.that_take_from(self.pool);
            for number in &takers {
                // It is one of ours, so this cannot fail.
                let _ = engine.provider.fail(*number, Cause::Closed);
            }
            let only = takers.first().copied().filter(|_| takers.len() == 1);
            let provider = &mut engine.provider;
            let rest = provider.end_receives(now, self.pool, rest, only);
            if let Some(only) = only {
                rest.into_iter()
                    .for_each(|id| self.flush(engine, only, id as u16));
            }
            engine.send(now);
        });
    }

    fn flush(&self, engine: &mut Engine, number: Qpn, index: u16) {
        let Some(pair) = engine.world.pairs.get(number) else {
            return;
        };
        let entry = CompletionEntry {
            kind: CompletionKind::ReceiveError,
            syndrome: Syndrome::FLUSHED,
            unsent: false,
            user_data: pair.name,
            immediate: 0,
            len: 0,
            original: 0,
            queue_pair: number.value(),
            receive_queue: self.number,
            index,
            timestamp: 0,
        };
        let queue = pair.receive_completions;
        engine.world.report(queue, number, &entry);
    }
}

impl Drop for ReceiveQueueRef {
    fn drop(&mut self) {
        let nic = self.lease.nic();
        let pool = nic.with(|engine| {
            engine.provider.end_pool(self.pool, &mut engine.world);
            engine.world.pairs.pools.try_remove(self.pool)
        });
        drop(pool);
    }
}
