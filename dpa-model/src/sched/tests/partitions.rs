//! Several partitions: none waits for another, and each keeps to its own units.

use super::*;

/// A process on each of two partitions of these units.
fn two(units: [u32; 2]) -> (Sched<Process>, [Process2; 2]) {
    let sched = Sched::new(units.to_vec());
    let processes = [0, 1].map(|partition| on(&sched, partition));
    (sched, processes)
}

fn on(sched: &Sched<Process>, partition: usize) -> Process2 {
    let mut number = 0;
    let process = sched.admit(partition, |n| {
        number = n;
        Arc::new(Process(AtomicU32::new(0)))
    });
    Process2(process, number)
}

#[test]
fn rule_2_3_a_head_that_does_not_fit_holds_up_its_own_partition_only() {
    let (sched, [a, b]) = two([2, 1]);
    sched.push(launch(&a, 0, 1));
    assert_eq!(next_seq(&sched), Some(0));
    sched.push(launch(&a, 1, 2));
    sched.push(launch(&a, 2, 1));
    sched.push(launch(&b, 3, 1));
    assert_eq!(next_seq(&sched), Some(3), "it has its own units");
    assert_eq!((sched.free(0), sched.free(1)), (1, 0));
    assert_eq!(next_seq(&sched), None);
}

#[test]
fn rule_2_3_heads_that_do_not_fit_reserve_units_in_each_partition() {
    let (sched, [a, b]) = two([2, 2]);
    sched.push(launch(&a, 0, 1));
    sched.push(launch(&b, 1, 1));
    assert_eq!([next_seq(&sched), next_seq(&sched)], [Some(0), Some(1)]);
    sched.push(launch(&a, 2, 2));
    sched.push(launch(&b, 3, 2));
    sched.push(launch(&b, 4, 1));
    assert_eq!(next_seq(&sched), None, "neither head fits");
    sched.release(Release {
        proc: b.1,
        units: 1,
    });
    assert_eq!(next_seq(&sched), Some(3), "of the other partition's head");
    assert_eq!(next_seq(&sched), None);
}

#[test]
fn rule_2_3_a_blocked_process_passes_the_head_of_its_own_partition() {
    let (sched, [a, b]) = two([1, 2]);
    sched.push(launch(&a, 0, 1));
    sched.push(launch(&b, 1, 1));
    assert_eq!([next_seq(&sched), next_seq(&sched)], [Some(0), Some(1)]);
    sched.push(launch(&a, 2, 1));
    sched.push(launch(&b, 3, 2));
    sched.push(launch(&b, 4, 1));
    assert_eq!(next_seq(&sched), None);
    b.0.0.store(1, Ordering::Relaxed);
    assert_eq!(next_seq(&sched), Some(4));
    assert_eq!((sched.free(0), sched.free(1)), (0, 0));
}

#[test]
fn rule_2_3_in_another_partition_the_oldest_head_comes_first() {
    let (sched, [a, b]) = two([1, 1]);
    let late = on(&sched, 1);
    sched.push(launch(&a, 0, 1));
    assert_eq!(next_seq(&sched), Some(0));
    sched.push(launch(&a, 1, 1));
    sched.push(launch(&b, 3, 1));
    sched.push(launch(&late, 2, 1));
    assert_eq!(next_seq(&sched), Some(2));
}

#[test]
fn rule_2_3_who_has_started_nothing_does_not_pass_a_head_that_waits() {
    let sched = Sched::new(vec![4]);
    let (a, b) = (process(&sched), process(&sched));
    sched.push(launch(&a, 0, 2));
    assert_eq!(next_seq(&sched), Some(0));
    sched.push(launch(&a, 1, 4));
    sched.push(launch(&b, 2, 1));
    assert_eq!(next_seq(&sched), None, "its units are reserved");
}

#[test]
fn a_partition_that_is_resized_has_its_new_units() {
    let (sched, [a, b]) = two([1, 1]);
    sched.resize(1, 3);
    assert_eq!((sched.free(0), sched.free(1)), (1, 3));
    sched.push(launch(&b, 0, 3));
    assert_eq!(next_seq(&sched), Some(0));
    sched.push(launch(&a, 1, 1));
    assert_eq!(next_seq(&sched), Some(1));
}
