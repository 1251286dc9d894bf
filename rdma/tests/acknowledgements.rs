//! When acknowledgements are asked for and sent, and how much may be on its way.

mod rig;

use std::time::Duration;

use rdma::mtu::PathMtu;
use rdma::wire::{Aeth, Body, Opcode, Path};
use rig::forge::Forge;
use rig::*;

fn short_queue() -> Setup {
    let mut setup = Setup::default();
    setup.config.send_queue = 4;
    setup
}

#[test]
fn acknowledgements_are_asked_for_at_the_end_and_every_sixteenth() {
    let mut pair = Pair::new();
    pair.post(signaled(
        1,
        write(pair.a.segment(0, 40 * 1024), pair.b.remote(0)),
    ));
    pair.transmit();
    let asked: Vec<_> = pair
        .trace
        .iter()
        .enumerate()
        .filter(|(_, sent)| sent.ack_request)
        .map(|(i, _)| i)
        .collect();
    assert_eq!(asked, [15, 31, 39]);
    pair.run();
    assert_eq!(
        pair.count(Side::B, Opcode::Acknowledge),
        1,
        "one answer for what came together"
    );
}

#[test]
fn an_unacknowledged_tail_is_solicited_and_its_answer_releases_the_queue() {
    let mut pair = Pair::new();
    for id in 0..3 {
        pair.post(silent(id, write_inline(b"x", pair.b.remote(0))));
    }
    pair.transmit();
    assert!(pair.trace.iter().all(|sent| !sent.ack_request));
    pair.run();
    assert_eq!(pair.a.queue_pair().outstanding(), 0);
    assert_eq!(pair.a.counters().solicited_tails, 1);
    assert_eq!(pair.a.counters().timeouts, 0);
    let last = pair
        .trace
        .iter()
        .rfind(|sent| sent.from == Side::A)
        .unwrap();
    assert!(last.ack_request);
    assert_eq!(last.psn, pair.trace[2].psn, "the last packet, once more");
}

#[test]
fn an_acknowledgement_leaves_behind_the_data_of_the_same_round() {
    let mut pair = Pair::new();
    pair.post(signaled(1, write_inline(b"ping", pair.b.remote(0))));
    pair.transmit();
    pair.now += pair.link.latency;
    pair.deliver();
    let back = signaled(2, write_inline(b"pong", pair.a.remote(0)));
    let now = pair.now;
    pair.b.post(now, back);
    pair.transmit();
    assert_eq!(
        pair.opcodes(Side::B),
        [Opcode::WriteOnly, Opcode::Acknowledge]
    );
}

#[test]
fn a_short_queue_is_acknowledged_before_it_is_full() {
    let mut pair = Pair::with(short_queue());
    let start = pair.now;
    for id in 0..40 {
        while pair.a.queue_pair().outstanding() == 4 {
            assert!(pair.step());
        }
        pair.post(silent(id, write_inline(b"x", pair.b.remote(0))));
    }
    assert!(
        pair.now - start < Duration::from_millis(5),
        "no timer was waited for"
    );
}

#[test]
fn every_second_packet_of_a_queue_of_four_asks() {
    let mut pair = Pair::with(short_queue());
    let asked = |pair: &mut Pair| {
        let before = pair.trace.len();
        for id in 0..4 {
            pair.post(silent(id, write_inline(b"x", pair.b.remote(0))));
        }
        pair.transmit();
        let sent = pair.trace[before..].iter();
        sent.map(|sent| sent.ack_request).collect::<Vec<_>>()
    };
    assert_eq!(asked(&mut pair), [false, true, false, true]);
    pair.run();
    pair.filter = Some(Box::new(|_| false));
    assert_eq!(asked(&mut pair), [false, true, false, true]);
}

#[test]
fn rule_flow_no_more_than_the_budget_is_on_its_way() {
    for budget in [1, 3, 17] {
        let mut pair = Pair::with(Setup {
            budget,
            mtu: PathMtu::B256,
            ..Setup::default()
        });
        pair.post(signaled(
            1,
            write(pair.a.segment(0, 20_000), pair.b.remote(0)),
        ));
        pair.transmit();
        assert_eq!(pair.trace.len(), budget as usize);
        assert!(
            pair.trace.last().unwrap().ack_request,
            "else nobody would open the window"
        );
        pair.run();
        assert_eq!(succeeded(&pair.a), [1]);
        assert_eq!(pair.a.counters().timeouts, 0);
    }
}

#[test]
fn rule_flow_loss_halves_the_window_and_success_opens_it_again() {
    let mut pair = Pair::new();
    assert_eq!(pair.a.queue_pair().window(), 64);
    pair.filter = Some(drop_first(Side::A, Opcode::WriteFirst, 1));
    pair.post(signaled(
        1,
        write(pair.a.segment(0, 30_000), pair.b.remote(0)),
    ));
    pair.run();
    assert_eq!(pair.a.queue_pair().window(), 32);
    for id in 0..40 {
        pair.post(signaled(
            id,
            write(pair.a.segment(0, 200_000), pair.b.remote(0)),
        ));
        pair.run();
    }
    assert_eq!(pair.a.queue_pair().window(), 64);
}

#[test]
fn a_tail_that_is_acknowledged_before_it_is_solicited_does_not_block_what_follows() {
    let mut pair = Pair::new();
    pair.filter = Some(Box::new(|_| false));
    pair.post(silent(1, write_inline(b"x", pair.b.remote(0))));
    pair.transmit();
    let due = pair.a.nic.poll_timeout().unwrap();
    pair.now = due;
    pair.a.call(|nic, _| nic.handle_timeout(due));
    let forge = Forge {
        path: Path::new(pair.b.nic.local(), pair.a.nic.local()).unwrap(),
        number: pair.a.number.value(),
        expected: pair.a.queue_pair().config().first_psn,
    };
    pair.inject(
        Side::B,
        forge.packet(0, Body::Acknowledge(Aeth::ack(1)), &[]),
    );
    pair.deliver();
    assert_eq!(pair.a.queue_pair().outstanding(), 0);
    pair.post(signaled(2, write_inline(b"y", pair.b.remote(0))));
    pair.transmit();
    assert_eq!(pair.count(Side::A, Opcode::WriteOnly), 2);
    assert_eq!(pair.a.counters().solicited_tails, 0);
}

/// Whatever is posted behind it, and however long that takes.
#[test]
fn who_asks_is_told_when_what_was_posted_so_far_is_over() {
    let mut pair = Pair::new();
    let number = pair.a.number;
    assert_eq!(pair.a.nic.posted(number), 0);
    for id in [1, 2] {
        pair.post(signaled(id, write_inline(b"before", pair.b.remote(0))));
    }
    let count = pair.a.nic.posted(number);
    assert_eq!(count, 2);
    pair.a.nic.tell_when_over(number, count);
    // Its peer has no receive for it.
    pair.post(signaled(3, send(inline(b"behind"))));
    assert!(pair.a.nic.owes(number, count) && pair.a.nic.owes(number, 1));
    assert_eq!(pair.a.nic.poll_room(), None);
    pair.run_until(pair.now + Duration::from_millis(1));
    assert_eq!(succeeded(&pair.a), [1, 2]);
    assert_eq!(pair.a.nic.poll_room(), Some(number));
    assert_eq!(pair.a.nic.poll_room(), None, "it is told once");
    assert!(!pair.a.nic.owes(number, count));
    assert!(pair.a.nic.owes(number, pair.a.nic.posted(number)));
}
