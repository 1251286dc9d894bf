//! Partitions: none waits for another, and each keeps to its own units.

use super::*;

/// A process on each of two partitions of these units.
fn two(units: [u32; 2]) -> (Lanes<Process>, [(Arc<Process>, u32); 2]) {
    let lanes = Lanes::new(units.to_vec());
    let processes = [0, 1].map(|partition| admit_process(&lanes, partition));
    (lanes, processes)
}

/// The number of what a worker takes that may take everything.
fn next_seq(lanes: &Lanes<Process>) -> Option<u64> {
    next(lanes, From::Each(0), None).map(|(seq, _)| seq)
}

#[test]
fn rule_2_3_a_head_that_does_not_fit_holds_up_its_own_partition_only() {
    let (lanes, [(_, a), (_, b)]) = two([2, 1]);
    lanes.push(launch(a, 0));
    assert_eq!(next_seq(&lanes), Some(0));
    lanes.push(wide(a, 1, 2));
    lanes.push(launch(a, 2));
    lanes.push(launch(b, 3));
    assert_eq!(next_seq(&lanes), Some(3), "it has its own units");
    assert_eq!([0, 1].map(|n| lanes.free(n)), [1, 0]);
    assert_eq!(next_seq(&lanes), None);
}

#[test]
fn rule_2_3_heads_that_do_not_fit_reserve_units_in_each_partition() {
    let (lanes, [(_, a), (_, b)]) = two([2, 2]);
    lanes.push(launch(a, 0));
    lanes.push(launch(b, 1));
    assert_eq!([next_seq(&lanes), next_seq(&lanes)], [Some(0), Some(1)]);
    lanes.push(wide(a, 2, 2));
    lanes.push(wide(b, 3, 2));
    lanes.push(launch(b, 4));
    assert_eq!(next_seq(&lanes), None, "neither head fits");
    lanes.release(Release::units(b, 1)).follow();
    assert_eq!(next_seq(&lanes), Some(3), "of the other partition's head");
    assert_eq!(next_seq(&lanes), None);
}

#[test]
fn rule_2_3_a_blocked_process_passes_the_head_of_its_own_partition() {
    let (lanes, [(_, a), (process, b)]) = two([1, 2]);
    lanes.push(launch(a, 0));
    lanes.push(launch(b, 1));
    assert_eq!([next_seq(&lanes), next_seq(&lanes)], [Some(0), Some(1)]);
    lanes.push(launch(a, 2));
    lanes.push(wide(b, 3, 2));
    lanes.push(launch(b, 4));
    assert_eq!(next_seq(&lanes), None);
    process.0.store(1, Ordering::Relaxed);
    assert_eq!(next_seq(&lanes), Some(4));
    assert_eq!([0, 1].map(|n| lanes.free(n)), [0, 0]);
}
