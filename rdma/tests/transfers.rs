//! What each operation does when nothing goes wrong, and what its packets look like.

mod rig;

use rdma::memory::{Atomic, EventUpdate};
use rdma::mtu::PathMtu;
use rdma::wire::{Opcode, Packet, PacketView};
use rdma::work::{Data, Flags, Operation, ReceivedKind, Segment, Tail};
use rig::*;

#[test]
fn rule_6_2_a_write_arrives_at_every_mtu() {
    for mtu in PathMtu::ALL {
        for len in [0, 1, 5, 255, 256, 257, 4096, 4097, 100_000] {
            let mut pair = Pair::with(Setup {
                mtu,
                ..Setup::default()
            });
            let data = pattern(len, mtu.bytes() as u8);
            pair.a.fill(0, &data);
            pair.post(signaled(
                9,
                write(pair.a.segment(0, len), pair.b.remote(300)),
            ));
            pair.run();
            assert_eq!(pair.b.bytes(300, len), data, "{mtu:?} {len}");
            assert_eq!(succeeded(&pair.a), [9]);
            assert_eq!(pair.a.counters().resent, 0);
            pair.b.assert_guards();
        }
    }
}

#[test]
fn rule_6_2_a_read_arrives_at_every_mtu() {
    for mtu in PathMtu::ALL {
        for len in [0, 1, 255, 256, 257, 4096, 4097, 100_000] {
            let mut pair = Pair::with(Setup {
                mtu,
                ..Setup::default()
            });
            let data = pattern(len, 3);
            pair.b.fill(40, &data);
            pair.post(signaled(9, read(pair.b.remote(40), pair.a.segment(8, len))));
            pair.run();
            assert_eq!(pair.a.bytes(8, len), data, "{mtu:?} {len}");
            assert_eq!(succeeded(&pair.a), [9]);
            assert_eq!(pair.a.counters().resent, 0);
        }
    }
}

#[test]
fn a_long_write_is_first_middle_last_and_a_short_one_only() {
    let mut pair = Pair::new();
    pair.post(signaled(
        1,
        write(pair.a.segment(0, 3 * 1024 + 1), pair.b.remote(0)),
    ));
    pair.post(signaled(
        2,
        write(pair.a.segment(0, 1024), pair.b.remote(0)),
    ));
    pair.run();
    let expected = [
        Opcode::WriteFirst,
        Opcode::WriteMiddle,
        Opcode::WriteMiddle,
        Opcode::WriteLast,
        Opcode::WriteOnly,
    ];
    assert_eq!(pair.opcodes(Side::A), expected);
}

#[test]
fn a_first_packet_leaves_alone_and_the_others_as_segments() {
    let mut pair = Pair::new();
    pair.post(signaled(
        1,
        write(pair.a.segment(0, 5 * 1024 + 3), pair.b.remote(0)),
    ));
    let now = pair.now;
    let mut out = vec![0; 65_507];
    let mut next = || {
        pair.a
            .call(|nic, io| nic.poll_transmit(now, io, &mut out, 64))
    };
    let first = next().unwrap();
    assert_eq!(
        (first.packets, first.segment, first.len),
        (1, None, 12 + 16 + 1024 + 4)
    );
    let rest = next().unwrap();
    let segment = 12 + 1024 + 4;
    assert_eq!((rest.packets, rest.segment), (5, Some(segment)));
    assert_eq!(rest.len, 4 * segment + 12 + 4 + 4);
    assert_eq!(next(), None);
}

#[test]
fn sends_carry_the_service_level_of_their_queue_pair() {
    let level = rdma::config::ServiceLevel::new(5).unwrap();
    let mut pair = Pair::with(Setup {
        config: rdma::config::Config {
            service_level: level,
            ..Setup::default().config
        },
        ..Setup::default()
    });
    let data = write(pair.a.segment(0, 8), pair.b.remote(0));
    pair.post(signaled(1, data));
    let (now, mut out) = (pair.now, vec![0; 2000]);
    let sent = pair
        .a
        .call(|nic, io| nic.poll_transmit(now, io, &mut out, 64));
    assert_eq!(sent.unwrap().service_level, level);
}

#[test]
fn a_small_buffer_or_no_offload_bounds_a_send() {
    let mut pair = Pair::new();
    pair.post(signaled(
        1,
        write(pair.a.segment(0, 8 * 1024), pair.b.remote(0)),
    ));
    let now = pair.now;
    let mut out = vec![0; 2 * (12 + 1024 + 4)];
    let mut sizes = Vec::new();
    while let Some(sent) = pair
        .a
        .call(|nic, io| nic.poll_transmit(now, io, &mut out, 64))
    {
        sizes.push(sent.packets);
    }
    assert_eq!(sizes, [1, 2, 2, 2, 1]);
    pair.max_segments = 1;
    pair.run();
    assert_eq!(
        pair.count(Side::A, Opcode::WriteFirst),
        1,
        "sent again after the timeout"
    );
}

#[test]
fn rule_6_2_a_send_takes_a_receive_and_says_so() {
    let mut pair = Pair::new();
    let data = pattern(2500, 1);
    pair.a.fill(0, &data);
    pair.b.receive(70, 100, 2500);
    pair.b.receive(71, 5000, 100);
    pair.b.receive(72, 6000, 100);
    pair.post(signaled(1, send(Data::Local(pair.a.segment(0, 2500)))));
    let tail = Tail::Immediate(0xcafe);
    pair.post(signaled(
        2,
        Operation::Send {
            data: inline(b"four"),
            tail,
        },
    ));
    pair.post(signaled(3, send(inline(b""))));
    pair.run();
    assert_eq!(pair.b.bytes(100, 2500), data);
    assert_eq!(pair.b.bytes(5000, 4), b"four");
    let got: Vec<_> = received(&pair.b)
        .iter()
        .map(|done| (done.id, done.kind, done.len, done.outcome))
        .collect();
    let expected = [
        (70, ReceivedKind::Send, 2500, Ok(())),
        (71, ReceivedKind::SendImmediate(0xcafe), 4, Ok(())),
        (72, ReceivedKind::Send, 0, Ok(())),
    ];
    assert_eq!(got, expected);
    assert_eq!(succeeded(&pair.a), [1, 2, 3]);
}

#[test]
fn a_solicited_message_says_so_in_its_last_packet_alone() {
    let mut pair = Pair::new();
    for id in 0..4 {
        pair.b.receive(id, 0, 2500);
    }
    let message = |len| send(Data::Local(pair.a.segment(0, len)));
    let requests = [(true, 2500), (false, 2500), (true, 8), (false, 8)];
    let requests = requests.map(|(solicited, len)| rdma::work::WorkRequest {
        flags: match solicited {
            true => Flags::SIGNALED | Flags::SOLICITED,
            false => Flags::SIGNALED,
        },
        ..signaled(1, message(len))
    });
    for request in requests {
        pair.post(request);
    }
    pair.run();
    let solicited: Vec<_> = received(&pair.b)
        .iter()
        .map(|done| done.solicited)
        .collect();
    assert_eq!(solicited, [true, false, true, false]);
    let header = |sent: &Sent| {
        let view = PacketView::new(&sent.bytes).unwrap();
        Packet::try_from(view).unwrap().header
    };
    let bits = pair
        .trace
        .iter()
        .filter(|sent| sent.from == Side::A)
        .map(|sent| header(sent).bth.solicited);
    let bits: Vec<bool> = bits.collect();
    assert_eq!(bits, [false, false, true, false, false, false, true, false]);
}

#[test]
fn a_send_of_nothing_needs_no_memory() {
    let mut pair = Pair::new();
    pair.b.receive(1, 0, 0);
    pair.b.receives[0].buffer.key = WRONG_LOCAL;
    let nothing = Segment {
        address: 0,
        len: 0,
        key: WRONG_LOCAL,
    };
    pair.post(signaled(1, send(Data::Local(nothing))));
    pair.post(signaled(2, write(nothing, pair.b.remote(0))));
    pair.post(signaled(3, read(pair.b.remote(0), nothing)));
    pair.run();
    assert_eq!(received(&pair.b)[0].outcome, Ok(()));
    assert_eq!(succeeded(&pair.a), [1, 2, 3]);
}

#[test]
fn rule_6_2_a_write_with_immediate_takes_a_receive_and_leaves_it_untouched() {
    let mut pair = Pair::new();
    pair.b.receive(70, 100, 8);
    pair.a.fill(0, &pattern(3000, 9));
    let operation = Operation::Write {
        data: Data::Local(pair.a.segment(0, 3000)),
        to: pair.b.remote(9000),
        immediate: Some(0x1234_5678),
    };
    let before = pair.b.bytes(100, 8);
    pair.post(signaled(1, operation));
    pair.run();
    assert_eq!(pair.b.bytes(9000, 3000), pattern(3000, 9));
    assert_eq!(pair.b.bytes(100, 8), before);
    let [done] = received(&pair.b)[..] else {
        panic!("one receive")
    };
    assert_eq!(
        (done.id, done.kind, done.len),
        (70, ReceivedKind::WriteImmediate(0x1234_5678), 3000)
    );
    assert!(pair.b.receives.is_empty());
}

#[test]
fn rule_6_2_atomics_give_back_the_word_before() {
    let mut pair = Pair::new();
    pair.b.fill(64, &40u64.to_ne_bytes());
    let at = pair.b.remote(64);
    let result = Some(pair.a.segment(0, 8));
    pair.post(signaled(
        1,
        Operation::Atomic {
            at,
            operation: Atomic::Add(2),
            result,
        },
    ));
    let swap = |compare, swap| Atomic::CompareSwap { compare, swap };
    let result = Some(pair.a.segment(8, 8));
    pair.post(signaled(
        2,
        Operation::Atomic {
            at,
            operation: swap(42, 7),
            result,
        },
    ));
    pair.post(signaled(
        3,
        Operation::Atomic {
            at,
            operation: swap(42, 9),
            result: None,
        },
    ));
    pair.run();
    assert_eq!(pair.b.word(64), 7);
    assert_eq!((pair.a.word(0), pair.a.word(8)), (40, 42));
    let originals = pair
        .a
        .completions
        .iter()
        .map(|completion| match completion {
            rdma::work::Completion::Work(done) => done.original,
            rdma::work::Completion::Received(_) => panic!("no receive"),
        });
    let originals: Vec<u64> = originals.collect();
    assert_eq!(originals, [40, 42, 7]);
}

#[test]
fn rule_6_2_a_signal_updates_the_event_once() {
    let mut pair = Pair::new();
    let at = pair.b.remote_event();
    pair.post(signaled(1, write_inline(&5u64.to_ne_bytes(), at)));
    pair.post(signaled(2, add(at, 10)));
    pair.run();
    assert_eq!(pair.b.memory.event.get(), 15);
    let updates = [EventUpdate::Set(5), EventUpdate::Atomic(Atomic::Add(10))];
    assert_eq!(*pair.b.memory.event_updates.borrow(), updates);
}

#[test]
fn a_send_with_invalidate_takes_the_key_back() {
    let mut pair = Pair::new();
    let extra = pair
        .b
        .regions
        .register(region_like(rdma::region::Rights::all()), 3)
        .unwrap();
    let key = extra.remote_key();
    pair.b.receive(1, 0, 64);
    let operation = Operation::Send {
        data: inline(b"x"),
        tail: Tail::Invalidate(key),
    };
    pair.post(signaled(1, operation));
    let to = rdma::work::RemoteAddress { address: 0, key };
    pair.post(signaled(2, write_inline(b"late", to)));
    pair.run();
    assert_eq!(received(&pair.b)[0].kind, ReceivedKind::SendInvalidate(key));
    assert_eq!(succeeded(&pair.a), [1]);
    let [_, (2, Some(failure))] = ended(&pair.a)[..] else {
        panic!("the write fails")
    };
    assert_eq!(failure.cause, rdma::work::WorkError::RemoteAccess);
    assert!(
        pair.b.regions.deregister(extra).is_ok(),
        "its owner still can"
    );
}

#[test]
fn numbers_wrap_in_the_middle_of_everything() {
    let setup = Setup {
        first_psn: 0xff_fff8,
        mtu: PathMtu::B256,
        ..Setup::default()
    };
    let mut pair = Pair::with(setup);
    let data = pattern(20_000, 5);
    pair.a.fill(0, &data);
    pair.post(signaled(
        1,
        write(pair.a.segment(0, 20_000), pair.b.remote(0)),
    ));
    pair.post(signaled(
        2,
        read(pair.b.remote(0), pair.a.segment(30_000, 20_000)),
    ));
    pair.post(signaled(3, add(pair.b.remote(40_000), 1)));
    pair.run();
    assert_eq!(pair.a.bytes(30_000, 20_000), data);
    assert_eq!(succeeded(&pair.a), [1, 2, 3]);
}

#[test]
fn unsignaled_work_makes_no_completion_and_is_done() {
    let mut pair = Pair::new();
    pair.post(silent(1, write_inline(b"12345678", pair.b.remote(0))));
    pair.run();
    assert_eq!(ended(&pair.a), []);
    assert_eq!(pair.a.queue_pair().outstanding(), 0);
    assert_eq!(pair.b.bytes(0, 8), b"12345678");
}

#[test]
fn both_directions_at_once() {
    let mut pair = Pair::new();
    let data = pattern(50_000, 8);
    pair.a.fill(0, &data);
    pair.b.fill(0, &data);
    pair.post(signaled(
        1,
        write(pair.a.segment(0, 50_000), pair.b.remote(60_000)),
    ));
    let back = write(pair.b.segment(0, 50_000), pair.a.remote(60_000));
    let now = pair.now;
    pair.b.post(now, signaled(2, back));
    pair.run();
    assert_eq!(pair.b.bytes(60_000, 50_000), data);
    assert_eq!(pair.a.bytes(60_000, 50_000), data);
    assert_eq!((succeeded(&pair.a), succeeded(&pair.b)), (vec![1], vec![2]));
}

#[test]
fn what_cannot_be_posted_comes_back() {
    use rdma::work::PostReason;
    let mut pair = Pair::with(Setup {
        config: rdma::config::Config {
            send_queue: 2,
            ..Setup::default().config
        },
        ..Setup::default()
    });
    let (now, number) = (pair.now, pair.a.number);
    let mut reason = |operation| {
        let request = signaled(1, operation);
        match pair.a.nic.post(now, number, request) {
            Err(rdma::nic::NicPostError::Post(error)) => {
                assert_eq!(error.request, request);
                Some(error.reason)
            }
            _ => None,
        }
    };
    let to = pair.b.remote(0);
    let long = Segment {
        address: 0,
        len: (1 << 30) + 1,
        key: WRONG_LOCAL,
    };
    assert_eq!(
        reason(write(long, to)),
        Some(PostReason::TooLong { len: long.len })
    );
    let longest = Segment {
        len: 1 << 30,
        ..long
    };
    assert_eq!(reason(write(longest, to)), None);
    let result = Some(Segment { len: 4, ..long });
    let atomic = Operation::Atomic {
        at: to,
        operation: Atomic::Add(1),
        result,
    };
    assert_eq!(reason(atomic), Some(PostReason::ResultSize { len: 4 }));
    assert_eq!(reason(add(to, 1)), None);
    assert_eq!(reason(add(to, 1)), Some(PostReason::Full { limit: 2 }));
}

#[test]
fn rule_6_1_reads_and_atomics_need_an_agreement_on_some() {
    use rdma::work::PostReason;
    for (own, theirs) in [(0, 16), (16, 0)] {
        let mut setup = Setup::default();
        setup.config.initiator_depth = own;
        setup.config.responder_resources = theirs;
        let mut pair = Pair::with(setup);
        let (now, number) = (pair.now, pair.a.number);
        let mut reason = |operation| match pair.a.nic.post(now, number, signaled(1, operation)) {
            Err(rdma::nic::NicPostError::Post(error)) => Some(error.reason),
            _ => None,
        };
        let to = pair.b.remote(0);
        let into = pair.b.segment(0, 8);
        assert_eq!(reason(add(to, 1)), Some(PostReason::NoExchanges));
        assert_eq!(reason(read(to, into)), Some(PostReason::NoExchanges));
        assert_eq!(reason(write_inline(b"x", to)), None);
        assert_eq!(reason(send(inline(b"x"))), None);
    }
}
