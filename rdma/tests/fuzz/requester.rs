//! A requester whose peer, or somebody who poses as it, answers anything.
//!
//! B works; its answers are lost, repeated, changed with the right ICRC, and forged ones are mixed in. A has writes,
//! sends, reads and atomics outstanding. Its memory may change only where reads and atomics put their results, and
//! each work request must end once, well or badly, in bounded time.

use std::ops::Range;

use rdma::memory::Atomic;
use rdma::mtu::PathMtu;
use rdma::psn::Psn;
use rdma::wire::{
    Aeth, AtomicAckEth, Body, Bth, Header, Packet, Path, ReadPart, RnrTimer, Syndrome,
};
use rdma::work::Operation;

use crate::mutate::{mutate, noise, pick, pick_one, reseal};
use crate::rig::*;
use crate::watch::{SECRET, Watch, leaks};

const REQUESTS: u64 = 25;
const TURNS: usize = 250;
/// Turns in which a requester that nobody disturbs must have come to an end.
const ENDING: usize = 20_000;
/// What A sends.
const SOURCE: Range<usize> = 0..8192;
/// Where the results of reads and atomics go.
const RESULTS: usize = 16384;
const SLOT: usize = 1024;

/// One world: A is attacked.
pub struct World {
    random: Random,
    pair: Pair,
    path: Path,
    watch: Watch,
    /// The first and last number of A's packets that B has seen.
    first: Psn,
    last: Psn,
    posted: u64,
    old: Vec<Vec<u8>>,
}

impl World {
    pub fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let setup = Setup {
            seed,
            mtu: pick(&mut random, &PathMtu::ALL),
            first_psn: random.next() as u32,
            ..Setup::default()
        };
        let pair = Pair::with(setup);
        pair.a.fill(0, &[SECRET; REGION]);
        pair.a.fill(SOURCE.start, &pattern(SOURCE.len(), 1));
        let path = Path::new(pair.b.nic.local(), pair.a.nic.local()).unwrap();
        let first = pair.a.queue_pair().config().first_psn;
        Self {
            watch: Watch::new(&pair.a, Vec::new()),
            random,
            pair,
            path,
            first,
            last: first,
            posted: 0,
            old: Vec::new(),
        }
    }

    pub fn run(&mut self) {
        for turn in 0..TURNS {
            if self.posted < REQUESTS && self.random.chance(300) {
                self.post();
            }
            self.turn(true);
            if turn % 16 == 0 {
                self.watch.check(&self.pair.a);
            }
        }
        self.end();
        self.watch.check(&self.pair.a);
        self.each_ended_once();
    }

    fn post(&mut self) {
        let id = self.posted;
        self.posted += 1;
        self.pair.b.receive(id, 64 * 1024, 4096);
        let from = self
            .pair
            .a
            .segment(SOURCE.start, self.random.below(5000) as usize);
        let slot = RESULTS + SLOT * id as usize;
        let to = self.pair.b.remote(8 * self.random.below(64) as usize);
        let operation = match self.random.below(5) {
            0 => send(rdma::work::Data::Local(self.pair.a.segment(0, 700))),
            1 => write(from, to),
            2 | 3 => {
                let len = self.random.below(SLOT as u64 + 1) as usize;
                self.watch.allow(slot..slot + len);
                read(to, self.pair.a.segment(slot, len))
            }
            _ => {
                self.watch.allow(slot..slot + 8);
                Operation::Atomic {
                    at: to,
                    operation: Atomic::Add(1),
                    result: Some(self.pair.a.segment(slot, 8)),
                }
            }
        };
        self.pair.post(signaled(id, operation));
    }

    /// A sends to B; B's answers come back as the world likes it; time passes.
    fn turn(&mut self, hostile: bool) {
        let now = self.pair.now;
        let requests = self.pair.a.transmit(now, 1);
        let idle = requests.is_empty();
        for request in requests {
            self.give_b(&request, hostile);
        }
        for answer in self.pair.b.transmit(now, 1) {
            match hostile {
                true => self.spoil(answer),
                false => self.give_a(&answer),
            }
        }
        if hostile && self.random.chance(300) {
            let forged = self.forged();
            self.give_a(&forged);
        }
        self.pass_time(idle);
    }

    fn give_b(&mut self, request: &[u8], hostile: bool) {
        assert!(!leaks(request), "A sent what it was not told to");
        let psn = rdma::wire::PacketView::new(request).unwrap().bth().psn();
        if !psn.is_before(self.last) {
            self.last = psn;
        }
        if hostile && self.random.chance(100) {
            return;
        }
        let (now, from) = (self.pair.now, self.path.destination());
        let b = &mut self.pair.b;
        b.call(|nic, io| nic.receive(now, from, request, io));
    }

    fn give_a(&mut self, answer: &[u8]) {
        let (now, from) = (self.pair.now, self.path.source());
        let a = &mut self.pair.a;
        a.call(|nic, io| nic.receive(now, from, answer, io));
    }

    /// What becomes of an answer of B's.
    fn spoil(&mut self, mut answer: Vec<u8>) {
        let kept = answer.clone();
        match self.random.below(12) {
            0 => return,
            1 => self.give_a(&kept),
            2 => {
                mutate(&mut self.random, &mut answer, &self.old);
                reseal(&mut self.random, &self.path, &mut answer);
            }
            3 if !self.old.is_empty() => {
                let old = pick_one(&mut self.random, &self.old).clone();
                self.give_a(&old);
            }
            _ => {}
        }
        self.give_a(&answer);
        self.old.push(kept);
    }

    /// An answer that nobody gave, often to something that was asked. A refusal for good is rare: it ends the world.
    fn forged(&mut self) -> Vec<u8> {
        let span = self.last.since(self.first).min(1 << 20);
        let near = match self.random.below(4) {
            0 => self.random.next() as u32,
            _ => span.saturating_sub(self.random.below(8) as u32),
        };
        let psn = self.first.plus(near);
        let syndrome = match self.random.below(100) {
            0 => Syndrome::from_code(self.random.next() as u8),
            1..20 => Syndrome::RnrNak(RnrTimer::from_code(1).unwrap()),
            20..40 => Syndrome::Nak(rdma::wire::NakCode::PsnSequenceError),
            _ => Aeth::ack(0).syndrome,
        };
        let aeth = Aeth { syndrome, msn: 0 };
        let body = match self.random.below(7) {
            0 | 1 => Body::Acknowledge(aeth),
            2 => Body::AtomicAcknowledge(aeth, AtomicAckEth(self.random.next())),
            3 => Body::ReadResponse(ReadPart::First(aeth)),
            4 => Body::ReadResponse(ReadPart::Middle),
            5 => Body::ReadResponse(ReadPart::Only(aeth)),
            _ => Body::Cnp,
        };
        let len = self.random.below(SLOT as u64 + 1) as usize;
        let payload = noise(
            &mut self.random,
            if body.opcode().has_payload() { len } else { 0 },
        );
        let bth = Bth::new(self.pair.a.number.value(), psn);
        let header = Header { bth, body };
        let packet = Packet {
            header,
            payload: &payload,
        };
        let mut out = vec![0; packet.len()];
        packet.emit(&self.path, 0, &mut out);
        out
    }

    /// To the next timeout if there is nothing else to do, else a little.
    fn pass_time(&mut self, idle: bool) {
        let next = self.pair.a.nic.poll_timeout().filter(|_| idle);
        let little = self.pair.now + std::time::Duration::from_micros(10);
        self.pair.now = next.unwrap_or(little).max(little);
        let now = self.pair.now;
        for node in [&mut self.pair.a, &mut self.pair.b] {
            node.call(|nic, _| nic.handle_timeout(now));
        }
    }

    /// Undisturbed, until nothing is outstanding.
    fn end(&mut self) {
        for id in 0..REQUESTS {
            self.pair.b.receive(REQUESTS + id, 64 * 1024, 4096);
        }
        for _ in 0..ENDING {
            if self.pair.a.queue_pair().outstanding() == 0 {
                return;
            }
            self.turn(false);
        }
        panic!("{:?} is still busy", self.pair.a.queue_pair().state());
    }

    fn each_ended_once(&self) {
        let ended: Vec<u64> = ended(&self.pair.a).into_iter().map(|(id, _)| id).collect();
        let posted: Vec<u64> = (0..self.posted).collect();
        assert_eq!(ended, posted, "each work request ends once, in order");
    }
}
