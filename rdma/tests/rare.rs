//! What happens rarely: a read that waits behind packets nobody asked to acknowledge, numbers that come round, refusals that are
//! lost.

mod rig;

use std::time::Duration;

use rdma::config::{AckTimeout, Config, Peer, RetryLimit};
use rdma::memory::Atomic;
use rdma::mtu::PathMtu;
use rdma::psn::{Psn, Qpn};
use rdma::queue_pair::{Cause, Io, QueuePair, State};
use rdma::wire::*;
use rdma::work::*;
use rig::*;

/// Why each piece of work failed.
fn causes(pair: &Pair) -> Vec<Option<WorkError>> {
    let ended = ended(&pair.a).into_iter();
    ended
        .map(|(_, failed)| failed.map(|failure| failure.cause))
        .collect()
}

/// The first of a silent write and a long read is lost; when both are over.
fn read_behind_a_lost_write(change: impl FnOnce(&mut Config)) -> (Duration, u64) {
    let mut setup = Setup::default();
    change(&mut setup.config);
    let mut pair = Pair::with(setup);
    pair.filter = Some(drop_first(Side::A, Opcode::WriteOnly, 1));
    pair.post(silent(1, write_inline(b"x", pair.b.remote(0))));
    let (from, into) = (pair.b.remote(0), pair.a.segment(0, 64 * 1024));
    pair.post(signaled(2, read(from, into)));
    while succeeded(&pair.a) != [2] {
        assert!(pair.step(), "it never ends: {:?}", pair.a.counters());
    }
    (pair.now, pair.a.counters().timeouts)
}

/// Rule 4 of the requester: it is asked for before the read has to wait for it.
#[test]
fn rule_6_4_a_read_that_waits_has_asked_for_what_it_waits_for() {
    let (took, timeouts) = read_behind_a_lost_write(|_| ());
    assert_eq!(timeouts, 0, "the NAK was enough");
    assert!(took < Duration::from_millis(5), "{took:?}");
    let once = |config: &mut Config| config.retries = RetryLimit::Times(0);
    assert_eq!(read_behind_a_lost_write(once).1, 0);
    let never = |config: &mut Config| config.timeout = AckTimeout::NEVER;
    assert_eq!(read_behind_a_lost_write(never).1, 0);
}

#[test]
fn a_read_behind_silent_writes_waits_for_no_timer() {
    for (writes, budget) in [(2, 4), (3, 4), (1, 64), (11, 20)] {
        let mut setup = Setup::default();
        setup.config.receive_budget = budget;
        let mut pair = Pair::with(setup);
        for id in 0..writes {
            pair.post(silent(id, write_inline(b"x", pair.b.remote(0))));
        }
        let (from, into) = (pair.b.remote(0), pair.a.segment(0, 32 * 1024));
        pair.post(signaled(99, read(from, into)));
        while succeeded(&pair.a) != [99] {
            assert!(pair.step(), "it never ends");
        }
        assert!(
            pair.now < Duration::from_millis(5),
            "{writes} {budget}: {:?}",
            pair.now
        );
        assert_eq!(pair.a.counters().solicited_tails, 0);
    }
}

/// The last packet asks for nothing, and is not the last that was ever sent: what is sent again stops there, for the read behind
/// it was posted later.
#[test]
fn a_tail_is_asked_for_also_while_things_are_sent_again() {
    let mut setup = Setup::default();
    setup.config.timeout = AckTimeout::NEVER;
    let mut pair = Pair::with(setup);
    pair.filter = Some(drop_first(Side::A, Opcode::WriteOnly, 1));
    pair.post(silent(1, write_inline(b"x", pair.b.remote(0))));
    pair.transmit();
    let (from, into) = (pair.b.remote(0), pair.a.segment(0, 64 * 1024));
    pair.post(signaled(2, read(from, into)));
    while succeeded(&pair.a) != [2] {
        assert!(pair.step(), "it never ends: {:?}", pair.a.counters());
    }
}

/// A responder alone, at the very end of its numbers.
struct Alone {
    node: Node,
    queue_pair: QueuePair,
}

impl Alone {
    fn new() -> Self {
        let number = Qpn::new(0x77).unwrap();
        let mut queue_pair = QueuePair::new(Config::new(number, Psn::new(5), DOMAIN));
        queue_pair.init().unwrap();
        let ends = ["127.0.0.3:4791", "127.0.0.2:4791"].map(|end| end.parse().unwrap());
        let peer = Peer {
            path: Path::new(ends[0], ends[1]).unwrap(),
            number: Qpn::new(0x99).unwrap(),
            first_psn: Psn::new(0),
            mtu: PathMtu::B1024,
            budget: 64,
            responder_resources: 16,
            max_identification: 127,
            lid: 0,
            max_segments: 1,
        };
        queue_pair.connect(peer).unwrap();
        queue_pair.activate(Duration::ZERO).unwrap();
        let node = Pair::new().b;
        Self { node, queue_pair }
    }

    /// Takes a request; what it answers last.
    fn give(&mut self, psn: u32, body: Body) -> Option<Body> {
        self.answer(psn, body).map(|header| header.body)
    }

    fn answer(&mut self, psn: u32, body: Body) -> Option<Header> {
        let bth = Bth::new(0x77, Psn::new(psn));
        let (header, payload) = (Header { bth, body }, &[][..]);
        let node = &mut self.node;
        let mut io = Io {
            memory: &node.memory,
            regions: &node.regions,
            receives: &mut node.receives,
        };
        let queue_pair = &mut self.queue_pair;
        queue_pair.receive(Duration::ZERO, &Packet { header, payload }, &mut io);
        let (mut out, mut last) = ([0; 8192], None);
        while let Some(sent) = queue_pair.poll_replies(Duration::ZERO, &mut io, &mut out, 1) {
            let view = PacketView::new(&out[..sent.len]).unwrap();
            last = Some(Packet::try_from(view).unwrap().header);
        }
        last
    }
}

/// The same atomic with the same number, 2^24 packets later, is another.
#[test]
fn rule_6_4_a_repeated_atomic_gets_the_result_of_the_newest_with_its_number() {
    let mut alone = Alone::new();
    let atomic = Body::FetchAdd(AtomicEth {
        virtual_address: 64,
        r_key: alone.node.region.remote_key().0,
        swap_or_add: 1,
        compare: 0,
    });
    let nothing = Reth {
        virtual_address: 0,
        r_key: 0,
        dma_length: 0,
    };
    alone.node.fill(64, &0u64.to_ne_bytes());
    let original = |answer| match answer {
        Some(Body::AtomicAcknowledge(_, AtomicAckEth(original))) => original,
        other => panic!("{other:?}"),
    };
    assert_eq!(original(alone.give(0, atomic)), 0);
    for psn in 1..1 << 24 {
        alone.give(psn, Body::Write(Part::Only(nothing, None)));
        if psn == 10 << 20 {
            // The atomic, which is remembered, lies before it, though by the shorter way round it comes next.
            let again = alone.answer(psn, Body::Write(Part::Only(nothing, None)));
            assert_eq!(again.unwrap().bth.psn, Psn::new(psn));
        }
    }
    assert_eq!(original(alone.give(0, atomic)), 1);
    assert_eq!(original(alone.give(0, atomic)), 1, "it was repeated");
}

#[test]
fn rule_6_8_the_key_of_a_write_with_immediate_comes_before_its_receive() {
    let mut pair = Pair::new();
    let to = RemoteAddress {
        address: 0,
        key: WRONG_REMOTE,
    };
    pair.post(signaled(
        1,
        Operation::Write {
            data: inline(b"x"),
            to,
            immediate: Some(1),
        },
    ));
    pair.run_until(Duration::from_secs(1));
    assert_eq!(causes(&pair), [Some(WorkError::RemoteAccess)]);
    assert_eq!(pair.a.counters().rnr_naks_received, 0);
}

/// As one without immediate: nothing is touched.
#[test]
fn a_write_of_nothing_with_immediate_needs_no_key() {
    let mut pair = Pair::new();
    let to = RemoteAddress {
        address: 0,
        key: WRONG_REMOTE,
    };
    pair.b.receive(7, 0, 8);
    let write = Operation::Write {
        data: inline(b""),
        to,
        immediate: Some(1),
    };
    pair.post(signaled(1, write));
    pair.run_until(Duration::from_secs(1));
    assert_eq!(causes(&pair), [None]);
    assert_eq!(received(&pair.b).len(), 1);
}

/// The region of a read goes while it is answered; `lose`: the refusal is lost, as the answers before it were.
fn revoked_read(retries: RetryLimit, lose: bool) {
    let mut setup = Setup::default();
    setup.config.retries = retries;
    let mut pair = Pair::with(setup);
    let (from, into) = (pair.b.remote(0), pair.a.segment(0, 10 * 1024));
    pair.post(signaled(1, read(from, into)));
    pair.transmit();
    pair.now += pair.link.latency;
    pair.deliver();
    let (now, mut out) = (pair.now, vec![0; 8192]);
    let mut transmit = |pair: &mut Pair| {
        let sent = pair
            .b
            .call(|nic, io| nic.poll_transmit(now, io, &mut out, 1));
        sent.expect("something to send");
    };
    (0..5).for_each(|_| transmit(&mut pair));
    let region = pair.b.region;
    pair.b.regions.deregister(region).unwrap();
    if lose {
        transmit(&mut pair);
    }
    pair.run_until(Duration::from_secs(20));
    assert_eq!(causes(&pair), [Some(WorkError::RemoteAccess)]);
}

#[test]
fn rule_6_5_the_refusal_of_a_read_half_way_is_given_again() {
    revoked_read(RetryLimit::Times(7), false);
    revoked_read(RetryLimit::Times(7), true);
    revoked_read(RetryLimit::Forever, true);
}

/// The window is so small then that the refused request does not come again before what lies before it is acknowledged.
#[test]
fn rule_6_5_a_lost_refusal_is_given_also_to_what_was_executed_before_it() {
    for read_first in [false, true] {
        let mut pair = Pair::with(Setup {
            budget: 2,
            ..Setup::default()
        });
        pair.filter = Some(Box::new({
            let mut left = 1 + usize::from(read_first);
            move |sent: &Sent| {
                let lost = left > 0 && sent.from == Side::B;
                left -= usize::from(lost);
                !lost
            }
        }));
        let (from, into) = (pair.b.remote(0), pair.a.segment(0, 8));
        match read_first {
            true => pair.post(silent(1, read(from, into))),
            false => pair.post(silent(1, write_inline(b"x", from))),
        }
        let to = RemoteAddress {
            address: 0,
            key: WRONG_REMOTE,
        };
        pair.post(signaled(2, write_inline(b"x", to)));
        pair.run();
        let refused = Some(WorkError::RemoteAccess);
        let expected = match read_first {
            // Its answer will not come.
            true => vec![Some(WorkError::Flushed), refused],
            false => vec![refused],
        };
        assert_eq!(causes(&pair), expected);
        assert_eq!(pair.b.counters().fatal_naks_sent, 2);
    }
}

/// The atomic whose answer is lost, end to end.
#[test]
fn rule_6_4_a_lost_answer_of_an_atomic_is_given_again() {
    let mut pair = Pair::new();
    let (at, result) = (pair.b.remote(64), Some(pair.a.segment(0, 8)));
    pair.b.fill(64, &1000u64.to_ne_bytes());
    pair.filter = Some(drop_first(Side::B, Opcode::AtomicAcknowledge, 1));
    let operation = Atomic::Add(1);
    pair.post(signaled(
        4,
        Operation::Atomic {
            at,
            operation,
            result,
        },
    ));
    pair.run();
    assert_eq!((pair.b.word(64), pair.a.word(0)), (1001, 1000));
}

/// A peer has no more reads on their way than it was told it may have.
#[test]
fn rule_6_8_reads_beyond_what_was_agreed_on_are_refused() {
    let mut alone = Alone::new();
    let read = Body::ReadRequest(Reth {
        virtual_address: 0,
        r_key: alone.node.region.remote_key().0,
        dma_length: 8,
    });
    let node = &mut alone.node;
    for psn in 0..17 {
        let bth = Bth::new(0x77, Psn::new(psn));
        let header = Header { bth, body: read };
        let mut io = Io {
            memory: &node.memory,
            regions: &node.regions,
            receives: &mut node.receives,
        };
        let packet = Packet {
            header,
            payload: &[],
        };
        let queue_pair = &mut alone.queue_pair;
        assert_eq!(queue_pair.state(), State::ReadyToSend, "{psn} reads");
        queue_pair.receive(Duration::ZERO, &packet, &mut io);
    }
    let state = alone.queue_pair.state();
    assert_eq!(
        state,
        State::Error(Cause::Peer(WorkError::RemoteInvalidRequest))
    );
}
