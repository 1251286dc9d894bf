//! SEMANTICS 6.5: keys, rights and bounds; memory outside a region is never touched.

mod rig;

use rdma::queue_pair::{Cause, State};
use rdma::region::{RegionSpec, Rights};
use rdma::wire::{AtomicEth, Body, ImmDt, NakCode, Opcode, Part};
use rdma::work::{RemoteAddress, WorkError, WorkFailure};
use rig::forge::*;
use rig::*;

#[test]
fn rule_6_5_a_violation_is_refused_and_touches_nothing() {
    const ACCESS: NakCode = NakCode::RemoteAccessError;
    let write = |to: RemoteAddress, len: usize| {
        (Body::Write(Part::Only(reth(to, len), None)), vec![1; len])
    };
    let atomic = |to: RemoteAddress| AtomicEth {
        virtual_address: to.address,
        r_key: to.key.0,
        swap_or_add: 1,
        compare: 0,
    };
    assert_refused("key", ACCESS, |pair| {
        write(
            RemoteAddress {
                key: WRONG_REMOTE,
                ..pair.b.remote(0)
            },
            8,
        )
    });
    assert_refused("local key", ACCESS, |pair| {
        let key = rdma::region::RemoteKey(pair.b.region.local_key().0);
        write(RemoteAddress { address: 0, key }, 8)
    });
    assert_refused("behind the end", ACCESS, |pair| {
        write(pair.b.remote(REGION - 7), 8)
    });
    assert_refused("far behind", ACCESS, |pair| {
        write(pair.b.remote(usize::MAX - 3), 8)
    });
    assert_refused(
        "first packet of a long write out of bounds",
        ACCESS,
        |pair| {
            let reth = reth(pair.b.remote(REGION - 2000), 2001);
            (Body::Write(Part::First(reth)), vec![1; 1024])
        },
    );
    assert_refused("read only", ACCESS, |pair| {
        write(with_rights(pair, Rights::REMOTE_READ), 8)
    });
    assert_refused("write only", ACCESS, |pair| {
        let to = with_rights(pair, Rights::REMOTE_WRITE);
        (Body::ReadRequest(reth(to, 8)), vec![])
    });
    assert_refused("no atomics", ACCESS, |pair| {
        let to = with_rights(pair, Rights::REMOTE_WRITE | Rights::REMOTE_READ);
        (Body::FetchAdd(atomic(to)), vec![])
    });
    assert_refused("another domain", ACCESS, |pair| {
        let spec = RegionSpec {
            domain: rdma::region::Domain(8),
            ..region_like(Rights::all())
        };
        let region = pair.b.regions.register(spec, 1).unwrap();
        write(
            RemoteAddress {
                address: 0,
                key: region.remote_key(),
            },
            8,
        )
    });
    assert_refused("revoked", ACCESS, |pair| {
        let region = pair.b.region;
        pair.b.regions.deregister(region).unwrap();
        write(pair.b.remote(0), 8)
    });
    assert_refused("misaligned atomic", NakCode::InvalidRequest, |pair| {
        (Body::FetchAdd(atomic(pair.b.remote(4))), vec![])
    });
    assert_refused("read out of bounds", ACCESS, |pair| {
        (
            Body::ReadRequest(reth(pair.b.remote(REGION - 4), 5)),
            vec![],
        )
    });
}

#[test]
fn rule_6_5_an_event_takes_only_eight_aligned_bytes_and_atomics() {
    const ACCESS: NakCode = NakCode::RemoteAccessError;
    assert_refused("four bytes", ACCESS, |pair| {
        (
            Body::Write(Part::Only(reth(pair.b.remote_event(), 4), None)),
            vec![1; 4],
        )
    });
    assert_refused("sixteen bytes", ACCESS, |pair| {
        (
            Body::Write(Part::Only(reth(pair.b.remote_event(), 16), None)),
            vec![1; 16],
        )
    });
    assert_refused("a read", ACCESS, |pair| {
        (Body::ReadRequest(reth(pair.b.remote_event(), 8)), vec![])
    });
    assert_refused("shifted", ACCESS, |pair| {
        let to = RemoteAddress {
            address: 4,
            ..pair.b.remote_event()
        };
        (Body::Write(Part::Only(reth(to, 8), None)), vec![1; 8])
    });
    assert_refused("closed", ACCESS, |pair| {
        pair.b.memory.event_closed.set(true);
        (
            Body::Write(Part::Only(reth(pair.b.remote_event(), 8), None)),
            vec![1; 8],
        )
    });
}

#[test]
fn rule_6_5_a_region_of_an_event_is_not_local_memory() {
    let mut pair = Pair::new();
    let segment = rdma::work::Segment {
        address: LOCAL_BASE,
        len: 8,
        key: pair.a.event.local_key(),
    };
    pair.post(signaled(1, write(segment, pair.b.remote(0))));
    pair.run();
    let failure = ended(&pair.a)[0].1.unwrap();
    assert_eq!(
        (failure.cause, failure.sent),
        (WorkError::LocalProtection, false)
    );
}

#[test]
fn rule_6_5_too_long_a_send_ends_the_receive_with_its_reason() {
    let mut pair = Pair::new();
    pair.b.receive(3, 0, 10);
    pair.post(signaled(1, send(inline(b"eleven byte"))));
    pair.run();
    let [done] = received(&pair.b)[..] else {
        panic!("one receive")
    };
    assert_eq!((done.id, done.outcome), (3, Err(WorkError::LocalLength)));
    assert_eq!(
        ended(&pair.a)[0].1.unwrap().cause,
        WorkError::RemoteInvalidRequest
    );
    assert_eq!(pair.b.bytes(0, 11), [0; 11]);
}

#[test]
fn rule_6_5_a_receive_into_foreign_memory_is_the_receivers_error() {
    let mut pair = Pair::new();
    pair.b.receive(3, 0, 100);
    pair.b.receives[0].buffer.key = WRONG_LOCAL;
    pair.post(signaled(1, send(inline(b"hello"))));
    pair.run();
    assert_eq!(
        received(&pair.b)[0].outcome,
        Err(WorkError::LocalProtection)
    );
    assert_eq!(
        ended(&pair.a)[0].1.unwrap().cause,
        WorkError::RemoteOperation
    );
    let own = State::Error(Cause::Work(WorkError::LocalProtection));
    assert_eq!(pair.b.queue_pair().state(), own, "not the peer's fault");
}

/// The write takes a receive, and only then it is found that its region is gone: the receive did nothing wrong.
#[test]
fn rule_6_5_a_receive_that_a_refused_request_has_taken_is_flushed() {
    let mut pair = Pair::new();
    pair.b.receive(3, 5000, 100);
    let mut forge = Forge::new(&pair);
    let to = reth(pair.b.remote(0), 2048);
    let first = forge.packet(0, Body::Write(Part::First(to)), &[1; 1024]);
    deliver(&mut pair, first);
    let region = pair.b.region;
    pair.b.regions.deregister(region).unwrap();
    forge.expected = forge.expected.plus(1);
    let last = Body::Write(Part::Last(Some(ImmDt(7))));
    let answers = deliver(&mut pair, forge.packet(0, last, &[2; 1024]));
    assert_eq!(answers, nak(NakCode::RemoteAccessError));
    assert_eq!(received(&pair.b)[0].outcome, Err(WorkError::Flushed));
    let refused = State::Error(Cause::Peer(WorkError::RemoteAccess));
    assert_eq!(pair.b.queue_pair().state(), refused);
}

/// The same for a send that goes on with a packet which does not fit behind it.
#[test]
fn rule_6_5_a_receive_whose_message_is_invalid_is_flushed() {
    let mut pair = Pair::new();
    pair.b.receive(3, 0, 4096);
    let mut forge = Forge::new(&pair);
    let first = forge.packet(0, Body::Send(Part::First(())), &[1; 1024]);
    deliver(&mut pair, first);
    forge.expected = forge.expected.plus(1);
    let short = forge.packet(0, Body::Send(Part::Middle), &[2; 8]);
    assert_eq!(deliver(&mut pair, short), nak(NakCode::InvalidRequest));
    assert_eq!(received(&pair.b)[0].outcome, Err(WorkError::Flushed));
}

#[test]
fn rule_6_5_the_requester_fails_with_the_reason_and_the_rest_is_flushed_in_order() {
    let mut pair = Pair::new();
    pair.post(signaled(1, write_inline(b"good", pair.b.remote(0))));
    let wrong = RemoteAddress {
        key: WRONG_REMOTE,
        ..pair.b.remote(0)
    };
    pair.post(silent(2, write_inline(b"evil", wrong)));
    pair.post(silent(3, write_inline(b"next", pair.b.remote(8))));
    pair.run();
    let causes: Vec<_> = ended(&pair.a)
        .iter()
        .map(|(id, failure)| (*id, failure.map(|f| f.cause)))
        .collect();
    let expected = [
        (1, None),
        (2, Some(WorkError::RemoteAccess)),
        (3, Some(WorkError::Flushed)),
    ];
    assert_eq!(causes, expected);
    assert_eq!(pair.b.bytes(8, 4), [0; 4]);
    let now = pair.now;
    pair.a
        .post(now, signaled(4, write_inline(b"more", pair.b.remote(0))));
    let failure = ended(&pair.a)[3].1.unwrap();
    assert_eq!((failure.cause, failure.sent), (WorkError::Flushed, false));
}

#[test]
fn rule_6_5_a_region_revoked_in_the_middle_of_a_read_ends_it() {
    let mut pair = Pair::new();
    pair.b.fill(0, &pattern(4096, 1));
    let region = pair.b.region;
    pair.post(signaled(1, read(pair.b.remote(0), pair.a.segment(0, 4096))));
    pair.transmit();
    pair.now += pair.link.latency;
    pair.deliver();
    pair.b.regions.deregister(region).unwrap();
    pair.run();
    assert_eq!(ended(&pair.a)[0].1.unwrap().cause, WorkError::RemoteAccess);
    assert_eq!(pair.a.bytes(0, 4096), [0; 4096]);
}

/// A refusal that is lost is said again when the request comes again, and to no new request.
#[test]
fn rule_6_5_a_lost_refusal_is_repeated() {
    let mut pair = Pair::new();
    pair.filter = Some(drop_first(Side::B, Opcode::Acknowledge, 2));
    let outside = pair.b.remote(REGION);
    pair.post(signaled(1, write_inline(b"12345678", outside)));
    pair.run();
    let failure = WorkFailure {
        cause: WorkError::RemoteAccess,
        sent: true,
    };
    assert_eq!(ended(&pair.a), [(1, Some(failure))]);
    assert_eq!(pair.b.counters().fatal_naks_sent, 3);
    pair.b.assert_guards();
}

#[test]
fn rule_6_8_after_a_refusal_no_other_request_is_answered() {
    let mut pair = Pair::new();
    let outside = pair.b.remote(REGION);
    let forge = Forge::new(&pair);
    let bad = Body::Write(Part::Only(reth(outside, 8), None));
    let access = nak(NakCode::RemoteAccessError);
    assert_eq!(
        deliver(&mut pair, forge.packet(0, bad, b"abcdefgh")),
        access
    );
    let good = write_only(&pair, 8);
    for ahead in [1, 2, 0x00ff_ffff] {
        let packet = forge.packet(ahead, good, b"abcdefgh");
        assert!(deliver(&mut pair, packet).is_empty(), "{ahead} ahead");
    }
    assert_eq!(pair.b.counters().wrong_state, 3);
    // The refused number again, with whatever it carries now: refused, not executed.
    let again = forge.packet(0, good, b"abcdefgh");
    assert_eq!(deliver(&mut pair, again), access);
    assert_eq!(pair.b.bytes(0, 8), [0; 8]);
}
