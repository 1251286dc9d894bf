//! The NIC of the device: queues in device memory on one side, RoCE v2 on the other.
//!
//! ```text
//!  kernel: entry, doorbell --> Bell --> Engine { SoftNic (core, socket), World (contexts, queues) }
//!                                          |                                        |
//!  idle worker, attendant: poll -----------'        heap, host memory, events  <----+----> completion queues
//! ```
//!
//! One thread at a time works a NIC (`bell`): the worker whose kernel rang the doorbell, an idle worker that polls, a
//! host program that posts, or the NIC's own thread when all others are busy or asleep (`attend`). That thread carries a
//! packet from the socket to memory, to the event behind it, and on to the kernel that the event opens.
//!
//! Lock order: engine, then an event's waiters (a queue that waits registers there), then nothing. What wakes anybody is collected under the lock (`after`) and done behind it;
//! what may be the host program's code, also behind the work on the NIC. That runs where it comes up all the same, on a worker or on the NIC's own thread, and
//! must not wait for anything there.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use crossbeam::queue::SegQueue;
use rdma::Datagram;
use rdma::provider::{Chosen, Provider as Asked, SystemError, UnknownProvider, VerbsOpenError};
use rdma::psn::Qpn;
use rdma::region::RegionTable;
use rdma::udp::{BindError, Options, SocketCounters};
use thiserror::Error;

mod after;
mod attend;
pub mod bell;
mod completion_ring;
mod completions;
mod connection;
mod context;
mod device_region;
pub(crate) mod doorbell;
mod engine;
mod host_memory;
mod late;
mod lease;
mod leased;
mod leaving;
mod line;
mod lock;
mod memory;
mod pairs;
mod pending;
mod period;
mod protocol;
mod provider;
mod queue_of;
mod queues;
mod raw;
mod region;
mod relief;
mod ring;
mod translate;
mod turn;
mod waiting;
mod watch;
mod words;
mod working;
mod world;

pub use completion_ring::{CompletionSpec, Moderation, OverrunPolicy};
pub use completions::{AttachError, CompletionQueue, CompletionQueueError, HostReadError};
pub use connection::{ConnectError, ConnectionRef, PostHostError};
pub use context::{ContextError, ContextRef, ContextSpec, ExportError};
pub use host_memory::HostMemory;
pub use lease::NicLease;
pub use pending::{Ended, KeptWork, Pending};
pub use raw::outbox::OutboxError;
pub use raw::pair::{ModifyError, QueuePairRef, QueuePairSpec, QueuePairStep};
pub use raw::queue::{RawQueueError, ReceiveQueueRef, SendQueueRef};
pub use region::{Registration, RegistrationError};
pub use ring::{QUEUE_ALIGN, QueueMemory, QueueMemoryError};
pub use waiting::QueueGate;
pub use watch::ConnectionState;

pub(crate) use doorbell::Doorbells;
pub(crate) use lease::Nics;
pub(crate) use leased::Leased;
pub(crate) use queue_of::QueueOf;

use after::run_all;
use attend::Attendant;
use bell::Bell;
use engine::Engine;
use leaving::Leaving;
use lock::NicLock;
use provider::{Facts, Provider};
use relief::Relief;
use working::Looked;

use crate::process::Process;
use crate::quota::QuotaExceeded;

/// Regions that a NIC can have registered at a time.
pub const MAX_REGIONS: usize = 1 << 16;

/// A NIC could not be opened.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum NicError {
    /// Its socket could not be bound.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// Its thread, or a descriptor with which that watches it, could not be had.
    #[error("the thread of the NIC, or what it watches with, could not be had: {0}")]
    Thread(std::io::Error),
    /// It was to be behind verbs, and something for that is missing.
    #[error(transparent)]
    Verbs(#[from] VerbsOpenError),
    /// The environment names no provider.
    #[error("{}: {_0}", rdma::provider::VARIABLE)]
    Provider(UnknownProvider),
    /// As many NICs as the process may have.
    #[error(transparent)]
    Quota(#[from] QuotaExceeded),
}

/// One NIC of a device.
#[derive(Debug)]
pub struct DeviceNic {
    /// What it was asked for by, under the seeded driver also its address on the virtual network.
    address: SocketAddr,
    facts: Facts,
    chosen: Chosen,
    receive_buffer: usize,
    joins: bool,
    pub(crate) regions: Arc<RegionTable>,
    engine: NicLock<Engine>,
    bell: Bell,
    rung: SegQueue<Qpn>,
    /// Doorbells have rung that are not in `rung`.
    rung_too_often: AtomicBool,
    /// Counts the times somebody looked, for the attendant.
    looks: AtomicU64,
    leases: AtomicUsize,
    /// How many of them each partition has.
    shares: Box<[AtomicUsize]>,
    /// It stands still until then.
    stalled_until: AtomicU64,
    attendant: Option<Attendant>,
    /// Looks in its place if it is on no network.
    relief: Relief,
    /// The last of all fields: when it is dropped, the sockets are closed.
    leaving: Leaving,
}

crate::anywhere::goes_anywhere!(DeviceNic {
    address,
    facts,
    chosen,
    receive_buffer,
    joins,
    regions,
    engine,
    bell,
    rung,
    rung_too_often,
    looks,
    leases,
    shares,
    stalled_until,
    attendant,
    relief,
    leaving,
});

impl DeviceNic {
    fn open(
        asked: Asked,
        address: IpAddr,
        options: &Options,
        partitions: usize,
    ) -> Result<Self, NicError> {
        let regions = Arc::new(RegionTable::new(MAX_REGIONS, random()));
        let (engine, chosen) = Engine::open(asked, address, options, regions.clone())?;
        let attendant = Attendant::new(&engine).map_err(NicError::Thread)?;
        // The port may have been the system's choice; the address of a device's port need not be the one asked for.
        let address = match chosen.device {
            None => engine.provider.facts().at,
            Some(_) => (address, options.port).into(),
        };
        let made = (engine, regions, Some(attendant));
        Ok(Self::of(address, made, chosen, partitions))
    }

    fn inside(address: SocketAddr, random: u64, partitions: usize) -> Self {
        let regions = Arc::new(RegionTable::new(MAX_REGIONS, random));
        let engine = Engine::inside(address, regions.clone());
        let made = (engine, regions, None);
        Self::of(address, made, Provider::of_model(), partitions)
    }

    fn carried(address: SocketAddr, random: u64, partitions: usize) -> Self {
        let regions = Arc::new(RegionTable::new(MAX_REGIONS, random));
        let engine = Engine::carried(address, regions.clone());
        let made = (engine, regions, None);
        Self::of(address, made, Provider::of_model(), partitions)
    }

    /// What it has sent into the virtual network.
    pub(crate) fn take_sent(&self) -> VecDeque<Datagram> {
        self.engine.lock().provider.take_sent()
    }

    /// A packet of the virtual network has arrived.
    pub(crate) fn deliver(&self, datagram: Datagram) {
        self.engine.lock().provider.deliver(datagram);
    }

    fn of(
        address: SocketAddr,
        (engine, regions, attendant): (Engine, Arc<RegionTable>, Option<Attendant>),
        chosen: Chosen,
        partitions: usize,
    ) -> Self {
        let socket = engine.provider.socket();
        Self {
            address,
            facts: engine.provider.facts(),
            chosen,
            receive_buffer: socket.map_or(1 << 20, rdma::udp::Socket::receive_buffer),
            joins: socket.is_some_and(rdma::udp::Socket::joins),
            regions,
            engine: NicLock::new(engine),
            bell: Bell::new(),
            rung: SegQueue::new(),
            rung_too_often: AtomicBool::new(false),
            looks: AtomicU64::new(0),
            leases: AtomicUsize::new(0),
            shares: (0..partitions).map(|_| AtomicUsize::new(0)).collect(),
            stalled_until: AtomicU64::new(0),
            attendant,
            relief: Relief::default(),
            leaving: Leaving::new(address),
        }
    }

    /// Whether a process of this partition has a share in it.
    #[inline]
    pub(crate) fn is_shared_by(&self, partition: usize) -> bool {
        self.shares[partition].load(Ordering::Relaxed) > 0
    }

    /// How often somebody has looked.
    pub(crate) fn looks(&self) -> u64 {
        self.looks.load(Ordering::Relaxed)
    }

    /// Its address and port.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What carries its packets, and why that.
    pub fn chosen(&self) -> &Chosen {
        &self.chosen
    }

    /// Whether a device carries its packets.
    pub(crate) fn is_behind_verbs(&self) -> bool {
        self.chosen.device.is_some()
    }

    pub(crate) fn facts(&self) -> &Facts {
        &self.facts
    }

    /// What the kernel granted its socket for what arrives, in bytes.
    pub fn receive_buffer(&self) -> usize {
        self.receive_buffer
    }

    /// Whether its socket joins segmented sends again.
    pub fn joins_segments(&self) -> bool {
        self.joins
    }

    /// What its socket has counted.
    pub fn socket_counters(&self) -> SocketCounters {
        self.engine.lock().provider.socket_counters()
    }

    /// What was dropped before a queue pair was found.
    pub fn counters(&self) -> rdma::counters::Counters {
        self.engine.lock().provider.counters()
    }

    /// When it wants to be called.
    fn next_timer(&self) -> Option<u64> {
        let at = self.engine.lock().next_timer();
        let stalled = self.stalled_until.load(Ordering::Relaxed);
        match stalled {
            0 => at,
            _ => Some(at.map_or(stalled, |at| at.max(stalled))),
        }
    }

    /// Works on the NIC under its lock, waiting for it, and does what follows.
    pub(crate) fn with<R>(&self, work: impl FnOnce(&mut Engine) -> R) -> R {
        let mut engine = self.engine.lock();
        engine.world.turn.begin();
        engine.world.note_posted();
        let result = work(&mut engine);
        let after = engine.take_after();
        self.tell_attendant(&engine);
        let goes_on = engine.is_left();
        drop(engine);
        run_all(after);
        if goes_on {
            self.leave_the_rest();
        }
        result
    }

    /// The attendant sleeps until the next timer it knew of.
    fn tell_attendant(&self, engine: &Engine) {
        if let (Some(attendant), Some(at)) = (&self.attendant, engine.provider.poll_timeout()) {
            attendant.sooner(at);
        }
    }

    /// Somebody begins to look all the time: no packet needs to wake the attendant.
    pub(crate) fn begin_looking(&self) {
        self.attendant.iter().for_each(Attendant::disarm);
    }

    /// Nobody looks any more: packets wake the attendant.
    pub(crate) fn end_looking(&self) {
        self.attendant.iter().for_each(Attendant::arm);
    }

    /// What a device says that is no completion; false: that it is gone.
    pub(crate) fn take_events(&self) -> bool {
        self.with(|engine| engine.provider.take_events())
    }

    /// Asks a device to say when there is something to do, and looks once more; whether there was something.
    pub(crate) fn ask_and_look(&self, now: u64) -> bool {
        let asked = self.engine.lock().provider.request_notification();
        // Who works it just now may have looked before it was asked, and is to look again.
        asked && self.bell.ring() && self.poll(now).worked
    }

    /// Updates an event where a device writes it, and carries that to the event; `None` if none of ours does.
    pub(crate) fn update_word(
        &self,
        process: &Process,
        index: u32,
        update: dpa_abi::Update,
    ) -> Option<Result<u64, SystemError>> {
        self.with(|engine| engine.update_word(process, index, update))
    }

    /// Events get what a device has written for them.
    pub(crate) fn carry_words(&self) {
        self.with(|engine| engine.world.carry_words());
    }

    /// Whether somebody waits for an event whose word a device writes.
    pub(crate) fn words_are_awaited(&self) -> bool {
        self.engine.lock().world.words.has_waiters()
    }

    /// Somebody begins to wait for such an event.
    #[cfg(feature = "verbs")]
    pub(crate) fn begin_words(&self, now: u64) {
        let attendant = self.attendant.iter();
        attendant.for_each(|attendant| attendant.begin_words(now));
    }
}

/// A random number from the system.
fn random() -> u64 {
    // On the supported platforms it waits until there is entropy, and does not fail.
    getrandom::u64().expect("the system's random source")
}

#[cfg(test)]
mod tests;
