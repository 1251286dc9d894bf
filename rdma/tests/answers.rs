//! Answers as a peer that errs, lies or repeats itself might give them: what they change at the requester, and what not.

mod rig;

use rdma::config::{Config, RetryLimit};
use rdma::queue_pair::{Cause, State};
use rdma::wire::{
    Aeth, AtomicAckEth, Body, NakCode, Opcode, Packet, PacketView, Path, ReadPart, RnrTimer,
    Syndrome,
};
use rdma::work::{Operation, WorkError, WorkFailure, WorkRequest};
use rig::forge::*;
use rig::*;

/// A has posted this and sent what it could; nothing of it arrives. The forge makes B's answers, its numbers count from
/// A's first. Keys are those of every pair: requests may be written with another.
fn unheard(requests: &[WorkRequest]) -> (Pair, Forge) {
    unheard_with(|_| (), requests)
}

fn unheard_with(change: impl FnOnce(&mut Config), requests: &[WorkRequest]) -> (Pair, Forge) {
    let mut setup = Setup::default();
    change(&mut setup.config);
    let mut pair = Pair::with(setup);
    pair.filter = Some(Box::new(|_| false));
    for request in requests {
        pair.post(*request);
    }
    pair.transmit();
    let forge = Forge {
        path: Path::new(pair.b.nic.local(), pair.a.nic.local()).unwrap(),
        number: pair.a.number.value(),
        expected: pair.a.queue_pair().config().first_psn,
    };
    (pair, forge)
}

/// Gives A an answer; what A sends then: opcodes, and how far their numbers are from A's first.
fn answer(
    pair: &mut Pair,
    forge: &Forge,
    number: u32,
    body: Body,
    payload: &[u8],
) -> Vec<(Opcode, u32)> {
    let before = pair.trace.len();
    pair.inject(Side::B, forge.packet(number, body, payload));
    pair.deliver();
    pair.transmit();
    let sent = pair.trace[before..].iter();
    sent.map(|sent| (sent.opcode, sent.psn.since(forge.expected)))
        .collect()
}

fn ack() -> Body {
    Body::Acknowledge(Aeth::ack(1))
}

fn with_syndrome(syndrome: Syndrome) -> Aeth {
    Aeth { syndrome, msn: 1 }
}

fn refusal(code: NakCode) -> Body {
    Body::Acknowledge(with_syndrome(Syndrome::Nak(code)))
}

fn result(aeth: Aeth, original: u64) -> Body {
    Body::AtomicAcknowledge(aeth, AtomicAckEth(original))
}

fn response(part: fn(Aeth) -> ReadPart) -> Body {
    Body::ReadResponse(part(Aeth::ack(1)))
}

const MIDDLE: Body = Body::ReadResponse(ReadPart::Middle);

/// A write (number 0), a read of three packets (1 to 3), an atomic (4).
fn mixed() -> [WorkRequest; 3] {
    let pair = Pair::new();
    let atomic = Operation::Atomic {
        at: pair.b.remote(64),
        operation: rdma::memory::Atomic::Add(1),
        result: Some(pair.a.segment(64, 8)),
    };
    [
        signaled(1, write_inline(b"x", pair.b.remote(0))),
        signaled(2, read(pair.b.remote(0), pair.a.segment(1000, 2500))),
        signaled(3, atomic),
    ]
}

fn causes(node: &Node) -> Vec<(u64, Option<WorkError>)> {
    let cause = |failure: WorkFailure| failure.cause;
    let ended = ended(node).into_iter();
    ended
        .map(|(id, failure)| (id, failure.map(cause)))
        .collect()
}

#[test]
fn rule_6_8_an_answer_that_does_not_fit_its_request_changes_nothing() {
    let (mut pair, forge) = unheard(&mixed());
    let nak = with_syndrome(Syndrome::Nak(NakCode::RemoteAccessError));
    let other = with_syndrome(Syndrome::Other(0x80));
    let full = [7; 1024];
    let wrong: Vec<(u32, Body, &[u8])> = vec![
        (0, response(ReadPart::Only), &full[..1]),
        (0, result(Aeth::ack(1), 5), &[]),
        (1, result(Aeth::ack(1), 5), &[]),
        (1, response(ReadPart::First), &full[..1023]),
        (1, response(ReadPart::First), &full[..0]),
        (1, Body::ReadResponse(ReadPart::First(nak)), &full),
        (1, Body::ReadResponse(ReadPart::Last(nak)), &full),
        (1, Body::ReadResponse(ReadPart::Only(nak)), &full),
        (3, response(ReadPart::Last), &full),
        (3, response(ReadPart::Last), &full[..451]),
        (3, MIDDLE, &full),
        (4, response(ReadPart::Only), &full[..8]),
        (4, result(nak, 5), &[]),
        (4, Body::Acknowledge(other), &[]),
        (0, refusal(NakCode::Other(9)), &[]),
    ];
    let count = wrong.len() as u64;
    for (number, body, payload) in wrong {
        let sent = answer(&mut pair, &forge, number, body, payload);
        assert_eq!(sent, [], "{number} {body:?}");
    }
    let counters = pair.a.counters();
    assert_eq!(counters.bad_answers, count);
    assert_eq!((counters.stale_answers, counters.implied_naks), (0, 0));
    assert_eq!(pair.a.queue_pair().outstanding(), 3);
    assert_eq!(pair.a.bytes(0, REGION), vec![0; REGION]);
    // The right ones are still welcome.
    for (number, body, payload) in [
        (1, response(ReadPart::First), &full[..]),
        (2, MIDDLE, &full[..]),
        (3, response(ReadPart::Last), &full[..452]),
        (4, result(Aeth::ack(3), 5), &[]),
    ] {
        answer(&mut pair, &forge, number, body, payload);
    }
    assert_eq!(succeeded(&pair.a), [1, 2, 3]);
    assert_eq!(pair.a.bytes(1000, 2500), [7; 2500]);
    assert_eq!(pair.a.bytes(3500, 100), [0; 100]);
    assert_eq!(pair.a.word(64), 5);
}

#[test]
fn rule_6_4_a_lost_answer_is_asked_for_once_until_there_is_progress() {
    let (mut pair, forge) = unheard(&mixed());
    let full = [7; 1024];
    let behind = (response(ReadPart::Last), &full[..452]);
    let again = vec![(Opcode::ReadRequest, 1), (Opcode::FetchAdd, 4)];
    let sent = answer(&mut pair, &forge, 3, behind.0, behind.1);
    assert_eq!(sent, again);
    assert_eq!(succeeded(&pair.a), [1], "what lies before is acknowledged");
    for (number, body, payload) in [
        (3, behind.0, behind.1),
        (2, MIDDLE, &full[..]),
        (4, result(Aeth::ack(3), 5), &[]),
        (4, ack(), &[]),
    ] {
        assert_eq!(answer(&mut pair, &forge, number, body, payload), []);
    }
    assert_eq!(pair.a.counters().implied_naks, 1);
    assert_eq!(pair.a.bytes(0, REGION), vec![0; REGION]);
    let first = response(ReadPart::First);
    assert_eq!(answer(&mut pair, &forge, 1, first, &full), []);
    let sent = answer(&mut pair, &forge, 3, behind.0, behind.1);
    assert_eq!(sent, [(Opcode::ReadRequest, 2), (Opcode::FetchAdd, 4)]);
    let counters = pair.a.counters();
    assert_eq!((counters.implied_naks, counters.resent), (2, 4));
    assert_eq!((counters.bad_answers, counters.stale_answers), (0, 0));
}

/// What a NAK says of a packet behind an unanswered read, the read's answer is missing all the same.
#[test]
fn rule_6_4_every_answer_behind_a_lost_one_is_an_implied_nak() {
    let pair = Pair::new();
    let requests = [
        signaled(1, read(pair.b.remote(0), pair.a.segment(0, 8))),
        signaled(2, write_inline(b"x", pair.b.remote(0))),
        signaled(3, write_inline(b"y", pair.b.remote(0))),
    ];
    let timer = RnrTimer::from_code(1).unwrap();
    for syndrome in [
        Syndrome::Ack {
            credits: Syndrome::NO_CREDITS,
        },
        Syndrome::RnrNak(timer),
        Syndrome::Nak(NakCode::PsnSequenceError),
    ] {
        let (mut pair, forge) = unheard(&requests);
        let body = Body::Acknowledge(with_syndrome(syndrome));
        let sent = answer(&mut pair, &forge, 1, body, &[]);
        let all = [
            (Opcode::ReadRequest, 0),
            (Opcode::WriteOnly, 1),
            (Opcode::WriteOnly, 2),
        ];
        assert_eq!(sent, all, "{syndrome:?}");
        assert_eq!(pair.a.counters().implied_naks, 1);
        assert_eq!(pair.a.counters().resent, 3);
        assert_eq!(ended(&pair.a), []);
    }
}

#[test]
fn rule_6_5_a_refusal_ends_its_own_request_and_flushes_the_others_in_order() {
    let pair = Pair::new();
    let requests = [
        signaled(1, write_inline(b"w", pair.b.remote(0))),
        silent(2, read(pair.b.remote(0), pair.a.segment(0, 8))),
        silent(3, write_inline(b"x", pair.b.remote(0))),
        silent(4, write_inline(b"y", pair.b.remote(0))),
    ];
    for (code, error) in [
        (NakCode::RemoteAccessError, WorkError::RemoteAccess),
        (NakCode::RemoteOperationalError, WorkError::RemoteOperation),
        (NakCode::InvalidRequest, WorkError::RemoteInvalidRequest),
        (NakCode::InvalidRdRequest, WorkError::RemoteInvalidRequest),
    ] {
        let (mut pair, forge) = unheard(&requests);
        answer(&mut pair, &forge, 2, refusal(code), &[]);
        let expected = [
            (1, None),
            (2, Some(WorkError::Flushed)),
            (3, Some(error)),
            (4, Some(WorkError::Flushed)),
        ];
        assert_eq!(causes(&pair.a), expected);
        assert_eq!(
            pair.a.queue_pair().state(),
            State::Error(Cause::Work(error))
        );
    }
}

#[test]
fn rule_6_7_naks_are_counted_and_what_lies_before_them_is_acknowledged() {
    let pair = Pair::new();
    let to = pair.b.remote(0);
    let requests: Vec<_> = (0..6)
        .map(|id| signaled(id, write_inline(b"x", to)))
        .collect();
    let (mut pair, forge) = unheard(&requests);
    let gap = refusal(NakCode::PsnSequenceError);
    let writes = |numbers: std::ops::Range<u32>| -> Vec<_> {
        numbers.map(|number| (Opcode::WriteOnly, number)).collect()
    };
    assert_eq!(answer(&mut pair, &forge, 2, gap, &[]), writes(2..6));
    assert_eq!(succeeded(&pair.a), [0, 1]);
    assert_eq!(answer(&mut pair, &forge, 3, gap, &[]), writes(3..6));
    assert_eq!(succeeded(&pair.a), [0, 1, 2]);
    assert_eq!(pair.a.counters().sequence_naks_received, 2);
    let timer = RnrTimer::from_code(1).unwrap();
    let wait = Body::Acknowledge(with_syndrome(Syndrome::RnrNak(timer)));
    for number in [4, 5] {
        assert_eq!(answer(&mut pair, &forge, number, wait, &[]), []);
        pair.now += timer.duration();
        let now = pair.now;
        pair.a.call(|nic, _| nic.handle_timeout(now));
        let before = pair.trace.len();
        pair.transmit();
        assert_eq!(pair.trace.len() - before, 6 - number as usize);
    }
    assert_eq!(succeeded(&pair.a), [0, 1, 2, 3, 4]);
    assert_eq!(pair.a.counters().rnr_naks_received, 2);
    assert_eq!(pair.a.counters().resent, 4 + 3 + 2 + 1);
}

/// A packet that is about to be sent again anyway need not be waited for.
#[test]
fn rule_6_7_a_late_not_ready_does_not_count() {
    let pair = Pair::new();
    let to = pair.b.remote(0);
    let requests: Vec<_> = (0..3)
        .map(|id| signaled(id, write_inline(b"x", to)))
        .collect();
    let limit = |config: &mut Config| config.rnr_retries = RetryLimit::Times(0);
    let (mut pair, forge) = unheard_with(limit, &requests);
    let timer = RnrTimer::from_code(1).unwrap();
    let wait = Body::Acknowledge(with_syndrome(Syndrome::RnrNak(timer)));
    pair.inject(
        Side::B,
        forge.packet(0, refusal(NakCode::PsnSequenceError), &[]),
    );
    pair.inject(Side::B, forge.packet(1, wait, &[]));
    pair.deliver();
    assert_eq!(pair.a.queue_pair().state(), State::ReadyToSend);
    let before = pair.trace.len();
    pair.transmit();
    assert_eq!(pair.trace.len() - before, 2);
}

#[test]
fn rule_6_5_an_answer_for_memory_that_is_gone_fails_its_request() {
    let (mut pair, forge) = unheard(&mixed());
    let region = pair.a.region;
    pair.a.regions.deregister(region).unwrap();
    answer(&mut pair, &forge, 1, response(ReadPart::First), &[7; 1024]);
    let expected = [
        (
            1,
            Some(WorkFailure {
                cause: WorkError::Flushed,
                sent: true,
            }),
        ),
        (
            2,
            Some(WorkFailure {
                cause: WorkError::LocalProtection,
                sent: true,
            }),
        ),
        (
            3,
            Some(WorkFailure {
                cause: WorkError::Flushed,
                sent: true,
            }),
        ),
    ];
    assert_eq!(ended(&pair.a), expected);
    assert_eq!(pair.a.bytes(0, REGION), vec![0; REGION]);
}

#[test]
fn rule_6_1_reads_and_atomics_outstanding_are_at_most_the_smaller_limit() {
    for (own, theirs) in [(2, 16), (16, 3), (1, 1)] {
        let mut setup = Setup::default();
        setup.config.initiator_depth = own;
        setup.config.responder_resources = theirs;
        let mut pair = Pair::with(setup);
        for id in 0..8 {
            pair.post(signaled(id, add(pair.b.remote(0), 1)));
        }
        pair.transmit();
        let most = own.min(theirs) as usize;
        assert_eq!(pair.count(Side::A, Opcode::FetchAdd), most);
        pair.run();
        assert_eq!(pair.b.word(0), 8);
        assert_eq!(pair.count(Side::A, Opcode::FetchAdd), 8);
    }
}

/// The lengths of the reads that A asked for at once.
fn asked_for(pair: &mut Pair) -> Vec<u32> {
    let before = pair.trace.len();
    pair.transmit();
    let body = |sent: &Sent| {
        let view = PacketView::new(&sent.bytes).unwrap();
        Packet::try_from(view).unwrap().header.body
    };
    let reads = pair.trace[before..]
        .iter()
        .filter_map(|sent| match body(sent) {
            Body::ReadRequest(reth) => Some(reth.dma_length),
            _ => None,
        });
    reads.collect()
}

#[test]
fn rule_6_4_a_long_read_is_asked_for_in_halves_of_what_may_come_back() {
    for (budget, lengths) in [
        (8, vec![4096, 4096]),
        (7, vec![3072, 3072]),
        (2, vec![1024, 1024]),
        (1, vec![1024]),
        (0, vec![1024]),
    ] {
        let mut setup = Setup::default();
        setup.config.receive_budget = budget;
        let mut pair = Pair::with(setup);
        let data = pattern(20_000, 2);
        pair.b.fill(0, &data);
        pair.post(signaled(
            1,
            read(pair.b.remote(0), pair.a.segment(0, 20_000)),
        ));
        assert_eq!(asked_for(&mut pair), lengths, "{budget}");
        pair.run();
        assert_eq!(pair.a.bytes(0, 20_000), data, "{budget}");
        assert_eq!(pair.a.counters().resent, 0);
    }
}

#[test]
fn rule_6_4_a_read_is_asked_for_when_its_answer_fits_the_window() {
    for (writes, asked) in [(0, true), (56, true), (57, false)] {
        let mut pair = Pair::new();
        for id in 0..writes {
            pair.post(silent(id, write_inline(b"x", pair.b.remote(0))));
        }
        pair.post(signaled(
            99,
            read(pair.b.remote(0), pair.a.segment(0, 8192)),
        ));
        assert_eq!(!asked_for(&mut pair).is_empty(), asked, "{writes}");
        pair.run();
        assert_eq!(succeeded(&pair.a), [99]);
    }
}

/// Its bounds never change, so it may be longer than the window has become.
#[test]
fn rule_6_4_a_read_that_is_longer_than_the_window_is_asked_for_again() {
    let mut pair = Pair::new();
    pair.b.fill(0, &pattern(32 * 1024, 2));
    pair.filter = Some(drop_first(Side::A, Opcode::ReadRequest, 3));
    let into = pair.a.segment(0, 32 * 1024);
    pair.post(signaled(1, read(pair.b.remote(0), into)));
    pair.run();
    assert_eq!(succeeded(&pair.a), [1]);
    assert_eq!(pair.a.counters().timeouts, 3);
    assert_eq!(pair.a.bytes(0, 32 * 1024), pattern(32 * 1024, 2));
}
