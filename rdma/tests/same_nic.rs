//! Two queue pairs of one NIC: what needs no packets is done at once, in its order with what does.

mod rig;

use std::time::Duration;

use rdma::config::{Config, Peer};
use rdma::memory::{Atomic, EventUpdate};
use rdma::mtu::PathMtu;
use rdma::psn::{Psn, Qpn};
use rdma::wire::Path;
use rdma::work::{Completion, Operation, WorkKind};
use rig::*;

const KEEP_ALIVE: Duration = Duration::from_secs(1);

const ADDRESS: &str = "127.0.0.2:4791";

/// A NIC whose queue pair `node.number` is connected to another of its own.
fn node() -> Node {
    node_with(ADDRESS)
}

/// The same; the other takes a queue pair at `theirs` that has the number of the first for its peer.
fn node_with(theirs: &str) -> Node {
    let number = |value| Qpn::new(value).unwrap();
    let config = |value| Config {
        keep_alive: Some(KEEP_ALIVE),
        ..Config::new(number(value), Psn::new(10 * value), DOMAIN)
    };
    let address = ADDRESS.parse().unwrap();
    let mut node = Node::new(address, config(0x11), 1);
    node.nic.create(Duration::ZERO, config(0x22)).unwrap();
    for (own, other, at) in [(0x11, 0x22, ADDRESS), (0x22, 0x11, theirs)] {
        let peer = Peer {
            path: Path::new(address, at.parse().unwrap()).unwrap(),
            number: number(other),
            first_psn: Psn::new(10 * other),
            mtu: PathMtu::B1024,
            budget: 64,
            responder_resources: 16,
            lid: 0,
            max_identification: 127,
            max_segments: 128,
        };
        node.nic.connect(number(own), peer).unwrap();
    }
    for own in [0x11, 0x22] {
        node.nic.activate(Duration::ZERO, number(own)).unwrap();
    }
    node
}

/// Sends what there is to itself, once; how many packets there were.
fn turn(node: &mut Node, now: Duration) -> usize {
    let packets = node.transmit(now, 64);
    let from = node.nic.local();
    for packet in &packets {
        node.call(|nic, io| nic.receive(now, from, packet, io));
    }
    packets.len()
}

#[test]
fn rule_6_2_work_inside_a_nic_needs_no_packets() {
    let mut node = node();
    let now = Duration::from_millis(1);
    node.fill(0, b"from here");
    node.fill(64, &40u64.to_ne_bytes());
    let to = node.remote(1000);
    node.post(now, signaled(1, write(node.segment(0, 9), to)));
    node.post(now, silent(2, write_inline(b"silent", node.remote(1100))));
    node.post(now, signaled(3, read(to, node.segment(2000, 9))));
    let atomic = Operation::Atomic {
        at: node.remote(64),
        operation: Atomic::Add(2),
        result: Some(node.segment(72, 8)),
    };
    node.post(now, signaled(4, atomic));
    let signal = write_inline(&7u64.to_ne_bytes(), node.remote_event());
    node.post(now, silent(5, signal));
    assert_eq!(turn(&mut node, now), 0);
    assert_eq!(node.bytes(1000, 9), b"from here");
    assert_eq!(node.bytes(1100, 6), b"silent");
    assert_eq!(node.bytes(2000, 9), b"from here");
    assert_eq!((node.word(64), node.word(72)), (42, 40));
    assert_eq!(*node.memory.event_updates.borrow(), [EventUpdate::Set(7)]);
    let done: Vec<_> = node
        .completions
        .iter()
        .map(|completion| match completion {
            Completion::Work(done) => (done.id, done.kind, done.original, done.outcome),
            Completion::Received(_) => panic!("no receive"),
        })
        .collect();
    let expected = [
        (1, WorkKind::Write, 0, Ok(())),
        (3, WorkKind::Read, 0, Ok(())),
        (4, WorkKind::Atomic, 40, Ok(())),
    ];
    assert_eq!(done, expected);
    assert_eq!(node.queue_pair().outstanding(), 0);
}

/// Numbers of queue pairs at several NICs may be the same.
#[test]
fn rule_6_5_work_reaches_no_queue_pair_that_is_anothers_peer() {
    let mut node = node_with("127.0.0.3:4791");
    let now = Duration::from_millis(1);
    node.post(now, signaled(1, write_inline(b"not here", node.remote(0))));
    assert!(turn(&mut node, now) > 0);
    assert_eq!(node.bytes(0, 8), [0; 8]);
    assert_eq!(node.completions, []);
}

/// A send has no other way than packets; what was posted behind it does not overtake it.
#[test]
fn rule_6_3_work_without_packets_does_not_overtake_work_with_them() {
    let mut node = node();
    let now = Duration::from_millis(1);
    node.receive(9, 0, 100);
    node.post(now, signaled(1, send(inline(b"first"))));
    node.post(now, signaled(2, write_inline(b"later", node.remote(0))));
    let packets = node.transmit(now, 64);
    assert!(!packets.is_empty());
    assert_eq!(node.bytes(0, 5), [0; 5], "nothing has arrived");
    let from = node.nic.local();
    for packet in &packets {
        node.call(|nic, io| nic.receive(now, from, packet, io));
    }
    while turn(&mut node, now) > 0 {}
    assert_eq!(node.bytes(0, 5), b"later");
    assert_eq!(succeeded(&node), [1, 2]);
    assert_eq!(received(&node).len(), 1);
}

#[test]
fn rule_6_7_a_keep_alive_inside_a_nic_is_nobodys_completion() {
    let mut node = node();
    let mut now = Duration::ZERO;
    for round in 1..4 {
        // Work counts as a sign of life: the next keep-alive is due an interval after it.
        now += KEEP_ALIVE / 2;
        node.post(now, silent(1, write_inline(b"x", node.remote(0))));
        assert_eq!(turn(&mut node, now), 0);
        let early = now + KEEP_ALIVE * 3 / 4;
        node.call(|nic, _| nic.handle_timeout(early));
        assert_eq!(node.queue_pair().outstanding(), 0, "round {round}");
        now += KEEP_ALIVE;
        node.call(|nic, _| nic.handle_timeout(now));
        assert_eq!(node.queue_pair().outstanding(), 1, "round {round}");
        assert_eq!(turn(&mut node, now), 0);
        assert_eq!(node.queue_pair().outstanding(), 0);
    }
    assert_eq!(node.completions, []);
}
