//! Rules of the lanes, as scenarios.

mod partitions;

use std::sync::atomic::AtomicU32;

use super::*;
use crate::rig::launch_of;

/// A process of which so many threads wait.
#[derive(Default)]
struct Process(AtomicU32);

impl Tenant for Process {
    fn blocked(&self) -> u32 {
        self.0.load(Ordering::Relaxed)
    }
}

fn launch(proc: u32, seq: u64) -> ModelArc<Launch> {
    wide(proc, seq, 1)
}

/// A launch of so many threads.
fn wide(proc: u32, seq: u64, threads: u32) -> ModelArc<Launch> {
    let launch = launch_of(proc, seq, threads);
    assert!(launch.open());
    launch
}

fn admit(lanes: &Lanes<Process>, partition: usize) -> u32 {
    admit_process(lanes, partition).1
}

fn admit_process(lanes: &Lanes<Process>, partition: usize) -> (Arc<Process>, u32) {
    let mut number = 0;
    let process = lanes.admit(partition, |n| {
        number = n;
        Arc::default()
    });
    (process.expect("a number"), number)
}

/// The number of the launch that is taken next, and its lane.
fn next(lanes: &Lanes<Process>, from: From, release: Option<Release>) -> Option<(u64, usize)> {
    let mut after = Vec::new();
    let work = lanes.next(from, |_| Taking::default(), release, None, &mut after);
    after.into_iter().for_each(After::follow);
    let work = work?;
    if let Some(gang) = work.launch.gang() {
        while gang.claim(1, work.launch.threads).is_some() {}
    }
    Some((work.launch.seq, lanes.of(work.launch.proc)))
}

#[test]
fn numbers_tell_the_partition_and_are_never_used_again() {
    let lanes = Lanes::new(vec![1, 1, 1]);
    let numbers: Vec<u32> = [2, 0, 2, 1].map(|n| admit(&lanes, n)).into();
    assert_eq!(numbers, [2, 0, 5, 1]);
    assert_eq!(
        numbers.iter().map(|&n| lanes.of(n)).collect::<Vec<_>>(),
        [2, 0, 2, 1]
    );
    lanes.dismiss(5);
    assert_eq!(admit(&lanes, 2), 8);
    let only = Lanes::new(vec![1]);
    assert_eq!([admit(&only, 0), admit(&only, 0)], [0, 1]);
}

#[test]
fn lanes_are_served_in_a_circle_however_much_one_has() {
    let lanes = Lanes::new(vec![9, 9, 9]);
    let procs = [0, 1, 2].map(|n| admit(&lanes, n));
    (0..4).for_each(|seq| lanes.push(launch(procs[1], seq)));
    lanes.push(launch(procs[2], 10));
    lanes.push(launch(procs[0], 11));
    let mut last = 0;
    let taken = std::iter::from_fn(|| {
        let (seq, lane) = next(&lanes, From::Each(last + 1), None)?;
        last = lane;
        Some(seq)
    });
    assert_eq!(taken.collect::<Vec<_>>(), [0, 10, 11, 1, 2, 3]);
    assert_eq!([0, 1, 2].map(|lane| lanes.served(lane)), [1, 4, 1]);
}

#[test]
fn a_worker_with_a_home_takes_nothing_else() {
    let lanes = Lanes::new(vec![9, 9]);
    let procs = [0, 1].map(|n| admit(&lanes, n));
    lanes.push(launch(procs[0], 0));
    lanes.push(launch(procs[1], 1));
    assert_eq!(next(&lanes, From::Only(1), None), Some((1, 1)));
    assert_eq!(next(&lanes, From::Only(1), None), None);
    assert!(lanes.lane_looks_empty(1) && !lanes.lane_looks_empty(0) && !lanes.looks_empty());
    assert_eq!(next(&lanes, From::Each(1), None), Some((0, 0)));
    assert!(lanes.looks_empty() && lanes.has_no_launches());
}

#[test]
fn units_go_back_to_their_partition_whoever_is_served() {
    let lanes = Lanes::new(vec![1, 1]);
    let procs = [0, 1].map(|n| admit(&lanes, n));
    (0..2).for_each(|seq| lanes.push(launch(procs[0], seq)));
    assert_eq!(next(&lanes, From::Each(0), None), Some((0, 0)));
    assert_eq!(next(&lanes, From::Each(0), None), None, "its unit is taken");
    let back = Some(Release::units(procs[0], 1));
    assert_eq!(next(&lanes, From::Only(1), back), None);
    assert_eq!([lanes.free(0), lanes.free(1)], [1, 1]);
    assert_eq!(next(&lanes, From::Each(0), None), Some((1, 0)));
    lanes.push(launch(procs[0], 2));
    assert_eq!(next(&lanes, From::Only(0), back), Some((2, 0)));
    assert_eq!([lanes.free(0), lanes.free(1)], [0, 1]);
}

#[test]
fn a_dismissed_process_is_let_go_by_its_own_lane() {
    let lanes = Lanes::new(vec![1, 1]);
    let procs = [0, 1].map(|n| admit(&lanes, n));
    lanes.push(launch(procs[1], 0));
    assert_eq!(next(&lanes, From::Each(0), None), Some((0, 1)));
    assert_eq!(lanes.standing(procs[1]).started, 1);
    lanes.dismiss(procs[1]);
    assert_eq!(lanes.processes().len(), 2, "a thread of it is started");
    lanes.release(Release::units(procs[1], 1)).follow();
    assert_eq!(lanes.processes().len(), 1);
    assert_eq!(lanes.standing(procs[0]), Standing::default());
}

#[test]
fn each_lane_is_asked_for_what_is_to_be_known_of_all() {
    let lanes = Lanes::new(vec![1, 1]);
    assert_eq!(lanes.count(), 2);
    assert_eq!(Lanes::<Process>::new(vec![1; 3]).count(), 3);
    let numbers = [0, 1].map(|n| admit(&lanes, n));
    let busy = || -> Vec<bool> { lanes.occupied().iter().map(|(_, busy)| *busy).collect() };
    assert!(lanes.has_no_launches());
    assert_eq!(busy(), [false, false]);
    lanes.push(launch(numbers[1], 4));
    assert!(!lanes.has_no_launches());
    lanes.push(launch(numbers[1], 3));
    assert_eq!(lanes.standing(numbers[1]).ready, 2);
    assert_eq!(busy(), [false, true]);
    let mut taken = Vec::new();
    lanes.take_ready(numbers[1], |launch| taken.push(launch.seq));
    assert_eq!(taken, [3, 4]);
    assert!(lanes.has_no_launches());
}

#[test]
fn a_resized_partition_keeps_to_its_own_lane() {
    let lanes = Lanes::<Process>::new(vec![1, 1]);
    lanes.resize(1, 5);
    assert_eq!([0, 1].map(|n| lanes.free(n)), [1, 5]);
    let [a, b] = [0, 1].map(|n| admit(&lanes, n));
    lanes.push(wide(b, 0, 5));
    lanes.push(launch(a, 1));
    assert_eq!(next(&lanes, From::Only(1), None), Some((0, 1)));
    assert_eq!(next(&lanes, From::Only(0), None), Some((1, 0)));
}
