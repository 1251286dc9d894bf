//! What a simulation's network and NICs do wrong, each kind by itself: packets that are late, nodes that vanish and return, a
//! completion that is late, posts that find a queue full.

#[path = "../../dpa-model/tests/seeds/mod.rs"]
mod seeds;

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use doca_dpa::rdma::{
    Connection, HostBuffer, HostMap, PostReason, Rdma, ReceivedKind, RemoteMemoryMap, RetryLimit,
    Rights, WorkOp, WorkRefused,
};
use doca_dpa::testing::{Chance, MishapCounters, Mishaps, NetworkCounters, NetworkSpec, When};
use doca_dpa::{Dpa, Error, Sim};
use seeds::seeds;
use tests::rdma::{SendMessagesArgs, send_messages};

/// Two nodes, several connections between them, and a number on the second.
struct Pair {
    from: Vec<Connection>,
    _to: Vec<Connection>,
    here: Rdma,
    there: Rdma,
    number: HostMap,
    _beside: Dpa,
}

impl Pair {
    fn new(dpa: &Dpa, connections: u32) -> Result<Self, Error> {
        let node = |dpa: &Dpa, last: u8| {
            let address = IpAddr::V4(Ipv4Addr::new(10, 0, 0, last));
            let rdma = dpa.rdma().address(address).connections(connections);
            let rdma = rdma.timeout(Duration::from_millis(1)).receive_queue(0);
            rdma.retries(RetryLimit::Times(40)).open()
        };
        let beside = dpa.open_beside()?;
        let (here, there) = (node(dpa, 1)?, node(&beside, 2)?);
        let (mut from, mut to) = (Vec::new(), Vec::new());
        for _ in 0..connections {
            let (one, other) = (here.export()?, there.export()?);
            one.connect(&other.blob())?;
            other.connect(&one.blob())?;
            from.push(one);
            to.push(other);
        }
        Ok(Self {
            from,
            _to: to,
            number: there.map_host(HostBuffer::new(8), Rights::REMOTE_ATOMIC)?,
            here,
            there,
            _beside: beside,
        })
    }

    fn remote(&self) -> Result<RemoteMemoryMap, Error> {
        Ok(RemoteMemoryMap::import(&self.number.map().export())?)
    }
}

/// Adds to a number on another node; both have kept count.
async fn adds_up(dpa: Dpa) -> Result<(NetworkCounters, u64), Error> {
    let pair = Pair::new(&dpa, 1)?;
    let number = pair.remote()?;
    for n in 0..20 {
        let added = pair.from[0].fetch_add(&number, 0, 1)?;
        assert_eq!(added.await?.original, n);
    }
    assert_eq!(pair.number.buffer().to_vec(), 20u64.to_ne_bytes());
    let naks = pair.from[0].counters().sequence_naks_received;
    Ok((dpa.network().expect("a simulation").counters(), naks))
}

fn over(network: NetworkSpec, count: u64, check: impl Fn(&NetworkCounters, u64)) -> bool {
    let seeds = seeds(count);
    let enough = seeds.clone().count() as u64 >= count;
    for seed in seeds {
        let run = Sim::new(seed).network(network).run(adds_up);
        let (seen, naks) = run.expect("it ends").value.expect("all of it is done");
        check(&seen, naks);
    }
    enough
}

#[test]
fn rule_6_4_exactly_once_where_packets_are_late_and_keep_their_order() {
    let late = NetworkSpec {
        delay: Chance::percent(10),
        longest_delay: Duration::from_millis(5),
        ..NetworkSpec::default()
    };
    let delayed = std::cell::Cell::new(0);
    let enough = over(late, 30, |seen, naks| {
        delayed.set(delayed.get() + seen.delayed);
        assert_eq!((naks, seen.reordered), (0, 0), "none overtook another");
    });
    assert!(!enough || delayed.get() > 0);
}

#[test]
fn rule_6_4_exactly_once_where_nodes_vanish_and_return() {
    let fleeting = NetworkSpec {
        vanish: Chance::percent(2),
        longest_absence: Duration::from_millis(2),
        ..NetworkSpec::default()
    };
    let (vanished, returned) = (std::cell::Cell::new(0), std::cell::Cell::new(0));
    let enough = over(fleeting, 30, |seen, _| {
        vanished.set(vanished.get() + seen.vanished);
        returned.set(returned.get() + seen.returned);
        assert!(seen.returned <= seen.vanished && seen.cut >= seen.vanished);
    });
    assert!(!enough || (vanished.get() > 0 && returned.get() > 0));
}

const LATE: Mishaps = Mishaps {
    completion_late: When::At(0),
    longest_lateness: Duration::from_secs(1),
    ..Mishaps::NONE
};

/// The first completion is late, that behind it waits, that of another connection does not.
async fn one_is_late(dpa: Dpa) -> Result<(MishapCounters, [Duration; 3]), Error> {
    let pair = Pair::new(&dpa, 2)?;
    let number = pair.remote()?;
    let add = |connection: usize| pair.from[connection].fetch_add(&number, 0, 1);
    let (first, second, beside) = (add(0)?, add(0)?, add(1)?);
    let ended = async |work: WorkOp| {
        work.await?;
        Ok::<_, Error>(dpa.now())
    };
    let (first, second, beside) = futures::try_join!(ended(first), ended(second), ended(beside))?;
    assert_eq!(pair.number.buffer().to_vec(), 3u64.to_ne_bytes());
    let fate = dpa.fate().expect("a simulation").counters();
    Ok((fate, [first, second, beside]))
}

#[test]
fn one_completion_is_late_and_no_other_connection_with_it() {
    let mut apart = 0;
    let seeds = seeds(30);
    let enough = seeds.clone().count() >= 30;
    for seed in seeds {
        let run = Sim::new(seed).mishaps(LATE).run(one_is_late);
        let (fate, [first, second, beside]) = run.expect("it ends").value.expect("it works");
        assert_eq!(fate.completion_late.struck, 1);
        let milli = Duration::from_millis(1);
        apart += u64::from(first.abs_diff(beside) > 10 * milli);
        assert!(first.min(beside) < 10 * milli, "one of the two is not late");
        assert!(second + milli >= first, "in order");
    }
    assert!(!enough || apart > 20, "{apart}");
}

/// A kernel's completions come late, and each of them comes, in order.
async fn kernels_get_all(dpa: Dpa) -> Result<u64, Error> {
    let pair = Pair::new(&dpa, 1)?;
    let source = dpa.copy_in(&[7u8; 40]).await?;
    let from = pair.here.map(&source, Rights::empty())?;
    let receives = (0..5).map(|_| pair.there.receive(HostBuffer::new(8)));
    let receives: Vec<_> = receives.collect::<Result<_, _>>()?;
    let args = SendMessagesArgs {
        rdma: &pair.here,
        done: pair.here.completions(),
        from: &from,
        count: 5,
    };
    let sent = dpa.launch(send_messages).args(args).submit()?;
    for (number, receive) in (1000..).zip(receives) {
        let received = receive.await?;
        assert_eq!(received.kind, ReceivedKind::SendImmediate(number));
        assert_eq!(received.buffer.to_vec(), [7; 8]);
    }
    sent.await?;
    let fate = dpa.fate().expect("a simulation").counters();
    Ok(fate.completion_late.struck)
}

#[test]
fn kernels_wait_for_completions_that_are_late() {
    let mishaps = Mishaps {
        completion_late: When::By(Chance::percent(50)),
        longest_lateness: Duration::from_millis(2),
        ..Mishaps::NONE
    };
    let mut late = 0;
    for seed in seeds(20) {
        let run = Sim::new(seed).mishaps(mishaps).run(kernels_get_all);
        late += run.expect("it ends").value.expect("it works");
    }
    assert!(late > 0);
}

/// What is late when its connection fails is told then, before what the failure ends.
#[test]
fn a_completion_that_is_late_comes_before_its_connection_has_failed() {
    for seed in seeds(20) {
        let run = Sim::new(seed).mishaps(LATE).run(async |dpa: Dpa| {
            let pair = Pair::new(&dpa, 1)?;
            let number = pair.remote()?;
            let added = pair.from[0].fetch_add(&number, 0, 1)?;
            let refused = pair.from[0].read(HostBuffer::new(8), &number, 0)?;
            let (added, refused) = futures::join!(added, refused);
            assert!(refused.is_err(), "there is no right to read");
            Ok::<_, Error>((added?.original, dpa.now()))
        });
        let (original, at) = run.expect("it ends").value.expect("it was done");
        assert_eq!(original, 0);
        assert!(at < Duration::from_millis(1), "{at:?}");
    }
}

#[test]
fn sends_and_receives_find_their_queue_full_once_and_not_the_next_time() {
    let mishaps = Mishaps {
        send_full: When::At(0),
        receive_full: When::At(0),
        ..Mishaps::NONE
    };
    for seed in seeds(10) {
        let run = Sim::new(seed).mishaps(mishaps).run(async |dpa: Dpa| {
            let pair = Pair::new(&dpa, 1)?;
            let refused = pair.there.receive(HostBuffer::new(8));
            let refused = refused.expect_err("the queue counts as full");
            let receive = pair.there.receive(refused.into_buffer())?;
            let refused = pair.from[0].send(HostBuffer::from_bytes(b"a message"));
            let back = refused.expect_err("the queue counts as full");
            assert_eq!(back.buffer.to_vec(), b"a message");
            let full = matches!(back.error, WorkRefused::Refused(PostReason::Full { .. }));
            assert!(full, "{}", back.error);
            let sent = pair.from[0].send(HostBuffer::from_bytes(b"to you"))?;
            let (sent, received) = futures::join!(sent, receive);
            sent?;
            assert_eq!(received?.buffer.to_vec()[..6], *b"to you");
            Ok::<_, Error>(dpa.fate().expect("a simulation").counters())
        });
        let fate = run.expect("it ends").value.expect("it works");
        assert_eq!((fate.send_full.struck, fate.receive_full.struck), (1, 1));
    }
}
