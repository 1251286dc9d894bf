//! RDMA between two processes on loopback, beside plain UDP sockets.
//!
//! This process is one node, a child the other ([`child`]). The child answers both ours and the peer's packets; whoever
//! has nothing to do sleeps, so that it takes no core from the other.

use std::io::{BufRead, BufReader};
use std::net::{IpAddr, SocketAddr};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use doca_dpa::rdma::{
    Connection, EventExport, HostBuffer, MemoryMap, RemoteMemoryMap, RemoteSyncEvent, Rights,
};
use doca_dpa::{Dpa, Location, SyncEvent};
use dpa_bench_kernels::{
    BounceArgs, FetchEachArgs, StreamArgs, Throw, ToMyselfArgs, bounce, fetch_each, stream,
    to_myself,
};

use crate::row::Row;
use crate::slices::{Plan, fixed, timed};

pub(crate) mod child;
mod core;
pub(crate) mod peers;
mod raw;

pub(crate) use core::{copy, many_queue_pairs};

/// Bytes of a large write.
pub(crate) const LARGE: usize = 1 << 20;
/// The variants of ping-pong: write + set, set alone, write + add.
pub(crate) const VARIANTS: [(bool, bool); 3] = [(true, false), (false, false), (true, true)];

/// One side: a device, a connection, memory and events open to the other.
pub(crate) struct Side {
    pub(crate) connection: Connection,
    pub(crate) sent: MemoryMap,
    pub(crate) events: Vec<SyncEvent>,
    exports: Vec<EventExport>,
    open: MemoryMap,
    pub(crate) dpa: Dpa,
}

/// What a side tells the other.
#[derive(serde::Serialize, serde::Deserialize)]
pub(crate) struct Told {
    connection: Vec<u8>,
    memory: Vec<u8>,
    events: Vec<Vec<u8>>,
    pub(crate) raw: Option<SocketAddr>,
}

impl Side {
    pub(crate) fn new(address: IpAddr) -> Self {
        let dpa = Dpa::builder()
            .workers(1)
            .spin(Duration::from_millis(1))
            .open()
            .expect("a device");
        let rdma = dpa
            .rdma()
            .address(address)
            .open()
            .expect("an address of our own");
        let connection = rdma.export().expect("the first connection");
        let out = dpa.zeroed_blocking::<u8>(LARGE).expect("memory");
        let inbox = dpa.zeroed_blocking::<u8>(LARGE).expect("memory");
        let sent = rdma.map(&out, Rights::empty()).expect("a region");
        let rights = Rights::REMOTE_WRITE | Rights::REMOTE_ATOMIC;
        let open = rdma.map(&inbox, rights).expect("a region");
        let event = || {
            let builder = SyncEvent::builder(&dpa).publisher(Location::Remote);
            builder
                .subscriber(Location::Device)
                .create()
                .expect("an event")
        };
        let events: Vec<_> = VARIANTS.iter().map(|_| event()).collect();
        let exports = events
            .iter()
            .map(|event| connection.export_event(event).expect("a region"));
        Self {
            exports: exports.collect(),
            connection,
            sent,
            events,
            open,
            dpa,
        }
    }

    pub(crate) fn tells(&self, raw: Option<SocketAddr>) -> Told {
        Told {
            connection: self.connection.blob(),
            memory: self.open.export(),
            events: self.exports.iter().map(EventExport::export).collect(),
            raw,
        }
    }

    pub(crate) fn connect(&self, told: &Told) -> Peer {
        self.connection
            .connect(&told.connection)
            .expect("a peer of the same build");
        let event = |blob: &Vec<u8>| RemoteSyncEvent::import(blob).expect("an event");
        Peer {
            memory: RemoteMemoryMap::import(&told.memory).expect("a region"),
            events: told.events.iter().map(event).collect(),
        }
    }

    /// Launches a variant of ping-pong.
    pub(crate) fn bounce(
        &self,
        peer: &Peer,
        variant: usize,
        (before, rounds, serves): (u64, u64, bool),
    ) -> doca_dpa::Launch {
        let (write, add) = VARIANTS[variant];
        let throw = Throw {
            before,
            rounds,
            serves,
            write,
            add,
        };
        let args = BounceArgs {
            rdma: self.connection.rdma(),
            sent: &self.sent,
            to: peer.memory,
            signal: peer.events[variant],
            arrived: &self.events[variant],
            throw,
        };
        self.dpa.launch(bounce).args(args).submit().expect("room")
    }
}

/// What a side knows of the other.
pub(crate) struct Peer {
    pub(crate) memory: RemoteMemoryMap,
    pub(crate) events: Vec<RemoteSyncEvent>,
}

/// The other process.
struct Other {
    child: Child,
    told: Told,
}

impl Other {
    fn start(ours: &Told) -> Self {
        let program = std::env::current_exe().expect("this program");
        let ours = serde_json::to_string(ours).expect("plain data");
        let mut child = Command::new(program)
            .args(["rdma", "--child", &ours])
            .stdout(Stdio::piped())
            .spawn()
            .expect("this program again");
        let mut line = String::new();
        let stdout = child.stdout.take().expect("piped");
        BufReader::new(stdout).read_line(&mut line).expect("a line");
        let told = serde_json::from_str(&line).expect("what the other side tells");
        Self { child, told }
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Both processes, connected.
struct Bench {
    side: Side,
    peer: Peer,
    raw: raw::Client,
    _other: Other,
}

impl Bench {
    fn new() -> Self {
        let side = Side::new([127, 0, 0, 201].into());
        let other = Other::start(&side.tells(None));
        let peer = side.connect(&other.told);
        let raw = raw::Client::new(other.told.raw.expect("the child has a socket"));
        Self {
            side,
            peer,
            raw,
            _other: other,
        }
    }

    /// Time of `n` rounds of a variant, after some to wake everybody.
    fn rounds(&self, variant: usize, played: &mut u64, n: u64) -> Duration {
        let warm = 50;
        let play = |before, rounds| {
            let launch = self
                .side
                .bounce(&self.peer, variant, (before, rounds, true));
            launch.wait().expect("both sides are there")
        };
        play(*played, warm);
        let times = play(*played + warm, n);
        *played += warm + n;
        times.end - times.start
    }
}

/// Rounds of a slice.
const ROUNDS: u64 = 400;

pub(crate) fn ping_pong(plan: &Plan) -> Row {
    let mut bench = Bench::new();
    let mut others = Vec::new();
    for (variant, name) in [(1, "one_packet_ns"), (2, "signal_add_ns")] {
        let mut played = 0;
        let mut halves: Vec<f64> = (0..7)
            .map(|_| half(bench.rounds(variant, &mut played, ROUNDS), ROUNDS))
            .collect();
        others.push((name, crate::slices::median(&mut halves)));
    }
    let one = half(bench.raw.trips(ROUNDS, 1), ROUNDS);
    let mut raw = std::mem::replace(&mut bench.raw, raw::Client::unconnected());
    let mut played = 0;
    let ours = |n: u64| bench.rounds(0, &mut played, n) / 2;
    let theirs = |n: u64| raw.trips(n, 2) / 2;
    let row = fixed(
        plan,
        ("rdma", "ping-pong", "ratio <= 1.5 (aim 1.2)"),
        (ROUNDS, ours),
        (
            "raw UDP, busy polling, two packets each way",
            ROUNDS,
            theirs,
        ),
    );
    let row = others
        .into_iter()
        .fold(row, |row, (name, figure)| row.with(name, figure));
    row.with("raw_one_packet_ns", one)
}

fn half(time: Duration, n: u64) -> f64 {
    time.as_nanos() as f64 / n as f64 / 2.0
}

pub(crate) fn fetch_add(plan: &Plan) -> Row {
    let Bench {
        side,
        peer,
        mut raw,
        _other,
    } = Bench::new();
    let run = |times: u64| {
        let args = FetchEachArgs {
            rdma: side.connection.rdma(),
            done: side.connection.rdma().completions(),
            to: peer.memory,
            times,
        };
        let launch = side
            .dpa
            .launch(fetch_each)
            .args(args)
            .submit()
            .expect("room");
        launch.wait().expect("both sides are there")
    };
    let ours = |n| {
        run(50);
        let times = run(n);
        times.end - times.start
    };
    fixed(
        plan,
        ("rdma", "fetch-add", "ratio <= 1.5"),
        (ROUNDS, ours),
        ("raw UDP, busy polling, a packet each way", ROUNDS, |n| {
            raw.trips(n, 1)
        }),
    )
}

pub(crate) fn bandwidth(plan: &Plan) -> Row {
    let Bench {
        side,
        peer,
        mut raw,
        _other,
    } = Bench::new();
    let run = |times: u64| {
        let args = StreamArgs {
            rdma: side.connection.rdma(),
            done: side.connection.rdma().completions(),
            sent: &side.sent,
            to: peer.memory,
            times,
        };
        let launch = side.dpa.launch(stream).args(args).submit().expect("room");
        launch.wait().expect("both sides are there")
    };
    let ours = |n: u64| {
        run(1);
        let times = run(n / LARGE as u64);
        times.end - times.start
    };
    let bytes = 64 * LARGE as u64;
    let row = fixed(
        plan,
        ("rdma", "bandwidth", "ratio <= 3, >= 1.5 GB/s"),
        (bytes, ours),
        ("raw UDP with GSO and GRO", bytes, |n| raw.stream(n)),
    );
    let rate = 1.0 / row.ours_ns;
    let peers = row.peer_ns.map_or(0.0, |ns| 1.0 / ns);
    row.with("gbytes_per_s", rate)
        .with("peer_gbytes_per_s", peers)
}

pub(crate) fn loopback(plan: &Plan) -> Row {
    let dpa = Dpa::builder().workers(1).open().expect("a device");
    let rdma = dpa
        .rdma()
        .address([127, 0, 0, 203].into())
        .connections(2)
        .open()
        .expect("an address of our own");
    let (one, other) = (
        rdma.export().expect("the first"),
        rdma.export().expect("the second"),
    );
    one.connect(&other.blob()).expect("of the same build");
    other.connect(&one.blob()).expect("of the same build");
    let memory = dpa.zeroed_blocking::<u64>(8).expect("memory");
    let map = rdma.map(&memory, Rights::REMOTE_WRITE).expect("a region");
    let event = SyncEvent::builder(&dpa)
        .publisher(Location::Remote)
        .subscriber(Location::Host)
        .create()
        .expect("an event");
    let export = other.export_event(&event).expect("a region");
    let to = RemoteMemoryMap::import(&map.export()).expect("ours");
    let signal = RemoteSyncEvent::import(&export.export()).expect("ours");
    let ours = |times: u64| {
        let args = ToMyselfArgs {
            rdma: &rdma,
            sent: &map,
            to,
            signal,
            times,
        };
        let launch = dpa.launch(to_myself).args(args).submit().expect("room");
        let times = launch.wait().expect("it is its own peer");
        times.end - times.start
    };
    let counter = std::sync::atomic::AtomicU64::new(0);
    let (from, mut into) = ([1u8; 8], [0u8; 8]);
    let theirs = |n| {
        timed(n, || {
            into.copy_from_slice(std::hint::black_box(&from));
            std::hint::black_box(&into);
            counter.fetch_add(1, std::sync::atomic::Ordering::AcqRel);
        })
    };
    fixed(
        plan,
        ("rdma", "loopback", "<= 400 ns"),
        (10_000, ours),
        ("memcpy of 8 bytes + fetch_add", 1_000_000, theirs),
    )
}

/// A host buffer of this size, for the row about copies.
pub(crate) fn host_buffer(bytes: usize) -> HostBuffer {
    HostBuffer::new(bytes)
}
