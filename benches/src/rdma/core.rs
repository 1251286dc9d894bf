//! Rows about the NIC's core, in one process.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use rdma::config::Config;
use rdma::connection::{AtomicCapability, ConnectionInfo, Features, NicKind};
use rdma::memory::{Atomic, EventGone, EventUpdate, Memory, SpaceId, Target};
use rdma::mtu::PathMtu;
use rdma::nic::Nic;
use rdma::psn::{Psn, Qpn};
use rdma::queue_pair::Io;
use rdma::region::{Domain, RegionKind, RegionSpec, RegionTable, RemoteKey, Rights};
use rdma::work::{Data, Flags, Inline, NoReceives, Operation, RemoteAddress, WorkRequest};

use super::host_buffer;
use crate::row::Row;
use crate::slices::{Plan, compare, fixed, timed};

/// A payload of 4 KiB into memory that lies slightly above it modulo a page.
pub(crate) fn copy(plan: &Plan) -> Row {
    const BYTES: usize = 4096;
    let into = host_buffer(4 * BYTES);
    let from = vec![7u8; 3 * BYTES];
    let start = BYTES - from.as_ptr() as usize % BYTES;
    let payload = &from[start..start + BYTES];
    let ours = |n| {
        timed(n, || {
            for (index, piece) in payload.chunks(rdma::memory::COPY_PIECE).enumerate() {
                let at = 16 + index * rdma::memory::COPY_PIECE;
                into.write(at, std::hint::black_box(piece)).expect("room");
            }
        })
    };
    let mut aligned = vec![0u8; 3 * BYTES];
    let first = BYTES - aligned.as_ptr() as usize % BYTES;
    let theirs = |n| {
        timed(n, || {
            aligned[first..first + BYTES].copy_from_slice(std::hint::black_box(payload));
            std::hint::black_box(&aligned);
        })
    };
    compare(
        plan,
        ("rdma", "copy", "ratio <= 2"),
        ours,
        ("memcpy of aligned 4 KiB", theirs),
    )
}

/// A memory that takes everything.
struct Sink;

impl Memory for Sink {
    fn read(&self, _: Target, out: &mut [u8]) {
        out.fill(0);
    }
    fn write(&self, _: Target, data: &[u8]) {
        std::hint::black_box(data);
    }
    fn atomic(&self, _: Target, _: Atomic) -> u64 {
        0
    }
    fn event_update(&self, _: Target, _: EventUpdate) -> Result<u64, EventGone> {
        Ok(0)
    }
}

/// Two NICs with so many queue pairs between them.
struct Pairs {
    nics: [Nic; 2],
    regions: RegionTable,
    key: RemoteKey,
    count: u32,
    out: Vec<u8>,
    now: Duration,
    last: u32,
}

const A: &str = "127.0.0.2:4791";
const B: &str = "127.0.0.3:4791";

fn address(at: &str) -> SocketAddr {
    at.parse().expect("an address")
}

fn number(index: u32) -> Qpn {
    Qpn::new(1000 + index).expect("a number in range")
}

fn info(at: &str, index: u32) -> ConnectionInfo {
    let config = Config::new(number(index), Psn::new(index), Domain(0));
    ConnectionInfo {
        kind: NicKind::Soft,
        address: address(at).ip(),
        udp_port: 4791,
        queue_pair: config.number,
        first_psn: config.first_psn,
        mtu: PathMtu::B4096,
        initiator_depth: 16,
        responder_resources: 16,
        rnr_timer: config.rnr_timer,
        timeout: config.timeout,
        receive_budget: Some(64),
        atomics: AtomicCapability::Global,
        features: Features::empty(),
        nonce: [1; 16],
        echo: None,
    }
}

impl Pairs {
    fn new(count: u32) -> Self {
        let regions = RegionTable::new(1, 1);
        let spec = RegionSpec {
            domain: Domain(0),
            target: Target {
                space: SpaceId(0),
                offset: 0,
            },
            len: 4096,
            local_base: 0,
            remote_base: 0,
            rights: Rights::REMOTE_WRITE,
            kind: RegionKind::Bytes,
        };
        let key = regions.register(spec, 1).expect("the first").remote_key();
        let mut pairs = Self {
            nics: [Nic::new(address(A)), Nic::new(address(B))],
            regions,
            key,
            count,
            out: vec![0; 65_507],
            now: Duration::ZERO,
            last: 0,
        };
        (0..count).for_each(|index| pairs.join(index));
        pairs
    }

    fn join(&mut self, index: u32) {
        for (nic, [here, there]) in self.nics.iter_mut().zip([[A, B], [B, A]]) {
            let config = Config::new(number(index), Psn::new(index), Domain(0));
            let peer = info(here, index).agree(&info(there, index));
            let number = nic.create(self.now, config).expect("a new number");
            nic.connect(number, peer.expect("alike")).expect("in INIT");
            nic.activate(self.now, number).expect("in RTR");
        }
    }

    /// A write of eight bytes on the next queue pair, and its acknowledgement.
    fn message(&mut self) {
        self.last = (self.last + 1) % self.count;
        self.now += Duration::from_micros(1);
        let to = RemoteAddress {
            address: 0,
            key: self.key,
        };
        let request = WorkRequest {
            id: 0,
            operation: Operation::Write {
                data: Data::Inline(Inline::new(&[1; 8]).expect("short")),
                to,
                immediate: None,
            },
            flags: Flags::SIGNALED,
        };
        self.nics[0]
            .post(self.now, number(self.last), request)
            .expect("room");
        self.carry(0);
        self.carry(1);
        self.nics[0].poll_completion().expect("acknowledged");
    }

    fn carry(&mut self, from: usize) {
        let mut receives = NoReceives;
        let mut io = Io {
            memory: &Sink,
            regions: &self.regions,
            receives: &mut receives,
        };
        let sender = self.nics[from].local();
        while let Some(sent) = self.nics[from].poll_transmit(self.now, &mut io, &mut self.out, 1) {
            self.nics[1 - from].receive(self.now, sender, &self.out[..sent.len], &mut io);
        }
    }
}

/// One message in turn on each of 1,000 queue pairs, beside one queue pair.
pub(crate) fn many_queue_pairs(plan: &Plan) -> Row {
    let each = bytes_each();
    let (mut many, mut one) = (Pairs::new(1000), Pairs::new(1));
    let row = fixed(
        plan,
        ("rdma", "many-qps", "ratio <= 2, <= 4 KiB"),
        (2000, |n| timed(n, || many.message())),
        ("one queue pair", 2000, |n| timed(n, || one.message())),
    );
    row.with("bytes_each", each)
}

/// Resident bytes of an idle, connected queue pair.
fn bytes_each() -> f64 {
    const COUNT: u32 = 10_000;
    let before = crate::memory::memory();
    let begin = Instant::now();
    let pairs = Pairs::new(COUNT);
    let after = crate::memory::memory();
    std::hint::black_box((&pairs.count, begin));
    (after - before) / f64::from(COUNT) / 2.0
}
