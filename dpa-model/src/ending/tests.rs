//! What the end of a launch opens, while its worker has claimed ranks of another.

use super::*;
use crate::rig::{Still, launch_of};

/// A worker with a unit of this process to give back, as when a thread of it has just ended.
fn worker(process: &Still) -> Worker {
    let worker = Worker::new(process.device.clone(), 0);
    let one = Release::units(process.number, 1);
    worker.release.set(Some(one));
    worker
}

fn hand_over(worker: &Worker, process: &Still) -> bool {
    let opened = launch_of(process.number, 1, 1);
    let queued = worker.hand_over(process, opened, None);
    assert_ne!(queued, !worker.next.is_free(), "it is in one place");
    queued
}

/// The ranks that a worker has claimed run before what is handed over to it, and may be of another process.
#[test]
fn rule_1_nothing_is_handed_over_beside_claimed_ranks() {
    for first in [true, false] {
        let [process, other] = Still::on_functions(["pf0", "vf0"]);
        let worker = worker(&process);
        let gang = launch_of(other.number, 1, 2);
        let mut chunk = Chunk::first(&gang, &other, 0).expect("ranks");
        // Behind its last rank it claims more.
        assert!(first || chunk.next().is_some());
        worker.chunk.replace(Some(chunk));
        assert!(hand_over(&worker, &process));
    }
}

#[test]
fn rule_1_a_launch_is_handed_over_where_nothing_else_is_to_run() {
    let [process, _other] = Still::on_functions(["pf0", "vf0"]);
    assert!(!hand_over(&worker(&process), &process));
}
