//! Round trips between the host and kernels.

use std::time::{Duration, Instant};

use crossbeam::channel::{Receiver, Sender, bounded};
use doca_dpa::Dpa;
use dpa_bench_kernels::{ServeArgs, nothing, serve};

use crate::chain::{everywhere, tokio_two};
use crate::row::Row;
use crate::slices::{Plan, compare, timed};

/// One worker: with the host's thread that makes the two cores of the machine the figures are for.
fn device() -> Dpa {
    Dpa::builder().workers(1).open().expect("a device")
}

/// A thread that answers what it gets, over two channels of one place.
pub(crate) struct Pair {
    ask: Sender<u64>,
    answer: Receiver<u64>,
}

impl Pair {
    pub(crate) fn new() -> Self {
        let ((ask, asked), (answers, answer)) = (bounded(1), bounded(1));
        std::thread::spawn(move || {
            for request in asked {
                if answers.send(request).is_err() {
                    return;
                }
            }
        });
        Self { ask, answer }
    }

    pub(crate) fn trips(&self, n: u64) -> Duration {
        timed(n, || {
            self.ask.send(1).expect("the other thread runs");
            self.answer.recv().expect("the other thread runs");
        })
    }
}

const PEER: &str = "two crossbeam bounded(1) channels, two threads";

pub(crate) fn launch_each(plan: &Plan) -> Row {
    let (dpa, pair) = (device(), Pair::new());
    let done = everywhere(&dpa);
    let mut count = 0;
    let ours = |n| {
        timed(n, || {
            count += 1;
            dpa.launch(nothing)
                .then_add(&done, 1)
                .submit()
                .expect("room");
            done.ge(count).blocking().expect("open");
        })
    };
    compare(
        plan,
        ("launch", "round-trip", "ratio <= 1.25"),
        ours,
        (PEER, |n| pair.trips(n)),
    )
}

pub(crate) fn resident(plan: &Plan) -> Row {
    let (dpa, pair) = (device(), Pair::new());
    let (asked, answered) = (everywhere(&dpa), everywhere(&dpa));
    let args = ServeArgs {
        asked: &asked,
        answered: &answered,
        requests: u64::MAX,
    };
    dpa.launch(serve).args(args).submit().expect("room");
    let mut count = 0;
    let ours = |n| {
        timed(n, || {
            count += 1;
            asked.add(1).expect("open");
            answered.ge(count).blocking().expect("open");
        })
    };
    compare(
        plan,
        ("launch", "round-trip-resident", "ratio <= 1.25"),
        ours,
        (PEER, |n| pair.trips(n)),
    )
}

/// The host program's own future awaits each launch, as under `#[tokio::main]`; the peer's awaits a spawned task.
pub(crate) fn awaited(plan: &Plan) -> Row {
    let (dpa, ours, theirs) = (device(), tokio_two(), tokio_two());
    let launches = |n: u64| {
        ours.block_on(async {
            let start = Instant::now();
            for _ in 0..n {
                let launch = dpa.launch(nothing).submit().expect("room");
                launch.await.expect("completes");
            }
            start.elapsed()
        })
    };
    let oneshots = |n: u64| {
        theirs.block_on(async move {
            let start = Instant::now();
            for _ in 0..n {
                let (answer, answered) = tokio::sync::oneshot::channel();
                tokio::spawn(async move { answer.send(1u64) });
                answered.await.expect("answered");
            }
            start.elapsed()
        })
    };
    let peer = "tokio multi-thread, 2 workers, oneshot with a spawned task";
    compare(
        plan,
        ("launch", "round-trip-await", "ratio <= 1.25"),
        launches,
        (peer, oneshots),
    )
}
