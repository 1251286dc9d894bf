//! Two NICs on two real sockets of the loopback interface, one thread each.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rdma::config::{AckTimeout, Config};
use rdma::connection::{AtomicCapability, ConnectionInfo, Features, NicKind};
use rdma::flow;
use rdma::memory::{Atomic, EventGone, EventUpdate, Memory, SpaceId, Target};
use rdma::mtu::PathMtu;
use rdma::psn::{Psn, Qpn};
use rdma::queue_pair::{Cause, Io};
use rdma::region::{Domain, Region, RegionKind, RegionSpec, RegionTable, Rights};
use rdma::soft::{Host, SoftNic};
use rdma::udp::{Options, Socket};
use rdma::work::{
    Completion, Data, Flags, Operation, Receive, RemoteAddress, Segment, WorkDone, WorkRequest,
};

const MIB: usize = 1 << 20;
const DOMAIN: Domain = Domain(3);
/// Nothing here takes this long unless it hangs.
const PATIENCE: Duration = Duration::from_secs(30);

struct Bytes(RefCell<Vec<u8>>);

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
        let start = at.offset as usize;
        let word = &mut self.0.borrow_mut()[start..start + 8];
        let old = u64::from_ne_bytes((&*word).try_into().unwrap());
        word.copy_from_slice(&operation.applied_to(old).to_ne_bytes());
        old
    }

    fn event_update(&self, _at: Target, _update: EventUpdate) -> Result<u64, EventGone> {
        Err(EventGone)
    }
}

/// What is above a NIC.
struct Above {
    memory: Bytes,
    regions: RegionTable,
    receives: VecDeque<Receive>,
    done: VecDeque<WorkDone>,
}

impl Host for Above {
    fn io(&mut self, _receives_of: Option<Qpn>) -> Io<'_> {
        Io {
            memory: &self.memory,
            regions: &self.regions,
            receives: &mut self.receives,
        }
    }

    fn completed(&mut self, _number: Qpn, completion: Completion) {
        match completion {
            Completion::Work(done) => self.done.push_back(done),
            Completion::Received(received) => panic!("{received:?} without a receive"),
        }
    }

    fn failed(&mut self, number: Qpn, cause: Cause) {
        panic!("queue pair {} failed: {cause}", number.value());
    }
}

/// One end: a NIC, one queue pair, memory of 2 MiB.
struct End {
    soft: SoftNic,
    above: Above,
    region: Region,
    number: Qpn,
    start: Instant,
}

impl End {
    fn open(address: &str, number: u32, segmentation: bool) -> Self {
        let options = Options {
            port: 0,
            segmentation,
            ..Options::default()
        };
        let address: IpAddr = address.parse().unwrap();
        let mut soft = SoftNic::bind(address, &options).unwrap();
        let regions = RegionTable::new(4, u64::from(number));
        let region = regions.register(spec(), number).unwrap();
        let number = Qpn::new(number).unwrap();
        let mut config = Config::new(number, Psn::new(0xff_ff00), DOMAIN);
        // 4.3 s: what is lost would have to be waited for, and nothing may be lost.
        config.timeout = AckTimeout::from_code(20).unwrap();
        config.receive_budget = budget(soft.socket().unwrap());
        soft.nic().create(Duration::ZERO, config).unwrap();
        let above = Above {
            memory: Bytes(RefCell::new(vec![0; 2 * MIB])),
            regions,
            receives: VecDeque::new(),
            done: VecDeque::new(),
        };
        Self {
            soft,
            above,
            region,
            number,
            start: Instant::now(),
        }
    }

    /// What it tells the other.
    fn info(&self) -> ConnectionInfo {
        let queue_pair = self.soft.nic_ref().queue_pair(self.number).unwrap();
        let config = queue_pair.config();
        let socket = self.soft.socket().unwrap();
        let segments = match socket.joins() {
            true => Features::SEGMENTS,
            false => Features::empty(),
        };
        ConnectionInfo {
            kind: NicKind::Soft,
            address: socket.local().ip(),
            udp_port: socket.local().port(),
            queue_pair: self.number,
            first_psn: config.first_psn,
            mtu: PathMtu::B4096,
            initiator_depth: 16,
            responder_resources: 16,
            rnr_timer: config.rnr_timer,
            timeout: config.timeout,
            receive_budget: Some(config.receive_budget),
            atomics: AtomicCapability::Nic,
            features: segments,
            nonce: [0; 16],
            echo: None,
        }
    }

    fn connect(&mut self, theirs: &ConnectionInfo) {
        let peer = self.info().agree(theirs).unwrap();
        assert_eq!(peer.mtu, PathMtu::B4096, "a peer with a budget");
        self.soft.nic().connect(self.number, peer).unwrap();
        let now = self.start.elapsed();
        self.soft.nic().activate(now, self.number).unwrap();
    }

    fn progress(&mut self) {
        let busy = self.soft.progress(self.start.elapsed(), &mut self.above);
        if !busy {
            std::thread::yield_now();
        }
    }

    fn perform(&mut self, operation: Operation) -> WorkDone {
        let request = WorkRequest {
            id: 1,
            operation,
            flags: Flags::SIGNALED,
        };
        let now = self.start.elapsed();
        self.soft.nic().post(now, self.number, request).unwrap();
        let end = Instant::now() + PATIENCE;
        while self.above.done.is_empty() && Instant::now() < end {
            self.progress();
        }
        let done = self.above.done.pop_front().expect("a completion in time");
        assert_eq!(done.outcome, Ok(()));
        done
    }

    fn segment(&self, offset: usize, len: usize) -> Segment {
        Segment {
            address: offset as u64,
            len: len as u32,
            key: self.region.local_key(),
        }
    }

    fn place(&self, offset: usize) -> RemoteAddress {
        RemoteAddress {
            address: offset as u64,
            key: self.region.remote_key(),
        }
    }

    fn gaps_reported(&self) -> u64 {
        let queue_pair = self.soft.nic_ref().queue_pair(self.number).unwrap();
        queue_pair.counters().sequence_naks_sent
    }
}

fn budget(socket: &Socket) -> u32 {
    flow::budget(socket.receive_buffer(), PathMtu::B4096, 1)
}

fn spec() -> RegionSpec {
    RegionSpec {
        domain: DOMAIN,
        target: Target {
            space: SpaceId(0),
            offset: 0,
        },
        len: 2 * MIB as u64,
        local_base: 0,
        remote_base: 0,
        rights: Rights::all(),
        kind: RegionKind::Bytes,
    }
}

fn pattern() -> Vec<u8> {
    (0..MIB).map(|i| (i * 7 + i / 251) as u8).collect()
}

/// Runs `ask` at one end while the other only answers; both ends afterwards.
fn between(
    addresses: [&str; 2],
    segmentation: bool,
    ask: impl FnOnce(&mut End, RemoteAddress),
) -> [End; 2] {
    let mut asking = End::open(addresses[0], 0x101, segmentation);
    let mut answering = End::open(addresses[1], 0x202, segmentation);
    let (a, b) = (asking.info(), answering.info());
    asking.connect(&b);
    answering.connect(&a);
    let place = answering.place(0);
    let over = Arc::new(AtomicBool::new(false));
    let heard = Arc::clone(&over);
    let answers = std::thread::spawn(move || {
        let end = Instant::now() + 4 * PATIENCE;
        while !heard.load(Ordering::Relaxed) && Instant::now() < end {
            answering.progress();
        }
        answering
    });
    ask(&mut asking, place);
    over.store(true, Ordering::Relaxed);
    [asking, answers.join().unwrap()]
}

/// A mebibyte there and back, then sums.
fn exchange(addresses: [&str; 2], segmentation: bool) {
    let data = pattern();
    let ends = between(addresses, segmentation, |end, there| {
        end.above.memory.0.borrow_mut()[..MIB].copy_from_slice(&data);
        end.perform(Operation::Write {
            data: Data::Local(end.segment(0, MIB)),
            to: there,
            immediate: None,
        });
        end.perform(Operation::Read {
            from: there,
            into: end.segment(MIB, MIB),
        });
        let word = RemoteAddress {
            address: MIB as u64,
            ..there
        };
        for step in 0..100 {
            let done = end.perform(Operation::Atomic {
                at: word,
                operation: Atomic::Add(step),
                result: None,
            });
            assert_eq!(done.original, (0..step).sum());
        }
    });
    let [asking, answering] = &ends;
    assert!(
        asking.above.memory.0.borrow()[MIB..] == data,
        "what was read back"
    );
    let memory = answering.above.memory.0.borrow();
    assert!(memory[..MIB] == data, "what was written");
    let word: [u8; 8] = memory[MIB..MIB + 8].try_into().unwrap();
    assert_eq!(u64::from_ne_bytes(word), (0..100).sum());
    // The budget is what the socket holds, so the loopback interface loses nothing.
    assert_eq!([asking.gaps_reported(), answering.gaps_reported()], [0, 0]);
    assert_eq!(asking.soft.socket_counters().lost, 0);
}

#[test]
fn a_mebibyte_and_sums_over_ipv4() {
    exchange(["127.0.0.2", "127.0.0.3"], false);
}

#[test]
fn a_mebibyte_and_sums_over_ipv6() {
    if has_ipv6() {
        exchange(["::1", "::1"], false);
    }
}

#[test]
fn a_mebibyte_and_sums_in_segmented_sends() {
    exchange(["127.0.0.2", "127.0.0.3"], true);
    if has_ipv6() {
        exchange(["::1", "::1"], true);
    }
}

/// Containers often have no IPv6 loopback; what needs it says that it was skipped.
fn has_ipv6() -> bool {
    let bound = std::net::UdpSocket::bind("[::1]:0");
    if let Err(error) = &bound {
        println!("skipped: no IPv6 loopback here: {error}");
    }
    bound.is_ok()
}

/// With segmentation, far fewer sends than packets.
#[test]
fn segmented_sends_carry_several_packets() {
    let ends = between(["127.0.0.2", "127.0.0.3"], true, |end, there| {
        end.perform(Operation::Write {
            data: Data::Local(end.segment(0, MIB)),
            to: there,
            immediate: None,
        });
    });
    let [asking, answering] = &ends;
    let (ours, theirs) = (asking.soft.socket().unwrap(), answering.soft.socket());
    if ours.max_segments() == 1 || !theirs.unwrap().joins() {
        println!("skipped: this kernel has no segmentation of UDP");
        return;
    }
    let counters = asking.soft.socket_counters();
    assert!(counters.sent >= 256, "{counters:?}");
    assert!(counters.send_calls * 2 < counters.sent, "{counters:?}");
}

/// A stranger's datagrams at the NIC's port are dropped and counted, and disturb nobody.
#[test]
fn a_stranger_is_not_heard() {
    let ends = between(["127.0.0.2", "127.0.0.3"], false, |end, there| {
        let stranger = std::net::UdpSocket::bind("127.0.0.9:0").unwrap();
        let queue_pair = end.soft.nic_ref().queue_pair(end.number).unwrap();
        let to: SocketAddr = queue_pair.peer().unwrap().path.destination();
        for len in [0, 1, 16, 200, 1500] {
            stranger.send_to(&vec![0x55; len], to).unwrap();
        }
        end.perform(Operation::Write {
            data: Data::Local(end.segment(0, 100)),
            to: there,
            immediate: None,
        });
    });
    let counters = *ends[1].soft.nic_ref().counters();
    assert!(counters.dropped() >= 4, "{counters:?}");
}

/// A NIC that comes late finds its timer overdue and the answer in its socket, behind much else: it has been answered.
#[test]
fn rule_6_4_an_answer_that_is_there_is_in_time() {
    let mut asking = End::open("127.0.0.2", 0x101, false);
    let mut answering = End::open("127.0.0.3", 0x202, false);
    let (a, b) = (asking.info(), answering.info());
    asking.connect(&b);
    answering.connect(&a);
    let there = answering.place(0);
    let request = WorkRequest {
        id: 1,
        operation: Operation::Write {
            data: Data::Local(asking.segment(0, 64)),
            to: there,
            immediate: None,
        },
        flags: Flags::SIGNALED,
    };
    let now = asking.start.elapsed();
    asking.soft.nic().post(now, asking.number, request).unwrap();
    asking.soft.send(now, &mut asking.above);
    let others = std::net::UdpSocket::bind("127.0.0.4:0").unwrap();
    for _ in 0..100 {
        let to = asking.soft.socket().unwrap().local();
        others.send_to(&[0; 40], to).unwrap();
    }
    let end = Instant::now() + PATIENCE;
    while answering.soft.socket_counters().sent == 0 && Instant::now() < end {
        answering.progress();
    }
    let late = asking.start.elapsed() + Duration::from_secs(60);
    asking.soft.progress(late, &mut asking.above);
    let queue_pair = asking.soft.nic_ref().queue_pair(asking.number).unwrap();
    assert_eq!(queue_pair.counters().timeouts, 0);
    let done = asking.above.done.pop_front().expect("it is answered");
    assert_eq!(done.outcome, Ok(()));
}
