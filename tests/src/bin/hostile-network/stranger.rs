//! Who sends what nobody wants, as fast as the system takes it.

use std::fmt;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use clap::ValueEnum;
use rdma::psn::Psn;
use rdma::wire::{
    Aeth, AtomicEth, Body, Bth, Header, MAX_PACKET, MIN_PACKET, Packet, Part, Path, Reth, seal,
};

use crate::Outcome;
use crate::rally::Target;
use crate::relay::Way;

/// What it sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// Bytes without meaning.
    Random,
    /// Good packets with bits changed, cut off, of another version or partition, with and without a right CRC.
    Malformed,
    /// Packets that are right in everything but where they come from.
    Foreign,
    /// From the peer's address, of numbers that are over: writes, reads, atomics with the right key.
    Replayed,
    /// Packets of the game through the box, as they were, from where they came.
    Recorded,
    /// From the peer's address, for guessed queue pairs; and answers to what was never asked.
    Spoofed,
    /// From the peer's address, for the right queue pair: requests and answers of numbers that are yet to come.
    WrongNumber,
}

impl Kind {
    /// As it is named on the command line.
    pub fn name(self) -> String {
        let value = self.to_possible_value();
        value.map_or(String::new(), |value| value.get_name().to_owned())
    }
}

/// How many kinds there are.
const KINDS: usize = 7;

/// How many of each kind.
#[derive(Default)]
pub struct Sent([u64; KINDS]);

impl Sent {
    pub fn add(&mut self, other: &Self) {
        self.0.iter_mut().zip(other.0).for_each(|(a, b)| *a += b);
    }

    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }

    pub fn of(&self, kind: Kind) -> u64 {
        self.0[kind as usize]
    }
}

impl fmt::Display for Sent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (kind, count) in Kind::value_variants().iter().zip(self.0) {
            write!(f, "{count} {}, ", kind.name())?;
        }
        write!(f, "{} in all", self.total())
    }
}

/// A socket, and how packets from it look to their receiver.
struct Line {
    socket: UdpSocket,
    path: Path,
}

impl Line {
    fn new(from: IpAddr, to: SocketAddr) -> Outcome<Self> {
        let socket = UdpSocket::bind((from, 0))?;
        let path = Path::new(socket.local_addr()?, to).ok_or("addresses of two families")?;
        Ok(Self { socket, path })
    }

    /// Out of the box that records.
    fn of(way: &Way) -> Outcome<Self> {
        let socket = way.socket.try_clone()?;
        let path = way.path;
        Ok(Self { socket, path })
    }

    /// Whether the system took it.
    fn send(&self, bytes: &[u8]) -> bool {
        let sent = self.socket.send_to(bytes, self.path.destination());
        sent.is_ok()
    }
}

/// The lines to a target: from nowhere, from its peer's address, and from the box that it takes for its other peer.
struct Aim {
    target: Target,
    foreign: Line,
    spoofed: Line,
    boxed: Line,
    /// What went to it through the box, and what it sent into it.
    towards: Arc<Way>,
    back: Arc<Way>,
}

pub struct Stranger {
    aims: Vec<Aim>,
    kind: Option<Kind>,
    random: u64,
}

impl Stranger {
    pub fn new(targets: Outcome<[Target; 2]>, kind: Option<Kind>, seed: u64) -> Outcome<Self> {
        let aim = |target: Target| {
            Ok(Aim {
                foreign: Line::new(IpAddr::from([127, 119, 0, 1]), target.at)?,
                spoofed: Line::new(target.peer.ip(), target.at)?,
                boxed: Line::of(&target.towards)?,
                towards: target.towards.clone(),
                back: target.back.clone(),
                target,
            })
        };
        Ok(Self {
            aims: targets?.into_iter().map(aim).collect::<Outcome<_>>()?,
            kind,
            random: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1,
        })
    }

    /// Sends until it is over.
    pub fn attack(mut self, over: &AtomicBool) -> Outcome<Sent> {
        let mut sent = Sent::default();
        let aims = std::mem::take(&mut self.aims);
        let mut bytes = Vec::with_capacity(MAX_PACKET);
        while !over.load(Ordering::Relaxed) {
            for aim in &aims {
                let drawn = self.draw();
                let kind = self.kind.unwrap_or(drawn);
                let line = self.packet(kind, aim, &mut bytes);
                // A full queue of the system's is no error of ours: the next one.
                let was_sent = !bytes.is_empty() && line.send(&bytes);
                sent.0[kind as usize] += u64::from(was_sent);
            }
        }
        Ok(sent)
    }

    /// What is answered by way of the box is drawn less often, for the answers take time from who sends.
    fn draw(&mut self) -> Kind {
        match self.below(32) {
            0 => Kind::Recorded,
            1 => Kind::WrongNumber,
            n if n < 8 => Kind::Random,
            n if n < 14 => Kind::Malformed,
            n if n < 20 => Kind::Foreign,
            n if n < 26 => Kind::Replayed,
            _ => Kind::Spoofed,
        }
    }

    /// Numbers without an end (xorshift).
    fn next(&mut self) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    fn packet<'a>(&mut self, kind: Kind, aim: &'a Aim, bytes: &mut Vec<u8>) -> &'a Line {
        let number = aim.target.connection.queue_pair.value();
        let first = aim.target.first_psn;
        match kind {
            Kind::Random => {
                let len = self.below(MAX_PACKET as u64 + 64) as usize;
                bytes.clear();
                bytes.extend((0..len).map(|_| self.next() as u8));
                &aim.foreign
            }
            Kind::Malformed => {
                let body = self.request(aim);
                self.emit(&aim.spoofed, number, self.over_number(first), body, bytes);
                self.damage(&aim.spoofed, bytes);
                &aim.spoofed
            }
            Kind::Foreign => {
                let psn = first.wrapping_add(self.below(1 << 20) as u32);
                let body = self.request(aim);
                self.emit(&aim.foreign, number, psn, body, bytes);
                &aim.foreign
            }
            Kind::Replayed => {
                let psn = self.old(first);
                let body = self.request(aim);
                self.emit(&aim.spoofed, number, psn, body, bytes);
                &aim.spoofed
            }
            Kind::Recorded => {
                aim.towards.recorded(self.next(), bytes);
                &aim.boxed
            }
            Kind::WrongNumber => {
                self.ahead(aim, bytes);
                &aim.boxed
            }
            Kind::Spoofed if self.below(2) == 0 => {
                let (guess, psn) = (self.next() as u32 & 0xff_ffff, self.next() as u32);
                let guess = if guess == number { guess ^ 1 } else { guess };
                let body = self.request(aim);
                self.emit(&aim.spoofed, guess, psn, body, bytes);
                &aim.spoofed
            }
            Kind::Spoofed => {
                let psn = self.old(aim.target.connection.first_psn.value());
                self.emit(
                    &aim.spoofed,
                    number,
                    psn,
                    Body::Acknowledge(Aeth::ack(7)),
                    bytes,
                );
                &aim.spoofed
            }
        }
    }

    /// A request or an answer of a number that is far ahead, so that it is never the one that is expected.
    fn ahead(&mut self, aim: &Aim, bytes: &mut Vec<u8>) {
        let ahead = (1 << 20) + self.below(1 << 22) as u32;
        let (newest, body) = match self.below(2) {
            0 => (aim.towards.newest(), self.request(aim)),
            _ => (aim.back.newest(), Body::Acknowledge(Aeth::ack(7))),
        };
        let number = aim.target.boxed.queue_pair.value();
        let psn = newest.plus(ahead).value();
        self.emit(&aim.boxed, number, psn, body, bytes);
    }

    /// A number before the first.
    fn old(&mut self, first: u32) -> u32 {
        first.wrapping_sub(1 + self.below(1 << 22) as u32) & 0xff_ffff
    }

    fn over_number(&self, first: u32) -> u32 {
        first.wrapping_sub(1 + (self.random >> 40) as u32 % (1 << 22)) & 0xff_ffff
    }

    /// A request with the right key: it would do harm if it were executed.
    fn request(&mut self, aim: &Aim) -> Body {
        let region = &aim.target.region;
        let offset = self.below(region.len - 64) & !7;
        let reth = Reth {
            virtual_address: region.base + offset,
            r_key: region.key.0,
            dma_length: 64,
        };
        let atomic = AtomicEth {
            virtual_address: reth.virtual_address,
            r_key: reth.r_key,
            swap_or_add: self.next(),
            compare: 0,
        };
        match self.below(4) {
            0 => Body::ReadRequest(reth),
            1 => Body::FetchAdd(atomic),
            _ => Body::Write(Part::Only(reth, None)),
        }
    }

    fn emit(&mut self, line: &Line, number: u32, psn: u32, body: Body, bytes: &mut Vec<u8>) {
        let filling = [self.next() as u8; 64];
        let bth = Bth {
            ack_request: true,
            ..Bth::new(number, Psn::new(psn))
        };
        let header = Header { bth, body };
        let payload: &[u8] = match body.opcode().has_payload() {
            true => &filling,
            false => &[],
        };
        let packet = Packet { header, payload };
        bytes.resize(packet.len(), 0);
        packet.emit(&line.path, 0, bytes);
    }

    /// Changes a packet so that it is not good any more, or is by its CRC alone.
    fn damage(&mut self, line: &Line, bytes: &mut Vec<u8>) {
        match self.below(4) {
            0 => bytes.truncate(self.below(bytes.len() as u64) as usize),
            1 => bytes.extend([0; 5]),
            2 => {
                // The first bytes: opcode, padding and version, partition.
                bytes[self.below(4) as usize] ^= 1 << self.below(8);
                if bytes.len() >= MIN_PACKET {
                    seal(&line.path, 0, bytes);
                }
            }
            _ => {
                let at = self.below(bytes.len() as u64) as usize;
                bytes[at] ^= 1 << self.below(8);
            }
        }
    }
}
