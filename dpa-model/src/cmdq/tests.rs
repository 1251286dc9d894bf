//! Jobs that make no device call, on one worker: it is interrupted for others, and may be at its run-time limit.

use std::sync::mpsc::sync_channel;
use std::time::{Duration, Instant};

use super::*;
use crate::config::DeviceConfig;
use crate::keeper::own_cpu_time;
use crate::rig::{self, NOTHING};
use crate::threads::Threads;

/// Generous: everything here takes milliseconds.
const LIMIT: Duration = Duration::from_secs(60);

/// Runs this beside the test, which so ends even where a lock is never given back.
fn in_time(run: impl FnOnce() + Send + 'static) {
    let (done, ended) = sync_channel(1);
    std::thread::spawn(move || {
        run();
        let _ = done.send(());
    });
    ended.recv_timeout(LIMIT).expect("it ends");
}

fn open(run_time_limit: Option<Duration>) -> (Threads, Arc<Process>) {
    let config = DeviceConfig {
        workers: 1,
        heap_bytes: 1 << 16,
        run_time_limit,
        // The keeper looks as often then.
        deadlock_grace: Duration::from_millis(4),
        ..DeviceConfig::default()
    };
    let threads = Threads::open(config).expect("a device");
    let process = threads.device().process().expect("a process");
    (threads, process)
}

/// A queue with all of its jobs done.
fn run(process: &Arc<Process>, workers: u32, entry: &'static KernelEntry, jobs: usize) {
    let spec = QueueSpec {
        workers,
        batch: u32::MAX,
        capacity: jobs,
    };
    let queue = process.command_queue(spec).expect("a queue");
    let job = Job::new(entry, &[]).expect("no arguments");
    (0..jobs).for_each(|_| process.add_job(&queue, job).expect("room"));
    process.run_queue(&queue);
    let begun = Instant::now();
    while !queue.is_empty() {
        assert!(begun.elapsed() < LIMIT, "{} are done", queue.done());
        assert!(!process.is_stopped(), "{:?}", process.fault());
        std::thread::sleep(Duration::from_millis(1));
    }
    assert_eq!(queue.done(), jobs as u64);
}

/// One worker of the queue is interrupted between two jobs, and the other runs on the same thread.
#[test]
fn a_worker_that_is_interrupted_holds_no_lock() {
    in_time(|| {
        let (_threads, process) = open(None);
        (0..4).for_each(|_| run(&process, 2, &NOTHING, 1 << 20));
        process.shut_down();
    });
}

#[test]
fn rule_2_9_short_jobs_are_no_kernel_that_runs_long() {
    static SHORT: KernelEntry = rig::kernel("short", |_, _| {
        let begun = own_cpu_time();
        while own_cpu_time() - begun < 1_000_000 {
            std::hint::spin_loop();
        }
    });
    in_time(|| {
        let limit = Duration::from_millis(100);
        let (_threads, process) = open(Some(limit));
        run(&process, 1, &SHORT, 500);
        process.shut_down();
    });
}
