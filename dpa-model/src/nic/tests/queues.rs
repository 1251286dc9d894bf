//! Queues of a context: which entries are taken, and when.

use std::ops::Range;

use dpa_abi::Condition;
use dpa_abi::access::AtomicNumber;
use dpa_abi::queue::record::{SEND_PRODUCED, SEND_TAKEN, first_number};
use dpa_abi::queue::{ENTRY_BYTES, RemotePlace, Syndrome, WorkEntry, WorkFlags, WorkOpcode};
use rdma::config::AckTimeout;
use rdma::queue_pair::Cause;
use rdma::work::{Data, Flags, Inline, Operation, Tail};

use super::*;
use crate::event::EventRef;

/// Entries of the queues below.
const ENTRIES: u64 = 256;

/// A context without peers, or with a connection, whose NIC takes so much of it at a time.
fn spec(local: bool, outstanding: usize) -> ContextSpec {
    ContextSpec {
        local: local.then_some(0),
        outstanding,
        ..ContextSpec::local(ENTRIES as u32, 0)
    }
}

/// A queue of such a context. Completions go to this queue.
fn queue(
    process: &Still,
    spec: ContextSpec,
    completions: Option<Arc<CompletionQueue>>,
) -> (Arc<ContextRef>, ConnectionRef) {
    let lease = process.local_nic().expect("a NIC");
    let context = ContextRef::new(&lease, process, spec, completions).expect("a context");
    let queue = context.open_local().expect("a queue");
    (context, queue)
}

/// Every entry of a queue is this from now on.
fn fill(process: &Still, queue: &ConnectionRef, entry: &WorkEntry) {
    put(process, queue, 0..ENTRIES, entry);
}

/// Entries of these numbers, from the first on, are written.
fn put(process: &Still, queue: &ConnectionRef, numbers: Range<u64>, entry: &WorkEntry) {
    let number = queue.number();
    queue.context().lease().nic().with(|engine| {
        let pair = engine.world.pairs.get_mut(number).expect("its pair");
        let at = pair.send.as_ref().expect("its ring").addr();
        let bytes = ENTRIES * ENTRY_BYTES as u64;
        let cell = process.heap.within(at, bytes).expect("its entries");
        for at in numbers {
            let words = entry.encode(at, number.value(), true);
            for (word, value) in words.into_iter().enumerate() {
                u64::store_release(&cell, at as usize * ENTRY_BYTES + word * 8, value);
            }
        }
    });
}

/// A wait for what this event says already.
fn wait_that_holds(event: &EventRef, flags: WorkFlags) -> WorkEntry {
    let condition = Condition::ge(0);
    WorkEntry {
        remote: RemotePlace {
            address: event.handle().0.to_bits(),
            key: condition.op() as u32,
        },
        atomic: [condition.operand(), condition.mask()],
        ..WorkEntry::new(WorkOpcode::Wait, flags)
    }
}

/// How many entries are taken when so many are left of the turn, and whether there is to be another.
fn taken(queue: &ConnectionRef, left: u64) -> (u64, bool) {
    let nic = queue.context().lease().nic();
    let mut engine = nic.engine.lock();
    engine.world.turn.leave(left);
    engine.ring(Duration::ZERO, queue.number());
    let taken = taken_by(&engine, queue);
    (taken, !engine.world.turn.next().is_empty())
}

/// How many entries have been taken.
fn taken_by(engine: &Engine, queue: &ConnectionRef) -> u64 {
    let pair = engine.world.pairs.get(queue.number()).expect("its pair");
    pair.record.load(SEND_TAKEN) - first_number(0)
}

/// A wait for what holds copies nothing, and what a failed connection flushes neither. Kernels could write such entries without end.
#[test]
fn entries_are_taken_as_long_as_the_turn_lasts() {
    let process = Still::new();
    let event = process.event();
    let wait = wait_that_holds(&event, WorkFlags::NONE);
    let write = WorkEntry::new(WorkOpcode::Write, WorkFlags::NONE);
    for (local, entry) in [(true, wait), (false, write)] {
        let (_context, queue) = queue(&process, spec(local, 256), None);
        if !local {
            queue.disconnect();
        }
        fill(&process, &queue, &entry);
        assert_eq!(taken(&queue, 20), (20, true));
        assert_eq!(taken(&queue, 0), (20, true), "others come first");
        let rest = (0..ENTRIES / 20).map(|_| taken(&queue, 20));
        let last = rest.fold(None, |_, now| Some(now));
        assert_eq!(last, Some((ENTRIES, false)), "all of them");
    }
    drop(event);
}

/// A NIC that partitions share: who works it for one of them does not work for the others' kernels.
#[test]
fn queues_of_other_partitions_are_left_to_others() {
    let [_, process] = two_functions();
    let (_context, queue) = queue(&process, spec(true, 256), None);
    let nic = queue.context().lease().nic();
    let partition = process.tenancy.partition.index;
    for (behind, rung) in [(false, 1), (true, 1), (false, 2)] {
        let mut engine = nic.engine.lock();
        if behind {
            engine.world.turn.leave(0);
            assert!(engine.world.turn.is_over(queue.number()));
        }
        (usize::from(behind)..rung).for_each(|_| nic.remember(queue.number()));
        let mut looks =
            |partition| nic.ring_what_is_for(Task::Of(partition), &mut engine, Duration::ZERO);
        let (any, some_left) = (false, true);
        assert_eq!(looks(partition + 1), Rung { any, some_left });
        assert_eq!(nic.rung.len(), rung, "it is remembered");
        let (any, some_left) = (true, false);
        assert_eq!(looks(partition), Rung { any, some_left });
        assert!(nic.rung.is_empty());
    }
}

/// Other queues may have the NIC all the while.
#[test]
fn what_was_posted_is_flushed_before_its_queue_pair_is_gone() {
    let process = Still::new();
    let lease = process.local_nic().expect("a NIC");
    let done = CompletionQueue::new(&lease, &process, ENTRIES as u32).expect("a queue");
    let write = WorkEntry::new(WorkOpcode::Write, WorkFlags::NONE);
    let (_context, queue) = queue(&process, spec(false, 256), Some(done.clone()));
    fill(&process, &queue, &write);
    let (number, other) = (queue.number(), Qpn::new(7).expect("a number"));
    lease.nic().with(|engine| {
        engine.world.turn.leave(0);
        assert!(engine.world.turn.is_over(other), "another is behind");
        assert!(engine.provider.fail(number, Cause::Closed).is_ok());
        engine.send(Duration::ZERO);
        engine.world.turn.begin();
        engine.destroy(Duration::ZERO, number);
    });
    for index in 0..ENTRIES {
        let flushed = done.take().expect("no overrun").expect("all of them");
        assert_eq!(u64::from(flushed.index), index);
        assert_eq!(flushed.syndrome, Syndrome::FLUSHED);
    }
}

/// Whoever has reserved an entry and not written it can do so no more, and others have posted behind it.
#[test]
fn what_is_behind_an_entry_that_is_not_written_is_flushed_too() {
    let process = Still::new();
    let lease = process.local_nic().expect("a NIC");
    let done = CompletionQueue::new(&lease, &process, ENTRIES as u32).expect("a queue");
    let write = WorkEntry::new(WorkOpcode::Write, WorkFlags::NONE);
    let (_context, queue) = queue(&process, spec(false, 256), Some(done.clone()));
    put(&process, &queue, 1..ENTRIES, &write);
    lease.nic().with(|engine| {
        let pair = engine.world.pairs.get(queue.number()).expect("its pair");
        let produced = first_number(0) + ENTRIES;
        pair.record.store(SEND_PRODUCED, produced);
    });
    drop(queue);
    for index in 0..ENTRIES {
        let flushed = done.take().expect("no overrun").expect("all of them");
        assert_eq!(u64::from(flushed.index), index);
        assert_eq!(flushed.syndrome, Syndrome::FLUSHED);
    }
    assert_eq!(done.take(), Ok(None));
}

/// A look at the NIC: how many entries of this queue are taken by then, and whether the core was asked to take any.
fn looked(queue: &ConnectionRef, now: Duration) -> (u64, bool) {
    let nic = queue.context().lease().nic();
    let mut engine = nic.engine.lock();
    for number in engine.world.turn.next() {
        engine.ring(now, number);
    }
    engine.world.take_posted();
    engine.progress(now);
    let asked = engine.world.take_posted();
    (taken_by(&engine, queue), asked)
}

/// What waits for its peer costs nobody who looks at the NIC anything.
#[test]
fn a_queue_that_waits_is_looked_at_when_there_is_room() {
    const AT_A_TIME: u64 = 16;
    let process = Still::new();
    let spec = ContextSpec {
        timeout: AckTimeout::from_code(14).expect("a timeout"),
        ..spec(false, AT_A_TIME as usize)
    };
    let write = WorkEntry::new(WorkOpcode::Write, WorkFlags::NONE);
    let (_other, peer) = queue(&process, spec.clone(), None);
    let (_context, queue) = queue(&process, spec, None);
    fill(&process, &queue, &write);
    let mut now = Duration::ZERO;
    assert_eq!(taken(&queue, 20), (0, false), "it is not connected");
    assert_eq!(looked(&queue, now), (0, false));
    queue.connect(peer.info()).expect("an address");
    looked(&queue, now);
    assert_eq!(looked(&queue, now), (AT_A_TIME, false), "it has no room");
    peer.connect(queue.info()).expect("an address");
    while looked(&queue, now).0 < ENTRIES {
        assert!(now < Duration::from_secs(60), "it goes on");
        now += Duration::from_millis(100);
    }
}

/// Between two queues of one NIC nothing that comes from outside calls anybody.
#[test]
fn who_looks_leaves_nothing_that_follows_to_nobody() {
    let process = Still::new();
    let lease = process.local_nic().expect("a NIC");
    let write = WorkEntry::new(WorkOpcode::Write, WorkFlags::NONE);
    let (_other, peer) = queue(&process, spec(false, 1), None);
    let (_context, queue) = queue(&process, spec(false, 1), None);
    peer.connect(queue.info()).expect("an address");
    queue.connect(peer.info()).expect("an address");
    fill(&process, &queue, &write);
    let engine = || lease.nic().engine.lock();
    engine().world.look_at.push_back(queue.number());
    lease.kick();
    soon("all of them are taken", || {
        taken_by(&engine(), &queue) == ENTRIES
    });
}

/// The host might go on with that without end.
#[test]
fn a_wait_is_not_kept_by_what_the_host_posts_behind_it() {
    let process = Still::new();
    let (event, lease) = (process.event(), process.local_nic().expect("a NIC"));
    let done = CompletionQueue::new(&lease, &process, 8).expect("a queue");
    let spec = ContextSpec {
        timeout: AckTimeout::from_code(14).expect("a timeout"),
        ..spec(false, 16)
    };
    let (_other, peer) = queue(&process, spec.clone(), None);
    let (_context, queue) = queue(&process, spec, Some(done.clone()));
    let write = WorkEntry::new(WorkOpcode::Write, WorkFlags::NONE);
    let wait = wait_that_holds(&event, WorkFlags::SIGNALED);
    put(&process, &queue, 0..1, &write);
    put(&process, &queue, 1..2, &wait);
    queue.connect(peer.info()).expect("an address");
    // The peer has no receive for it.
    let send = Operation::Send {
        data: Data::Inline(Inline::first(&[], 0)),
        tail: Tail::Plain,
    };
    let posted = queue.post(send, Flags::empty(), Box::new(()));
    let behind = posted.expect("room");
    peer.connect(queue.info()).expect("an address");
    let mut now = Duration::ZERO;
    let waited = loop {
        looked(&queue, now);
        if let Some(waited) = done.take().expect("no overrun") {
            break waited;
        }
        assert!(now < Duration::from_secs(60), "it is reported");
        now += Duration::from_millis(100);
    };
    assert_eq!((waited.index, waited.syndrome), (1, Syndrome::NONE));
    assert!(behind.ended().is_none());
}

#[test]
fn receives_of_the_host_are_limited() {
    let process = Still::new();
    let lease = process.local_nic().expect("a NIC");
    let spec = spec(false, 1);
    let context = ContextRef::new(&lease, &process, spec, None).expect("a context");
    let buffer = rdma::work::Segment {
        address: 0,
        len: 0,
        key: rdma::region::LocalKey(0),
    };
    let receive = || context.receive(buffer, Box::new(()));
    let are = |count| {
        let mut engine = lease.nic().engine.lock();
        let pool = engine.world.contexts[context.key].pool;
        let Some(pairs::Pool::Host(receives)) = engine.world.pairs.pools.get_mut(pool) else {
            panic!("its receives are the host's");
        };
        receives.resize(count, rdma::work::Receive { id: 0, buffer });
    };
    are(context::MAX_RECEIVES - 1);
    let last = receive().expect("room for one");
    let limit = context::MAX_RECEIVES;
    let full = PostHostError::Refused(rdma::work::PostReason::Full { limit });
    assert_eq!(receive().expect_err("too many"), full);
    are(0);
    assert!(receive().is_ok() && last.ended().is_none());
}
