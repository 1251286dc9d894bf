//! Order, exactly once, retries and timers: the rules of the reliable connection, one fault at a time.

mod rig;

use std::time::Duration;

use rdma::config::{AckTimeout, Config, RetryLimit};
use rdma::memory::Atomic;
use rdma::queue_pair::{Cause, State};
use rdma::wire::{Opcode, RnrTimer};
use rdma::work::{Data, Operation, WorkError, WorkFailure};
use rig::*;

fn setup(change: impl FnOnce(&mut Config)) -> Setup {
    let mut setup = Setup::default();
    change(&mut setup.config);
    setup
}

#[test]
fn rule_6_3_a_signal_is_seen_behind_its_whole_write() {
    for lost in 0..6 {
        let mut pair = Pair::new();
        let data = pattern(5000, 1);
        pair.a.fill(0, &data);
        let mut index = 0;
        pair.filter = Some(Box::new(move |sent| {
            index += usize::from(sent.from == Side::A);
            sent.from != Side::A || index != lost + 1
        }));
        pair.post(silent(1, write(pair.a.segment(0, 5000), pair.b.remote(0))));
        pair.post(silent(
            2,
            write_inline(&1u64.to_ne_bytes(), pair.b.remote_event()),
        ));
        for _ in 0..1000 {
            let more = pair.step();
            if pair.b.memory.event.get() == 1 {
                assert_eq!(pair.b.bytes(0, 5000), data, "packet {lost} lost");
            }
            if !more {
                break;
            }
        }
        assert_eq!(
            pair.b.memory.event_updates.borrow().len(),
            1,
            "packet {lost} lost"
        );
    }
}

#[test]
fn rule_6_3_work_completes_in_the_order_posted() {
    let mut pair = Pair::new();
    pair.filter = Some(drop_first(Side::B, Opcode::ReadResponseOnly, 1));
    pair.post(signaled(1, read(pair.b.remote(0), pair.a.segment(0, 8))));
    pair.post(signaled(2, write_inline(b"x", pair.b.remote(100))));
    pair.post(signaled(3, add(pair.b.remote(200), 1)));
    pair.post(signaled(4, write_inline(b"y", pair.b.remote(100))));
    pair.run();
    assert_eq!(succeeded(&pair.a), [1, 2, 3, 4]);
    assert_eq!(pair.b.bytes(100, 1), b"y");
}

#[test]
fn rule_6_3_a_fenced_write_waits_for_the_read_before_it() {
    let value = |fence: bool| {
        let mut pair = Pair::new();
        pair.b.fill(0, b"old");
        pair.filter = Some(drop_first(Side::B, Opcode::ReadResponseOnly, 1));
        pair.post(signaled(1, read(pair.b.remote(0), pair.a.segment(0, 3))));
        let overwrite = write_inline(b"new", pair.b.remote(0));
        pair.post(if fence {
            fenced(2, overwrite)
        } else {
            signaled(2, overwrite)
        });
        pair.run();
        assert_eq!(pair.b.bytes(0, 3), b"new");
        pair.a.bytes(0, 3)
    };
    assert_eq!(value(true), b"old");
    assert_eq!(
        value(false),
        b"new",
        "a read whose answer was lost is executed again"
    );
}

#[test]
fn rule_6_4_a_lost_atomic_answer_does_not_repeat_the_atomic() {
    let mut pair = Pair::new();
    pair.filter = Some(drop_first(Side::B, Opcode::AtomicAcknowledge, 3));
    let at = pair.b.remote(0);
    pair.b.fill(0, &100u64.to_ne_bytes());
    let result = Some(pair.a.segment(0, 8));
    pair.post(signaled(
        1,
        Operation::Atomic {
            at,
            operation: Atomic::Add(1),
            result,
        },
    ));
    pair.run();
    assert_eq!(pair.b.word(0), 101);
    assert_eq!(pair.a.word(0), 100);
    assert_eq!(pair.b.counters().duplicates, 3);
}

#[test]
fn rule_6_4_a_repeated_atomic_that_is_forgotten_is_dropped() {
    let mut pair = Pair::with(setup(|config| config.responder_resources = 2));
    for id in 0..5 {
        pair.post(signaled(id, add(pair.b.remote(0), 1)));
    }
    pair.run();
    let first = pair
        .trace
        .iter()
        .find(|sent| sent.opcode == Opcode::FetchAdd)
        .unwrap();
    let (first, last) = (
        first.bytes.clone(),
        pair.trace
            .iter()
            .rfind(|sent| sent.opcode == Opcode::FetchAdd),
    );
    let last = last.unwrap().bytes.clone();
    pair.inject(Side::A, first);
    pair.inject(Side::A, last);
    pair.run();
    assert_eq!(pair.b.word(0), 5);
    assert_eq!(pair.b.counters().duplicates, 2);
    assert_eq!(pair.b.counters().lost_duplicates, 1);
}

#[test]
fn rule_6_4_a_repeated_write_is_acknowledged_and_not_executed() {
    let mut pair = Pair::new();
    pair.post(signaled(1, write_inline(b"first", pair.b.remote(0))));
    pair.run();
    let first = pair.trace[0].bytes.clone();
    pair.post(signaled(2, write_inline(b"after", pair.b.remote(0))));
    pair.run();
    let last = pair
        .trace
        .iter()
        .rfind(|sent| sent.from == Side::B)
        .unwrap()
        .clone();
    pair.inject(Side::A, first);
    pair.run();
    assert_eq!(pair.b.bytes(0, 5), b"after");
    let again = pair.trace.last().unwrap();
    assert_eq!(
        (again.opcode, again.psn),
        (Opcode::Acknowledge, last.psn),
        "up to what was executed"
    );
}

#[test]
fn rule_6_4_a_repeated_send_takes_no_second_receive() {
    let mut pair = Pair::new();
    pair.b.receive(1, 0, 100);
    pair.b.receive(2, 100, 100);
    pair.link.duplicate = 1000;
    pair.post(signaled(1, send(inline(b"once"))));
    pair.run();
    assert_eq!(received(&pair.b).len(), 1);
    assert_eq!(pair.b.receives.len(), 1);
}

#[test]
fn rule_6_4_a_gap_is_reported_once_and_sent_again_from_there() {
    let mut pair = Pair::new();
    let data = pattern(20 * 1024, 1);
    pair.a.fill(0, &data);
    let mut middles = 0;
    pair.filter = Some(Box::new(move |sent| {
        middles += usize::from(sent.opcode == Opcode::WriteMiddle);
        !(sent.opcode == Opcode::WriteMiddle && middles == 5)
    }));
    pair.post(signaled(
        1,
        write(pair.a.segment(0, data.len()), pair.b.remote(0)),
    ));
    pair.run();
    assert_eq!(pair.b.bytes(0, data.len()), data);
    assert_eq!(pair.b.counters().sequence_naks_sent, 1);
    assert_eq!(pair.a.counters().timeouts, 0);
    assert_eq!(
        pair.a.counters().resent,
        15,
        "all behind the gap, nothing before it"
    );
    assert_eq!(pair.b.counters().behind_gap, 13);
}

#[test]
fn rule_6_4_a_read_goes_on_from_its_first_missing_packet() {
    let mut pair = Pair::new();
    let data = pattern(8 * 1024, 1);
    pair.b.fill(0, &data);
    let mut middles = 0;
    pair.filter = Some(Box::new(move |sent| {
        middles += usize::from(sent.opcode == Opcode::ReadResponseMiddle);
        !(sent.opcode == Opcode::ReadResponseMiddle && middles == 3)
    }));
    pair.post(signaled(
        1,
        read(pair.b.remote(0), pair.a.segment(0, data.len())),
    ));
    pair.run();
    assert_eq!(pair.a.bytes(0, data.len()), data);
    let requests: Vec<_> = pair
        .trace
        .iter()
        .filter(|sent| sent.opcode == Opcode::ReadRequest)
        .collect();
    assert_eq!(requests.len(), 2);
    assert_eq!(requests[1].psn.since(requests[0].psn), 3);
    assert_eq!(pair.a.counters().implied_naks, 1);
    assert_eq!(pair.a.counters().timeouts, 0);
    assert_eq!(pair.count(Side::B, Opcode::ReadResponseFirst), 2);
}

#[test]
fn rule_6_4_an_acknowledgement_of_later_work_is_an_implied_nak_of_a_read() {
    let mut pair = Pair::new();
    pair.b.fill(0, b"data");
    pair.filter = Some(drop_first(Side::B, Opcode::ReadResponseOnly, 1));
    pair.post(signaled(1, read(pair.b.remote(0), pair.a.segment(0, 4))));
    pair.post(signaled(2, write_inline(b"x", pair.b.remote(10))));
    pair.run();
    assert_eq!(pair.a.bytes(0, 4), b"data");
    assert_eq!(pair.a.counters().implied_naks, 1);
    assert_eq!(pair.a.counters().timeouts, 0);
}

#[test]
fn rule_6_4_a_long_read_is_cut_to_the_receive_budget() {
    let mut pair = Pair::with(setup(|config| config.receive_budget = 8));
    let data = pattern(64 * 1024, 2);
    pair.b.fill(0, &data);
    pair.post(signaled(
        1,
        read(pair.b.remote(0), pair.a.segment(0, data.len())),
    ));
    let mut most = 0;
    for _ in 0..1000 {
        let before = pair.trace.len();
        let more = pair.step();
        let answers = pair.trace[before..]
            .iter()
            .filter(|sent| sent.from == Side::B)
            .count();
        most = most.max(answers);
        if !more {
            break;
        }
    }
    assert_eq!(pair.a.bytes(0, data.len()), data);
    assert!(most <= 8, "{most} answers at once");
    assert_eq!(pair.count(Side::A, Opcode::ReadRequest), 16);
}

#[test]
fn rule_6_4_an_unanswered_request_says_that_its_outcome_is_unknown() {
    let mut pair = Pair::with(setup(|config| config.retries = RetryLimit::Times(2)));
    pair.link.loss = 1000;
    pair.post(fenced(1, read(pair.b.remote(0), pair.a.segment(0, 8))));
    pair.post(signaled(2, write_inline(b"x", pair.b.remote(0))));
    pair.post(fenced(3, write_inline(b"x", pair.b.remote(0))));
    pair.run();
    let failure = |cause, sent| Some(WorkFailure { cause, sent });
    let expected = [
        (1, failure(WorkError::RetriesExceeded { attempts: 3 }, true)),
        (2, failure(WorkError::Flushed, true)),
        (3, failure(WorkError::Flushed, false)),
    ];
    assert_eq!(ended(&pair.a), expected);
    let cause = Cause::Work(WorkError::RetriesExceeded { attempts: 3 });
    assert_eq!(pair.a.queue_pair().state(), State::Error(cause));
}

#[test]
fn rule_6_7_silence_ends_within_the_bound() {
    for (code, retries) in [(10, 0), (12, 3), (14, 7), (8, 20)] {
        let timeout = AckTimeout::from_code(code).unwrap();
        let mut pair = Pair::with(setup(|config| {
            config.timeout = timeout;
            config.retries = RetryLimit::Times(retries);
        }));
        pair.link.loss = 1000;
        pair.post(silent(1, write_inline(b"x", pair.b.remote(0))));
        pair.run();
        let bound = timeout.duration().unwrap() * 4 * (retries + 1) + Duration::from_millis(50);
        assert!(pair.now <= bound, "{:?} > {bound:?}", pair.now);
        assert!(pair.now >= timeout.duration().unwrap() * (retries + 1));
        assert_eq!(pair.a.counters().timeouts, u64::from(retries) + 1);
        assert!(matches!(pair.a.queue_pair().state(), State::Error(_)));
    }
}

#[test]
fn rule_6_7_progress_resets_the_retries() {
    let mut pair = Pair::with(setup(|config| config.retries = RetryLimit::Times(1)));
    // Of each packet the first copy is lost.
    let mut seen = std::collections::BTreeSet::new();
    pair.filter = Some(Box::new(move |sent| {
        sent.from == Side::B || !seen.insert(sent.psn.value())
    }));
    for id in 0..20 {
        pair.post(signaled(id, write_inline(b"x", pair.b.remote(0))));
        pair.run();
    }
    assert_eq!(succeeded(&pair.a).len(), 20);
    assert_eq!(pair.a.counters().timeouts, 20);
}

#[test]
fn rule_6_7_sequence_naks_without_progress_do_not_delay_the_end() {
    let config = setup(|config| config.retries = RetryLimit::Times(1));
    let mut pair = Pair::with(config);
    let timeout = pair.a.queue_pair().config().timeout.duration().unwrap();
    // Everything but the first packet arrives: the peer reports a gap, again and again.
    let first = pair.a.queue_pair().config().first_psn;
    pair.filter = Some(Box::new(move |sent| {
        sent.from == Side::B || sent.psn != first
    }));
    for id in 0..4 {
        pair.post(signaled(id, write_inline(b"x", pair.b.remote(0))));
    }
    pair.run();
    assert!(matches!(pair.a.queue_pair().state(), State::Error(_)));
    assert!(pair.now <= timeout * 3);
}

#[test]
fn rule_6_7_an_extended_retry_limit_survives_heavy_loss() {
    let mut pair = Pair::with(setup(|config| {
        config.retries = RetryLimit::Times(30);
        config.timeout = AckTimeout::from_code(8).unwrap();
    }));
    pair.link.loss = 400;
    for id in 0..200 {
        pair.post(signaled(id, add(pair.b.remote(0), 1)));
    }
    pair.run();
    assert_eq!(pair.b.word(0), 200);
    assert_eq!(succeeded(&pair.a).len(), 200);
}

#[test]
fn rule_6_7_a_receiver_that_is_not_ready_is_asked_again_after_its_time() {
    let timer = RnrTimer::from_code(16).unwrap();
    let mut pair = Pair::with(setup(|config| config.rnr_timer = timer));
    pair.post(signaled(1, send(inline(b"hello"))));
    pair.post(signaled(2, write_inline(b"behind", pair.b.remote(500))));
    pair.run_until(timer.duration() / 2);
    assert_eq!(pair.b.bytes(500, 1), [0], "nothing overtakes the send");
    assert_eq!(pair.count(Side::A, Opcode::SendOnly), 1);
    pair.b.receive(5, 0, 100);
    pair.run();
    assert_eq!(succeeded(&pair.a), [1, 2]);
    assert_eq!(pair.b.counters().rnr_naks_sent, 1);
    assert_eq!(
        pair.b.counters().sequence_naks_sent,
        0,
        "what follows is no gap"
    );
    assert_eq!(pair.b.counters().behind_gap, 1);
    let sends: Vec<_> = pair
        .trace
        .iter()
        .filter(|sent| sent.opcode == Opcode::SendOnly)
        .collect();
    assert_eq!(sends.len(), 2);
    assert!(sends[1].at - sends[0].at >= timer.duration());
    assert_eq!(pair.a.counters().timeouts, 0);
}

#[test]
fn rule_6_7_a_write_with_immediate_waits_for_a_receive_before_its_last_packet() {
    let mut pair = Pair::new();
    let data = pattern(3000, 4);
    pair.a.fill(0, &data);
    let (to, data_in) = (pair.b.remote(0), Data::Local(pair.a.segment(0, 3000)));
    pair.post(signaled(
        1,
        Operation::Write {
            data: data_in,
            to,
            immediate: Some(1),
        },
    ));
    pair.run_until(Duration::from_micros(300));
    assert_eq!(pair.b.bytes(0, 2048), data[..2048]);
    assert_ne!(
        pair.b.bytes(2048, 952),
        data[2048..],
        "not executed without a receive"
    );
    pair.b.receive(5, 10_000, 0);
    pair.run();
    assert_eq!(pair.b.bytes(0, 3000), data);
    assert_eq!(received(&pair.b).len(), 1);
}

#[test]
fn rule_6_7_a_receiver_that_never_is_ready_ends_the_send() {
    let mut pair = Pair::with(setup(|config| config.rnr_retries = RetryLimit::Times(3)));
    pair.post(signaled(1, send(inline(b"hello"))));
    pair.post(signaled(2, send(inline(b"hello"))));
    pair.run();
    let cause = WorkError::RnrRetriesExceeded { attempts: 4 };
    let expected = [
        (1, Some(WorkFailure { cause, sent: true })),
        (
            2,
            Some(WorkFailure {
                cause: WorkError::Flushed,
                sent: true,
            }),
        ),
    ];
    assert_eq!(ended(&pair.a), expected);
}

#[test]
fn rule_6_7_keep_alive_finds_a_dead_peer_and_touches_nothing() {
    let interval = Duration::from_secs(1);
    let alive = setup(|config| {
        config.keep_alive = Some(interval);
        config.retries = RetryLimit::Times(1);
    });
    let mut pair = Pair::with(alive);
    let before = pair.b.bytes(0, REGION);
    pair.run_until(Duration::from_millis(3500));
    assert_eq!(pair.a.counters().timeouts, 0);
    assert!((2..=4).contains(&pair.count(Side::A, Opcode::WriteOnly)));
    assert_eq!(pair.b.bytes(0, REGION), before);
    assert_eq!(ended(&pair.a), []);
    pair.link.loss = 1000;
    pair.run_until(Duration::from_secs(6));
    assert_eq!(pair.a.queue_pair().state(), State::Error(Cause::PeerGone));
    assert_eq!(pair.b.queue_pair().state(), State::Error(Cause::PeerGone));
}
