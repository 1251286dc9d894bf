//! SEMANTICS 6.8: what is dropped before its number is looked at, and what is refused.

mod rig;

use rdma::counters::Counters;
use rdma::psn::{Psn, Qpn};
use rdma::queue_pair::{Cause, State};
use rdma::wire::{
    Aeth, AtomicEth, Body, NakCode, Opcode, Part, Path, ReadPart, Reth, SendTail, Syndrome, seal,
};
use rig::forge::*;
use rig::*;

/// The packet is dropped without an answer, exactly this counter counts it, and nothing else changes.
fn assert_dropped(
    name: &str,
    make: impl FnOnce(&mut Pair) -> Vec<u8>,
    counted: impl Fn(&Counters) -> u64,
) {
    let mut pair = Pair::new();
    let packet = make(&mut pair);
    let before = pair.b.bytes(0, REGION);
    assert_eq!(deliver(&mut pair, packet), [], "{name}");
    let (nic, own) = (*pair.b.nic.counters(), pair.b.counters());
    assert_eq!(counted(&nic) + counted(&own), 1, "{name}");
    assert_eq!(nic.dropped() + own.dropped(), 1, "{name}: counted once");
    assert_eq!(pair.b.bytes(0, REGION), before, "{name}");
    assert_eq!(pair.b.queue_pair().state(), State::ReadyToSend, "{name}");
}

#[test]
fn rule_6_8_everything_before_the_number_is_dropped_with_its_counter() {
    let change =
        |change: fn(&mut Vec<u8>)| move |pair: &mut Pair| Forge::new(pair).changed(pair, change);
    assert_dropped("short", |_| vec![0; 12], |c| c.bad_length);
    assert_dropped("long", |_| vec![0; 5000], |c| c.bad_length);
    assert_dropped("odd", |_| vec![0; 33], |c| c.bad_length);
    assert_dropped("version", change(|packet| packet[1] |= 1), |c| {
        c.bad_version
    });
    assert_dropped("partition", change(|packet| packet[3] = 0), |c| {
        c.bad_partition
    });
    assert_dropped("queue pair", change(|packet| packet[7] ^= 1), |c| {
        c.unknown_queue_pair
    });
    assert_dropped("reserved queue pair", change(|packet| packet[7] = 1), |c| {
        c.unknown_queue_pair
    });
    assert_dropped(
        "icrc",
        |pair| {
            let mut packet = Forge::new(pair).packet(0, write_only(pair, 8), b"abcdefgh");
            packet[30] ^= 4;
            packet
        },
        |c| c.bad_icrc,
    );
    assert_dropped(
        "opcode of another transport",
        change(|packet| packet[0] = 0x64),
        |c| c.bad_opcode,
    );
    assert_dropped(
        "headers do not fit",
        change(|packet| {
            packet.truncate(16);
        }),
        |c| c.bad_opcode,
    );
}

#[test]
fn rule_6_8_the_earlier_check_wins() {
    let count = |change: fn(&mut Vec<u8>), counted: fn(&Counters) -> u64| {
        assert_dropped(
            "order",
            |pair| {
                let mut packet = Forge::new(pair).changed(pair, change);
                let end = packet.len() - 1;
                packet[end] ^= 0x55;
                packet
            },
            counted,
        );
    };
    count(
        |packet| {
            packet[1] |= 1;
            packet[3] = 0;
        },
        |c| c.bad_version,
    );
    count(
        |packet| {
            packet[3] = 0;
            packet[7] ^= 1;
        },
        |c| c.bad_partition,
    );
    count(
        |packet| {
            packet[7] ^= 1;
            packet[0] = 0x64;
        },
        |c| c.unknown_queue_pair,
    );
    count(|packet| packet[0] = 0x64, |c| c.bad_icrc);
}

#[test]
fn rule_6_8_a_stranger_is_dropped_whatever_it_knows() {
    let mut pair = Pair::new();
    let stranger: std::net::SocketAddr = "127.0.0.9:4791".parse().unwrap();
    let path = Path::new(stranger, pair.b.nic.local()).unwrap();
    let forge = Forge {
        path,
        ..Forge::new(&pair)
    };
    let packet = forge.packet(0, write_only(&pair, 8), b"abcdefgh");
    let now = pair.now;
    pair.b
        .call(|nic, io| nic.receive(now, stranger, &packet, io));
    assert_eq!(pair.b.counters().wrong_address, 1);
    assert_eq!(pair.b.bytes(0, 8), [0; 8]);
    // Another port of the peer's address is the peer: drivers use one per queue pair.
    let other = "127.0.0.2:60001".parse().unwrap();
    let path = Path::new(other, pair.b.nic.local()).unwrap();
    let forge = Forge { path, ..forge };
    let packet = forge.packet(0, write_only(&pair, 8), b"abcdefgh");
    pair.b.call(|nic, io| nic.receive(now, other, &packet, io));
    assert_eq!(pair.b.bytes(0, 8), b"abcdefgh");
}

#[test]
fn rule_6_8_a_queue_pair_that_is_not_connected_or_in_error_takes_nothing() {
    let setup = Setup::default();
    let mut pair = Pair::unconnected(&setup);
    let packet = Forge::new(&pair).packet(0, write_only(&pair, 8), b"abcdefgh");
    assert_eq!(deliver(&mut pair, packet.clone()), []);
    assert_eq!(pair.b.counters().wrong_state, 1);
    pair.connect(&setup);
    assert_eq!(deliver(&mut pair, packet.clone()).len(), 1, "RTR answers");
    let (number, forge) = (pair.b.number, Forge::new(&pair));
    pair.b
        .call(|nic, _| nic.fail(number, Cause::Closed))
        .unwrap();
    let next = forge.packet(1, write_only(&pair, 8), b"12345678");
    assert_eq!(deliver(&mut pair, next), []);
    assert_eq!(pair.b.bytes(0, 8), b"abcdefgh");
}

#[test]
fn rule_6_8_only_the_expected_number_is_refused() {
    for (ahead, refused) in [(0, true), (5, false), (0xff_fff0, false)] {
        let mut pair = Pair::new();
        let forge = Forge::new(&pair);
        let mut bad = reth(pair.b.remote(0), 8);
        bad.r_key = WRONG_REMOTE.0;
        let body = Body::Write(Part::Only(bad, None));
        let answers = deliver(&mut pair, forge.packet(ahead, body, b"abcdefgh"));
        let error = matches!(pair.b.queue_pair().state(), State::Error(_));
        assert_eq!(error, refused, "ahead {ahead:x}");
        assert_eq!(answers == nak(NakCode::RemoteAccessError), refused);
    }
}

#[test]
fn rule_6_8_requests_out_of_place_are_invalid() {
    const INVALID: NakCode = NakCode::InvalidRequest;
    let head = |pair: &Pair, len| reth(pair.b.remote(0), len);
    assert_refused("middle first", INVALID, |_| {
        (Body::Write(Part::Middle), vec![1; 1024])
    });
    assert_refused("last first", INVALID, |_| {
        (Body::Send(Part::Last(SendTail::Plain)), vec![1; 10])
    });
    assert_refused("length is not the payload", INVALID, |pair| {
        (Body::Write(Part::Only(head(pair, 9), None)), vec![1; 8])
    });
    assert_refused("above the path MTU", INVALID, |pair| {
        (
            Body::Write(Part::Only(head(pair, 1500), None)),
            vec![1; 1500],
        )
    });
    assert_refused("a first that is not full", INVALID, |pair| {
        (Body::Write(Part::First(head(pair, 1500))), vec![1; 1000])
    });
    assert_refused("a first that is all", INVALID, |pair| {
        (Body::Write(Part::First(head(pair, 1024))), vec![1; 1024])
    });
    assert_refused("a read longer than any message", INVALID, |pair| {
        (Body::ReadRequest(head(pair, 1 << 31)), vec![])
    });
}

#[test]
fn rule_6_8_a_message_is_not_left_half_way() {
    let pair = Pair::new();
    let to = pair.b.remote(64);
    let nothing = reth(to, 0);
    let atomic = AtomicEth {
        virtual_address: to.address,
        r_key: to.key.0,
        swap_or_add: 1,
        compare: 0,
    };
    let cases: Vec<(&str, bool, Body, usize)> = vec![
        ("a send in a write", false, Body::Send(Part::Middle), 1024),
        (
            "a last of a send in a write",
            false,
            Body::Send(Part::Last(SendTail::Plain)),
            10,
        ),
        (
            "another write",
            false,
            Body::Write(Part::Only(nothing, None)),
            0,
        ),
        (
            "another first",
            false,
            Body::Write(Part::First(reth(to, 2000))),
            1024,
        ),
        ("a read", false, Body::ReadRequest(reth(to, 8)), 0),
        ("a fetch-add", false, Body::FetchAdd(atomic), 0),
        ("a compare-swap", false, Body::CompareSwap(atomic), 0),
        ("a short middle", false, Body::Write(Part::Middle), 1000),
        (
            "a middle that is all",
            false,
            Body::Write(Part::Middle),
            1024,
        ),
        (
            "a last that is not all",
            false,
            Body::Write(Part::Last(None)),
            975,
        ),
        (
            "a last that is more",
            false,
            Body::Write(Part::Last(None)),
            977,
        ),
        ("a write in a send", true, Body::Write(Part::Middle), 1024),
        (
            "another send",
            true,
            Body::Send(Part::Only((), SendTail::Plain)),
            8,
        ),
        ("a read in a send", true, Body::ReadRequest(reth(to, 8)), 0),
        (
            "a short middle of a send",
            true,
            Body::Send(Part::Middle),
            1020,
        ),
        (
            "an empty last",
            true,
            Body::Send(Part::Last(SendTail::Plain)),
            0,
        ),
        (
            "a last above the path MTU",
            true,
            Body::Send(Part::Last(SendTail::Plain)),
            1028,
        ),
    ];
    for (name, send, body, len) in cases {
        let mut pair = Pair::new();
        pair.b.receive(1, 9000, 4000);
        pair.b.receive(2, 9000, 4000);
        let forge = Forge::new(&pair);
        let first = match send {
            true => Body::Send(Part::First(())),
            false => Body::Write(Part::First(reth(to, 2000))),
        };
        deliver(&mut pair, forge.packet(0, first, &[1; 1024]));
        let before = pair.b.bytes(0, REGION);
        let answer = deliver(&mut pair, forge.packet(1, body, &vec![2; len]));
        assert_eq!(answer, nak(NakCode::InvalidRequest), "{name}");
        assert_eq!(pair.b.bytes(0, REGION), before, "{name}");
    }
}

#[test]
fn rule_6_8_without_resources_reads_and_atomics_are_invalid() {
    let mut setup = Setup::default();
    setup.config.responder_resources = 0;
    let mut pair = Pair::with(setup);
    let packet = Forge::new(&pair).packet(0, Body::ReadRequest(reth(pair.b.remote(0), 8)), &[]);
    assert_eq!(deliver(&mut pair, packet), nak(NakCode::InvalidRequest));
    let mut setup = Setup::default();
    setup.config.responder_resources = 0;
    let mut pair = Pair::with(setup);
    let atomic = AtomicEth {
        virtual_address: 0,
        r_key: pair.b.remote(0).key.0,
        swap_or_add: 1,
        compare: 0,
    };
    let packet = Forge::new(&pair).packet(0, Body::FetchAdd(atomic), &[]);
    assert_eq!(deliver(&mut pair, packet), nak(NakCode::InvalidRequest));
    assert_eq!(pair.b.word(0), 0);
}

/// The longest read that may be asked for lies outside every region here; one byte more is no request.
#[test]
fn rule_6_8_a_read_is_at_most_as_long_as_a_message() {
    for (len, code) in [
        (1 << 30, NakCode::RemoteAccessError),
        ((1 << 30) + 1, NakCode::InvalidRequest),
    ] {
        assert_refused("a long read", code, |pair| {
            (Body::ReadRequest(reth(pair.b.remote(0), len)), vec![])
        });
    }
}

#[test]
fn rule_6_8_a_read_of_nothing_needs_no_key() {
    let mut pair = Pair::new();
    let nothing = Reth {
        virtual_address: u64::MAX,
        r_key: WRONG_REMOTE.0,
        dma_length: 0,
    };
    let packet = Forge::new(&pair).packet(0, Body::ReadRequest(nothing), &[]);
    let empty = Body::ReadResponse(ReadPart::Only(Aeth::ack(1)));
    assert_eq!(deliver(&mut pair, packet), [empty]);
}

/// The state is looked at before the address, and that before the ICRC.
#[test]
fn rule_6_8_a_queue_pair_that_was_closed_is_in_the_wrong_state_for_everybody() {
    let mut pair = Pair::new();
    let forge = Forge::new(&pair);
    let (now, number) = (pair.now, pair.b.number);
    let failed = pair.b.call(|nic, _| nic.fail(number, Cause::Closed));
    failed.unwrap();
    let mut damaged = forge.packet(0, write_only(&pair, 8), b"abcdefgh");
    damaged[30] ^= 4;
    let stranger = "127.0.0.9:4791".parse().unwrap();
    for from in [pair.a.nic.local(), stranger] {
        pair.b.call(|nic, io| nic.receive(now, from, &damaged, io));
    }
    assert_eq!(pair.b.counters().wrong_state, 2);
    assert_eq!(pair.b.counters().wrong_address, 0);
    assert_eq!(pair.b.nic.counters().bad_icrc, 0);
}

#[test]
fn rule_6_8_a_gap_is_answered_once() {
    let mut pair = Pair::new();
    let forge = Forge::new(&pair);
    let body = write_only(&pair, 8);
    assert_eq!(
        deliver(&mut pair, forge.packet(3, body, b"abcdefgh")),
        nak(NakCode::PsnSequenceError)
    );
    assert_eq!(deliver(&mut pair, forge.packet(4, body, b"abcdefgh")), []);
    assert_eq!(
        deliver(&mut pair, forge.packet(0, body, b"abcdefgh")).len(),
        1
    );
    assert_eq!(
        deliver(&mut pair, forge.packet(4, body, b"abcdefgh")).len(),
        1,
        "a new gap"
    );
    assert_eq!(pair.b.queue_pair().state(), State::ReadyToSend);
}

#[test]
fn rule_6_8_a_zero_length_write_needs_no_key() {
    let mut pair = Pair::new();
    let nothing = Reth {
        virtual_address: u64::MAX,
        r_key: WRONG_REMOTE.0,
        dma_length: 0,
    };
    let packet = Forge::new(&pair).packet(0, Body::Write(Part::Only(nothing, None)), &[]);
    assert_eq!(
        deliver(&mut pair, packet),
        [Body::Acknowledge(Aeth::ack(1))]
    );
}

#[test]
fn rule_6_8_answers_count_only_for_what_is_on_its_way() {
    let mut pair = Pair::new();
    let back = Path::new(pair.b.nic.local(), pair.a.nic.local()).unwrap();
    let first = pair.a.queue_pair().config().first_psn;
    let forge = Forge {
        path: back,
        number: pair.a.number.value(),
        expected: first,
    };
    let nak = Body::Acknowledge(Aeth {
        syndrome: Syndrome::Nak(NakCode::RemoteAccessError),
        msn: 0,
    });
    let ack = Body::Acknowledge(Aeth::ack(1));
    let response = Body::ReadResponse(ReadPart::Only(Aeth::ack(1)));
    pair.post(silent(1, write_inline(b"x", pair.b.remote(0))));
    pair.filter = Some(Box::new(|_| false));
    pair.transmit();
    for (ahead, body) in [
        (1, nak),
        (1, ack),
        (0xff_ffff, nak),
        (0xff_ffff, ack),
        (400_000, ack),
    ] {
        pair.inject(Side::B, forge.packet(ahead, body, &[]));
    }
    pair.inject(Side::B, forge.packet(0, response, b"data"));
    pair.deliver();
    assert_eq!(pair.a.counters().stale_answers, 5);
    assert_eq!(pair.a.counters().bad_answers, 1);
    assert_eq!(pair.a.queue_pair().state(), State::ReadyToSend);
    assert_eq!(pair.a.queue_pair().outstanding(), 1);
    assert_eq!(pair.a.bytes(0, REGION), vec![0; REGION]);
}

#[test]
fn rule_6_8_a_congestion_notification_halves_the_window_once() {
    let mut pair = Pair::new();
    let back = Path::new(pair.b.nic.local(), pair.a.nic.local()).unwrap();
    let forge = Forge {
        path: back,
        number: pair.a.number.value(),
        expected: Psn::new(0),
    };
    pair.inject(Side::B, forge.packet(0, Body::Cnp, &[]));
    pair.inject(Side::B, forge.packet(0, Body::Cnp, &[]));
    pair.deliver();
    assert_eq!(pair.a.queue_pair().window(), 32);
    assert_eq!(pair.a.counters().congestion_notifications, 2);
}

#[test]
fn rule_6_8_the_identification_bound_of_a_peer_is_kept() {
    let mut pair = Pair::new();
    let forge = Forge::new(&pair);
    for (id, accepted) in [(127, true), (128, false)] {
        let mut packet = forge.packet(u32::from(!accepted), write_only(&pair, 8), b"abcdefgh");
        seal(&forge.path, id, &mut packet);
        assert_eq!(deliver(&mut pair, packet).len(), usize::from(accepted));
    }
    assert_eq!(pair.b.nic.counters().bad_icrc, 1);
}

#[test]
fn rule_6_8_states_follow_their_order() {
    let setup = Setup::default();
    let mut pair = Pair::unconnected(&setup);
    let (now, number) = (pair.now, pair.a.number);
    assert!(pair.a.nic.activate(now, number).is_err());
    let request = signaled(1, write_inline(b"x", pair.b.remote(0)));
    assert!(pair.a.nic.post(now, number, request).is_err());
    pair.connect(&setup);
    assert!(
        pair.a.nic.post(now, number, request).is_err(),
        "RTR does not send"
    );
    let peer = pair.a.queue_pair().peer().unwrap().clone();
    assert!(pair.a.nic.connect(number, peer).is_err());
    assert!(pair.a.nic.activate(now, number).is_ok());
    assert!(pair.a.nic.activate(now, number).is_err());
    let unknown = Qpn::new(0x9999).unwrap();
    assert!(pair.a.nic.activate(now, unknown).is_err());
    assert_eq!(pair.count(Side::A, Opcode::WriteOnly), 0);
}
