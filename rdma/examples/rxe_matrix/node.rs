//! Our end of the wire: a soft NIC, one region, and what has come of its work.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use rdma::config::{AckTimeout, Config, Peer};
use rdma::counters::Counters;
use rdma::flow;
use rdma::memory::{Atomic, EventGone, EventUpdate, Memory, SpaceId, Target};
use rdma::mtu::PathMtu;
use rdma::psn::{Psn, Qpn};
use rdma::queue_pair::{Cause, Io};
use rdma::region::{Domain, Region, RegionKind, RegionSpec, RegionTable, Rights};
use rdma::soft::{Host, SoftNic};
use rdma::udp::Options;
use rdma::wire::RnrTimer;
use rdma::work::{Completion, Receive, RemoteAddress, Segment, WorkRequest};

use crate::Failure;

/// Bytes of the region: what the peer has, too.
pub const REGION: usize = 1 << 20;
/// Bytes before and behind it that nobody may touch.
const GUARD: usize = 4096;
const CANARY: u8 = 0xc5;
const DOMAIN: Domain = Domain(1);
/// The acknowledgement timeout, 67 ms: the peer's processor is an emulated one.
pub const TIMEOUT_CODE: u8 = 14;
/// How long a sender shall wait for a receive: 10.24 ms.
const RNR_WAIT: Duration = Duration::from_millis(10);

/// A NIC at one address, on the port of RoCE.
pub struct Node {
    soft: SoftNic,
    world: World,
    start: Instant,
    next: Qpn,
}

/// What is above the NIC.
struct World {
    memory: Bytes,
    regions: RegionTable,
    receives: VecDeque<Receive>,
    completions: VecDeque<(Qpn, Completion)>,
    failures: Vec<(Qpn, Cause)>,
}

struct Bytes(RefCell<Vec<u8>>);

impl Node {
    /// A NIC with a region of [`REGION`] bytes; `name` keeps its queue pairs' numbers apart from others'.
    pub fn bind(address: IpAddr, name: u32) -> Result<(Self, Region, Region), Failure> {
        let soft = SoftNic::bind(address, &Options::default())?;
        let regions = RegionTable::new(16, 0x5eed);
        let whole = regions.register(spec(Rights::all()), 1)?;
        let readable = regions.register(spec(Rights::LOCAL_WRITE | Rights::REMOTE_READ), 2)?;
        let world = World {
            memory: Bytes::new(),
            regions,
            receives: VecDeque::new(),
            completions: VecDeque::new(),
            failures: Vec::new(),
        };
        let node = Self {
            soft,
            world,
            start: Instant::now(),
            next: Qpn::from_random(name),
        };
        Ok((node, whole, readable))
    }

    /// A new queue pair in INIT.
    pub fn create(&mut self, first_psn: Psn, mtu: PathMtu) -> Result<Qpn, Failure> {
        let mut config = Config::new(self.next, first_psn, DOMAIN);
        self.next = self.next.next();
        let buffer = self
            .soft
            .socket()
            .map_or(0, rdma::udp::Socket::receive_buffer);
        config.receive_budget = flow::budget(buffer, mtu, 1);
        config.rnr_timer = RnrTimer::at_least(RNR_WAIT);
        if let Some(timeout) = AckTimeout::from_code(TIMEOUT_CODE) {
            config.timeout = timeout;
        }
        Ok(self.soft.nic().create(self.start.elapsed(), config)?)
    }

    /// To RTR, then to RTS.
    pub fn connect(&mut self, number: Qpn, peer: Peer) -> Result<(), Failure> {
        self.soft.nic().connect(number, peer)?;
        Ok(self.soft.nic().activate(self.start.elapsed(), number)?)
    }

    /// Removes a queue pair, with what is left of its work.
    pub fn destroy(&mut self, number: Qpn) {
        self.soft.nic().destroy(self.start.elapsed(), number);
        self.progress();
        self.world.receives.clear();
        self.world.completions.retain(|(of, _)| *of != number);
    }

    pub fn post(&mut self, number: Qpn, request: WorkRequest) -> Result<(), Failure> {
        let now = self.start.elapsed();
        self.soft.nic().post(now, number, request)?;
        self.soft.send(now, &mut self.world);
        Ok(())
    }

    pub fn receive(&mut self, id: u64, buffer: Segment) {
        self.world.receives.push_back(Receive { id, buffer });
    }

    /// Does what there is to do; whether there was anything.
    pub fn progress(&mut self) -> bool {
        self.soft.progress(self.start.elapsed(), &mut self.world)
    }

    /// The next completion of this queue pair.
    pub fn completion(&mut self, number: Qpn) -> Option<Completion> {
        let all = &mut self.world.completions;
        let at = all.iter().position(|(of, _)| *of == number)?;
        all.remove(at).map(|(_, completion)| completion)
    }

    /// Why this queue pair is in ERR, if it is.
    pub fn failure(&self, number: Qpn) -> Option<Cause> {
        let found = self.world.failures.iter().find(|(of, _)| *of == number);
        found.map(|(_, cause)| *cause)
    }

    pub fn outstanding(&self, number: Qpn) -> usize {
        let queue_pair = self.soft.nic_ref().queue_pair(number);
        queue_pair.map_or(0, rdma::queue_pair::QueuePair::outstanding)
    }

    pub fn counters(&self, number: Qpn) -> Counters {
        let queue_pair = self.soft.nic_ref().queue_pair(number);
        queue_pair.map_or(Counters::NONE, |queue_pair| *queue_pair.counters())
    }

    /// What the NIC itself dropped.
    pub fn nic_counters(&self) -> Counters {
        *self.soft.nic_ref().counters()
    }

    pub fn fill(&self, offset: usize, data: &[u8]) {
        let start = GUARD + offset;
        self.world.memory.0.borrow_mut()[start..start + data.len()].copy_from_slice(data);
    }

    pub fn bytes(&self, offset: usize, len: usize) -> Vec<u8> {
        self.world.memory.0.borrow()[GUARD + offset..GUARD + offset + len].to_vec()
    }

    /// Whether nothing outside the region was touched.
    pub fn guards_hold(&self) -> bool {
        let bytes = self.world.memory.0.borrow();
        let (before, behind) = (&bytes[..GUARD], &bytes[GUARD + REGION..]);
        before.iter().chain(behind).all(|byte| *byte == CANARY)
    }
}

/// A piece of the region for local work.
pub fn segment(region: Region, offset: usize, len: usize) -> Segment {
    Segment {
        address: offset as u64,
        len: len as u32,
        key: region.local_key(),
    }
}

/// A place in the region as the peer names it: address and key.
pub fn place(region: Region, offset: usize) -> RemoteAddress {
    RemoteAddress {
        address: offset as u64,
        key: region.remote_key(),
    }
}

fn spec(rights: Rights) -> RegionSpec {
    RegionSpec {
        domain: DOMAIN,
        target: Target {
            space: SpaceId(0),
            offset: GUARD as u64,
        },
        len: REGION as u64,
        local_base: 0,
        remote_base: 0,
        rights,
        kind: RegionKind::Bytes,
    }
}

impl Host for World {
    fn io(&mut self, _receives_of: Option<Qpn>) -> Io<'_> {
        Io {
            memory: &self.memory,
            regions: &self.regions,
            receives: &mut self.receives,
        }
    }

    fn completed(&mut self, number: Qpn, completion: Completion) {
        self.completions.push_back((number, completion));
    }

    fn failed(&mut self, number: Qpn, cause: Cause) {
        self.failures.push((number, cause));
    }
}

impl Bytes {
    fn new() -> Self {
        let parts = [vec![CANARY; GUARD], vec![0; REGION], vec![CANARY; GUARD]];
        Self(RefCell::new(parts.concat()))
    }
}

impl Memory for Bytes {
    fn read(&self, from: Target, out: &mut [u8]) {
        let start = from.offset as usize;
        out.copy_from_slice(&self.0.borrow()[start..start + out.len()]);
    }

    fn write(&self, to: Target, data: &[u8]) {
        let start = to.offset as usize;
        self.0.borrow_mut()[start..start + data.len()].copy_from_slice(data);
    }

    fn atomic(&self, at: Target, operation: Atomic) -> u64 {
        let mut bytes = self.0.borrow_mut();
        let start = at.offset as usize;
        let (word, _) = bytes[start..]
            .split_first_chunk_mut::<8>()
            .expect("a checked place");
        let old = u64::from_ne_bytes(*word);
        *word = operation.applied_to(old).to_ne_bytes();
        old
    }

    fn event_update(&self, _at: Target, _update: EventUpdate) -> Result<u64, EventGone> {
        Err(EventGone)
    }
}
