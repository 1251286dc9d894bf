//! Requests that come again: what is answered once more, what is not, and what waits meanwhile.

mod rig;

use rdma::config::Config;
use rdma::queue_pair::{Cause, State};
use rdma::wire::{
    AtomicEth, Body, MAX_PACKET, NakCode, Packet, PacketView, Part, ReadPart, Reth, Syndrome,
};
use rdma::work::{Received, ReceivedKind, WorkError};
use rig::forge::*;
use rig::*;

/// What B sent, each with how far its number is from the first.
type Answers = Vec<(u32, Body, Vec<u8>)>;

fn sent_by_b(pair: &Pair, since: usize) -> Answers {
    let first = pair.a.queue_pair().config().first_psn;
    let of_b = pair.trace[since..]
        .iter()
        .filter(|sent| sent.from == Side::B);
    let answer = |sent: &Sent| {
        let packet = Packet::try_from(PacketView::new(&sent.bytes).unwrap()).unwrap();
        let body = packet.header.body;
        (sent.psn.since(first), body, packet.payload.to_vec())
    };
    of_b.map(answer).collect()
}

/// Gives B one packet; what it answers.
fn answers(pair: &mut Pair, packet: Vec<u8>) -> Answers {
    let before = pair.trace.len();
    deliver(pair, packet);
    sent_by_b(pair, before)
}

/// Gives B a packet and lets it send nothing.
fn give(pair: &mut Pair, packet: Vec<u8>) {
    pair.inject(Side::A, packet);
    pair.deliver();
}

/// The next packet of B alone.
fn one_of_b(pair: &mut Pair) -> Option<Vec<u8>> {
    let (now, mut out) = (pair.now, vec![0; MAX_PACKET]);
    let sent = pair
        .b
        .call(|nic, io| nic.poll_transmit(now, io, &mut out, 1))?;
    Some(out[..sent.len].to_vec())
}

fn with(change: impl FnOnce(&mut Config)) -> Pair {
    let mut setup = Setup::default();
    change(&mut setup.config);
    Pair::with(setup)
}

fn read_request(pair: &Pair, offset: usize, len: usize) -> Body {
    Body::ReadRequest(reth(pair.b.remote(offset), len))
}

fn fetch_add(pair: &Pair, offset: usize, addend: u64) -> Body {
    let at = pair.b.remote(offset);
    Body::FetchAdd(AtomicEth {
        virtual_address: at.address,
        r_key: at.key.0,
        swap_or_add: addend,
        compare: 0,
    })
}

/// A read of three packets has been answered; a write of one packet follows it.
fn after_a_read() -> (Pair, Forge, Vec<u8>) {
    let mut pair = Pair::new();
    let forge = Forge::new(&pair);
    let data = pattern(2500, 1);
    pair.b.fill(100, &data);
    let request = forge.packet(0, read_request(&pair, 100, 2500), &[]);
    assert_eq!(answers(&mut pair, request).len(), 3);
    let write = forge.packet(3, write_only(&pair, 8), b"abcdefgh");
    assert_eq!(answers(&mut pair, write).len(), 1);
    (pair, forge, data)
}

#[test]
fn rule_6_4_a_repeated_read_is_answered_from_where_it_is_asked_on() {
    let (mut pair, forge, data) = after_a_read();
    for (skipped, len) in [(0, 2500), (1, 1476), (2, 452), (0, 1024), (1, 100)] {
        let from = 1024 * skipped;
        let body = read_request(&pair, 100 + from, len);
        let got = answers(&mut pair, forge.packet(skipped as u32, body, &[]));
        let bytes: Vec<u8> = got.iter().flat_map(|(.., bytes)| bytes.clone()).collect();
        assert_eq!(bytes, data[from..from + len], "from {skipped}");
        let numbers: Vec<_> = got.iter().map(|(number, ..)| *number).collect();
        let packets = len.div_ceil(1024) as u32;
        let expected: Vec<_> = (0..packets).map(|n| skipped as u32 + n).collect();
        assert_eq!(numbers, expected);
    }
    assert_eq!(pair.b.counters().duplicates, 5);
    assert_eq!(pair.b.counters().lost_duplicates, 0);
}

#[test]
fn rule_6_5_a_repeated_read_may_ask_for_nothing_else() {
    let (mut pair, forge, _) = after_a_read();
    let good = reth(pair.b.remote(100), 2500);
    let with = |number, reth| forge.packet(number, Body::ReadRequest(reth), &[]);
    let further = |bytes| good.virtual_address + bytes;
    let wrong = [
        with(
            0,
            Reth {
                r_key: good.r_key ^ 1,
                ..good
            },
        ),
        with(
            0,
            Reth {
                virtual_address: further(1),
                ..good
            },
        ),
        with(
            0,
            Reth {
                dma_length: 2501,
                ..good
            },
        ),
        with(1, good),
        with(
            1,
            Reth {
                virtual_address: further(1024),
                dma_length: 1477,
                ..good
            },
        ),
        with(
            2,
            Reth {
                virtual_address: further(1024),
                dma_length: 100,
                ..good
            },
        ),
        // The number of the write behind it.
        with(
            3,
            Reth {
                virtual_address: further(3072),
                dma_length: 0,
                ..good
            },
        ),
    ];
    let count = wrong.len() as u64;
    for packet in wrong {
        assert_eq!(answers(&mut pair, packet), []);
    }
    assert_eq!(pair.b.counters().lost_duplicates, count);
    assert_eq!(pair.b.queue_pair().state(), State::ReadyToSend);
}

#[test]
fn rule_6_4_of_several_reads_the_one_that_is_meant_is_answered_again() {
    let (mut pair, forge, data) = after_a_read();
    pair.b.fill(9000, b"the second");
    let second = forge.packet(4, read_request(&pair, 9000, 10), &[]);
    answers(&mut pair, second.clone());
    let again = answers(&mut pair, second);
    let [(4, Body::ReadResponse(ReadPart::Only(_)), ref bytes)] = again[..] else {
        panic!("{again:?}")
    };
    assert_eq!(bytes, b"the second");
    let first = forge.packet(2, read_request(&pair, 100 + 2048, 452), &[]);
    let again = answers(&mut pair, first);
    assert_eq!(again.len(), 1);
    assert_eq!((again[0].0, &again[0].2[..]), (2, &data[2048..]));
}

/// It was answered when the region was there; the peer is not at fault.
#[test]
fn rule_6_5_a_repeated_read_of_a_region_that_is_gone_is_dropped() {
    let (mut pair, forge, _) = after_a_read();
    let region = pair.b.region;
    pair.b.regions.deregister(region).unwrap();
    for count in 1..3 {
        let again = forge.packet(0, read_request(&pair, 100, 2500), &[]);
        assert_eq!(answers(&mut pair, again), []);
        assert_eq!(pair.b.counters().lost_duplicates, count);
    }
    assert_eq!(pair.b.queue_pair().state(), State::ReadyToSend);
    let new = forge.packet(4, read_request(&pair, 100, 8), &[]);
    assert_eq!(answers(&mut pair, new).len(), 1, "a new one is refused");
    let refused = State::Error(Cause::Peer(WorkError::RemoteAccess));
    assert_eq!(pair.b.queue_pair().state(), refused);
}

/// But the first answer, not yet sent, is the peer's to know.
#[test]
fn rule_6_5_a_read_that_is_repeated_before_it_was_answered_is_refused_with_its_region() {
    let mut pair = Pair::new();
    let forge = Forge::new(&pair);
    let request = forge.packet(0, read_request(&pair, 0, 2500), &[]);
    give(&mut pair, request.clone());
    one_of_b(&mut pair).expect("the first of three");
    give(&mut pair, request);
    let region = pair.b.region;
    pair.b.regions.deregister(region).unwrap();
    one_of_b(&mut pair).expect("a refusal");
    assert_eq!(pair.b.counters().lost_duplicates, 0);
    let refused = State::Error(Cause::Peer(WorkError::RemoteAccess));
    assert_eq!(pair.b.queue_pair().state(), refused);
}

/// An acknowledgement of its number is taken by some for the answer of a read or an atomic, which was lost.
#[test]
fn rule_6_4_a_repeated_write_is_acknowledged_up_to_the_next_read_or_atomic() {
    let mut pair = Pair::new();
    let forge = Forge::new(&pair);
    let write = |number| forge.packet(number, write_only(&pair, 8), b"abcdefgh");
    let [first, fourth, last] = [0, 4, 6].map(write);
    let atomic = forge.packet(1, fetch_add(&pair, 64, 1), &[]);
    let read = forge.packet(2, read_request(&pair, 64, 1025), &[]);
    let again = forge.packet(5, fetch_add(&pair, 64, 1), &[]);
    let acknowledged = |pair: &mut Pair, packet: &Vec<u8>| match answers(pair, packet.clone())[..] {
        [(number, Body::Acknowledge(aeth), _)] => {
            assert!(matches!(aeth.syndrome, Syndrome::Ack { .. }));
            number
        }
        ref other => panic!("{other:?}"),
    };
    assert_eq!(acknowledged(&mut pair, &first), 0);
    answers(&mut pair, atomic);
    assert_eq!(acknowledged(&mut pair, &first), 0, "before the atomic");
    answers(&mut pair, read);
    assert_eq!(acknowledged(&mut pair, &fourth), 4);
    assert_eq!(acknowledged(&mut pair, &fourth), 4);
    answers(&mut pair, again);
    assert_eq!(acknowledged(&mut pair, &first), 0, "before the oldest");
    assert_eq!(acknowledged(&mut pair, &fourth), 4, "before the newest");
    assert_eq!(acknowledged(&mut pair, &last), 6);
    assert_eq!(acknowledged(&mut pair, &last), 6, "behind all of them");
    // What waits and says more is not taken back.
    give(&mut pair, last);
    give(&mut pair, first);
    let before = pair.trace.len();
    pair.transmit();
    let sent = sent_by_b(&pair, before);
    let numbers: Vec<_> = sent.iter().map(|(number, ..)| *number).collect();
    assert_eq!(numbers, [6]);
}

/// While the answer waits to be sent: what has left is sent again, what has not is sent once.
#[test]
fn rule_6_4_a_read_repeated_while_it_is_answered_is_not_answered_twice() {
    for (left, asked, expected) in [
        (0, 0, vec![0, 1, 2]),
        (1, 1, vec![0, 1, 2]),
        (1, 2, vec![0, 1, 2]),
        (1, 0, vec![0, 0, 1, 2]),
        (2, 0, vec![0, 1, 0, 1, 2]),
        (2, 1, vec![0, 1, 1, 2]),
    ] {
        let mut pair = Pair::new();
        let forge = Forge::new(&pair);
        pair.b.fill(0, &pattern(2500, 1));
        let other = forge.packet(0, read_request(&pair, 5000, 8), &[]);
        answers(&mut pair, other);
        let request = forge.packet(1, read_request(&pair, 0, 2500), &[]);
        give(&mut pair, request);
        let mut packets: Vec<_> = (0..left).filter_map(|_| one_of_b(&mut pair)).collect();
        let from = 1024 * asked;
        let again = read_request(&pair, from, 2500 - from);
        give(&mut pair, forge.packet(1 + asked as u32, again, &[]));
        packets.extend(std::iter::from_fn(|| one_of_b(&mut pair)));
        let number = |packet: &Vec<u8>| {
            let psn = PacketView::new(packet).unwrap().bth().psn();
            psn.since(forge.expected.plus(1))
        };
        let numbers: Vec<_> = packets.iter().map(number).collect();
        assert_eq!(numbers, expected, "{left} left, {asked} asked for");
    }
}

#[test]
fn rule_6_4_a_repeated_atomic_gets_its_own_result_and_no_other() {
    let mut pair = Pair::new();
    let forge = Forge::new(&pair);
    for (number, addend) in [(0, 5), (1, 6)] {
        let packet = forge.packet(number, fetch_add(&pair, 64, addend), &[]);
        assert_eq!(answers(&mut pair, packet).len(), 1);
    }
    let original = |got: &Answers| match got[..] {
        [(number, Body::AtomicAcknowledge(_, original), _)] => Some((number, original.0)),
        _ => None,
    };
    for (number, addend, result) in [
        (1, 6, Some((1, 5))),
        (0, 5, Some((0, 0))),
        (0, 6, None),
        (1, 5, None),
    ] {
        let packet = forge.packet(number, fetch_add(&pair, 64, addend), &[]);
        let got = answers(&mut pair, packet);
        assert_eq!(original(&got), result, "{number} again, adding {addend}");
        assert_eq!(got.len(), usize::from(result.is_some()));
    }
    assert_eq!(pair.b.word(64), 11);
    assert_eq!(pair.b.counters().lost_duplicates, 2);
    let read = forge.packet(0, read_request(&pair, 64, 8), &[]);
    assert_eq!(answers(&mut pair, read), [], "it was no read");
    assert_eq!(pair.b.counters().lost_duplicates, 3);
    assert_eq!(pair.b.counters().duplicates, 5);
}

#[test]
fn rule_6_4_a_result_that_waits_is_not_doubled() {
    let mut pair = Pair::new();
    let forge = Forge::new(&pair);
    let packets = [0, 1].map(|n| forge.packet(n, fetch_add(&pair, 64, 1), &[]));
    for packet in [
        &packets[0],
        &packets[0],
        &packets[1],
        &packets[1],
        &packets[0],
    ] {
        give(&mut pair, packet.clone());
    }
    let sent: Vec<_> = std::iter::from_fn(|| one_of_b(&mut pair)).collect();
    assert_eq!(sent.len(), 2);
    // When it has left it may be lost: it is given again.
    give(&mut pair, packets[0].clone());
    assert_eq!(
        one_of_b(&mut pair).as_ref(),
        Some(&with_msn(&forge, &sent[0], 2))
    );
    assert_eq!(pair.b.word(64), 2);
}

/// Whatever waits, what is asked for again is answered behind it.
#[test]
fn rule_6_4_a_repeated_request_does_not_take_the_place_of_another() {
    let mut pair = Pair::new();
    let forge = Forge::new(&pair);
    let atomic = forge.packet(0, fetch_add(&pair, 64, 1), &[]);
    let read = forge.packet(1, read_request(&pair, 64, 8), &[]);
    let other = forge.packet(2, read_request(&pair, 128, 8), &[]);
    for packet in [&atomic, &read] {
        assert_eq!(answers(&mut pair, packet.clone()).len(), 1);
    }
    for packet in [&other, &read, &atomic, &other, &read, &atomic] {
        give(&mut pair, packet.clone());
    }
    let before = pair.trace.len();
    pair.transmit();
    let sent = sent_by_b(&pair, before);
    let numbers: Vec<_> = sent.iter().map(|(number, ..)| *number).collect();
    assert_eq!(numbers, [2, 1, 0]);
}

/// The same answer, which says that so many messages have been completed.
fn with_msn(forge: &Forge, answer: &[u8], msn: u32) -> Vec<u8> {
    let packet = Packet::try_from(PacketView::new(answer).unwrap()).unwrap();
    let mut header = packet.header;
    if let Body::AtomicAcknowledge(aeth, _) = &mut header.body {
        aeth.msn = msn;
    }
    let packet = Packet { header, ..packet };
    let mut out = vec![0; packet.len()];
    packet.emit(&forge.path.reversed(), 0, &mut out);
    out
}

/// Of replies that cannot leave so many wait: two for each remembered request, and sixteen.
#[test]
fn rule_6_8_replies_that_wait_are_bounded() {
    let mut pair = with(|config| config.responder_resources = 3);
    let forge = Forge::new(&pair);
    for number in 0..30 {
        let packet = forge.packet(number, fetch_add(&pair, 64, 1), &[]);
        give(&mut pair, packet);
    }
    assert_eq!(pair.b.word(64), 30, "each is executed");
    assert_eq!(pair.b.counters().replies_refused, 8);
    assert_eq!(std::iter::from_fn(|| one_of_b(&mut pair)).count(), 22);
    // What was not answered is asked for again.
    let last = forge.packet(29, fetch_add(&pair, 64, 1), &[]);
    let again = answers(&mut pair, last);
    assert!(
        matches!(again[..], [(29, Body::AtomicAcknowledge(_, original), _)] if original.0 == 29)
    );
}

/// The refused request comes again and again while the refusal waits: one refusal.
#[test]
fn rule_6_8_a_refusal_that_waits_is_not_doubled() {
    let mut pair = Pair::new();
    let outside = Body::Write(Part::Only(reth(pair.b.remote(REGION), 8), None));
    let packet = Forge::new(&pair).packet(0, outside, b"abcdefgh");
    for _ in 0..5 {
        give(&mut pair, packet.clone());
    }
    assert_eq!(std::iter::from_fn(|| one_of_b(&mut pair)).count(), 1);
    assert_eq!(pair.b.counters().fatal_naks_sent, 1);
    assert_eq!(deliver(&mut pair, packet), nak(NakCode::RemoteAccessError));
    assert_eq!(pair.b.counters().fatal_naks_sent, 2);
}

#[test]
fn rule_6_7_a_failure_flushes_the_receive_that_a_message_has_begun() {
    let mut pair = Pair::new();
    pair.b.receive(5, 0, 3000);
    pair.b.receive(6, 3000, 3000);
    let first = Forge::new(&pair).packet(0, Body::Send(Part::First(())), &[1; 1024]);
    assert_eq!(deliver(&mut pair, first).len(), 1);
    assert_eq!(received(&pair.b), []);
    let number = pair.b.number;
    let failed = pair.b.call(|nic, _| nic.fail(number, Cause::Closed));
    failed.unwrap();
    let flushed = Received {
        id: 5,
        kind: ReceivedKind::Send,
        len: 0,
        solicited: false,
        outcome: Err(WorkError::Flushed),
    };
    assert_eq!(received(&pair.b), [flushed]);
    assert_eq!(pair.b.receives.len(), 1, "the other was not begun");
}

/// In ERR nothing leaves but the refusal that is the reason, behind what was answered before it.
#[test]
fn rule_6_5_what_waits_leaves_before_a_refusal_and_not_without_one() {
    let write = |pair: &Pair| Forge::new(pair).packet(0, write_only(pair, 8), b"abcdefgh");
    let mut pair = Pair::new();
    let packet = write(&pair);
    give(&mut pair, packet);
    let number = pair.b.number;
    let failed = pair.b.call(|nic, _| nic.fail(number, Cause::Closed));
    failed.unwrap();
    assert_eq!(one_of_b(&mut pair), None);
    let mut pair = Pair::new();
    let packet = write(&pair);
    give(&mut pair, packet);
    let outside = Body::Write(Part::Only(reth(pair.b.remote(REGION), 8), None));
    let refused = Forge::new(&pair).packet(1, outside, b"abcdefgh");
    give(&mut pair, refused);
    let before = pair.trace.len();
    pair.transmit();
    let left = sent_by_b(&pair, before);
    let syndromes: Vec<_> = left
        .iter()
        .map(|(number, body, _)| (*number, *body))
        .collect();
    let Body::Acknowledge(mut refusal) = nak(NakCode::RemoteAccessError)[0] else {
        panic!("a NAK")
    };
    refusal.msn = 1;
    let expected = [
        (0, Body::Acknowledge(rdma::wire::Aeth::ack(1))),
        (1, Body::Acknowledge(refusal)),
    ];
    assert_eq!(syndromes, expected);
}
