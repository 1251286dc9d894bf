//! Sync events alone.

use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use sync_event::{Condition, Event, NoGate};
use tokio::runtime::Runtime;
use tokio::sync::Notify;

use crate::row::Row;
use crate::slices::{Plan, compare, timed};

fn fetch_add() -> impl FnMut(u64) -> Duration {
    let word = AtomicU64::new(0);
    move |n| {
        timed(n, || {
            black_box(black_box(&word).fetch_add(1, Ordering::SeqCst));
        })
    }
}

fn adds(event: &Event<NoGate>, n: u64) -> Duration {
    timed(n, || {
        let _ = black_box(black_box(event).add(1));
    })
}

pub(crate) fn add(plan: &Plan) -> Row {
    let event = Event::new(0);
    let what = ("events", "event-add", "ratio <= 1.3");
    compare(
        plan,
        what,
        |n| adds(&event, n),
        ("AtomicU64::fetch_add", fetch_add()),
    )
}

pub(crate) fn add_waiter(plan: &Plan) -> Row {
    let event = Arc::new(Event::new(0));
    let mut never = Box::pin(event.wait(Condition::ge(u64::MAX - 1)));
    let waker = futures::task::noop_waker();
    assert!(
        never
            .as_mut()
            .poll(&mut std::task::Context::from_waker(&waker))
            .is_pending()
    );
    let what = ("events", "event-add-waiter", "ratio <= 1.5");
    compare(
        plan,
        what,
        |n| adds(&event, n),
        ("AtomicU64::fetch_add", fetch_add()),
    )
}

/// Two tasks of one runtime wake each other in turn: each operation is a wake.
pub(crate) fn wake(plan: &Plan) -> Row {
    let runtime = || {
        tokio::runtime::Builder::new_current_thread()
            .build()
            .expect("a runtime")
    };
    let (mine, theirs) = (runtime(), runtime());
    let what = ("events", "event-wake", "ratio <= 1.05");
    let peer = (
        "tokio::sync::Notify, same current-thread runtime",
        move |n| notify_ping_pong(&theirs, n),
    );
    compare(plan, what, move |n| event_ping_pong(&mine, n), peer)
}

fn event_ping_pong(runtime: &Runtime, n: u64) -> Duration {
    let (ping, pong) = (
        Arc::new(Event::<NoGate>::new(0)),
        Arc::new(Event::<NoGate>::new(0)),
    );
    let rounds = n.div_ceil(2);
    runtime.block_on(async {
        let other = tokio::spawn({
            let (ping, pong) = (ping.clone(), pong.clone());
            async move {
                for round in 1..=rounds {
                    let _ = ping.wait(Condition::ge(round)).await;
                    let _ = pong.add(1);
                }
            }
        });
        let start = Instant::now();
        for round in 1..=rounds {
            let _ = ping.add(1);
            let _ = pong.wait(Condition::ge(round)).await;
        }
        let took = start.elapsed();
        let _ = other.await;
        took
    })
}

fn notify_ping_pong(runtime: &Runtime, n: u64) -> Duration {
    let (ping, pong) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let rounds = n.div_ceil(2);
    runtime.block_on(async {
        let other = tokio::spawn({
            let (ping, pong) = (ping.clone(), pong.clone());
            async move {
                for _ in 0..rounds {
                    ping.notified().await;
                    pong.notify_one();
                }
            }
        });
        let start = Instant::now();
        for _ in 0..rounds {
            ping.notify_one();
            pong.notified().await;
        }
        let took = start.elapsed();
        let _ = other.await;
        took
    })
}
