//! An RDMA context, as its owner on the host holds it: its table in device memory, its receives, its connections.

use std::sync::Arc;
use std::time::Duration;

use dpa_abi::queue::record::{
    CONNECTIONS, DOORBELL, QUEUE_PAIR, RECEIVE_ENTRIES, RECEIVE_RING, SEND_ENTRIES, SEND_RING,
    STATE, STATE_READY, connection, table_words,
};
use dpa_abi::queue::{MAX_ENTRIES, entries_for};
use rdma::config::{AckTimeout, Config, RetryLimit};
use rdma::connection::{AtomicCapability, ConnectionInfo, Features, NicKind};
use rdma::flow;
use rdma::mtu::PathMtu;
use rdma::psn::{Psn, Qpn};
use rdma::region::Domain;
use rdma::wire::RnrTimer;
use rdma::work::{Receive, Segment};
use thiserror::Error;

use super::NicLease;
use super::completions::CompletionQueue;
use super::connection::ConnectionRef;
use super::pending::{KeptWork, Pending};
use super::queues::{Block, ReceiveRing, SendRing};
use super::world::{Connection, Context, HOST};
use crate::heap::OutOfMemory;
use crate::process::Process;

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
    /// After how much silence it asks whether the peer is still there.
    pub keep_alive: Option<Duration>,
    /// Reads and atomics outstanding, each way.
    pub depth: u8,
}

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
        let table = Arc::new(Block::new(process, table_words(spec.connections as usize))?);
        table.store(CONNECTIONS, spec.connections.into());
        let receives = receive_ring(process, &table, spec.receive_entries)?;
        let context = Context {
            process: process.clone(),
            table: table.clone(),
            connections: (0..spec.connections).map(|_| None).collect(),
            completions: completions.as_ref().map(|queue| queue.key()),
            local: spec.local,
            receives,
            host_receives: Default::default(),
        };
        let key = lease.nic().with(|engine| {
            let stopped = process.is_stopped();
            (!stopped).then(|| engine.world.contexts.all.insert(context))
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
        self.table
            .store(connection(queue.id() as usize) + STATE, STATE_READY);
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
            entries => Some(Block::ring(&self.process, entries)?),
        };
        let first_psn = Psn::new(self.lease.random() as u32 & 0xff_ffff);
        let (id, number) = self.enter(ring, first_psn)?;
        let doorbell = self.process.doorbells.add(self.lease.nic().clone(), number);
        let base = connection(id as usize);
        self.table.store(base + QUEUE_PAIR, number.value().into());
        self.table.store(base + DOORBELL, doorbell.to_bits());
        let info = self.info(number, first_psn);
        Ok(ConnectionRef::new(self.clone(), id, number, doorbell, info))
    }

    fn enter(&self, ring: Option<Block>, first_psn: Psn) -> Result<(u32, Qpn), ExportError> {
        let now = Duration::from_nanos(self.lease.now());
        let limit = self.spec.connections;
        self.lease.nic().with(|engine| {
            if self.process.is_stopped() {
                return Err(ExportError::Stopped);
            }
            let contexts = &mut engine.world.contexts;
            let context = contexts.all.get_mut(self.key).ok_or(ExportError::Stopped)?;
            let free = context.connections.iter().position(Option::is_none);
            let id = free.ok_or(ExportError::Full { limit })? as u32;
            let number = loop {
                let number = Qpn::from_random(self.lease.random() as u32);
                let config = self.config(number, first_psn);
                if engine.soft.nic().create(now, config).is_ok() {
                    break number;
                }
            };
            let entries = self.spec.send_entries;
            let send = ring.map(|ring| SendRing::new(ring, self.table.clone(), id, entries));
            let base = connection(id as usize);
            self.table
                .store(base + SEND_RING, send.as_ref().map_or(0, SendRing::addr));
            self.table.store(base + SEND_ENTRIES, entries.into());
            context.connections[id as usize] = Some(Connection::new(number, send));
            contexts.of.insert(number, (self.key, id));
            Ok((id, number))
        })
    }

    fn config(&self, number: Qpn, first_psn: Psn) -> Config {
        let spec = &self.spec;
        Config {
            send_queue: spec.outstanding,
            initiator_depth: spec.depth.into(),
            responder_resources: spec.depth.into(),
            rnr_timer: spec.rnr_timer,
            timeout: spec.timeout,
            retries: spec.retries,
            rnr_retries: spec.rnr_retries,
            keep_alive: spec.keep_alive,
            receive_budget: self.budget(),
            ..Config::new(number, first_psn, domain(&self.process))
        }
    }

    /// A connection's share of the socket's buffer.
    fn budget(&self) -> u32 {
        let buffer = self.lease.nic().receive_buffer();
        flow::budget(buffer, self.spec.mtu, self.spec.connections as usize)
    }

    fn info(&self, queue_pair: Qpn, first_psn: Psn) -> ConnectionInfo {
        let nic = self.lease.nic();
        let mut features = Features::INVALIDATE | Features::CONGESTION;
        features.set(Features::SEGMENTS, nic.joins_segments());
        let mut nonce = [0; 16];
        nonce[..8].copy_from_slice(&self.lease.random().to_ne_bytes());
        nonce[8..].copy_from_slice(&self.lease.random().to_ne_bytes());
        ConnectionInfo {
            kind: NicKind::Soft,
            address: nic.address().ip(),
            udp_port: nic.address().port(),
            queue_pair,
            first_psn,
            mtu: self.spec.mtu,
            initiator_depth: self.spec.depth,
            responder_resources: self.spec.depth,
            rnr_timer: self.spec.rnr_timer,
            timeout: self.spec.timeout,
            receive_budget: Some(self.budget()),
            atomics: AtomicCapability::Global,
            features,
            nonce,
            echo: None,
        }
    }

    /// Posts a receive of the host. What it is received into is kept until it is over.
    ///
    /// It resolves when a message of any connection has arrived in it, or the context is gone. In a context whose
    /// receives are in device memory it is never used.
    pub fn receive(&self, buffer: Segment, kept: KeptWork) -> Arc<Pending> {
        let pending = Pending::new(kept);
        self.lease.nic().with(|engine| {
            let world = &mut engine.world;
            // The context is there as long as this is.
            if let Some(context) = world.contexts.all.get_mut(self.key) {
                let id = HOST | world.work.insert(pending.clone()) as u64;
                context.host_receives.push_back(Receive { id, buffer });
            }
        });
        pending
    }
}

impl Drop for ContextRef {
    fn drop(&mut self) {
        let now = Duration::from_nanos(self.lease.now());
        let context = self.lease.nic().with(|engine| {
            let context = engine.world.contexts.all.try_remove(self.key)?;
            for connection in context.connections.iter().flatten() {
                engine.soft.nic().destroy(now, connection.number);
                engine.world.contexts.of.remove(&connection.number);
            }
            for receive in &context.host_receives {
                engine.world.end_work(receive.id);
            }
            Some(context)
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
    let ring = ReceiveRing::new(Block::ring(process, entries)?, table.clone(), entries);
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
    range(
        "send queue",
        spec.send_entries.into(),
        0,
        MAX_ENTRIES.into(),
    )?;
    range(
        "receive queue",
        spec.receive_entries.into(),
        0,
        MAX_ENTRIES.into(),
    )?;
    range("work outstanding", spec.outstanding as u64, 1, 1 << 20)?;
    let rounded = |entries| match entries {
        0 => 0,
        entries => entries_for(entries).unwrap_or(MAX_ENTRIES),
    };
    spec.send_entries = rounded(spec.send_entries);
    spec.receive_entries = rounded(spec.receive_entries);
    Ok(spec)
}

fn range(what: &'static str, asked: u64, min: u64, max: u64) -> Result<(), ContextError> {
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
