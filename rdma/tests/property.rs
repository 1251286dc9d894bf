//! Random work under random faults ends like a sequential execution: memory, atomics, completions.
//!
//! `DPA_SEEDS=n` tries n seeds (default 1,000); `DPA_SEED=s` replays one. A failure prints the command.

mod rig;
#[path = "../../dpa-model/tests/seeds/mod.rs"]
mod seeds;

use rdma::config::{AckTimeout, Config, RetryLimit};
use rdma::memory::Atomic;
use rdma::mtu::PathMtu;
use rdma::work::{Data, Flags, Operation, ReceivedKind, Tail, WorkRequest};
use rig::*;
use seeds::seeds;
use std::time::Duration;

/// Where the parts of a node's memory lie. Work requests read only from SOURCE, which never changes.
const SOURCE: usize = 0;
const WRITTEN: usize = 64 * 1024;
const WORDS: usize = 128 * 1024;
const RESULTS: usize = 132 * 1024;
const RECEIVED: usize = 136 * 1024;
const READ: usize = 160 * 1024;
/// Bytes of the part that is written and read.
const SPAN: usize = 24 * 1024;
const RECEIVE: usize = 2048;
const BUFFERS: usize = 12;

/// What a run must end with.
struct Reference {
    /// The peer's memory.
    memory: Vec<u8>,
    event: u64,
    event_updates: usize,
    /// Per fenced read: where its bytes went, and what they must be.
    reads: Vec<(usize, Vec<u8>)>,
    originals: Vec<(u64, u64)>,
    signaled: Vec<u64>,
    received: Vec<(ReceivedKind, Vec<u8>)>,
}

struct Run {
    pair: Pair,
    reference: Reference,
    random: Random,
    /// All work is fenced: reads must equal the reference.
    fence: bool,
    next_id: u64,
    read_offset: usize,
    /// Receives posted, and completions of receives compared.
    receives: usize,
    compared: usize,
}

fn faults(random: &mut Random) -> Link {
    let pick = |random: &mut Random, max| {
        if random.chance(500) {
            random.below(max) as u32
        } else {
            0
        }
    };
    Link {
        latency: Duration::from_micros(1 + random.below(200)),
        loss: pick(random, 100),
        duplicate: pick(random, 100),
        reorder: pick(random, 150),
        corrupt: pick(random, 50),
    }
}

fn setup(seed: u64, random: &mut Random) -> Setup {
    let base = Setup::default();
    let depth = 1 + random.below(8) as u32;
    let config = Config {
        retries: RetryLimit::Times(100),
        timeout: AckTimeout::from_code(10).unwrap(),
        initiator_depth: depth,
        responder_resources: 1 + random.below(8) as u32,
        receive_budget: 1 + random.below(40) as u32,
        send_queue: 4 + random.below(40) as usize,
        ..base.config
    };
    Setup {
        seed,
        mtu: PathMtu::ALL[random.below(5) as usize],
        budget: 1 + random.below(64) as u32,
        first_psn: match random.chance(300) {
            true => 0xff_ffff - random.below(40) as u32,
            false => random.next() as u32,
        },
        config,
    }
}

impl Run {
    fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let setup = setup(seed, &mut random);
        let mut pair = Pair::with(setup);
        pair.link = faults(&mut random);
        pair.max_segments = 1 + random.below(16) as usize;
        pair.a.fill(SOURCE, &pattern(WRITTEN, seed as u8));
        let reference = Reference {
            memory: pair.b.bytes(0, REGION),
            event: 0,
            event_updates: 0,
            reads: Vec::new(),
            originals: Vec::new(),
            signaled: Vec::new(),
            received: Vec::new(),
        };
        let fence = random.chance(500);
        Self {
            pair,
            reference,
            random,
            fence,
            next_id: 0,
            read_offset: READ,
            receives: 0,
            compared: 0,
        }
    }

    fn len(&mut self) -> usize {
        match self.random.below(4) {
            0 => self.random.below(9) as usize,
            1 => self.random.below(300) as usize,
            2 => self.random.below(5000) as usize,
            _ => self.random.below(SPAN as u64 / 2) as usize,
        }
    }

    fn place(&mut self, len: usize) -> usize {
        WRITTEN + self.random.below((SPAN - len) as u64) as usize
    }

    fn word(&mut self) -> usize {
        WORDS + 8 * self.random.below(4) as usize
    }

    /// One work request, and its effect on the reference.
    fn operation(&mut self, id: u64) -> Operation {
        match self.random.below(9) {
            0 | 1 => self.write(None),
            2 => self.write_with_immediate(id),
            3 | 4 => self.read(),
            5 => self.atomic(id),
            6 => self.signal(),
            _ => self.send(id),
        }
    }

    fn write(&mut self, immediate: Option<u32>) -> Operation {
        let len = self.len();
        let (from, to) = (
            self.random.below((WRITTEN - len) as u64) as usize,
            self.place(len),
        );
        let bytes = self.pair.a.bytes(from, len);
        self.reference.memory[to..to + len].copy_from_slice(&bytes);
        let data = Data::Local(self.pair.a.segment(from, len));
        Operation::Write {
            data,
            to: self.pair.b.remote(to),
            immediate,
        }
    }

    fn write_with_immediate(&mut self, id: u64) -> Operation {
        let operation = self.write(Some(id as u32));
        let kind = ReceivedKind::WriteImmediate(id as u32);
        self.reference.received.push((kind, Vec::new()));
        operation
    }

    fn read(&mut self) -> Operation {
        let len = self.len().min(REGION - self.read_offset);
        let from = self.place(len);
        let into = self.read_offset;
        self.read_offset += len;
        self.reference
            .reads
            .push((into, self.reference.memory[from..from + len].to_vec()));
        read(self.pair.b.remote(from), self.pair.a.segment(into, len))
    }

    fn atomic(&mut self, id: u64) -> Operation {
        let at = self.word();
        let operation = match self.random.chance(500) {
            true => Atomic::Add(self.random.below(3)),
            false => Atomic::CompareSwap {
                compare: self.random.below(4),
                swap: self.random.below(4),
            },
        };
        let word = &mut self.reference.memory[at..at + 8];
        let old = u64::from_ne_bytes((&*word).try_into().unwrap());
        word.copy_from_slice(&operation.applied_to(old).to_ne_bytes());
        self.reference.originals.push((id, old));
        let result = Some(self.pair.a.segment(RESULTS + 8 * id as usize, 8));
        Operation::Atomic {
            at: self.pair.b.remote(at),
            operation,
            result,
        }
    }

    fn signal(&mut self) -> Operation {
        self.reference.event_updates += 1;
        let at = self.pair.b.remote_event();
        let value = self.random.below(1000);
        match self.random.chance(500) {
            true => {
                self.reference.event = value;
                write_inline(&value.to_ne_bytes(), at)
            }
            false => {
                self.reference.event = self.reference.event.wrapping_add(value);
                add(at, value)
            }
        }
    }

    fn send(&mut self, id: u64) -> Operation {
        let len = self.random.below(RECEIVE as u64 + 1) as usize;
        let from = self.random.below((WRITTEN - len) as u64) as usize;
        let (tail, kind) = match self.random.chance(500) {
            true => (Tail::Plain, ReceivedKind::Send),
            false => (
                Tail::Immediate(id as u32),
                ReceivedKind::SendImmediate(id as u32),
            ),
        };
        self.reference
            .received
            .push((kind, self.pair.a.bytes(from, len)));
        Operation::Send {
            data: Data::Local(self.pair.a.segment(from, len)),
            tail,
        }
    }

    fn post(&mut self) {
        let id = self.next_id;
        self.next_id += 1;
        let operation = self.operation(id);
        let mut flags = Flags::empty();
        flags.set(Flags::FENCE, self.fence);
        flags.set(Flags::SIGNALED, self.random.chance(700));
        if flags.contains(Flags::SIGNALED) {
            self.reference.signaled.push(id);
        }
        self.pair.post(WorkRequest {
            id,
            operation,
            flags,
        });
    }

    /// Posts, receives and steps in random turns until all is over.
    fn run(&mut self) {
        let total = 5 + self.random.below(40);
        for _ in 0..100_000 {
            let outstanding = self.pair.a.queue_pair().outstanding();
            let limit = self.pair.a.queue_pair().config().send_queue;
            if self.next_id < total && outstanding < limit && self.random.chance(600) {
                self.post();
            }
            if self.receives - self.compared < BUFFERS && self.random.chance(200) {
                self.receive();
            }
            let busy = self.pair.step();
            self.compare();
            if !busy && self.next_id == total && self.pair.a.queue_pair().outstanding() == 0 {
                return;
            }
        }
        panic!("still busy");
    }

    fn receive(&mut self) {
        let offset = RECEIVED + RECEIVE * (self.receives % BUFFERS);
        self.pair.b.receive(self.receives as u64, offset, RECEIVE);
        self.receives += 1;
    }

    /// Compares what has been received, before its buffer is used again.
    fn compare(&mut self) {
        for done in &received(&self.pair.b)[self.compared..] {
            let (kind, data) = &self.reference.received[done.id as usize];
            assert_eq!(
                (done.id as usize, done.kind, done.outcome),
                (self.compared, *kind, Ok(()))
            );
            let start = RECEIVED + RECEIVE * (done.id as usize % BUFFERS);
            assert!(
                self.pair.b.bytes(start, data.len()) == *data,
                "receive {}",
                done.id
            );
            self.compared += 1;
        }
    }

    fn check(&self) {
        let (a, b) = (&self.pair.a, &self.pair.b);
        a.assert_guards();
        b.assert_guards();
        assert!(
            b.bytes(0, RECEIVED) == self.reference.memory[..RECEIVED],
            "the peer's memory"
        );
        assert_eq!(b.memory.event.get(), self.reference.event);
        assert_eq!(
            b.memory.event_updates.borrow().len(),
            self.reference.event_updates,
            "each signal once"
        );
        assert_eq!(
            succeeded(a),
            self.reference.signaled,
            "completions in order"
        );
        assert_eq!(ended(a).len(), self.reference.signaled.len());
        assert_eq!(received(b).len(), self.reference.received.len());
        for (id, original) in &self.reference.originals {
            assert_eq!(
                a.word(RESULTS + 8 * *id as usize),
                *original,
                "result of atomic {id}"
            );
        }
        for (into, bytes) in self.reference.reads.iter().filter(|_| self.fence) {
            assert!(a.bytes(*into, bytes.len()) == *bytes, "a fenced read");
        }
        assert_eq!(
            a.bytes(SOURCE, WRITTEN),
            pattern(WRITTEN, self.seed_byte()),
            "the source is untouched"
        );
    }

    fn seed_byte(&self) -> u8 {
        self.pair.a.bytes(SOURCE, 1)[0]
    }
}

fn try_seed(seed: u64) {
    let mut run = Run::new(seed);
    run.run();
    run.check();
}

#[test]
fn rule_6_3_6_4_random_work_under_random_faults_equals_a_sequential_reference() {
    seeds(1000).for_each(try_seed);
}

#[test]
fn a_seed_replays_the_same_packets() {
    let trace = |seed| {
        let mut run = Run::new(seed);
        run.run();
        run.pair
            .trace
            .iter()
            .map(|sent| (sent.at, sent.bytes.clone()))
            .collect::<Vec<_>>()
    };
    assert_eq!(trace(5), trace(5));
    assert_ne!(trace(5), trace(6));
}
