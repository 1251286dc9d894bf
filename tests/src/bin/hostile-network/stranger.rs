//! Who sends what nobody wants, as fast as the system takes it.

use std::fmt;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};

use clap::ValueEnum;
use rdma::psn::Psn;
use rdma::wire::{
    Aeth, AtomicEth, Body, Bth, Header, MAX_PACKET, MIN_PACKET, Packet, Part, Path, Reth, seal,
};

use crate::Outcome;
use crate::rally::Target;

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
    /// From the peer's address, for guessed queue pairs; and answers to what was never asked.
    Spoofed,
}

/// How many of each kind.
#[derive(Default)]
pub struct Sent([u64; 5]);

impl Sent {
    pub fn add(&mut self, other: &Self) {
        self.0.iter_mut().zip(other.0).for_each(|(a, b)| *a += b);
    }

    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }
}

impl fmt::Display for Sent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (kind, count) in Kind::value_variants().iter().zip(self.0) {
            let name = kind.to_possible_value();
            let name = name.as_ref().map_or("", |value| value.get_name());
            write!(f, "{count} {name}, ")?;
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
        socket.connect(to)?;
        Ok(Self { socket, path })
    }
}

/// The lines to a target: from nowhere, and from its peer's address.
struct Aim {
    target: Target,
    foreign: Line,
    spoofed: Line,
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
                let drawn = Kind::value_variants()[self.below(5) as usize];
                let kind = self.kind.unwrap_or(drawn);
                let line = self.packet(kind, aim, &mut bytes);
                // A full queue of the system's is no error of ours: the next one.
                if line.socket.send(&bytes).is_ok() {
                    sent.0[kind as usize] += 1;
                }
            }
        }
        Ok(sent)
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
