//! The rules of sync events, one test each or a few, named after the rule. What needs two threads in a certain
//! order is in `loom.rs`.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use sync_event::{
    CloseReason, Closed, Condition, Event, Gate, Location, LocationSet, Locations, LocationsError,
    NoGate, NotPublisher, NotSubscriber, Outcome, Registered, TimedOut, Update, WaiterId,
};

type Log = Arc<Mutex<Vec<(u32, Outcome)>>>;

/// Records its number and what it was opened with.
struct Record(u32, Log);

impl Gate for Record {
    fn open(self, outcome: Outcome) {
        self.1.lock().unwrap().push((self.0, outcome));
    }
}

/// Parks gate number `n`.
fn park(event: &Event<Record>, n: u32, condition: Condition, log: &Log) -> WaiterId {
    match event.register(condition, |_| Record(n, log.clone())) {
        Registered::Waiting(id) => id,
        _ => panic!("{condition} holds for {}", event.get()),
    }
}

fn entries(log: &Log) -> Vec<(u32, Outcome)> {
    log.lock().unwrap().clone()
}

#[derive(Default)]
struct Count(AtomicUsize);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

fn poll(wait: &mut (impl Future<Output = Outcome> + Unpin), count: &Arc<Count>) -> Poll<Outcome> {
    Pin::new(wait).poll(&mut Context::from_waker(&Waker::from(count.clone())))
}

fn far() -> Instant {
    Instant::now() + Duration::from_secs(60)
}

#[test]
fn rule_1_1_add_wraps_and_returns_the_previous_value() {
    let event = Event::<NoGate>::new(u64::MAX);
    assert_eq!(event.add(3), Ok(u64::MAX));
    assert_eq!(event.get(), 2);
    assert_eq!(event.set(7), Ok(2));
    assert_eq!(event.get(), 7);
}

#[test]
fn rule_1_1_updates_from_many_threads_all_count() {
    let event = Event::<NoGate>::new(0);
    std::thread::scope(|s| {
        for _ in 0..4 {
            s.spawn(|| (0..1000).for_each(|_| assert!(event.add(1).is_ok())));
        }
        assert_eq!(event.wait_blocking(Condition::ge(4000)), Ok(4000));
    });
}

#[test]
fn rule_1_2_conditions_mean_the_same_registered_and_awaited() {
    let conditions = [
        Condition::gt(5),
        Condition::ge(6),
        Condition::eq(6),
        Condition::ne(5),
        Condition::eq(6).masked(0xf),
        Condition::ne(5).masked(0xf),
        Condition::ge(6).masked(0xf),
    ];
    for condition in conditions {
        let (event, log, count) = (Event::new(5), Log::default(), Arc::default());
        park(&event, 0, condition, &log);
        let mut wait = event.wait(condition);
        assert!(poll(&mut wait, &count).is_pending(), "{condition}");
        event.set(6).unwrap();
        assert_eq!(entries(&log), [(0, Ok(6))], "{condition}");
        assert_eq!(poll(&mut wait, &count), Poll::Ready(Ok(6)), "{condition}");
    }
}

#[test]
fn rule_1_2_ge_0_always_holds_and_gt_max_never() {
    let event = Event::<NoGate>::new(0);
    assert_eq!(event.wait_blocking(Condition::ge(0)), Ok(0));
    let (count, mut never) = (Arc::default(), event.wait(Condition::gt(u64::MAX)));
    assert!(poll(&mut never, &count).is_pending());
    event.set(u64::MAX).unwrap();
    assert!(poll(&mut never, &count).is_pending());
    event.close(CloseReason::Explicit);
    assert!(matches!(poll(&mut never, &count), Poll::Ready(Err(_))));
}

#[test]
fn rule_1_3_the_value_an_update_produced_decides() {
    let (event, log) = (Event::new(0), Log::default());
    park(&event, 0, Condition::ge(5), &log);
    let reached = event.try_update_fast(Update::Add(5)).unwrap_err();
    assert_eq!((reached.previous(), reached.value()), (0, 5));
    event.set(1).unwrap();
    assert!(entries(&log).is_empty());
    assert_eq!(
        event.finish_update(reached, |gate, value| gate.open(Ok(value))),
        Ok(0)
    );
    assert_eq!(entries(&log), [(0, Ok(5))]);
}

/// A gate is taken out alone only if the update satisfies nobody else; whoever else waits stays.
#[test]
fn rule_1_6_one_gate_is_taken_alone_or_not_at_all() {
    let reach = |event: &Event<Record>, n| event.try_update_fast(Update::Add(n)).unwrap_err();
    let (event, log, count) = (Event::new(0), Log::default(), Arc::default());
    let mut task = event.wait(Condition::ge(9));
    assert!(poll(&mut task, &count).is_pending());
    for (n, least) in [(0, 1), (1, 3), (2, 3)] {
        park(&event, n, Condition::ge(least), &log);
    }
    let Ok(first) = event.take_gate(reach(&event, 1)) else {
        panic!("gate 0");
    };
    assert_eq!((first.0, event.waiters()), (0, 3));
    let both = event.take_gate(reach(&event, 2)).err().expect("two gates");
    assert_eq!(
        event.finish_update(both, |gate, value| gate.open(Ok(value))),
        Ok(1)
    );
    assert_eq!(entries(&log), [(1, Ok(3)), (2, Ok(3))]);
    park(&event, 3, Condition::ge(9), &log);
    let mixed = event
        .take_gate(reach(&event, 6))
        .err()
        .expect("a task, too");
    assert_eq!(
        event.finish_update(mixed, |gate, value| gate.open(Ok(value))),
        Ok(3)
    );
    assert_eq!(poll(&mut task, &count), Poll::Ready(Ok(9)));
    assert_eq!(entries(&log)[2..], [(3, Ok(9))]);
    event.close(CloseReason::Explicit);
    let closed = event.take_gate(reach(&event, 1)).err().expect("closed");
    assert!(event.finish_update(closed, |_, _| ()).is_err());
}

#[test]
fn rule_1_3_an_update_that_returned_before_never_wakes() {
    let (event, log) = (Event::new(0), Log::default());
    event.set(5).unwrap();
    event.set(0).unwrap();
    park(&event, 0, Condition::ge(5), &log);
    assert!(entries(&log).is_empty());
}

#[test]
fn rule_1_4_a_condition_that_holds_does_not_park() {
    let event = Event::new(3);
    let log = Log::default();
    let registered = event.register(Condition::ge(3), |_| Record(0, log.clone()));
    assert!(matches!(registered, Registered::Holds(Record(0, _), 3)));
    assert_eq!(
        poll(&mut event.wait(Condition::eq(3)), &Arc::default()),
        Poll::Ready(Ok(3))
    );
    assert_eq!((event.waiters(), entries(&log).len()), (0, 0));
}

#[test]
fn rule_1_4_a_condition_that_holds_for_the_last_value_is_met_after_close() {
    let event = Event::new(3);
    event.close(CloseReason::Explicit);
    assert_eq!(event.wait_blocking(Condition::ge(3)), Ok(3));
    let registered = event.register(Condition::ge(3), |_| Record(0, Log::default()));
    assert!(matches!(registered, Registered::Holds(_, 3)));
    let registered = event.register(Condition::ge(4), |_| Record(0, Log::default()));
    assert!(matches!(
        registered,
        Registered::Closed(_, Closed { last: 3, .. })
    ));
}

#[test]
fn rule_1_4_a_close_opens_whose_condition_holds_for_the_last_value() {
    let (event, log) = (Event::new(0), Log::default());
    park(&event, 0, Condition::ge(1), &log);
    park(&event, 1, Condition::ge(2), &log);
    park(&event, 2, Condition::eq(1), &log);
    // An update that another thread has begun, and not finished when the event is closed.
    let reached = event.try_update_fast(Update::Add(1)).unwrap_err();
    assert!(event.close(CloseReason::Explicit));
    let closed = Closed {
        last: 1,
        reason: CloseReason::Explicit,
    };
    let ends = [(0, Ok(1)), (1, Err(closed)), (2, Ok(1))];
    assert_eq!(entries(&log), ends, "in order of registration");
    assert_eq!(event.finish_update(reached, |_, _| ()), Err(closed));
    assert_eq!(entries(&log).len(), 3, "each once");
}

#[test]
fn rule_1_6_an_update_opens_exactly_whom_it_satisfies_in_order_of_registration() {
    let (event, log) = (Event::new(1), Log::default());
    let conditions = [
        Condition::ge(9),
        Condition::eq(5),
        Condition::ge(3),
        Condition::ne(1),
        Condition::ge(5),
        Condition::ge(6),
        Condition::eq(5).masked(7),
        Condition::gt(1),
        Condition::eq(4),
    ];
    for (n, condition) in (0..).zip(conditions) {
        park(&event, n, condition, &log);
    }
    event.set(5).unwrap();
    let opened: Vec<_> = entries(&log).iter().map(|e| e.0).collect();
    assert_eq!(opened, [1, 2, 3, 4, 6, 7]);
    assert_eq!(event.waiters(), 3);
}

#[test]
fn rule_1_6_gates_and_wakers_are_called_after_the_lock_is_released() {
    struct Again(Arc<Event<Again>>, Arc<AtomicUsize>);
    impl Gate for Again {
        fn open(self, outcome: Outcome) {
            // Each of these takes the event's lock.
            assert_eq!(self.0.waiters(), 0);
            self.1
                .fetch_add(self.0.add(1).unwrap() as usize, Ordering::SeqCst);
            assert_eq!(outcome, Ok(1));
        }
    }
    let (event, opened) = (Arc::new(Event::new(0)), Arc::new(AtomicUsize::new(0)));
    let _ = event.register(Condition::ge(1), |_| Again(event.clone(), opened.clone()));
    event.add(1).unwrap();
    assert_eq!((opened.load(Ordering::SeqCst), event.get()), (1, 2));
}

#[test]
fn rule_1_7_a_dropped_or_cancelled_wait_leaves_nothing_behind() {
    let (event, count) = (Event::<NoGate>::new(0), Arc::default());
    let mut dropped = event.wait(Condition::ge(1));
    let mut cancelled = event.wait(Condition::ge(1));
    assert!(poll(&mut dropped, &count).is_pending() && poll(&mut cancelled, &count).is_pending());
    drop(dropped);
    assert_eq!(cancelled.cancel(), None);
    assert_eq!((event.waiters(), Arc::strong_count(&count)), (0, 1));
    event.add(1).unwrap();
    assert_eq!(count.0.load(Ordering::SeqCst), 0);
}

#[test]
fn rule_1_7_an_update_before_the_unlinking_wins_over_the_timeout() {
    let (event, count) = (Event::<NoGate>::new(0), Arc::default());
    let mut wait = event.wait(Condition::ge(1));
    assert!(poll(&mut wait, &count).is_pending());
    event.set(1).unwrap();
    event.set(0).unwrap();
    assert_eq!(wait.cancel(), Some(Ok(1)));
    assert_eq!(wait.cancel(), None);
}

#[test]
fn rule_1_7_blocking_waits_end_by_value_and_by_deadline() {
    let event = Event::<NoGate>::new(0);
    let now = Instant::now();
    assert_eq!(
        event.wait_deadline(Condition::ge(1), now),
        Err(TimedOut { value: 0 })
    );
    assert_eq!(event.wait_deadline(Condition::ge(0), now), Ok(Ok(0)));
    assert_eq!(event.waiters(), 0);
    std::thread::scope(|s| {
        let waiter = s.spawn(|| event.wait_deadline(Condition::ge(1), far()));
        while event.waiters() == 0 {
            std::thread::yield_now();
        }
        event.add(1).unwrap();
        assert_eq!(waiter.join().unwrap(), Ok(Ok(1)));
    });
}

#[test]
fn rule_1_7_a_cancelled_gate_comes_back_once() {
    let (event, log) = (Event::new(0), Log::default());
    let first = park(&event, 0, Condition::ge(1), &log);
    assert!(event.cancel(first).is_some());
    let second = park(&event, 1, Condition::ge(1), &log);
    assert!(
        event.cancel(first).is_none(),
        "a stale identity named another gate"
    );
    event.add(1).unwrap();
    assert!(event.cancel(second).is_none() && event.cancel(WaiterId::NOBODY).is_none());
    assert_eq!(entries(&log), [(1, Ok(1))]);
}

#[test]
fn rule_1_8_locations_refuse_with_an_error_that_names_both() {
    let places = Locations::new(Location::Device | Location::Remote, Location::Host).unwrap();
    assert_eq!(places.check_publish(Location::Remote), Ok(()));
    assert_eq!(places.check_subscribe(Location::Host), Ok(()));
    let refused = places.check_publish(Location::Host).unwrap_err();
    let allowed = Location::Device | Location::Remote;
    assert_eq!(
        refused,
        NotPublisher {
            place: Location::Host,
            allowed
        }
    );
    assert_eq!(
        refused.to_string(),
        "host is not a publisher of this event (publishers: device, remote)"
    );
    let allowed = LocationSet::of(Location::Host);
    let refused = places.check_subscribe(Location::Device).unwrap_err();
    assert_eq!(
        refused,
        NotSubscriber {
            place: Location::Device,
            allowed
        }
    );
}

#[test]
fn rule_1_8_a_subscriber_is_never_remote_and_no_side_is_empty() {
    let remote = Locations::new(Location::Host, Location::Remote | Location::Host);
    assert!(matches!(
        remote,
        Err(LocationsError::RemoteSubscriber { .. })
    ));
    let silent = Locations::new(LocationSet::NONE, Location::Host);
    assert!(matches!(silent, Err(LocationsError::NoPublisher { .. })));
    let unheard = Locations::new(Location::Host, LocationSet::NONE);
    assert!(matches!(unheard, Err(LocationsError::NoSubscriber { .. })));
}

#[test]
fn rule_1_9_close_resolves_everyone_with_the_last_value() {
    let (event, log, count) = (Event::new(4), Log::default(), Arc::default());
    park(&event, 0, Condition::ge(9), &log);
    let mut wait = event.wait(Condition::eq(0));
    assert!(poll(&mut wait, &count).is_pending());
    park(&event, 1, Condition::gt(u64::MAX), &log);
    assert!(event.close(CloseReason::Faulted) && !event.close(CloseReason::Explicit));
    let closed = Closed {
        last: 4,
        reason: CloseReason::Faulted,
    };
    assert_eq!(entries(&log), [(0, Err(closed)), (1, Err(closed))]);
    assert_eq!(poll(&mut wait, &count), Poll::Ready(Err(closed)));
    assert_eq!((event.closed(), event.waiters()), (Some(closed), 0));
}

#[test]
fn rule_1_9_an_update_after_close_fails_and_changes_nothing() {
    let event = Event::<NoGate>::new(4);
    event.close(CloseReason::PublisherGone);
    let closed = Closed {
        last: 4,
        reason: CloseReason::PublisherGone,
    };
    assert_eq!((event.add(1), event.set(0)), (Err(closed), Err(closed)));
    assert_eq!((event.get(), event.closed()), (4, Some(closed)));
}

#[test]
fn rule_1_10_an_update_below_every_threshold_stays_on_the_fast_path() {
    let (event, log) = (Event::new(0), Log::default());
    assert!(
        event.try_update_fast(Update::Add(1)).is_ok(),
        "nobody waits"
    );
    let id = park(&event, 0, Condition::ge(10), &log);
    assert!(
        event.try_update_fast(Update::Set(9)).is_ok(),
        "the threshold is not reached"
    );
    assert!(event.cancel(id).is_some());
    event.set(10).unwrap();
    assert!(
        event.try_update_fast(Update::Add(1)).is_ok(),
        "low was not raised again"
    );
}

#[test]
fn dropping_an_event_drops_its_gates_unopened() {
    let (event, log) = (Event::new(0), Log::default());
    for n in 0..1000 {
        park(&event, n, Condition::ge(u64::from(n) + 1), &log);
    }
    drop(event);
    assert_eq!((entries(&log).len(), Arc::strong_count(&log)), (0, 1));
}

#[test]
fn a_wait_owns_its_event() {
    let (event, count) = (Arc::new(Event::<NoGate>::new(0)), Arc::default());
    let mut wait = sync_event::WaitOwned::new(event.clone(), Condition::ge(1));
    assert!(poll(&mut wait, &count).is_pending());
    event.add(1).unwrap();
    drop(event);
    assert_eq!(poll(&mut wait, &count), Poll::Ready(Ok(1)));
}
