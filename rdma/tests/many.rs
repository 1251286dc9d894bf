//! One NIC with many queue pairs: turns, timers, numbers, sizes.

mod rig;

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use rdma::config::{Config, Peer};
use rdma::nic::{CreateError, MOST_RETIRED_OF_DOMAIN, Nic, QUARANTINE};
use rdma::psn::{Psn, Qpn};
use rdma::queue_pair::{Cause, Io, QueuePair, State};
use rdma::wire::{MAX_PACKET, Path};
use rdma::work::{Completion, NoReceives};
use rig::*;

const COUNT: u32 = 200;

fn number(index: u32) -> Qpn {
    Qpn::new(0x100 + index).unwrap()
}

fn config(index: u32) -> Config {
    Config::new(number(index), Psn::new(index), DOMAIN)
}

/// A NIC whose queue pairs are connected to those of another with the same numbers.
fn connected(from: &str, to: &str) -> Nic {
    let mut nic = Nic::new(from.parse().unwrap());
    for index in 0..COUNT {
        nic.create(Duration::ZERO, config(index)).unwrap();
        let peer = Peer {
            path: Path::new(from.parse().unwrap(), to.parse().unwrap()).unwrap(),
            number: number(index),
            first_psn: Psn::new(index),
            mtu: rdma::mtu::PathMtu::B1024,
            budget: 64,
            responder_resources: 4,
            lid: 0,
            max_identification: 127,
            max_segments: 128,
        };
        nic.connect(number(index), peer).unwrap();
        nic.activate(Duration::ZERO, number(index)).unwrap();
    }
    nic
}

/// Takes all a NIC wants to send: to which queue pair, and whether it is a request.
fn drain(nic: &mut Nic, node: &Node, now: Duration) -> Vec<Vec<u8>> {
    let mut out = vec![0; MAX_PACKET];
    let mut packets = Vec::new();
    let mut io = Io {
        memory: &node.memory,
        regions: &node.regions,
        receives: &mut NoReceives,
    };
    while let Some(sent) = nic.poll_transmit(now, &mut io, &mut out, 1) {
        packets.push(out[..sent.len].to_vec());
    }
    packets
}

#[test]
fn a_queue_pair_without_room_is_told_of_once_when_it_has_some() {
    let config = Config {
        send_queue: 2,
        ..Config::new(Qpn::new(0x11).unwrap(), Psn::new(0), DOMAIN)
    };
    let mut pair = Pair::with(Setup {
        config,
        ..Setup::default()
    });
    let number = pair.a.number;
    let post = |pair: &mut Pair, id| {
        let operation = write_inline(b"12345678", pair.b.remote(0));
        pair.a.nic.post(pair.now, number, signaled(id, operation))
    };
    assert!(post(&mut pair, 1).is_ok() && post(&mut pair, 2).is_ok());
    pair.run();
    assert_eq!(pair.a.nic.poll_room(), None, "nothing was refused");
    assert!(post(&mut pair, 3).is_ok() && post(&mut pair, 4).is_ok());
    assert!(post(&mut pair, 5).is_err() && post(&mut pair, 5).is_err());
    assert_eq!(pair.a.nic.poll_room(), None, "there is none yet");
    pair.run();
    assert_eq!(succeeded(&pair.a), [1, 2, 3, 4]);
    assert_eq!(pair.a.nic.poll_room(), Some(number));
    assert_eq!(pair.a.nic.poll_room(), None);
    // Also where it ends.
    assert!(post(&mut pair, 5).is_ok() && post(&mut pair, 6).is_ok());
    assert!(post(&mut pair, 7).is_err());
    pair.a.nic.fail(number, Cause::Closed).unwrap();
    assert_eq!(pair.a.nic.poll_room(), Some(number));
}

#[test]
fn every_queue_pair_gets_its_turn_and_its_completion() {
    let (from, to) = ("127.0.0.2:4791", "127.0.0.3:4791");
    let (mut a, mut b) = (connected(from, to), connected(to, from));
    // Any node: its memory and regions serve both NICs.
    let node = Pair::new().a;
    let now = Duration::ZERO;
    for round in 0..3 {
        for index in 0..COUNT {
            let operation = write_inline(b"12345678", node.remote(8 * index as usize));
            a.post(now, number(index), signaled(round, operation))
                .unwrap();
        }
    }
    let mut receives: VecDeque<rdma::work::Receive> = VecDeque::new();
    let mut io = Io {
        memory: &node.memory,
        regions: &node.regions,
        receives: &mut receives,
    };
    let requests = drain(&mut a, &node, now);
    assert_eq!(requests.len(), 3 * COUNT as usize);
    let first: Vec<_> = requests[..COUNT as usize]
        .iter()
        .map(|packet| Nic::destination(packet).unwrap())
        .collect();
    let all: Vec<_> = (0..COUNT).map(number).collect();
    assert_eq!(first, all, "one packet of each before a second of any");
    for packet in &requests {
        b.receive(now, from.parse().unwrap(), packet, &mut io);
    }
    let replies = drain(&mut b, &node, now);
    assert_eq!(
        replies.len(),
        COUNT as usize,
        "one acknowledgement for each"
    );
    for packet in &replies {
        a.receive(now, to.parse().unwrap(), packet, &mut io);
    }
    let mut done = BTreeMap::new();
    while let Some((number, Completion::Work(work))) = a.poll_completion() {
        assert_eq!(work.outcome, Ok(()));
        done.entry(number).or_insert_with(Vec::new).push(work.id);
    }
    assert_eq!(done.len(), COUNT as usize);
    assert!(done.values().all(|ids| *ids == [0, 1, 2]));
}

#[test]
fn timers_strike_only_where_something_is_unanswered() {
    let (from, to) = ("127.0.0.2:4791", "127.0.0.3:4791");
    let mut a = connected(from, to);
    let node = Pair::new().a;
    assert_eq!(a.poll_timeout(), None);
    let mut now = Duration::ZERO;
    a.post(
        now,
        number(7),
        signaled(1, write_inline(b"x", node.remote(0))),
    )
    .unwrap();
    drain(&mut a, &node, now);
    for _ in 0..100 {
        let Some(next) = a.poll_timeout() else { break };
        now = now.max(next);
        a.handle_timeout(now);
        drain(&mut a, &node, now);
    }
    assert!(matches!(
        a.queue_pair(number(7)).unwrap().state(),
        State::Error(_)
    ));
    assert_eq!(a.queue_pair(number(8)).unwrap().state(), State::ReadyToSend);
    assert_eq!(a.queue_pair(number(8)).unwrap().counters().timeouts, 0);
}

#[test]
fn rule_6_4_a_number_is_not_given_again_for_two_minutes() {
    let mut nic = Nic::new("127.0.0.2:4791".parse().unwrap());
    let now = Duration::from_secs(5);
    nic.create(now, config(1)).unwrap();
    assert!(nic.create(now, config(1)).is_err());
    assert!(nic.destroy(now, number(1)).is_some());
    assert!(
        nic.create(now + QUARANTINE - Duration::from_millis(1), config(1))
            .is_err()
    );
    assert!(nic.create(now + QUARANTINE, config(1)).is_ok());
}

/// Nothing grows without a bound, and who uses up what it may have takes nothing from others.
#[test]
fn rule_6_4_a_domain_that_ends_too_many_queue_pairs_gets_no_number_for_a_while() {
    let mut nic = Nic::new("127.0.0.2:4791".parse().unwrap());
    let now = Duration::from_secs(5);
    let of = |at: usize, domain| Config {
        number: Qpn::new(at as u32 + 2).unwrap(),
        domain: rdma::region::Domain(domain),
        ..config(1)
    };
    for at in 0..MOST_RETIRED_OF_DOMAIN {
        let made = nic.create(now, of(at, 7)).unwrap();
        nic.destroy(now, made);
    }
    let limit = MOST_RETIRED_OF_DOMAIN;
    let refused = nic.create(now, of(limit, 7));
    assert_eq!(refused, Err(CreateError::Resting { limit }));
    let taken = nic.create(now, of(3, 8));
    assert!(matches!(taken, Err(CreateError::Taken(_))), "{taken:?}");
    assert!(nic.create(now, of(limit, 8)).is_ok());
    assert!(nic.create(now + QUARANTINE, of(0, 7)).is_ok());
}

#[test]
fn rule_5_2_all_queue_pairs_of_a_dead_process_fail_and_no_other() {
    let mut nic = Nic::new("127.0.0.2:4791".parse().unwrap());
    nic.create(Duration::ZERO, config(1)).unwrap();
    nic.create(Duration::ZERO, config(2)).unwrap();
    let other = Config {
        domain: rdma::region::Domain(99),
        ..config(3)
    };
    nic.create(Duration::ZERO, other).unwrap();
    assert_eq!(nic.fail_domain(DOMAIN, Cause::Closed), 2);
    assert_eq!(
        nic.queue_pair(number(1)).unwrap().state(),
        State::Error(Cause::Closed)
    );
    assert_eq!(nic.queue_pair(number(3)).unwrap().state(), State::Init);
}

#[test]
fn rule_6_5_closing_a_queue_pair_flushes_its_work_in_order() {
    let mut pair = Pair::new();
    for id in 0..3 {
        pair.post(silent(id, write_inline(b"x", pair.b.remote(0))));
    }
    pair.b.receive(9, 0, 100);
    let number = pair.a.number;
    pair.a
        .call(|nic, _| nic.fail(number, Cause::Closed))
        .unwrap();
    let ids: Vec<_> = ended(&pair.a)
        .iter()
        .map(|(id, failure)| (*id, failure.unwrap().sent))
        .collect();
    assert_eq!(ids, [(0, false), (1, false), (2, false)]);
    pair.run();
    assert_eq!(pair.b.bytes(0, 1), [0]);
}

#[test]
fn an_idle_queue_pair_is_small() {
    assert!(
        size_of::<QueuePair>() <= 2048,
        "{} bytes",
        size_of::<QueuePair>()
    );
}
