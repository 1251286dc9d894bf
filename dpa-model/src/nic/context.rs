//! An RDMA context, as its owner on the host holds it: its table in device memory, its receives, its connections.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use dpa_abi::Handle;
use dpa_abi::queue::record::{
    CONNECTIONS, DOORBELL, QUEUE_PAIR, RECEIVE_ENTRIES, RECEIVE_RING, STATE_NONE, STATE_READY,
    connection, first_number, table_words,
};
use dpa_abi::queue::{ENTRY_WORDS, MAX_ENTRIES, entries_for};
use rdma::config::{AckTimeout, RetryLimit, ServiceLevel};
use rdma::mtu::PathMtu;
use rdma::provider::SystemError;
use rdma::psn::{Psn, Qpn};
use rdma::region::Domain;
use rdma::wire::RnrTimer;
use rdma::work::{PostReason, Receive, Segment};
use thiserror::Error;

use super::NicLease;
use super::completions::CompletionQueue;
use super::connection::{ConnectionRef, PostHostError};
use super::pairs::{Context, Pair, Pool};
use super::pending::{Ended, KeptWork, Pending};
use super::protocol::Protocol;
use super::queues::{Block, ReceiveRing, Record, SendRing};
use super::ring::Ring;
use super::waiting::Waiting;
use super::world::HOST;
use crate::heap::OutOfMemory;
use crate::mishaps::HostQueue;
use crate::process::Process;
use crate::quota::{QuotaExceeded, Share};

/// The most connections of a context.
pub const MAX_CONNECTIONS: u32 = 1 << 14;

/// Whose regions and queue pairs those of a process are.
pub(crate) fn domain(process: &Process) -> Domain {
    Domain(process.number())
}

/// What a context is made with.
#[derive(Clone, Debug)]
pub struct ContextSpec {
    /// Without peers: one queue, for copies and waits of kernels, whose completions carry this number in place of the
    /// connection's id.
    pub local: Option<u32>,
    /// Connections it may have.
    pub connections: u32,
    /// Entries of each connection's send queue in device memory; 0: kernels post nothing.
    pub send_entries: u32,
    /// Entries of the receive queue in device memory; 0: receives are the host's.
    pub receive_entries: u32,
    /// Work that the NIC takes of each connection before the first is over.
    pub outstanding: usize,
    /// The path MTU it offers.
    pub mtu: PathMtu,
    /// How long an acknowledgement may take.
    pub timeout: AckTimeout,
    /// How often it sends again without an acknowledgement.
    pub retries: RetryLimit,
    /// How often it sends again to a receiver that is not ready.
    pub rnr_retries: RetryLimit,
    /// How long a peer is asked to wait when there is no receive.
    pub rnr_timer: RnrTimer,
    /// After how much silence it asks whether the peer is still there: also one that has not connected yet.
    pub keep_alive: Option<Duration>,
    /// The priority of its packets.
    pub service_level: ServiceLevel,
    /// Reads and atomics outstanding, each way.
    pub depth: u8,
}

impl ContextSpec {
    /// A context without peers, whose queue has so many entries: what is about the transport is never used.
    pub fn local(entries: u32, user_data: u32) -> Self {
        Self {
            local: Some(user_data),
            connections: 1,
            send_entries: entries,
            receive_entries: 0,
            outstanding: 1,
            mtu: PathMtu::B4096,
            timeout: AckTimeout::NEVER,
            retries: RetryLimit::Forever,
            rnr_retries: RetryLimit::Forever,
            rnr_timer: RnrTimer::at_least(Duration::from_millis(1)),
            keep_alive: None,
            service_level: ServiceLevel::DEFAULT,
            depth: 1,
        }
    }
}

/// Receives of the host that may wait for messages in one context.
pub const MAX_RECEIVES: usize = 1 << 20;

/// Why a context could not be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ContextError {
    /// A figure is out of its range.
    #[error("RDMA context: {what} is {asked}, allowed are {min} to {max}")]
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
    /// No device memory for its queues.
    #[error(transparent)]
    Memory(#[from] OutOfMemory),
    /// As many queues as the process may have: the receives of a context are one.
    #[error(transparent)]
    Quota(#[from] QuotaExceeded),
    /// The process is fatal or closed.
    #[error("the process is stopped")]
    Stopped,
}

/// Why a connection could not be exported.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ExportError {
    /// All connections are in use.
    #[error("the context has {limit} connections, as many as it may have")]
    Full {
        /// How many there may be.
        limit: u32,
    },
    /// No device memory for its send queue.
    #[error(transparent)]
    Memory(#[from] OutOfMemory),
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

/// An RDMA context. Its connections end with it.
#[derive(Debug)]
pub struct ContextRef {
    pub(crate) lease: Arc<NicLease>,
    pub(crate) process: Arc<Process>,
    pub(crate) key: usize,
    spec: ContextSpec,
    table: Arc<Block>,
    /// The completion queue stays as long as something reports to it.
    completions: Option<Arc<CompletionQueue>>,
    _share: Share,
}

impl ContextRef {
    /// A context that reports to this completion queue.
    ///
    /// # Errors
    /// A figure out of its range; out of device memory; the process is stopped.
    pub fn new(
        lease: &Arc<NicLease>,
        process: &Arc<Process>,
        spec: ContextSpec,
        completions: Option<Arc<CompletionQueue>>,
    ) -> Result<Arc<Self>, ContextError> {
        let spec = checked(spec)?;
        let share = process.quotas.queue()?;
        let table = Arc::new(Block::new(process, table_words(spec.connections as usize))?);
        table.store(CONNECTIONS, spec.connections.into());
        let receives = receive_ring(process, &table, spec.receive_entries)?;
        let pool = receives.map_or_else(|| Pool::Host(VecDeque::new()), Pool::Ring);
        let connections = vec![None; spec.connections as usize];
        let key = lease.nic().with(|engine| {
            let world = &mut engine.world;
            (!process.is_stopped()).then(|| {
                let pool = world.pairs.pools.insert(pool);
                let domain = domain(process);
                world.contexts.insert(Context {
                    domain,
                    connections,
                    numbers_end: 0,
                    pool,
                })
            })
        });
        process.rdma_opened();
        let context = Self {
            lease: lease.clone(),
            process: process.clone(),
            key: key
                .ok_or(ContextError::Stopped)
                .inspect_err(|_| process.rdma_closed())?,
            spec,
            table,
            completions,
            _share: share,
        };
        Ok(Arc::new(context))
    }

    /// The address and the words of its table, by which kernels know it.
    pub fn table(&self) -> (u64, u64) {
        let words = table_words(self.spec.connections as usize);
        (self.table.addr, words as u64)
    }

    /// The queue of a context without peers, ready.
    ///
    /// # Errors
    /// As [`ContextRef::export`].
    pub fn open_local(self: &Arc<Self>) -> Result<ConnectionRef, ExportError> {
        let queue = self.export()?;
        self.lease.nic().with(|engine| {
            let pair = engine.world.pairs.get(queue.number());
            pair.into_iter()
                .for_each(|pair| pair.record.set_state(STATE_READY));
        });
        Ok(queue)
    }

    /// What it was made with, sizes rounded up.
    pub fn spec(&self) -> &ContextSpec {
        &self.spec
    }

    /// The share in its NIC.
    pub fn lease(&self) -> &Arc<NicLease> {
        &self.lease
    }

    /// Its completion queue.
    pub fn completions(&self) -> Option<&Arc<CompletionQueue>> {
        self.completions.as_ref()
    }

    /// A new connection, and what its peer must know.
    ///
    /// # Errors
    /// All connections are in use; out of device memory; the process is stopped.
    pub fn export(self: &Arc<Self>) -> Result<ConnectionRef, ExportError> {
        let ring = match self.spec.send_entries {
            0 => None,
            entries => Some(Ring::device(&self.process, entries as usize * ENTRY_WORDS)?),
        };
        let first_psn = Psn::new(self.lease.random() as u32 & 0xff_ffff);
        let (id, number, doorbell) = self.enter(ring, first_psn)?;
        let info = self.protocol().info(&self.lease, number, first_psn);
        Ok(ConnectionRef::new(self.clone(), id, number, doorbell, info))
    }

    fn enter(&self, ring: Option<Ring>, first_psn: Psn) -> Result<(u32, Qpn, Handle), ExportError> {
        let share = self.process.quotas.queue()?;
        let now = Duration::from_nanos(self.lease.now());
        let limit = self.spec.connections;
        self.lease.nic().with(|engine| {
            if self.process.is_stopped() {
                return Err(ExportError::Stopped);
            }
            let context = engine.world.contexts.get_mut(self.key);
            let context = context.ok_or(ExportError::Stopped)?;
            let free = context.connections.iter().position(Option::is_none);
            let id = free.ok_or(ExportError::Full { limit })? as u32;
            let pool = Some(context.pool).filter(|_| self.spec.local.is_none());
            let number = engine.provider.create(now, pool, || {
                let number = Qpn::from_random(self.lease.random() as u32);
                let protocol = self.protocol();
                protocol.config(&self.lease, domain(&self.process), number, first_psn)
            })?;
            let entries = self.spec.send_entries;
            let first = first_number(context.numbers_end);
            let record = Record::numbered(self.table.clone(), connection(id as usize), first);
            let send = ring.map(|ring| SendRing::new(ring, record.clone(), entries));
            record.begin(send.as_ref().map_or(0, SendRing::addr), entries);
            record.store(QUEUE_PAIR, number.value().into());
            let doorbells = &self.process.doorbells;
            let doorbell = doorbells.add(self.lease.nic().clone(), number);
            record.store(DOORBELL, doorbell.to_bits());
            record.set_state(STATE_NONE);
            context.connections[id as usize] = Some(number);
            context.numbers_end = first;
            let pool = Some(context.pool);
            let pair = self.pair(id, record, send, pool, share);
            engine.world.pairs.insert(number, pair);
            Ok((id, number, doorbell))
        })
    }

    fn pair(
        &self,
        id: u32,
        record: Record,
        send: Option<SendRing>,
        pool: Option<usize>,
        share: Share,
    ) -> Pair {
        let completions = self.completions.as_ref().map(|queue| queue.key());
        Pair {
            process: self.process.clone(),
            name: self.spec.local.unwrap_or(id),
            local: self.spec.local.is_some(),
            record,
            send,
            send_completions: completions,
            receive_completions: completions,
            pool,
            watch: Arc::default(),
            events: Vec::new(),
            waiting: Waiting::No,
            _share: share,
        }
    }

    fn protocol(&self) -> Protocol {
        let spec = &self.spec;
        Protocol {
            outstanding: spec.outstanding,
            mtu: spec.mtu,
            timeout: spec.timeout,
            retries: spec.retries,
            rnr_retries: spec.rnr_retries,
            rnr_timer: spec.rnr_timer,
            keep_alive: spec.keep_alive,
            service_level: spec.service_level,
            depth: spec.depth,
            sharing: spec.connections,
        }
    }

    /// Posts a receive of the host. What it is received into is kept until it is over.
    ///
    /// It resolves when a message of any connection has arrived in it, or the context is gone. In a context whose
    /// receives are in device memory it is never used, and over at once.
    ///
    /// # Errors
    /// 2^20 wait for messages.
    pub fn receive(&self, buffer: Segment, kept: KeptWork) -> Result<Arc<Pending>, PostHostError> {
        let pending = Pending::new(kept);
        let taken = self.lease.nic().with(|engine| {
            let world = &mut engine.world;
            let pool = world.contexts.get(self.key).map(|context| context.pool);
            let pool = pool.and_then(|pool| world.pairs.pools.get_mut(pool));
            // A process that stops ends those that are there under this lock.
            if let Some(Pool::Host(receives)) = pool
                && !self.process.is_stopped()
            {
                let full = self.process.device.is_full(HostQueue::Receives);
                if full || receives.len() >= MAX_RECEIVES {
                    let limit = MAX_RECEIVES;
                    return Err(PostHostError::Refused(PostReason::Full { limit }));
                }
                let id = HOST | world.work.insert(pending.clone()) as u64;
                receives.push_back(Receive { id, buffer });
                return Ok(true);
            }
            Ok(false)
        })?;
        if !taken {
            pending.end(Ended::Gone);
        } else if self.lease.nic().is_behind_verbs() {
            // The device must be given it.
            self.lease.kick();
        }
        Ok(pending)
    }
}

impl Drop for ContextRef {
    fn drop(&mut self) {
        let now = Duration::from_nanos(self.lease.now());
        let context = self.lease.nic().with(|engine| {
            let context = engine.world.contexts.try_remove(self.key)?;
            let pairs = context.connections.iter().flatten().map(|number| {
                engine.destroy(now, *number);
                engine.world.remove(*number)
            });
            let pairs: Vec<_> = pairs.collect();
            let pool = engine.world.pairs.pools.try_remove(context.pool);
            let held = engine.provider.end_pool(context.pool, &mut engine.world);
            held.into_iter().for_each(|id| engine.world.end_work(id));
            if let Some(Pool::Host(receives)) = &pool {
                let ids = receives.iter().map(|receive| receive.id);
                ids.for_each(|id| engine.world.end_work(id));
            }
            Some((pairs, pool))
        });
        drop(context);
        self.process.rdma_closed();
    }
}

fn receive_ring(
    process: &Arc<Process>,
    table: &Arc<Block>,
    entries: u32,
) -> Result<Option<ReceiveRing>, OutOfMemory> {
    if entries == 0 {
        return Ok(None);
    }
    let ring = Ring::device(process, entries as usize * ENTRY_WORDS)?;
    let ring = ReceiveRing::new(ring, table.clone(), entries);
    table.store(RECEIVE_RING, ring.addr());
    table.store(RECEIVE_ENTRIES, entries.into());
    Ok(Some(ring))
}

fn checked(mut spec: ContextSpec) -> Result<ContextSpec, ContextError> {
    range(
        "connections",
        spec.connections.into(),
        1,
        MAX_CONNECTIONS.into(),
    )?;
    // A queue of the device's own has work of one kind, and none without an entry.
    let (what, least) = match spec.local {
        None => ("send queue", 0),
        Some(_) => ("entries of a queue of asynchronous operations", 1),
    };
    range(what, spec.send_entries.into(), least, MAX_ENTRIES.into())?;
    range(
        "receive queue",
        spec.receive_entries.into(),
        0,
        MAX_ENTRIES.into(),
    )?;
    range("work outstanding", spec.outstanding as u64, 1, 1 << 20)?;
    if let Some(interval) = spec.keep_alive {
        let (asked, min, max) = keep_alive_figures(interval);
        range("keep-alive, in milliseconds,", asked, min, max)?;
    }
    let rounded = |entries| match entries {
        0 => 0,
        entries => entries_for(entries).unwrap_or(MAX_ENTRIES),
    };
    spec.send_entries = rounded(spec.send_entries);
    spec.receive_entries = rounded(spec.receive_entries);
    Ok(spec)
}

/// The interval of keep-alives in whole milliseconds, and what it may be: from 1 ms to a day.
pub(crate) fn keep_alive_figures(interval: Duration) -> (u64, u64, u64) {
    let asked = u64::try_from(interval.as_millis()).unwrap_or(u64::MAX);
    (asked, 1, 24 * 60 * 60 * 1000)
}

pub(crate) fn range(
    what: &'static str,
    asked: u64,
    min: u64,
    max: u64,
) -> Result<(), ContextError> {
    if (min..=max).contains(&asked) {
        return Ok(());
    }
    Err(ContextError::Range {
        what,
        asked,
        min,
        max,
    })
}
