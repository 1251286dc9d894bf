//! What a peer says: messages that a responder has no reason to refuse, and packets that may be anything.

use std::collections::VecDeque;
use std::ops::Range;

use rdma::mtu::PathMtu;
use rdma::psn::Psn;
use rdma::region::RemoteKey;
use rdma::wire::{
    Aeth, AtomicAckEth, AtomicEth, Body, Bth, Header, Ieth, ImmDt, Packet, Part, Path, ReadPart,
    Reth, SendTail, Syndrome,
};

use crate::mutate::{noise, number, pick};
use crate::rig::Random;

/// What the peer may write, read and do atomics on.
pub const OPEN: Range<usize> = 16384..32768;
/// What it may only read.
pub const READABLE: Range<usize> = 2048..3072;
/// The event's key among the keys; that of [`OPEN`] is 0, that of [`READABLE`] 1.
pub const EVENT: usize = 4;

/// The packets of a message, without their numbers.
pub type Message = VecDeque<(Body, Vec<u8>)>;

/// A peer that talks to one queue pair.
pub struct Peer {
    pub random: Random,
    pub path: Path,
    pub mtu: PathMtu,
    /// The queue pair's number.
    pub to: u32,
    /// Keys that there are.
    pub keys: Vec<RemoteKey>,
    /// Now and then a message ends a little behind its region.
    pub goes_too_far: bool,
}

impl Peer {
    /// The packets of a message that B has no reason to refuse.
    pub fn message(&mut self) -> Message {
        let alone = |body| VecDeque::from([(body, Vec::new())]);
        if self.goes_too_far && self.random.chance(20) {
            return self.at_the_edge();
        }
        match self.random.below(10) {
            0..3 => self.write_message(),
            3..5 => self.send_message(),
            5..7 => {
                let key = pick(&mut self.random, &self.keys[..2]);
                let len = self.random.below(600);
                let reth = self.reth_within(key, READABLE.len() as u64, len);
                alone(Body::ReadRequest(reth))
            }
            7 => alone(Body::FetchAdd(self.atomic_at(self.keys[0], 0))),
            8 => alone(Body::CompareSwap(self.atomic_at(self.keys[0], 8))),
            _ => alone(Body::FetchAdd(self.atomic_at(self.keys[EVENT], 0))),
        }
    }

    /// A message that ends at the region's end, or up to eight bytes behind it: then B has a reason.
    fn at_the_edge(&mut self) -> Message {
        let (key, size) = pick(&mut self.random, &[(0, OPEN.len()), (1, READABLE.len())]);
        let len = 16u64;
        let reth = Reth {
            virtual_address: size as u64 - len + self.random.below(9),
            r_key: self.keys[key].0,
            dma_length: len as u32,
        };
        let word = OPEN.len() as u64 - 8 * self.random.below(2);
        let atomic = self.atomic_at(self.keys[0], word);
        let body = match self.random.below(3) {
            0 => Body::Write(Part::Only(reth, None)),
            1 => Body::ReadRequest(reth),
            _ => Body::FetchAdd(atomic),
        };
        VecDeque::from([(body, noise(&mut self.random, len as usize))])
    }

    fn write_message(&mut self) -> Message {
        let longest = OPEN.len() as u64 / 2;
        let len = pick(&mut self.random, &[0, 1, 8, 1024, longest]);
        let reth = self.reth_within(self.keys[0], OPEN.len() as u64, len);
        let imm = self.random.chance(200).then_some(ImmDt(5));
        self.split(len as usize, |first, last| match (first, last) {
            (true, true) => Body::Write(Part::Only(reth, imm)),
            (true, false) => Body::Write(Part::First(reth)),
            (false, false) => Body::Write(Part::Middle),
            (false, true) => Body::Write(Part::Last(imm)),
        })
    }

    fn send_message(&mut self) -> Message {
        let len = self.random.below(1025) as usize;
        let tail = match self.random.chance(300) {
            true => SendTail::Immediate(ImmDt(6)),
            false => SendTail::Plain,
        };
        self.split(len, |first, last| match (first, last) {
            (true, true) => Body::Send(Part::Only((), tail)),
            (true, false) => Body::Send(Part::First(())),
            (false, false) => Body::Send(Part::Middle),
            (false, true) => Body::Send(Part::Last(tail)),
        })
    }

    /// Noise of this length in packets; `body` is told whether it is the first, and whether the last.
    fn split(&mut self, len: usize, body: impl Fn(bool, bool) -> Body) -> Message {
        let noise = noise(&mut self.random, len);
        let count = len.div_ceil(self.mtu.bytes()).max(1);
        let piece = |i: usize| {
            let start = i * self.mtu.bytes();
            noise[start..len.min(start + self.mtu.bytes())].to_vec()
        };
        (0..count)
            .map(|i| (body(i == 0, i + 1 == count), piece(i)))
            .collect()
    }

    pub fn reth_within(&mut self, key: RemoteKey, size: u64, len: u64) -> Reth {
        Reth {
            virtual_address: self.random.below(size - len + 1),
            r_key: key.0,
            dma_length: len as u32,
        }
    }

    pub fn atomic_at(&mut self, key: RemoteKey, virtual_address: u64) -> AtomicEth {
        AtomicEth {
            virtual_address,
            r_key: key.0,
            swap_or_add: self.random.next(),
            compare: self.random.next(),
        }
    }

    /// A whole packet with the right ICRC.
    pub fn emit(&mut self, psn: Psn, body: Body, payload: &[u8]) -> Vec<u8> {
        let payload = if body.opcode().has_payload() {
            payload
        } else {
            &[]
        };
        let bth = Bth {
            ack_request: self.random.chance(700),
            solicited: self.random.chance(100),
            ..Bth::new(self.to, psn)
        };
        let header = Header { bth, body };
        let packet = Packet { header, payload };
        let mut out = vec![0; packet.len()];
        packet.emit(&self.path, self.random.below(128) as u16, &mut out);
        out
    }

    /// Mostly a whole packet's.
    pub fn payload(&mut self) -> Vec<u8> {
        let len = match self.random.below(4) {
            0 => self.random.below(self.mtu.bytes() as u64 + 5) as usize,
            1 => 8,
            _ => self.mtu.bytes(),
        };
        noise(&mut self.random, len.min(4096))
    }

    /// Anything, mostly with keys and addresses that there are.
    pub fn body(&mut self, payload: usize) -> Body {
        let reth = self.reth(payload);
        let imm = ImmDt(self.random.next() as u32);
        let tail = match self.random.below(3) {
            0 => SendTail::Plain,
            1 => SendTail::Immediate(imm),
            _ => SendTail::Invalidate(Ieth(self.key().0)),
        };
        let imm = self.random.chance(300).then_some(imm);
        let aeth = self.aeth();
        match self.random.below(22) {
            0 => Body::Send(Part::First(())),
            1 => Body::Send(Part::Middle),
            2 => Body::Send(Part::Last(tail)),
            3 => Body::Send(Part::Only((), tail)),
            4 => Body::Write(Part::First(reth)),
            5 => Body::Write(Part::Middle),
            6 => Body::Write(Part::Last(imm)),
            7..11 => Body::Write(Part::Only(reth, imm)),
            11..14 => Body::ReadRequest(reth),
            14..16 => Body::FetchAdd(self.atomic()),
            16 => Body::CompareSwap(self.atomic()),
            17 => Body::Acknowledge(aeth),
            18 => Body::AtomicAcknowledge(aeth, AtomicAckEth(1)),
            19 => Body::ReadResponse(ReadPart::Middle),
            20 => Body::ReadResponse(ReadPart::Only(aeth)),
            _ => Body::Cnp,
        }
    }

    fn aeth(&mut self) -> Aeth {
        let syndrome = Syndrome::from_code(self.random.next() as u8);
        Aeth { syndrome, msn: 1 }
    }

    /// Mostly within the region, and mostly of the payload's length.
    fn reth(&mut self, payload: usize) -> Reth {
        let len = match self.random.below(10) {
            0 => number(&mut self.random) as u32,
            1 => self.random.below(600) as u32,
            _ => payload as u32,
        };
        Reth {
            virtual_address: self.address(),
            r_key: self.key().0,
            dma_length: len,
        }
    }

    fn atomic(&mut self) -> AtomicEth {
        AtomicEth {
            virtual_address: self.address() & !7,
            r_key: self.key().0,
            swap_or_add: number(&mut self.random),
            compare: number(&mut self.random),
        }
    }

    fn address(&mut self) -> u64 {
        match self.random.below(12) {
            0 => number(&mut self.random),
            1 => OPEN.len() as u64 - self.random.below(20),
            2 => self.random.below(OPEN.len() as u64),
            _ => 0,
        }
    }

    fn key(&mut self) -> RemoteKey {
        match self.random.below(20) {
            0 => RemoteKey(self.random.next() as u32),
            1..5 => pick(&mut self.random, &self.keys),
            _ => self.keys[0],
        }
    }
}
