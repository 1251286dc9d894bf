//! Launches of many threads.

use std::time::Duration;

use doca_dpa::{Dpa, Launch};
use dpa_bench_kernels::{meet, nothing};
use rayon::ThreadPool;

use crate::chain::device;
use crate::row::Row;
use crate::slices::{Plan, compare, timed};

const THREADS: u32 = 128;

fn scopes(pool: &ThreadPool, n: u64) -> Duration {
    pool.install(|| {
        timed(n, || {
            rayon::scope(|scope| {
                for _ in 0..THREADS {
                    scope.spawn(|_| {
                        std::hint::black_box(());
                    });
                }
            });
        })
    })
}

fn row(plan: &Plan, name: &str, goal: &str, submit: impl Fn(&Dpa) -> Launch) -> Row {
    let dpa = device();
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(2)
        .build()
        .expect("a pool");
    let ours = |n| {
        timed(n, || {
            submit(&dpa).wait().expect("completes");
        })
    };
    let peer = "rayon scope of 128 spawns, inside its pool, 2 threads";
    compare(
        plan,
        ("launch", name, goal),
        ours,
        (peer, |n| scopes(&pool, n)),
    )
}

pub(crate) fn launch(plan: &Plan) -> Row {
    row(plan, "wide-launch", "ratio <= 0.5", |dpa| {
        dpa.launch(nothing).threads(THREADS).submit().expect("room")
    })
}

pub(crate) fn barrier(plan: &Plan) -> Row {
    row(plan, "wide-barrier", "reported", |dpa| {
        dpa.launch(meet).threads(THREADS).submit().expect("room")
    })
}
