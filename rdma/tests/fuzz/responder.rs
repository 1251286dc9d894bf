//! A responder and a peer that sends it anything, with the right ICRC so that it gets past that.
//!
//! The world keeps the number that the responder expects, as an observer can: from the answers, and from packets
//! that are executed silently. So every packet can be accounted for: it is counted, answered, completed, or it is
//! the expected one without AckReq.

use std::net::SocketAddr;
use std::ops::Range;

use rdma::mtu::PathMtu;
use rdma::psn::Psn;
use rdma::queue_pair::State;
use rdma::region::{Domain, Region, RegionSpec, RemoteKey, Rights};
use rdma::wire::{Aeth, Body, Packet, PacketView, Path, Syndrome};

use crate::mutate::{mutate, number, pick, pick_one, reseal};
use crate::peer::{EVENT, Message, OPEN, Peer, READABLE};
use crate::rig::*;
use crate::watch::{SECRET, Watch, leaks};

const PACKETS: usize = 250;
/// Another domain's, with all rights.
const FOREIGN: Range<usize> = 4096..5120;
/// Where receives lie.
const RECEIVES: Range<usize> = 8192..16384;
/// Replies that may wait to be sent, whatever has come: for twice the responder resources, and 16.
const WAITING: usize = 2 * 16 + 16;

/// One world: B is attacked.
pub struct World {
    peer: Peer,
    pub pair: Pair,
    open: Option<Region>,
    watch: Watch,
    /// The number B expects.
    expected: Psn,
    /// What is left of the message under way, and the number at which its first packet was sent.
    plan: Message,
    planned_for: Psn,
    old: Vec<Vec<u8>>,
    receives: u64,
    pub replies: Vec<Vec<u8>>,
}

/// What B has counted.
#[derive(Clone, Copy, Debug)]
struct Counted {
    dropped: u64,
    duplicates: u64,
    congestion: u64,
}

impl World {
    pub fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let mtu = pick(&mut random, &PathMtu::ALL);
        let mut pair = pair(&mut random, seed, mtu);
        let (keys, open) = regions(&mut pair);
        let expected = pair.a.queue_pair().config().first_psn;
        let peer = Peer {
            random,
            path: Path::new(pair.a.nic.local(), pair.b.nic.local()).unwrap(),
            mtu,
            to: pair.b.number.value(),
            keys,
            goes_too_far: true,
        };
        Self {
            peer,
            open: Some(open),
            watch: Watch::new(&pair.b, vec![RECEIVES, OPEN]),
            pair,
            expected,
            plan: Message::new(),
            planned_for: expected,
            old: Vec::new(),
            receives: 0,
            replies: Vec::new(),
        }
    }

    /// A world for [`World::live`].
    pub fn living() -> Self {
        // A seed whose queue pair is in RTS, remembers reads, and has a message in each packet.
        let worlds = (0..100).map(Self::new);
        let fit = |world: &Self| {
            let resources = world.pair.b.queue_pair().config().responder_resources;
            world.state() == State::ReadyToSend
                && resources == 16
                && world.peer.mtu == PathMtu::B4096
        };
        let mut world = worlds.into_iter().find(fit).expect("one in ten is");
        world.peer.goes_too_far = false;
        world
    }

    pub fn run(&mut self) {
        let mut after_error = 10;
        for i in 0..PACKETS {
            self.receive_sometimes();
            self.revoke_sometimes();
            let packet = self.packet();
            self.give(&packet);
            self.old.push(packet);
            if i % 16 == 0 {
                self.watch.check(&self.pair.b);
            }
            if matches!(self.state(), State::Error(_)) {
                after_error -= 1;
            }
            if after_error == 0 {
                break;
            }
        }
        self.flood();
        self.watch.check(&self.pair.b);
        assert!(self.pair.b.completions.len() as u64 <= self.receives);
    }

    /// One packet of a connection that lives on: good ones, replayed ones, and hostile ones at numbers long gone.
    /// What a test's node collects for its test is thrown away, so that all that grows is B's.
    pub fn live(&mut self) {
        if self.pair.b.receives.is_empty() {
            self.receive(1024);
        }
        let packet = match self.peer.random.below(10) {
            0 if !self.old.is_empty() => pick_one(&mut self.peer.random, &self.old).clone(),
            1 => {
                let gone = self.expected.plus(0u32.wrapping_sub(100));
                let body = self.peer.body(8);
                self.peer.emit(gone, body, &[7; 8])
            }
            _ => self.next_of_plan(),
        };
        self.give(&packet);
        assert_eq!(self.state(), State::ReadyToSend);
        self.old.truncate(50);
        self.old.insert(0, packet);
        self.replies.clear();
        self.pair.b.completions.clear();
        self.pair.b.memory.event_updates.borrow_mut().clear();
    }

    fn state(&self) -> State {
        self.pair.b.queue_pair().state()
    }

    fn receive_sometimes(&mut self) {
        if self.peer.random.chance(200) {
            let len = match self.peer.random.below(20) {
                0 => self.peer.random.below(300) as usize,
                _ => 1024,
            };
            self.receive(len);
        }
    }

    fn receive(&mut self, len: usize) {
        let slots = (RECEIVES.len() / 1024) as u64;
        let offset = RECEIVES.start + 1024 * (self.receives % slots) as usize;
        self.pair.b.receive(self.receives, offset, len);
        self.receives += 1;
    }

    /// Takes the open region away: from now on its bytes stay as they are.
    fn revoke_sometimes(&mut self) {
        if self.peer.random.chance(2)
            && let Some(open) = self.open.take()
            && self.pair.b.regions.deregister(open).is_ok()
        {
            self.watch = Watch::new(&self.pair.b, vec![RECEIVES]);
        }
    }

    /// The next packet: mostly the next one of a good message, so that the world lives; else a hostile one, mostly at
    /// a number at which it can do no harm to that.
    fn packet(&mut self) -> Vec<u8> {
        match self.peer.random.below(100) {
            0..60 => self.next_of_plan(),
            60..70 if !self.old.is_empty() => pick_one(&mut self.peer.random, &self.old).clone(),
            60..80 => self.hostile_packet(),
            80..85 => {
                let mut packet = self.next_of_plan();
                let at = self.peer.random.below(12) as usize;
                packet[at] ^= 1 << self.peer.random.below(8);
                self.sealed(packet)
            }
            _ => {
                let mut packet = self.hostile_packet();
                mutate(&mut self.peer.random, &mut packet, &self.old);
                self.sealed(packet)
            }
        }
    }

    /// Nearly always with the right ICRC.
    fn sealed(&mut self, mut packet: Vec<u8>) -> Vec<u8> {
        if self.peer.random.chance(950) {
            reseal(&mut self.peer.random, &self.peer.path, &mut packet);
        }
        packet
    }

    /// The first packet of the plan that B has not executed, with the number it expects.
    fn next_of_plan(&mut self) -> Vec<u8> {
        if self.planned_for != self.expected {
            self.plan.pop_front();
            self.planned_for = self.expected;
        }
        if self.plan.is_empty() {
            self.plan = self.peer.message();
        }
        let (body, payload) = self.plan[0].clone();
        self.peer.emit(self.expected, body, &payload)
    }

    fn hostile_packet(&mut self) -> Vec<u8> {
        let payload = self.peer.payload();
        let body = self.peer.body(payload.len());
        let psn = self.psn();
        self.peer.emit(psn, body, &payload)
    }

    /// Seldom the number that is expected: one near it, or far off.
    fn psn(&mut self) -> Psn {
        let away = match self.peer.random.below(20) {
            0 => 0,
            1 => pick(
                &mut self.peer.random,
                &[1 << 23, (1 << 23) - 1, (1 << 23) + 1],
            ),
            2..6 => 1 + self.peer.random.below(4),
            _ => 0u64.wrapping_sub(1 + self.peer.random.below(80)),
        };
        self.expected.plus(away as u32)
    }

    /// Gives B a packet and takes its answers; it must leave a trace.
    fn give(&mut self, packet: &[u8]) {
        let from = self.sender();
        let before = self.counted();
        let now = self.pair.now;
        self.pair
            .b
            .call(|nic, io| nic.receive(now, from, packet, io));
        let replies = self.pair.b.transmit(now, 1);
        let counted = self.counted();
        assert!(
            replies.iter().all(|reply| !leaks(reply)),
            "secret bytes left B"
        );
        let new = counted.duplicates == before.duplicates;
        self.note_answers(packet, &replies, new);
        let dropped = counted.dropped - before.dropped;
        let noticed = counted.congestion - before.congestion;
        match replies.is_empty() {
            false => assert_eq!((dropped, noticed), (0, 0), "answered and dropped"),
            true if dropped + noticed == 0 => self.silently_executed(packet),
            true => assert_eq!(dropped + noticed, 1, "dropped once"),
        }
        self.replies.extend(replies);
    }

    /// Mostly the peer.
    fn sender(&mut self) -> SocketAddr {
        match self.peer.random.below(100) {
            0 => "127.0.0.9:4791".parse().unwrap(),
            1 => "127.0.0.2:1".parse().unwrap(),
            _ => self.peer.path.source(),
        }
    }

    fn counted(&self) -> Counted {
        let (nic, own) = (self.pair.b.nic.counters(), self.pair.b.counters());
        Counted {
            dropped: nic.dropped() + own.dropped(),
            duplicates: own.duplicates,
            congestion: own.congestion_notifications,
        }
    }

    /// Learns from the answers what B expects now.
    fn note_answers(&mut self, packet: &[u8], replies: &[Vec<u8>], new: bool) {
        let asked = PacketView::new(packet).map(|view| view.bth().psn());
        let executed = new && asked == Some(self.expected);
        for reply in replies {
            let (psn, body) = parsed(reply);
            self.expected = match body {
                // To a duplicate it may say less: up to the next read or atomic.
                Body::Acknowledge(aeth) if is_ack(aeth) && !new => {
                    let next = psn.plus(1);
                    assert!(!self.expected.is_before(next), "{psn:?} is not executed");
                    self.expected
                }
                Body::Acknowledge(aeth) if is_ack(aeth) => psn.plus(1),
                Body::Acknowledge(_) => psn,
                _ if executed => psn.plus(1),
                _ => self.expected,
            };
        }
    }

    /// The only packet that may leave no trace: the expected one, a request that asks for no acknowledgement.
    fn silently_executed(&mut self, packet: &[u8]) {
        let (psn, body) = parsed(packet);
        let asks = packet[8] & 0x80 != 0;
        let request = !body.opcode().is_response() && body != Body::Cnp;
        assert!(
            request && !asks && psn == self.expected,
            "{body:?} with number {psn:?} vanished; B expects {:?}",
            self.expected
        );
        self.expected = psn.plus(1);
    }

    /// Reads or atomics without end, and B is not asked for its answers meanwhile: what waits stays bounded.
    fn flood(&mut self) {
        let (now, from) = (self.pair.now, self.peer.path.source());
        let reads = self.peer.random.chance(500);
        for ahead in 0..100 {
            let (readable, event) = (self.peer.keys[1], self.peer.keys[EVENT]);
            let body = match reads {
                true => {
                    Body::ReadRequest(self.peer.reth_within(readable, READABLE.len() as u64, 8))
                }
                false => Body::FetchAdd(self.peer.atomic_at(event, 0)),
            };
            let packet = self.peer.emit(self.expected.plus(ahead), body, &[]);
            let b = &mut self.pair.b;
            b.call(|nic, io| nic.receive(now, from, &packet, io));
        }
        let waiting = self.pair.b.transmit(now, 1).len();
        assert!(waiting <= WAITING, "{waiting} packets were waiting");
    }
}

fn parsed(bytes: &[u8]) -> (Psn, Body) {
    let packet = Packet::try_from(PacketView::new(bytes).expect("a length")).expect("a packet");
    (packet.header.bth.psn, packet.header.body)
}

fn is_ack(aeth: Aeth) -> bool {
    matches!(aeth.syndrome, Syndrome::Ack { .. })
}

fn pair(random: &mut Random, seed: u64, mtu: PathMtu) -> Pair {
    let mut setup = Setup {
        seed,
        mtu,
        first_psn: number(random) as u32,
        ..Setup::default()
    };
    setup.config.responder_resources = match random.below(20) {
        0 => 0,
        _ => pick(random, &[1, 4, 16]),
    };
    let mut pair = Pair::unconnected(&setup);
    pair.connect(&setup);
    if random.chance(800) {
        let (now, number) = (pair.now, pair.b.number);
        pair.b.nic.activate(now, number).unwrap();
    }
    pair.b.fill(0, &[SECRET; REGION]);
    for range in [OPEN, READABLE] {
        pair.b.fill(range.start, &pattern(range.len(), 1));
    }
    pair
}

/// B's regions: the open one first. The one over everything has only the local right that receives need.
fn regions(pair: &mut Pair) -> (Vec<RemoteKey>, Region) {
    let table = &pair.b.regions;
    let over = |range: Range<usize>, rights, domain| {
        let whole = region_like(rights);
        let spec = RegionSpec {
            target: whole.target.plus(range.start as u64),
            len: range.len() as u64,
            domain,
            ..whole
        };
        table.register(spec, 77).unwrap()
    };
    let open = over(OPEN, Rights::all(), DOMAIN);
    let readable = over(READABLE, Rights::REMOTE_READ, DOMAIN);
    let foreign = over(FOREIGN, Rights::all(), Domain(DOMAIN.0 + 1));
    let hidden = over(0..REGION, Rights::LOCAL_WRITE, DOMAIN);
    table.deregister(pair.b.region).unwrap();
    pair.b.region = hidden;
    let regions = [open, readable, foreign, hidden, pair.b.event];
    (regions.map(Region::remote_key).to_vec(), open)
}
