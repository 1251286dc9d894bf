//! When a requester wants to be called, and what it does then.

mod rig;

use std::time::Duration;

use rdma::config::{AckTimeout, Config, RetryLimit};
use rdma::nic::NicPostError;
use rdma::queue_pair::Cause;
use rdma::wire::{Aeth, Body, Opcode, Path, RnrTimer, Syndrome};
use rdma::work::{PostReason, WorkError};
use rig::forge::*;
use rig::*;

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);

/// A pair at an hour that is not zero, of which nothing arrives.
fn unheard(change: impl FnOnce(&mut Config)) -> Pair {
    let mut setup = Setup::default();
    change(&mut setup.config);
    let mut pair = Pair::with(setup);
    pair.now = HOUR;
    pair.filter = Some(Box::new(|_| false));
    pair
}

fn timeout(pair: &Pair) -> Duration {
    pair.a.queue_pair().config().timeout.duration().unwrap()
}

fn write_one(pair: &Pair) -> rdma::work::Operation {
    write_inline(b"x", pair.b.remote(0))
}

fn due(pair: &Pair) -> Option<Duration> {
    pair.a.queue_pair().poll_timeout()
}

/// Moves to a time and sends what is sent then: how far the numbers of A's packets are from its first.
fn at(pair: &mut Pair, now: Duration) -> Vec<u32> {
    pair.now = now;
    pair.a.call(|nic, _| nic.handle_timeout(now));
    let before = pair.trace.len();
    pair.transmit();
    let first = pair.a.queue_pair().config().first_psn;
    let sent = pair.trace[before..].iter();
    sent.map(|sent| sent.psn.since(first)).collect()
}

/// Gives A an acknowledgement of B's with this syndrome.
fn answer(pair: &mut Pair, number: u32, syndrome: Syndrome) {
    let forge = Forge {
        path: Path::new(pair.b.nic.local(), pair.a.nic.local()).unwrap(),
        number: pair.a.number.value(),
        expected: pair.a.queue_pair().config().first_psn,
    };
    let body = Body::Acknowledge(Aeth { syndrome, msn: 1 });
    pair.inject(Side::B, forge.packet(number, body, &[]));
    pair.deliver();
}

const ACK: Syndrome = Syndrome::Ack {
    credits: Syndrome::NO_CREDITS,
};

#[test]
fn rule_6_7_the_timer_runs_from_the_last_progress() {
    let mut pair = unheard(|_| ());
    assert_eq!(due(&pair), None, "nothing is on its way");
    let timeout = timeout(&pair);
    for id in 0..3 {
        pair.post(signaled(id, write_one(&pair)));
    }
    assert_eq!(due(&pair), None, "nothing has been sent");
    assert_eq!(at(&mut pair, HOUR), [0, 1, 2]);
    assert_eq!(due(&pair), Some(HOUR + timeout));
    // More work does not put it off.
    pair.post(signaled(3, write_one(&pair)));
    assert_eq!(at(&mut pair, HOUR + timeout / 3), [3]);
    assert_eq!(due(&pair), Some(HOUR + timeout));
    pair.now = HOUR + timeout / 2;
    answer(&mut pair, 1, ACK);
    assert_eq!(due(&pair), Some(HOUR + timeout / 2 + timeout));
    // An answer that brings nothing new changes nothing.
    pair.now += timeout / 4;
    answer(&mut pair, 1, ACK);
    assert_eq!(due(&pair), Some(HOUR + timeout / 2 + timeout));
    let late = HOUR + timeout / 2 + timeout;
    assert_eq!(at(&mut pair, late - Duration::from_nanos(1)), []);
    assert_eq!(at(&mut pair, late), [2, 3], "from the oldest on");
    assert_eq!(due(&pair), Some(late + timeout));
    answer(&mut pair, 3, ACK);
    assert_eq!(due(&pair), None, "all is acknowledged");
    assert_eq!(succeeded(&pair.a), [0, 1, 2, 3]);
    assert_eq!(pair.a.counters().timeouts, 1);
}

#[test]
fn rule_6_7_without_a_timeout_nothing_is_sent_again() {
    let mut pair = unheard(|config| config.timeout = AckTimeout::NEVER);
    pair.post(signaled(1, write_one(&pair)));
    assert_eq!(at(&mut pair, HOUR), [0]);
    assert_eq!(due(&pair), None);
    pair.post(silent(2, write_one(&pair)));
    assert_eq!(at(&mut pair, HOUR), [1]);
    let tail = HOUR + Duration::from_millis(16);
    assert_eq!(due(&pair), Some(tail), "but a last packet is, which asks");
    assert_eq!(at(&mut pair, tail), [1]);
    assert_eq!(due(&pair), None);
}

#[test]
fn a_last_packet_that_asked_nothing_asks_after_a_quarter_of_the_timeout() {
    let mut pair = unheard(|_| ());
    let quarter = timeout(&pair) / 4;
    for id in 0..3 {
        pair.post(silent(id, write_one(&pair)));
    }
    assert_eq!(at(&mut pair, HOUR), [0, 1, 2]);
    assert_eq!(due(&pair), Some(HOUR + quarter));
    // What is sent meanwhile becomes the last.
    let later = HOUR + quarter / 2;
    pair.post(silent(3, write_one(&pair)));
    assert_eq!(at(&mut pair, later), [3]);
    assert_eq!(due(&pair), Some(later + quarter));
    assert_eq!(at(&mut pair, HOUR + quarter), []);
    assert_eq!(at(&mut pair, later + quarter), [3]);
    assert!(pair.trace.last().unwrap().ack_request);
    assert_eq!(pair.a.counters().solicited_tails, 1);
    assert_eq!(pair.a.counters().resent, 0);
    assert_eq!(
        due(&pair),
        Some(HOUR + timeout(&pair)),
        "once; then the timer"
    );
    // Some of it is acknowledged, then all.
    answer(&mut pair, 1, ACK);
    assert_eq!(pair.a.queue_pair().outstanding(), 2);
    answer(&mut pair, 3, ACK);
    assert_eq!((due(&pair), pair.a.queue_pair().outstanding()), (None, 0));
}

/// A packet that asked for an answer needs no second question, also if it is sent again; an unsignaled one behind it does.
#[test]
fn only_a_last_packet_that_nobody_asked_for_is_sent_again() {
    let mut pair = unheard(|_| ());
    let (timeout, quarter) = (timeout(&pair), timeout(&pair) / 4);
    pair.post(silent(0, write_one(&pair)));
    pair.post(signaled(1, write_one(&pair)));
    assert_eq!(at(&mut pair, HOUR), [0, 1]);
    assert_eq!(due(&pair), Some(HOUR + timeout));
    assert_eq!(at(&mut pair, HOUR + timeout), [0, 1]);
    assert_eq!(due(&pair), Some(HOUR + 2 * timeout));
    let later = HOUR + timeout + quarter;
    pair.post(silent(2, write_one(&pair)));
    assert_eq!(at(&mut pair, later), [2]);
    assert_eq!(due(&pair), Some(later + quarter));
    // The answer to what was asked for leaves the question open.
    pair.now += quarter / 2;
    answer(&mut pair, 1, ACK);
    assert_eq!(due(&pair), Some(later + quarter));
    assert_eq!(at(&mut pair, later + quarter), [2]);
    assert_eq!(pair.a.counters().solicited_tails, 1);
}

/// A question that is due when all is sent again from an earlier packet is put by that.
#[test]
fn what_is_sent_again_takes_the_question_with_it() {
    let mut pair = unheard(|_| ());
    let quarter = timeout(&pair) / 4;
    for id in 0..3 {
        pair.post(silent(id, write_one(&pair)));
    }
    assert_eq!(at(&mut pair, HOUR), [0, 1, 2]);
    let due_at = HOUR + quarter;
    pair.now = due_at;
    pair.a.call(|nic, _| nic.handle_timeout(due_at));
    let gap = Syndrome::Nak(rdma::wire::NakCode::PsnSequenceError);
    answer(&mut pair, 1, gap);
    assert_eq!(at(&mut pair, due_at), [1, 2]);
    assert_eq!(pair.a.counters().solicited_tails, 0);
    assert_eq!(due(&pair), Some(due_at + quarter));
}

/// It does not overtake what a peer that was not ready is to get first.
#[test]
fn rule_6_3_a_question_is_not_put_while_a_peer_is_not_ready() {
    let timer = RnrTimer::from_code(25).unwrap();
    let mut pair = unheard(|_| ());
    let quarter = timeout(&pair) / 4;
    assert!(quarter < timer.duration());
    pair.post(silent(0, send(inline(b"hello"))));
    pair.post(silent(1, write_one(&pair)));
    assert_eq!(at(&mut pair, HOUR), [0, 1]);
    answer(&mut pair, 0, Syndrome::RnrNak(timer));
    assert_eq!(due(&pair), Some(HOUR + timer.duration()));
    assert_eq!(at(&mut pair, HOUR + quarter), []);
    assert_eq!(at(&mut pair, HOUR + timer.duration()), [0, 1]);
    assert_eq!(pair.a.counters().solicited_tails, 0);
}

/// While packets are sent again through a smaller window the last of them is not solicited.
#[test]
fn a_window_that_stops_a_repetition_is_no_tail() {
    let mut pair = Pair::with(Setup {
        budget: 8,
        ..Setup::default()
    });
    pair.filter = Some(Box::new(|_| false));
    let timeout = timeout(&pair);
    for id in 0..7 {
        pair.post(silent(id, write_one(&pair)));
    }
    assert_eq!(at(&mut pair, HOUR).len(), 7);
    // All but the question is lost; the window is halved.
    assert_eq!(at(&mut pair, HOUR + timeout / 4), [6]);
    let again = HOUR + timeout;
    assert_eq!(at(&mut pair, again), [0, 1, 2, 3]);
    assert!(
        pair.trace.last().unwrap().ack_request,
        "it fills the window"
    );
    assert_eq!(due(&pair), Some(again + timeout));
    answer(&mut pair, 3, ACK);
    assert_eq!(at(&mut pair, again), [4, 5, 6]);
    assert_eq!(pair.a.counters().solicited_tails, 1);
    assert_eq!(due(&pair), Some(again + timeout / 4));
}

#[test]
fn rule_6_7_a_peer_that_is_not_ready_is_left_alone_for_its_time() {
    let timer = RnrTimer::from_code(20).unwrap();
    let wait = timer.duration();
    let mut pair = unheard(|config| {
        config.timeout = AckTimeout::from_code(8).unwrap();
        config.rnr_retries = RetryLimit::Times(2);
    });
    assert!(timeout(&pair) < wait, "the timer of answers does not run");
    pair.post(signaled(1, send(inline(b"hello"))));
    pair.post(signaled(2, write_one(&pair)));
    assert_eq!(at(&mut pair, HOUR), [0, 1]);
    let mut now = HOUR;
    for _ in 0..2 {
        answer(&mut pair, 0, Syndrome::RnrNak(timer));
        assert_eq!(due(&pair), Some(now + wait));
        assert_eq!(at(&mut pair, now + wait - Duration::from_nanos(1)), []);
        now += wait;
        assert_eq!(at(&mut pair, now), [0, 1]);
        assert_eq!(due(&pair), Some(now + timeout(&pair)));
    }
    // Progress begins the count anew.
    answer(&mut pair, 0, ACK);
    answer(&mut pair, 1, Syndrome::RnrNak(timer));
    now += wait;
    assert_eq!(at(&mut pair, now), [1]);
    for _ in 0..2 {
        answer(&mut pair, 1, Syndrome::RnrNak(timer));
        now += wait;
        at(&mut pair, now);
    }
    let cause = WorkError::RnrRetriesExceeded { attempts: 3 };
    assert_eq!(ended(&pair.a)[1].1.unwrap().cause, cause);
    assert_eq!(due(&pair), None);
}

/// A receiver that is not ready for long is there all the while: the answers that are lost meanwhile do not add up.
#[test]
fn rule_6_7_a_peer_that_is_not_ready_has_answered() {
    let timer = RnrTimer::from_code(1).unwrap();
    let mut pair = unheard(|config| config.retries = RetryLimit::Times(2));
    let timeout = timeout(&pair);
    pair.post(signaled(1, send(inline(b"hello"))));
    assert_eq!(at(&mut pair, HOUR), [0]);
    let mut now = HOUR;
    for _ in 0..3 {
        for _ in 0..2 {
            now += timeout;
            assert_eq!(at(&mut pair, now), [0]);
        }
        answer(&mut pair, 0, Syndrome::RnrNak(timer));
        now += timer.duration();
        assert_eq!(at(&mut pair, now), [0]);
    }
    for _ in 0..3 {
        now += timeout;
        at(&mut pair, now);
    }
    let cause = WorkError::RetriesExceeded { attempts: 3 };
    assert_eq!(ended(&pair.a)[0].1.unwrap().cause, cause);
}

/// An acknowledgement of what the peer was not ready for ends the wait.
#[test]
fn rule_6_7_progress_ends_the_wait_for_a_peer_that_was_not_ready() {
    let mut pair = unheard(|_| ());
    for id in 0..2 {
        pair.post(signaled(id, write_one(&pair)));
    }
    assert_eq!(at(&mut pair, HOUR), [0, 1]);
    let timer = RnrTimer::from_code(20).unwrap();
    answer(&mut pair, 0, Syndrome::RnrNak(timer));
    assert_eq!(at(&mut pair, HOUR), []);
    answer(&mut pair, 0, ACK);
    assert_eq!(at(&mut pair, HOUR), [1]);
}

#[test]
fn rule_6_7_the_retries_are_counted_exactly_and_progress_counts_anew() {
    let mut pair = unheard(|config| config.retries = RetryLimit::Times(2));
    let timeout = timeout(&pair);
    for id in 0..2 {
        pair.post(signaled(id, write_one(&pair)));
    }
    assert_eq!(at(&mut pair, HOUR), [0, 1]);
    assert_eq!(at(&mut pair, HOUR + timeout), [0, 1]);
    assert_eq!(at(&mut pair, HOUR + 2 * timeout), [0, 1]);
    answer(&mut pair, 0, ACK);
    assert_eq!(at(&mut pair, HOUR + 3 * timeout), [1]);
    assert_eq!(at(&mut pair, HOUR + 4 * timeout), [1]);
    assert_eq!(at(&mut pair, HOUR + 5 * timeout), []);
    let cause = WorkError::RetriesExceeded { attempts: 3 };
    assert_eq!(ended(&pair.a)[1].1.unwrap().cause, cause);
    assert_eq!(pair.a.counters().timeouts, 5);
}

#[test]
fn rule_6_7_a_keep_alive_is_due_an_interval_after_the_last_sign_of_life() {
    let setup = |config: &mut Config| config.keep_alive = Some(SECOND);
    let mut pair = unheard(setup);
    let start = Setup::default();
    let fresh = {
        let mut with = start;
        setup(&mut with.config);
        let mut fresh = Pair::unconnected(&with);
        fresh.connect(&with);
        let number = fresh.a.number;
        fresh.a.nic.activate(HOUR, number).unwrap();
        fresh
    };
    assert_eq!(due(&fresh), Some(HOUR + SECOND), "of the connection itself");
    pair.post(signaled(1, write_one(&pair)));
    assert_eq!(at(&mut pair, HOUR), [0]);
    assert_eq!(due(&pair), Some(HOUR + timeout(&pair)), "none beside work");
    pair.now += Duration::from_millis(5);
    answer(&mut pair, 0, ACK);
    let next = pair.now + SECOND;
    assert_eq!(due(&pair), Some(next));
    assert_eq!(at(&mut pair, next - Duration::from_nanos(1)), []);
    assert_eq!(at(&mut pair, next), [1]);
    assert_eq!(pair.trace.last().unwrap().opcode, Opcode::WriteOnly);
    assert_eq!(due(&pair), Some(next + timeout(&pair)));
    // Its answer is a sign of life, and nobody's completion.
    pair.now += Duration::from_millis(5);
    answer(&mut pair, 1, ACK);
    assert_eq!(due(&pair), Some(pair.now + SECOND));
    assert_eq!(succeeded(&pair.a), [1]);
}

#[test]
fn rule_6_7_a_keep_alive_takes_no_room_of_the_owner() {
    let mut pair = unheard(|config| {
        config.keep_alive = Some(SECOND);
        config.send_queue = 1;
    });
    at(&mut pair, HOUR + SECOND);
    assert_eq!(pair.a.queue_pair().outstanding(), 1);
    pair.post(silent(5, write_one(&pair)));
    let (number, now) = (pair.a.number, pair.now);
    let request = silent(6, write_one(&pair));
    let refused = pair.a.call(|nic, _| nic.post(now, number, request));
    let full = PostReason::Full { limit: 1 };
    assert!(matches!(refused, Err(NicPostError::Post(error)) if error.reason == full));
}

#[test]
fn rule_6_7_a_keep_alive_is_no_work_of_the_owner() {
    let mut pair = unheard(|config| config.keep_alive = Some(SECOND));
    at(&mut pair, HOUR + SECOND);
    assert_eq!(pair.a.queue_pair().outstanding(), 1);
    pair.post(silent(5, write_one(&pair)));
    let number = pair.a.number;
    let failed = pair.a.call(|nic, _| nic.fail(number, Cause::Closed));
    failed.unwrap();
    let ids: Vec<_> = ended(&pair.a).iter().map(|(id, _)| *id).collect();
    assert_eq!(ids, [5]);
    assert_eq!(due(&pair), None);
}

/// An answer that was on its way all the while does not keep the rest from being asked for.
#[test]
fn a_tail_is_asked_for_though_a_part_of_it_is_acknowledged() {
    let mut pair = unheard(|_| ());
    for id in 0..3 {
        pair.post(silent(id, write_one(&pair)));
    }
    pair.transmit();
    let tail = due(&pair).expect("a tail");
    pair.now = tail;
    pair.a.call(|nic, _| nic.handle_timeout(tail));
    answer(&mut pair, 0, ACK);
    assert_eq!(at(&mut pair, tail), [2]);
    assert_eq!(pair.a.counters().solicited_tails, 1);
}

#[test]
fn how_late_a_retry_came_is_counted() {
    let mut pair = unheard(|_| ());
    pair.post(signaled(1, write_one(&pair)));
    pair.transmit();
    let late = Duration::from_micros(700);
    let retry = HOUR + timeout(&pair);
    at(&mut pair, retry + late);
    assert_eq!(pair.a.counters().timer_lag_us, 700);
    // The longest of all.
    let next = retry + late + timeout(&pair);
    at(&mut pair, next);
    assert_eq!(pair.a.counters().timeouts, 2);
    assert_eq!(pair.a.counters().timer_lag_us, 700);
}
