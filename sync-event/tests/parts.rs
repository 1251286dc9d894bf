//! What devices and networks use of an event beside updates and waits: compare-and-swap, observers, gates that are looked
//! at, places that are used again; and the lock under contention.

use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};

use sync_event::lock::Lock;
use sync_event::{
    CloseReason, Closed, Condition, Event, Gate, Location, LocationSet, NoGate, Observer, Outcome,
    Registered,
};

struct Number(u32, Arc<Mutex<Vec<(u32, Outcome)>>>);

impl Gate for Number {
    fn open(self, outcome: Outcome) {
        self.1.lock().unwrap().push((self.0, outcome));
    }
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

#[test]
fn a_compare_and_swap_stores_only_over_what_it_expects() {
    let event = Event::<NoGate>::new(5);
    assert_eq!(event.try_compare_swap(4, 9).ok(), Some(5));
    assert_eq!(event.get(), 5);
    assert_eq!(event.try_compare_swap(5, 9).ok(), Some(5));
    assert_eq!(event.get(), 9);
}

#[test]
fn a_compare_and_swap_opens_whom_it_satisfies_and_a_failed_one_nobody() {
    let (event, log) = (Event::new(5), Arc::default());
    let gate = |n| Number(n, Arc::clone(&log));
    let waits = event.register(Condition::ge(9), |_| gate(1));
    assert!(matches!(waits, Registered::Waiting(_)));
    // The value that is not stored would reach it.
    assert_eq!(event.try_compare_swap(4, 20).ok(), Some(5));
    assert_eq!(event.try_compare_swap(5, 8).ok(), Some(5), "below 9");
    let reached = event.try_compare_swap(8, 12).expect_err("9 is reached");
    assert_eq!((reached.previous(), reached.value()), (8, 12));
    let previous = event.finish_update(reached, |gate, value| gate.open(Ok(value)));
    assert_eq!(previous, Ok(8));
    assert_eq!(*log.lock().unwrap(), [(1, Ok(12))]);
}

#[test]
fn a_failed_compare_and_swap_is_told_the_value_even_if_it_reaches_someone() {
    let (event, log) = (Event::new(5), Arc::default());
    // `eq` looks at every update.
    let waits = event.register(Condition::eq(1), |_| Number(1, Arc::clone(&log)));
    assert!(matches!(waits, Registered::Waiting(_)));
    assert_eq!(event.try_compare_swap(4, 1).ok(), Some(5));
    assert_eq!(event.waiters(), 1);
}

#[test]
fn an_observer_hears_of_everyone_who_begins_to_wait_until_it_is_taken_away() {
    let heard = Arc::new(AtomicUsize::new(0));
    let event = Event::<NoGate>::new(0);
    event.observe(None);
    let count = Arc::default();
    let mut early = event.wait(Condition::ge(1));
    assert!(poll(&mut early, &count).is_pending());
    let told = heard.clone();
    event.observe(Some(Observer::new(move || {
        told.fetch_add(1, Ordering::SeqCst);
    })));
    let mut first = event.wait(Condition::ge(1));
    assert!(poll(&mut first, &count).is_pending());
    assert!(poll(&mut first, &count).is_pending());
    assert_eq!(heard.load(Ordering::SeqCst), 1, "once for each wait");
    event.observe(None);
    let mut second = event.wait(Condition::ge(1));
    assert!(poll(&mut second, &count).is_pending());
    assert_eq!(heard.load(Ordering::SeqCst), 1);
    // An event that nobody has waited for remembers it, too.
    let (fresh, told) = (Event::<NoGate>::new(0), heard.clone());
    fresh.observe(Some(Observer::new(move || {
        told.fetch_add(10, Ordering::SeqCst);
    })));
    let mut wait = fresh.wait(Condition::ge(1));
    assert!(poll(&mut wait, &count).is_pending());
    assert_eq!(heard.load(Ordering::SeqCst), 11);
}

/// Whether the condition holds or not, nothing is registered where another event has the place by now.
#[test]
fn a_gate_is_registered_with_the_event_that_is_meant_or_not_at_all() {
    let (event, log) = (Event::new(5), Arc::default());
    let gate = |n| Number(n, Arc::clone(&log));
    let holds = event.register_if(Condition::ge(5), || true, |_| gate(1));
    assert!(matches!(holds, Some(Registered::Holds(Number(1, _), 5))));
    let waits = event.register_if(Condition::ge(6), || true, |_| gate(2));
    assert!(matches!(waits, Some(Registered::Waiting(_))));
    for threshold in [5, 7] {
        let made = |_| -> Number { panic!("made for nobody") };
        let other = event.register_if(Condition::ge(threshold), || false, made);
        assert!(other.is_none());
    }
    assert_eq!(event.set(9), Ok(5));
    assert_eq!(*log.lock().unwrap(), [(2, Ok(9))]);
}

#[test]
fn gates_that_wait_can_be_looked_at() {
    let (event, log) = (Event::new(0), Arc::default());
    for n in 1..=4 {
        let condition = Condition::ge(u64::from(n));
        let waits = event.register(condition, |_| Number(n, Arc::clone(&log)));
        assert!(matches!(waits, Registered::Waiting(_)));
    }
    let seen = |event: &Event<Number>| {
        let mut seen = Vec::new();
        event.each_gate(|gate| seen.push(gate.0));
        seen.sort_unstable();
        seen
    };
    assert_eq!(seen(&event), [1, 2, 3, 4]);
    assert_eq!(event.add(2), Ok(0));
    assert_eq!(seen(&event), [3, 4]);
    let some = |event: &Event<Number>| {
        let is = |n| event.any_gate(|gate| gate.0 == n);
        [1, 2, 3, 4].map(is)
    };
    assert_eq!(some(&event), [false, false, true, true]);
    let (fifth, log) = (Event::new(0), log);
    let _ = fifth.register(Condition::ge(1), |_| Number(1, Arc::clone(&log)));
    assert_eq!(some(&fifth), [true, false, false, false]);
    event.close(CloseReason::Explicit);
    assert!(seen(&event).is_empty());
    assert_eq!(some(&event), [false; 4]);
}

#[test]
fn a_place_that_is_used_again_knows_nothing_of_before() {
    let heard = Arc::new(AtomicUsize::new(0));
    let told = heard.clone();
    let event = Event::<NoGate>::new(3);
    event.observe(Some(Observer::new(move || {
        told.fetch_add(1, Ordering::SeqCst);
    })));
    event.close(CloseReason::PublisherGone);
    event.reopen(40);
    assert_eq!((event.get(), event.closed()), (40, None));
    assert_eq!(event.add(1), Ok(40));
    let count = Arc::default();
    let mut wait = event.wait(Condition::ge(42));
    assert!(poll(&mut wait, &count).is_pending());
    assert_eq!(heard.load(Ordering::SeqCst), 0);
    assert_eq!(event.add(1), Ok(41));
    assert_eq!(poll(&mut wait, &count), Poll::Ready(Ok(42)));
}

#[test]
fn the_waker_of_the_last_poll_is_the_one_that_is_woken() {
    let event = Event::<NoGate>::new(0);
    let (first, second) = (Arc::<Count>::default(), Arc::<Count>::default());
    let mut wait = event.wait(Condition::ge(1));
    assert!(poll(&mut wait, &first).is_pending());
    assert!(poll(&mut wait, &second).is_pending());
    assert_eq!(Arc::strong_count(&first), 1, "the other waker is let go");
    assert_eq!(event.add(1), Ok(0));
    let woken = |count: &Count| count.0.load(Ordering::SeqCst);
    assert_eq!((woken(&first), woken(&second)), (0, 1));
}

#[test]
fn sets_of_places_are_made_in_every_way() {
    let all: LocationSet = Location::ALL.into_iter().collect();
    assert_eq!(all, Location::Host | Location::Device | Location::Remote);
    assert_eq!(all.with(Location::Host), all, "it is there already");
    assert_eq!(all | all, all);
    assert_eq!(all.iter().collect::<Vec<_>>(), Location::ALL);
    assert_eq!(LocationSet::NONE.to_string(), "nobody");
}

#[test]
fn a_closed_event_says_why() {
    let last = 7;
    let said = [
        (CloseReason::Explicit, "closed explicitly"),
        (CloseReason::PublisherGone, "nobody is left to update it"),
        (CloseReason::ContextClosed, "its context was closed"),
        (CloseReason::Faulted, "its process faulted"),
    ];
    for (reason, text) in said {
        let expected = format!("event closed at value 7: {text}");
        assert_eq!(Closed { last, reason }.to_string(), expected);
    }
}

#[test]
fn one_thread_at_a_time_holds_the_lock() {
    const TIMES: u64 = 20_000;
    let lock = Lock::new(0u64);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for turn in 0..TIMES {
                    let mut guard = lock.lock();
                    let before = *guard;
                    if turn % 64 == 0 {
                        // Whoever comes now finds it held.
                        std::thread::yield_now();
                    }
                    *guard = before + 1;
                }
            });
        }
    });
    assert_eq!(*lock.lock(), 4 * TIMES);
}
