//! Handlers, calls, command queues, windows.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use doca_dpa::rdma::HostBuffer;
use doca_dpa::{Dpa, SyncEvent};
use dpa_bench_kernels::{
    AgainArgs, EchoArgs, JobArgs, ProduceArgs, ReadWindowArgs, TakeAllArgs, again, echo, job,
    produce, read_window, take_all,
};

use crate::chain::device;
use crate::row::Row;
use crate::slices::{Plan, compare, fixed, timed};
use crate::trips::Pair;

/// Events in one slice.
const EVENTS: u64 = 20_000;
const JOBS: u64 = 100_000;

fn one_worker() -> Dpa {
    Dpa::builder().workers(1).open().expect("a device")
}

/// A completion starts a handler, which asks for the next notification and posts what completes next, all on one worker.
pub(crate) fn handler(plan: &Plan) -> Row {
    let dpa = one_worker();
    let ops = dpa.async_ops().open().expect("a queue");
    let left = dpa.zeroed_blocking::<u64>(1).expect("memory");
    let done = SyncEvent::device_to_host(&dpa).expect("an event");
    let args = AgainArgs {
        ops: &ops,
        completions: ops.completions(),
        done: &done,
    };
    let thread = dpa
        .thread(again, args)
        .storage(&left)
        .start()
        .expect("a thread");
    thread.attach_to(ops.completions()).expect("the only one");
    thread.run().expect("new");
    let mut runs = 0;
    let ours = |events: u64| {
        left.write_blocking(0, &[events]).expect("open");
        runs += 1;
        let start = Instant::now();
        thread.notify();
        done.ge(runs).blocking().expect("open");
        start.elapsed()
    };
    let peer = "VecDeque loop calling a boxed closure";
    let theirs = |events: u64| {
        let mut left = events;
        let mut handler: Box<dyn FnMut(u64) -> bool> = Box::new(move |event| {
            left -= std::hint::black_box(event);
            left > 0
        });
        let mut queue = VecDeque::from([1u64]);
        let start = Instant::now();
        while let Some(event) = queue.pop_front() {
            if std::hint::black_box(&mut handler)(event) {
                queue.push_back(1);
            }
        }
        start.elapsed()
    };
    let shape = ("flexio", "handler", "ratio <= 6.0");
    fixed(plan, shape, (EVENTS, ours), (peer, EVENTS, theirs))
}

/// Completions of another worker's start a handler, which takes what is there and asks for the next notification. Both sides
/// have at most as many on the way.
pub(crate) fn handler_remote(plan: &Plan) -> Row {
    const AHEAD: u64 = 512;
    let dpa = Dpa::builder().workers(2).open().expect("a device");
    let ops = dpa.async_ops().queue(1024).completion_entries(2048);
    let ops = ops.open().expect("a queue");
    let counted = dpa.zeroed_blocking::<u64>(1).expect("memory");
    let done = SyncEvent::device_to_host(&dpa).expect("an event");
    let args = TakeAllArgs {
        completions: ops.completions(),
        counted: &counted,
        batch: EVENTS,
        done: &done,
    };
    let thread = dpa.thread(take_all, args).start().expect("a thread");
    thread.attach_to(ops.completions()).expect("the only one");
    thread.run().expect("new");
    let mut runs = 0;
    let ours = |times: u64| {
        let args = ProduceArgs {
            ops: &ops,
            counted: &counted,
            times,
            ahead: AHEAD,
        };
        runs += 1;
        let start = Instant::now();
        let launch = dpa.launch(produce).args(args).submit().expect("room");
        done.ge(runs).blocking().expect("open");
        let took = start.elapsed();
        launch.wait().expect("completes");
        took
    };
    let (sender, receiver) = crossbeam::channel::bounded::<u64>(AHEAD as usize);
    let (go, told) = crossbeam::channel::bounded::<u64>(1);
    let producer = std::thread::spawn(move || {
        for times in told {
            for event in 0..times {
                sender.send(event).expect("received");
            }
        }
    });
    let theirs = |times: u64| {
        let start = Instant::now();
        go.send(times).expect("a producer");
        for _ in 0..times {
            std::hint::black_box(receiver.recv().expect("sent"));
        }
        start.elapsed()
    };
    let shape = ("flexio", "handler-remote", "ratio <= 2.0");
    let peer = "crossbeam channel of 512, a thread each";
    let row = fixed(plan, shape, (EVENTS, ours), (peer, EVENTS, theirs));
    drop(go);
    producer.join().expect("ends");
    let activations = thread.activations() as f64 / (runs * EVENTS) as f64;
    row.with("activations_per_event", activations)
}

/// A call and its answer, the host in a blocking spin.
pub(crate) fn rpc(plan: &Plan) -> Row {
    let (dpa, pair) = (one_worker(), Pair::new());
    let ours = |n| {
        timed(n, || {
            let args = EchoArgs { value: 7 };
            assert_eq!(dpa.call_blocking(echo, args).expect("an answer"), 7);
        })
    };
    let peer = "two crossbeam bounded(1) channels, two threads";
    compare(
        plan,
        ("flexio", "rpc", "ratio <= 2.0"),
        ours,
        (peer, |n| pair.trips(n)),
    )
}

/// Jobs added to a queue that runs, each with a result that is checked.
pub(crate) fn command_queue(plan: &Plan) -> Row {
    let dpa = device();
    let queue = dpa
        .command_queue()
        .workers(2)
        .batch(256)
        .open()
        .expect("a queue");
    queue.run();
    let results = dpa.zeroed_blocking::<u64>(JOBS as usize).expect("memory");
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(2)
        .build()
        .expect("a pool");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime");
    let mut round = 0;
    let ours = |jobs: u64| {
        round += 1;
        let start = Instant::now();
        for index in 0..jobs {
            let at = results.addr();
            queue.add(job, JobArgs { at, index, round }).expect("room");
        }
        runtime.block_on(queue.idle()).expect("all run");
        let took = start.elapsed();
        let found = results.copy_out_blocking().expect("open");
        assert!((0..jobs).all(|index| found[index as usize] == index + round));
        took
    };
    let slots: Vec<AtomicU64> = (0..JOBS).map(|_| AtomicU64::new(0)).collect();
    let mut peer_round = 0;
    let theirs = |jobs: u64| {
        peer_round += 1;
        let start = Instant::now();
        pool.scope(|scope| {
            for index in 0..jobs {
                let slot = &slots[index as usize];
                let round = peer_round;
                scope.spawn(move |_| slot.store(index + round, Ordering::Relaxed));
            }
        });
        let took = start.elapsed();
        assert!((0..jobs).all(|i| slots[i as usize].load(Ordering::Relaxed) == i + peer_round));
        took
    };
    let peer = "rayon spawn from outside its pool of 2 threads";
    let shape = ("flexio", "cmdq", "ratio <= 1.5");
    fixed(plan, shape, (JOBS, ours), (peer, JOBS, theirs))
}

/// Checked reads of 4 KiB of host memory by a kernel.
pub(crate) fn window(plan: &Plan) -> Row {
    const PAGE: usize = 4096;
    let dpa = one_worker();
    let bytes: Vec<u8> = (0..PAGE).map(|i| i as u8).collect();
    let view = dpa
        .read_window::<u64>(HostBuffer::from_bytes(&bytes))
        .expect("a window");
    let ours = |times: u64| -> Duration {
        let args = ReadWindowArgs { page: &view, times };
        let start = Instant::now();
        let launch = dpa.launch(read_window).args(args).submit().expect("room");
        launch.wait().expect("completes");
        start.elapsed()
    };
    let mut copy = vec![0u8; PAGE];
    let theirs = |n| {
        timed(n, || {
            copy.copy_from_slice(std::hint::black_box(&bytes));
            std::hint::black_box(&mut copy);
        })
    };
    let shape = ("flexio", "window", "ratio <= 1.3");
    compare(plan, shape, ours, ("memcpy of 4 KiB", theirs))
}
