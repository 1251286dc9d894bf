//! Two nodes that both ask and both answer, over a network that loses, doubles, delays and damages packets: neither gives the
//! other up.
//!
//! `DPA_SEEDS=n` tries n seeds (default 300); `DPA_SEED=s` replays one. A failure prints the command.

mod rig;
#[path = "../../dpa-model/tests/seeds/mod.rs"]
mod seeds;

use std::time::Duration;

use rdma::config::{AckTimeout, Config, RetryLimit};
use rdma::work::{Flags, Operation, WorkRequest};
use rig::*;
use seeds::seeds;

/// What a node does: so many of each kind, in this order.
const EACH: u64 = 12;
/// On their way at a time.
const AHEAD: usize = 8;
const RECEIVE: usize = 6000;
const RECEIVED: usize = 64 * 1024;

fn setup(seed: u64) -> Setup {
    let base = Setup::default();
    let config = Config {
        retries: RetryLimit::Times(20),
        timeout: AckTimeout::from_code(12).unwrap(),
        ..base.config
    };
    Setup {
        seed,
        first_psn: 0xff_ff00 + seed as u32 % 256,
        config,
        ..base
    }
}

/// Request number `n` of a node, to its peer.
fn request(node: &Node, peer: &Node, n: u64) -> Operation {
    let len = 1 + (n as usize * 977) % RECEIVE;
    match n / EACH {
        0 if n.is_multiple_of(2) => write(node.segment(0, len), peer.remote(8192)),
        0 => read(peer.remote(0), node.segment(16 * 1024, len)),
        1 => add(peer.remote(32 * 1024), 1),
        2 => send(rdma::work::Data::Local(node.segment(0, len))),
        _ => add(peer.remote_event(), 1),
    }
}

fn run(seed: u64) {
    let mut pair = Pair::with(setup(seed));
    pair.link = Link {
        latency: Duration::from_micros(50),
        loss: 10,
        duplicate: 30,
        reorder: 200,
        corrupt: 30,
    };
    let mut posted = [0; 2];
    let mut random = Random::new(seed ^ 0xb07);
    for _ in 0..200_000 {
        for (side, posted) in [Side::A, Side::B].into_iter().zip(&mut posted) {
            let now = pair.now;
            let (node, peer) = match side {
                Side::A => (&pair.a, &pair.b),
                Side::B => (&pair.b, &pair.a),
            };
            let room = node.queue_pair().outstanding() < AHEAD;
            let next = (*posted < 4 * EACH && room && random.chance(300))
                .then(|| request(node, peer, *posted));
            let node = pair.node(side);
            if node.receives.len() < 4 {
                node.receive(0, RECEIVED, RECEIVE);
            }
            if let Some(operation) = next {
                let flags = Flags::SIGNALED;
                node.post(
                    now,
                    WorkRequest {
                        id: *posted,
                        operation,
                        flags,
                    },
                );
                *posted += 1;
            }
        }
        let busy = pair.step();
        if !busy && posted == [4 * EACH; 2] {
            break;
        }
    }
    for node in [&pair.a, &pair.b] {
        let all: Vec<u64> = (0..4 * EACH).collect();
        assert_eq!(succeeded(node), all, "{:?}", node.counters());
        assert_eq!(
            (node.word(32 * 1024), node.memory.event.get()),
            (EACH, EACH)
        );
    }
}

#[test]
fn rule_6_4_both_ways_over_a_bad_network() {
    seeds(300).for_each(run);
}
