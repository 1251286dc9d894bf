//! Chains of launches, and launches that have nothing to do with each other.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use corosensei::{Coroutine, CoroutineResult};
use doca_dpa::{Dpa, SyncEvent};
use dpa_bench_kernels::{BumpArgs, bump, nothing};
use tokio::runtime::Runtime;
use tokio::sync::Notify;

use crate::row::Row;
use crate::slices::{Plan, fixed, median, timed};

const LINKS: u64 = 100_000;
const PEER: &str = "tokio multi-thread, 2 workers, task chain through Notify";

pub(crate) fn device() -> Dpa {
    Dpa::builder().workers(2).open().expect("a device")
}

pub(crate) fn everywhere(dpa: &Dpa) -> SyncEvent {
    use doca_dpa::Location::{Device, Host};
    SyncEvent::builder(dpa)
        .publisher(Host | Device)
        .subscriber(Host | Device)
        .create()
        .expect("an event")
}

pub(crate) fn tokio_two() -> Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime")
}

fn tokio_chain(runtime: &Runtime, links: u64) -> Duration {
    let links = links as usize;
    runtime.block_on(async move {
        let notifies: Arc<Vec<Notify>> = Arc::new((0..=links).map(|_| Notify::new()).collect());
        let tasks: Vec<_> = (0..links)
            .map(|i| {
                let notifies = notifies.clone();
                tokio::spawn(async move {
                    notifies[i].notified().await;
                    notifies[i + 1].notify_one();
                })
            })
            .collect();
        // All tasks wait before the first is woken, as our launches are submitted beforehand.
        tokio::time::sleep(Duration::from_millis(50)).await;
        let start = Instant::now();
        notifies[0].notify_one();
        notifies[links].notified().await;
        let took = start.elapsed();
        for task in tasks {
            let _ = task.await;
        }
        took
    })
}

/// Time of a bare switch to a coroutine and back.
fn bare_switch() -> f64 {
    let mut coroutine: Coroutine<(), (), ()> = Coroutine::new(|yielder, ()| {
        loop {
            yielder.suspend(());
        }
    });
    const N: u64 = 1 << 20;
    let mut times: Vec<f64> = (0..7)
        .map(|_| {
            let took = timed(N, || {
                assert!(matches!(coroutine.resume(()), CoroutineResult::Yield(())));
            });
            took.as_nanos() as f64 / N as f64
        })
        .collect();
    median(&mut times)
}

struct Run {
    links: Duration,
    with_submit: Duration,
}

fn chain(dpa: &Dpa, links: u64) -> Run {
    let event = everywhere(dpa);
    let submit = Instant::now();
    for link in 1..=links {
        let launch = dpa
            .launch(nothing)
            .wait_for(event.ge(link))
            .then_add(&event, 1);
        launch.submit().expect("room");
    }
    let start = Instant::now();
    event.add(1).expect("open");
    event.ge(links + 1).blocking().expect("open");
    let run = Run {
        links: start.elapsed(),
        with_submit: submit.elapsed(),
    };
    dpa.wait_idle_blocking();
    run
}

fn chain_of_events(dpa: &Dpa, links: u64) -> Run {
    let events: Vec<SyncEvent> = (0..=links).map(|_| everywhere(dpa)).collect();
    let submit = Instant::now();
    for pair in events.windows(2) {
        let launch = dpa
            .launch(nothing)
            .wait_for(pair[0].ge(1))
            .then_add(&pair[1], 1);
        launch.submit().expect("room");
    }
    let start = Instant::now();
    events[0].add(1).expect("open");
    events[links as usize].ge(1).blocking().expect("open");
    let run = Run {
        links: start.elapsed(),
        with_submit: submit.elapsed(),
    };
    dpa.wait_idle_blocking();
    run
}

fn chain_row(plan: &Plan, name: &str, goal: &str, run: fn(&Dpa, u64) -> Run) -> Row {
    let (dpa, runtime) = (device(), tokio_two());
    let mut with_submit = Vec::new();
    let ours = |n| {
        let run = run(&dpa, n);
        with_submit.push(run.with_submit.as_nanos() as f64 / n as f64);
        run.links
    };
    let row = fixed(
        plan,
        ("launch", name, goal),
        (LINKS, ours),
        (PEER, LINKS, |n| tokio_chain(&runtime, n)),
    );
    let (switch, link) = (bare_switch(), row.ours_ns);
    row.with("with_submit_ns", median(&mut with_submit))
        .with("switch_ns", switch)
        .with("switches", link / switch)
}

pub(crate) fn one_event(plan: &Plan) -> Row {
    chain_row(plan, "chain", "ratio <= 0.35, switches <= 50", chain)
}

pub(crate) fn event_per_link(plan: &Plan) -> Row {
    chain_row(plan, "chain-events", "ratio <= 0.8", chain_of_events)
}

pub(crate) fn independent(plan: &Plan) -> Row {
    let (dpa, runtime) = (device(), tokio_two());
    let ours = |n| {
        let done = everywhere(&dpa);
        let start = Instant::now();
        for _ in 0..n {
            dpa.launch(nothing)
                .then_add(&done, 1)
                .submit()
                .expect("room");
        }
        done.ge(n).blocking().expect("open");
        let took = start.elapsed();
        dpa.wait_idle_blocking();
        took
    };
    let theirs = |n: u64| {
        runtime.block_on(async move {
            let start = Instant::now();
            let tasks: Vec<_> = (0..n).map(|_| tokio::spawn(async {})).collect();
            for task in tasks {
                let _ = task.await;
            }
            start.elapsed()
        })
    };
    let peer = "tokio multi-thread, 2 workers, spawn + join";
    fixed(
        plan,
        ("launch", "independent", "ratio <= 0.35"),
        (LINKS, ours),
        (peer, LINKS, theirs),
    )
}

/// As [`independent`], with a buffer among the arguments, which each launch keeps alive.
pub(crate) fn independent_args(plan: &Plan) -> Row {
    let (dpa, runtime) = (device(), tokio_two());
    let total = dpa.zeroed_blocking::<u64>(1).expect("memory");
    let mut counted = 0;
    let ours = |n| {
        let done = everywhere(&dpa);
        let start = Instant::now();
        for _ in 0..n {
            let args = BumpArgs { total: &total };
            let launch = dpa.launch(bump).args(args).then_add(&done, 1);
            launch.submit().expect("room");
        }
        done.ge(n).blocking().expect("open");
        let took = start.elapsed();
        dpa.wait_idle_blocking();
        counted += n;
        assert_eq!(total.copy_out_blocking().expect("a word"), [counted]);
        took
    };
    let shared = Arc::new(AtomicU64::new(0));
    let theirs = |n: u64| {
        let shared = shared.clone();
        runtime.block_on(async move {
            let start = Instant::now();
            let count = |_| {
                let total = shared.clone();
                tokio::spawn(async move { total.fetch_add(1, Ordering::Relaxed) })
            };
            let tasks: Vec<_> = (0..n).map(count).collect();
            for task in tasks {
                let _ = task.await;
            }
            start.elapsed()
        })
    };
    let peer = "tokio multi-thread, 2 workers, spawn + join of a task with an Arc";
    fixed(
        plan,
        ("launch", "independent-args", "reported"),
        (LINKS, ours),
        (peer, LINKS, theirs),
    )
}
