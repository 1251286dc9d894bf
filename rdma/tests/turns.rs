//! One call of the NIC sends and copies some mebibytes at most, whatever it has been asked for: others have their turn.

mod rig;

use std::collections::VecDeque;
use std::time::Duration;

use rdma::config::{Config, Peer};
use rdma::memory::{Atomic, EventGone, EventUpdate, Memory, SpaceId, Target};
use rdma::mtu::PathMtu;
use rdma::psn::{Psn, Qpn};
use rdma::queue_pair::{Cause, Io};
use rdma::region::{Region, RegionKind, RegionSpec, RegionTable, Rights};
use rdma::soft::{Host, SoftNic};
use rdma::wire::*;
use rdma::work::*;
use rig::forge::reth;
use rig::*;

const NOW: Duration = Duration::ZERO;
const GIB: u32 = 1 << 30;
/// What a call may send, and what is on its way then.
const MOST: u64 = (512 << 10) + (64 << 10);

/// A gibibyte of nothing.
struct Zeros;

impl Memory for Zeros {
    fn read(&self, _: Target, out: &mut [u8]) {
        out.fill(0);
    }
    fn write(&self, _: Target, _: &[u8]) {}
    fn atomic(&self, _: Target, _: Atomic) -> u64 {
        0
    }
    fn event_update(&self, _: Target, _: EventUpdate) -> Result<u64, EventGone> {
        Ok(0)
    }
}

struct Home {
    memory: Zeros,
    regions: RegionTable,
    receives: VecDeque<Receive>,
    done: usize,
}

impl Host for Home {
    fn io(&mut self, _: Option<Qpn>) -> Io<'_> {
        Io {
            memory: &self.memory,
            regions: &self.regions,
            receives: &mut self.receives,
        }
    }
    fn completed(&mut self, _: Qpn, _: Completion) {
        self.done += 1;
    }
    fn failed(&mut self, _: Qpn, _: Cause) {}
}

fn home() -> (Home, Region) {
    let regions = RegionTable::new(16, 3);
    let target = Target {
        space: SpaceId(0),
        offset: 0,
    };
    let spec = RegionSpec {
        domain: DOMAIN,
        target,
        len: GIB.into(),
        local_base: 0,
        remote_base: 0,
        rights: Rights::all(),
        kind: RegionKind::Bytes,
    };
    let region = regions.register(spec, 5).unwrap();
    let home = Home {
        memory: Zeros,
        regions,
        receives: VecDeque::new(),
        done: 0,
    };
    (home, region)
}

fn peer(path: Path, number: u32, first_psn: u32) -> Peer {
    Peer {
        path,
        number: Qpn::new(number).unwrap(),
        first_psn: Psn::new(first_psn),
        mtu: PathMtu::B4096,
        budget: 64,
        responder_resources: 16,
        max_identification: 127,
        lid: 0,
        max_segments: 64,
    }
}

#[test]
fn the_answer_to_a_long_read_leaves_in_turns() {
    let (mut home, region) = home();
    let options = rdma::udp::Options {
        port: 0,
        ..Default::default()
    };
    let mut nic = SoftNic::bind("127.0.0.7".parse().unwrap(), &options).unwrap();
    let local = nic.nic().local();
    let stranger = std::net::UdpSocket::bind("127.0.0.8:0").unwrap();
    let theirs = stranger.local_addr().unwrap();
    let number = Qpn::new(0x33).unwrap();
    let config = Config::new(number, Psn::new(5), DOMAIN);
    nic.nic().create(NOW, config).unwrap();
    let path = Path::new(local, theirs).unwrap();
    nic.nic().connect(number, peer(path, 0x99, 0)).unwrap();
    nic.nic().activate(NOW, number).unwrap();
    let body = Body::ReadRequest(Reth {
        virtual_address: 0,
        r_key: region.remote_key().0,
        dma_length: GIB,
    });
    let bth = Bth::new(0x33, Psn::new(0));
    let packet = Packet {
        header: Header { bth, body },
        payload: &[],
    };
    let mut out = vec![0; packet.len()];
    packet.emit(&Path::new(theirs, local).unwrap(), 0, &mut out);
    stranger.send_to(&out, local).unwrap();
    let tries = (0..1000).find(|_| {
        std::thread::sleep(Duration::from_millis(1));
        nic.progress(NOW, &mut home)
    });
    assert!(tries.is_some(), "the request arrives");
    let sent = |nic: &SoftNic| nic.socket_counters().sent + nic.socket_counters().lost;
    let first = sent(&nic);
    assert!((1..=MOST / 4096).contains(&first), "{first} packets");
    assert!(nic.has_more() && nic.poll_timeout() == Some(NOW));
    // And the next call goes on.
    assert!(nic.progress(NOW, &mut home));
    assert!(sent(&nic) > first && nic.has_more());
}

#[test]
fn copies_within_the_nic_are_made_in_turns_and_each_queue_has_its_own() {
    let (mut home, region) = home();
    let address = "127.0.0.9:4791".parse().unwrap();
    let mut nic = SoftNic::inside(address);
    let pairs = [(0x41, 0x42), (0x42, 0x41), (0x43, 0x44), (0x44, 0x43)];
    for (own, other) in pairs {
        let number = Qpn::new(own).unwrap();
        let config = Config::new(number, Psn::new(5), DOMAIN);
        nic.nic().create(NOW, config).unwrap();
        let path = Path::new(address, address).unwrap();
        nic.nic().connect(number, peer(path, other, 5)).unwrap();
        nic.nic().activate(NOW, number).unwrap();
    }
    let to = RemoteAddress {
        address: 0,
        key: region.remote_key(),
    };
    let post = |nic: &mut SoftNic, queue, id, len| {
        let from = Segment {
            address: 0,
            len,
            key: region.local_key(),
        };
        let work = signaled(id, write(from, to));
        nic.nic().post(NOW, Qpn::new(queue).unwrap(), work).unwrap();
    };
    (0..8).for_each(|id| post(&mut nic, 0x41, id, GIB));
    post(&mut nic, 0x43, 9, 8);
    nic.send(NOW, &mut home);
    assert_eq!(home.done, 1, "one copy, and then others have their turn");
    assert!(nic.has_more());
    nic.send(NOW, &mut home);
    assert_eq!(home.done, 3, "the small one, and one more");
    while nic.has_more() {
        nic.send(NOW, &mut home);
    }
    assert_eq!(home.done, 9);
}

/// What a peer waits for does not wait for copies within the NIC, however many there are.
#[test]
fn an_acknowledgement_leaves_beside_copies_within_the_nic() {
    let (mut home, region) = home();
    let options = rdma::udp::Options {
        port: 0,
        ..Default::default()
    };
    let mut nic = SoftNic::bind("127.0.0.10".parse().unwrap(), &options).unwrap();
    let local = nic.nic().local();
    let stranger = std::net::UdpSocket::bind("127.0.0.11:0").unwrap();
    let theirs = stranger.local_addr().unwrap();
    for (own, other, at) in [
        (0x33, 0x99, theirs),
        (0x41, 0x42, local),
        (0x42, 0x41, local),
    ] {
        let number = Qpn::new(own).unwrap();
        let config = Config::new(number, Psn::new(5), DOMAIN);
        nic.nic().create(NOW, config).unwrap();
        let path = Path::new(local, at).unwrap();
        nic.nic().connect(number, peer(path, other, 5)).unwrap();
        nic.nic().activate(NOW, number).unwrap();
    }
    let to = RemoteAddress {
        address: 0,
        key: region.remote_key(),
    };
    let from = Segment {
        address: 0,
        len: 4 << 20,
        key: region.local_key(),
    };
    let post = |nic: &mut SoftNic, id| {
        let work = signaled(id, write(from, to));
        nic.nic().post(NOW, Qpn::new(0x41).unwrap(), work).unwrap();
    };
    post(&mut nic, 0);
    let bth = Bth {
        ack_request: true,
        ..Bth::new(0x33, Psn::new(5))
    };
    let body = Body::Write(Part::Only(reth(to, 8), None));
    let packet = Packet {
        header: Header { bth, body },
        payload: &[7; 8],
    };
    let mut out = vec![0; packet.len()];
    packet.emit(&Path::new(theirs, local).unwrap(), 0, &mut out);
    stranger.send_to(&out, local).unwrap();
    stranger.set_nonblocking(true).unwrap();
    let answered = (1..1000).any(|id| {
        // There is always one more than a call copies.
        post(&mut nic, id);
        nic.progress(NOW, &mut home);
        assert!(nic.has_more());
        stranger.recv(&mut out).is_ok()
    });
    assert!(answered, "nothing leaves");
}
