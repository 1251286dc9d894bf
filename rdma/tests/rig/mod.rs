//! Two NICs and the link between them, stepped by hand: no socket, no clock, every choice from one seed.

#![expect(dead_code, reason = "each test uses its part of the rig")]

pub mod forge;
mod node;
mod work;

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

use rdma::config::{Config, Peer};
use rdma::memory::{Atomic, SpaceId, Target};
use rdma::mtu::PathMtu;
use rdma::nic::Nic;
use rdma::psn::{Psn, Qpn};
use rdma::queue_pair::Io;
use rdma::region::{Domain, Rights};
use rdma::wire::{Opcode, Packet, PacketView, Path};
use rdma::work::WorkRequest;

pub use node::*;
pub use work::*;

pub const DOMAIN: Domain = Domain(7);
/// Bytes of a node's registered memory.
pub const REGION: usize = 256 * 1024;
/// Bytes before and behind it that nobody may touch.
pub const GUARD: usize = 4096;
/// The address of the region's first byte in local work requests.
pub const LOCAL_BASE: u64 = 0x10_0000;

/// Random numbers that replay.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed ^ 0x5851_f42d_4c95_7f2d)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    /// A number below `end`, which is not 0.
    pub fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    /// True `per_mille` times of 1,000.
    pub fn chance(&mut self, per_mille: u32) -> bool {
        self.below(1000) < u64::from(per_mille)
    }
}

/// What the link does to packets, per mille.
#[derive(Clone, Debug)]
pub struct Link {
    pub latency: Duration,
    pub loss: u32,
    pub duplicate: u32,
    pub reorder: u32,
    pub corrupt: u32,
}

impl Default for Link {
    fn default() -> Self {
        Self {
            latency: Duration::from_micros(10),
            loss: 0,
            duplicate: 0,
            reorder: 0,
            corrupt: 0,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    A,
    B,
}

/// A packet as it left a node.
#[derive(Clone, Debug)]
pub struct Sent {
    pub at: Duration,
    pub from: Side,
    pub opcode: Opcode,
    pub psn: Psn,
    pub ack_request: bool,
    pub payload: usize,
    pub bytes: Vec<u8>,
}

/// Decides about a packet before the link does: false drops it.
pub type Filter = Box<dyn FnMut(&Sent) -> bool>;

/// Two connected nodes and the link between them.
pub struct Pair {
    pub now: Duration,
    pub a: Node,
    pub b: Node,
    pub link: Link,
    pub random: Random,
    pub trace: Vec<Sent>,
    pub filter: Option<Filter>,
    pub max_segments: usize,
    flight: BTreeMap<(Duration, u64), (Side, Vec<u8>)>,
    serial: u64,
}

/// What a pair is made with.
#[derive(Clone, Debug)]
pub struct Setup {
    pub seed: u64,
    pub mtu: PathMtu,
    pub budget: u32,
    pub first_psn: u32,
    pub config: Config,
}

impl Default for Setup {
    fn default() -> Self {
        let number = Qpn::new(0x11).unwrap();
        Self {
            seed: 1,
            mtu: PathMtu::B1024,
            budget: 64,
            first_psn: 1000,
            config: Config::new(number, Psn::new(0), DOMAIN),
        }
    }
}

const ADDRESS_A: &str = "127.0.0.2:4791";
const ADDRESS_B: &str = "127.0.0.3:4791";

impl Pair {
    pub fn new() -> Self {
        Self::with(Setup::default())
    }

    /// Connected and ready to send, both ways.
    pub fn with(setup: Setup) -> Self {
        let mut pair = Self::unconnected(&setup);
        pair.connect(&setup);
        let now = pair.now;
        for node in [&mut pair.a, &mut pair.b] {
            node.nic.activate(now, node.number).unwrap();
        }
        pair
    }

    /// Both in INIT.
    pub fn unconnected(setup: &Setup) -> Self {
        let config = |number: u32, psn: u32| Config {
            number: Qpn::new(number).unwrap(),
            first_psn: Psn::new(psn),
            ..setup.config.clone()
        };
        let a = config(0x11, setup.first_psn);
        let b = config(0x22, setup.first_psn.wrapping_add(77));
        Self {
            now: Duration::ZERO,
            a: Node::new(ADDRESS_A.parse().unwrap(), a, setup.seed),
            b: Node::new(ADDRESS_B.parse().unwrap(), b, setup.seed.wrapping_add(1)),
            link: Link::default(),
            random: Random::new(setup.seed),
            trace: Vec::new(),
            filter: None,
            max_segments: 64,
            flight: BTreeMap::new(),
            serial: 0,
        }
    }

    /// Both to RTR.
    pub fn connect(&mut self, setup: &Setup) {
        let peer = |of: &Node, from: &Node| Peer {
            path: Path::new(from.nic.local(), of.nic.local()).unwrap(),
            number: of.number,
            first_psn: of.queue_pair().config().first_psn,
            mtu: setup.mtu,
            budget: setup.budget,
            responder_resources: of.queue_pair().config().responder_resources,
            lid: 0,
            max_identification: 127,
            max_segments: 128,
        };
        let (of_a, of_b) = (peer(&self.a, &self.b), peer(&self.b, &self.a));
        self.a.nic.connect(self.a.number, of_b).unwrap();
        self.b.nic.connect(self.b.number, of_a).unwrap();
    }

    pub fn node(&mut self, side: Side) -> &mut Node {
        match side {
            Side::A => &mut self.a,
            Side::B => &mut self.b,
        }
    }

    /// Posts at A.
    pub fn post(&mut self, request: WorkRequest) {
        self.a.post(self.now, request);
    }

    /// Puts everything both want to send on the link.
    pub fn transmit(&mut self) {
        for side in [Side::A, Side::B] {
            let (now, max_segments) = (self.now, self.max_segments);
            for packet in self.node(side).transmit(now, max_segments) {
                self.launch(side, packet);
            }
        }
    }

    fn launch(&mut self, from: Side, packet: Vec<u8>) {
        let sent = describe(self.now, from, &packet);
        let passes = self.filter.as_mut().is_none_or(|filter| filter(&sent));
        self.trace.push(sent);
        if !passes || self.random.chance(self.link.loss) {
            return;
        }
        if self.random.chance(self.link.duplicate) {
            self.fly(from, packet.clone());
        }
        self.fly(from, packet);
    }

    fn fly(&mut self, from: Side, mut packet: Vec<u8>) {
        if self.random.chance(self.link.corrupt) {
            let at = self.random.below(packet.len() as u64) as usize;
            packet[at] ^= 1 << self.random.below(8);
        }
        let late = match self.random.chance(self.link.reorder) {
            true => self.link.latency * (1 + self.random.below(20) as u32),
            false => Duration::ZERO,
        };
        self.serial += 1;
        let arrival = self.now + self.link.latency + late;
        self.flight.insert((arrival, self.serial), (from, packet));
    }

    /// Puts bytes on the link as if `from` had sent them.
    pub fn inject(&mut self, from: Side, packet: Vec<u8>) {
        self.serial += 1;
        self.flight.insert((self.now, self.serial), (from, packet));
    }

    /// Sends, then moves to the next arrival or timeout; false if there is none.
    pub fn step(&mut self) -> bool {
        self.transmit();
        let arrival = self.flight.first_key_value().map(|((at, _), _)| *at);
        let timers = [self.a.nic.poll_timeout(), self.b.nic.poll_timeout()];
        let next = timers.into_iter().chain([arrival]).flatten().min();
        let Some(next) = next else { return false };
        self.now = self.now.max(next);
        self.deliver();
        let now = self.now;
        for node in [&mut self.a, &mut self.b] {
            node.call(|nic, _| nic.handle_timeout(now));
        }
        true
    }

    /// Hands over what has arrived.
    pub fn deliver(&mut self) {
        while let Some(entry) = self
            .flight
            .first_entry()
            .filter(|entry| entry.key().0 <= self.now)
        {
            let (from, packet) = entry.remove();
            let now = self.now;
            let (sender, receiver) = match from {
                Side::A => (ADDRESS_A, &mut self.b),
                Side::B => (ADDRESS_B, &mut self.a),
            };
            let sender = sender.parse().unwrap();
            receiver.call(|nic, io| nic.receive(now, sender, &packet, io));
        }
    }

    /// Steps until nothing is on its way and no timer runs.
    pub fn run(&mut self) {
        for _ in 0..200_000 {
            if !self.step() {
                return;
            }
        }
        panic!("still busy at {:?}", self.now);
    }

    /// Steps until this time has passed.
    pub fn run_until(&mut self, end: Duration) {
        while self.now < end {
            if !self.step() || self.now >= end {
                break;
            }
        }
        self.now = self.now.max(end);
    }

    /// The opcodes that left a side, in order.
    pub fn opcodes(&self, from: Side) -> Vec<Opcode> {
        self.trace
            .iter()
            .filter(|sent| sent.from == from)
            .map(|sent| sent.opcode)
            .collect()
    }

    /// How many packets with this opcode left a side.
    pub fn count(&self, from: Side, opcode: Opcode) -> usize {
        self.opcodes(from)
            .into_iter()
            .filter(|sent| *sent == opcode)
            .count()
    }
}

fn describe(at: Duration, from: Side, bytes: &[u8]) -> Sent {
    let packet = Packet::try_from(PacketView::new(bytes).unwrap()).unwrap();
    Sent {
        at,
        from,
        opcode: packet.header.body.opcode(),
        psn: packet.header.bth.psn,
        ack_request: packet.header.bth.ack_request,
        payload: packet.payload.len(),
        bytes: bytes.to_vec(),
    }
}

/// A filter that drops the packets of `from` with this opcode, the first `times` times.
pub fn drop_first(from: Side, opcode: Opcode, times: usize) -> Filter {
    let mut left = times;
    Box::new(move |sent| {
        let hit = left > 0 && sent.from == from && sent.opcode == opcode;
        left -= usize::from(hit);
        !hit
    })
}
