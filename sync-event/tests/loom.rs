//! Models of the event's races, one each, named by the race. Run with
//! `RUSTFLAGS="--cfg dpa_loom" cargo test -p sync-event --test loom --release`.
//!
//! `mutants.txt` names for every mutant the model that must catch it. Two preemptions per execution unless
//! `LOOM_MAX_PREEMPTIONS` says otherwise.

#![cfg(dpa_loom)]

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Wake, Waker};

use dpa_abi::sync::loom::model::Builder;
use sync_event::lock::Lock;
use sync_event::sync::atomic::{AtomicU64, Ordering};
use sync_event::sync::{Arc, Mutex, thread};
use sync_event::{
    CloseReason, Condition, Event, Gate, Outcome, Registered, Update, WaitOwned, WaiterId,
};

fn model(f: impl Fn() + Sync + Send + 'static) {
    let mut builder = Builder::new();
    builder.preemption_bound = builder.preemption_bound.or(Some(2));
    builder.check(f);
}

/// Records what it was opened with.
struct Record(Arc<Mutex<Vec<Outcome>>>);

impl Gate for Record {
    fn open(self, outcome: Outcome) {
        self.0.lock().push(outcome);
    }
}

type Log = Arc<Mutex<Vec<Outcome>>>;

fn event(initial: u64) -> (Arc<Event<Record>>, Log) {
    (
        Arc::new(Event::new(initial)),
        Arc::new(Mutex::new(Vec::new())),
    )
}

fn register(event: &Event<Record>, condition: Condition, log: &Log) -> Option<WaiterId> {
    match event.register(condition, |_| Record(log.clone())) {
        Registered::Holds(gate, value) => gate.open(Ok(value)),
        Registered::Waiting(id) => return Some(id),
        Registered::Closed(gate, closed) => gate.open(Err(closed)),
    }
    None
}

/// Counts wakes.
struct Count(std::sync::atomic::AtomicUsize);

impl Wake for Count {
    fn wake(self: std::sync::Arc<Self>) {
        self.0.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
    }
}

impl Count {
    fn new() -> (std::sync::Arc<Self>, Waker) {
        let count = std::sync::Arc::new(Self(0.into()));
        (count.clone(), Waker::from(count))
    }

    fn wakes(&self) -> usize {
        self.0.load(std::sync::atomic::Ordering::SeqCst)
    }
}

fn poll(wait: &mut WaitOwned<Arc<Event<Record>>>, waker: &Waker) -> Option<Outcome> {
    match Pin::new(wait).poll(&mut Context::from_waker(waker)) {
        Poll::Ready(outcome) => Some(outcome),
        Poll::Pending => None,
    }
}

#[test]
fn update_vs_register() {
    model(|| {
        let (event, log) = event(0);
        let other = event.clone();
        let updater = thread::spawn(move || other.add(1).unwrap());
        register(&event, Condition::ge(1), &log);
        updater.join().unwrap();
        assert_eq!(*log.lock(), [Ok(1)], "a wake was lost or doubled");
    });
}

#[test]
fn two_updaters_vs_one_waiter() {
    model(|| {
        let (event, log) = event(0);
        let updaters = [1, 1].map(|n| {
            let event = event.clone();
            thread::spawn(move || event.add(n).unwrap())
        });
        register(&event, Condition::ge(2), &log);
        updaters
            .into_iter()
            .for_each(|u| assert!(u.join().unwrap() < 2));
        assert_eq!(*log.lock(), [Ok(2)]);
    });
}

/// The update that finds nobody raises `low`, while someone registers.
#[test]
fn raise_vs_register() {
    model(|| {
        let (event, log) = event(0);
        let id = register(&event, Condition::ge(1), &log).unwrap();
        assert!(event.cancel(id).is_some());
        let other = event.clone();
        let updater = thread::spawn(move || {
            other.add(1).unwrap();
            other.add(1).unwrap();
        });
        register(&event, Condition::ge(2), &log);
        updater.join().unwrap();
        assert_eq!(*log.lock(), [Ok(2)]);
    });
}

#[test]
fn set_below_after_add() {
    model(|| {
        let (event, log) = event(0);
        register(&event, Condition::ge(5), &log);
        let other = event.clone();
        let below = thread::spawn(move || other.set(1).unwrap());
        event.add(5).unwrap();
        below.join().unwrap();
        // The add produced 5 or 6, whatever the set made of it later.
        let opened = log.lock().clone();
        assert!(opened == [Ok(5)] || opened == [Ok(6)], "{opened:?}");
    });
}

#[test]
fn cancel_vs_wake() {
    model(|| {
        let (event, log) = event(0);
        let id = register(&event, Condition::ge(1), &log).unwrap();
        let other = event.clone();
        let updater = thread::spawn(move || other.add(1).unwrap());
        let cancelled = event.cancel(id).is_some();
        updater.join().unwrap();
        assert_eq!(
            log.lock().len(),
            usize::from(!cancelled),
            "opened and cancelled, or neither"
        );
    });
}

#[test]
fn future_cancel_vs_wake() {
    model(|| {
        let (event, _) = event(0);
        let (count, waker) = Count::new();
        let mut wait = WaitOwned::new(event.clone(), Condition::ge(1));
        assert!(poll(&mut wait, &waker).is_none());
        let updater = thread::spawn(move || event.add(1).unwrap());
        let outcome = wait.cancel();
        updater.join().unwrap();
        assert_eq!(
            outcome.is_some(),
            count.wakes() == 1,
            "the update came first and was lost"
        );
    });
}

/// Who was woken has the value of the update, however late it is.
#[test]
fn deadline_vs_wake() {
    model(|| {
        let (event, _) = event(0);
        let other = event.clone();
        let passed = std::time::Instant::now();
        let waiter = thread::spawn(move || other.wait_deadline(Condition::ge(1), passed));
        let mut woken = false;
        if let Err(reached) = event.try_update_fast(Update::Add(1)) {
            let tell = |waker| {
                woken = true;
                sync_event::wake(waker);
            };
            event.finish_update_by(reached, |_, _| (), tell).unwrap();
        }
        let ended = waiter.join().unwrap();
        assert!(
            !woken || ended == Ok(Ok(1)),
            "the update came first and was lost"
        );
    });
}

#[test]
fn future_waker_replaced_vs_wake() {
    model(|| {
        let (event, _) = event(0);
        let (_, old) = Count::new();
        let (count, new) = Count::new();
        let mut wait = WaitOwned::new(event.clone(), Condition::ge(1));
        assert!(poll(&mut wait, &old).is_none());
        let updater = thread::spawn(move || event.add(1).unwrap());
        let ready = poll(&mut wait, &new).is_some();
        updater.join().unwrap();
        assert!(
            ready || count.wakes() == 1,
            "only the replaced waker was woken"
        );
        assert!(ready || poll(&mut wait, &new) == Some(Ok(1)));
    });
}

#[test]
fn close_vs_wait() {
    model(|| {
        let (event, log) = event(0);
        let other = event.clone();
        let closer = thread::spawn(move || other.close(CloseReason::Explicit));
        register(&event, Condition::ge(1), &log);
        assert!(closer.join().unwrap());
        assert_eq!(log.lock().len(), 1);
        assert!(log.lock()[0].is_err_and(|closed| closed.last == 0));
    });
}

#[test]
fn close_vs_future() {
    model(|| {
        let (event, _) = event(0);
        let (count, waker) = Count::new();
        let mut wait = WaitOwned::new(event.clone(), Condition::ge(1));
        let closer = thread::spawn(move || event.close(CloseReason::Explicit));
        let ready = poll(&mut wait, &waker).is_some();
        assert!(closer.join().unwrap());
        assert_eq!(
            count.wakes(),
            usize::from(!ready),
            "the close forgot a task"
        );
        assert!(ready || poll(&mut wait, &waker).is_some_and(|outcome| outcome.is_err()));
    });
}

#[test]
fn close_vs_blocking_wait() {
    model(|| {
        let (event, _) = event(0);
        let other = event.clone();
        let waiter = thread::spawn(move || other.wait_blocking(Condition::ge(1)));
        event.close(CloseReason::ContextClosed);
        assert!(waiter.join().unwrap().is_err());
    });
}

#[test]
fn close_vs_update() {
    model(|| {
        let (event, _) = event(0);
        let other = event.clone();
        let updater = thread::spawn(move || (other.add(1), other.add(1)));
        event.close(CloseReason::Explicit);
        let last = event.closed().unwrap().last;
        let (first, second) = updater.join().unwrap();
        let succeeded = u64::from(first.is_ok()) + u64::from(second.is_ok());
        assert!(
            last >= succeeded,
            "an update that succeeded is not part of the last value"
        );
        assert!(
            first.is_ok() || second.is_err(),
            "an update after close succeeded"
        );
        assert!(event.add(1).is_err());
        assert_eq!(event.get(), last, "the last value changed");
    });
}

/// An update wakes a waiter, or the close ends it: once, and as the last value says. An update that succeeded is part of that.
#[test]
fn close_vs_wake() {
    model(|| {
        let (event, log) = event(0);
        register(&event, Condition::ge(1), &log);
        let other = event.clone();
        let updater = thread::spawn(move || other.update(Update::Add(1)));
        event.close(CloseReason::Faulted);
        let updated = updater.join().unwrap();
        let last = event.get();
        assert!(last == 1 || updated.is_err());
        assert_eq!(log.lock().len(), 1);
        assert_eq!(log.lock()[0].is_ok(), last == 1, "as the last value says");
    });
}

#[test]
fn blocking_park_vs_wake() {
    model(|| {
        let (event, _) = event(0);
        let other = event.clone();
        let waiter = thread::spawn(move || other.wait_blocking(Condition::ge(1)));
        event.add(1).unwrap();
        assert_eq!(waiter.join().unwrap(), Ok(1));
    });
}

/// What all publishers wrote before their updates is there after the wait.
#[test]
fn wait_happens_after_all_updates() {
    model(|| {
        let (event, _) = event(0);
        let data = Arc::new([AtomicU64::new(0), AtomicU64::new(0)]);
        let publishers = [0, 1].map(|i| {
            let (event, data) = (event.clone(), data.clone());
            thread::spawn(move || {
                data[i].store(1, Ordering::Relaxed);
                event.add(1).unwrap();
            })
        });
        event.wait_blocking(Condition::ge(2)).unwrap();
        assert!(data.iter().all(|d| d.load(Ordering::Relaxed) == 1));
        publishers.into_iter().for_each(|p| p.join().unwrap());
    });
}

/// Whoever gets the byte lock sees what its last holder wrote, and nobody else is inside.
#[test]
fn lock_hands_over() {
    model(|| {
        let lock = Arc::new(Lock::new(0));
        let other = lock.clone();
        let second = thread::spawn(move || other.try_lock().map(|mut inside| *inside += 1));
        let first = lock.try_lock().map(|mut inside| *inside += 1);
        let entered = usize::from(second.join().unwrap().is_some()) + usize::from(first.is_some());
        assert_eq!(lock.try_lock().map(|inside| *inside), Some(entered));
    });
}
