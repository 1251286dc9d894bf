//! Processes that may have fewer units than there are.

use super::*;

/// Its threads that wait, and the most units that it may have.
struct Limited(AtomicU32, u32);

impl Tenant for Limited {
    fn blocked(&self) -> u32 {
        self.0.load(Ordering::Relaxed)
    }

    fn limit(&self) -> u32 {
        self.1
    }
}

impl Limited {
    fn block(&self, threads: u32) {
        self.0.store(threads, Ordering::Relaxed);
    }
}

fn limited(sched: &Sched<Limited>, most: u32) -> (Arc<Limited>, u32) {
    let mut number = 0;
    let process = sched.admit(|n| {
        number = n;
        Arc::new(Limited(AtomicU32::new(0), most))
    });
    (process.expect("a number"), number)
}

fn push(sched: &Sched<Limited>, proc: u32, seq: u64, threads: u32) {
    sched.push(launch_of(proc, seq, threads));
}

fn next(sched: &Sched<Limited>) -> Option<u64> {
    let work = sched.next(None, None)?;
    if let Some(gang) = work.launch.gang() {
        while gang.claim(1, work.launch.threads).is_some() {}
    }
    Some(work.launch.seq)
}

fn give_back(sched: &Sched<Limited>, proc: u32, units: u32) {
    sched.release(Release::units(proc, units)).follow();
}

#[test]
fn rule_2_3_a_head_that_its_own_limit_keeps_back_reserves_nothing() {
    let sched = Sched::new(8);
    let ((_, few), (_, all)) = (limited(&sched, 3), limited(&sched, u32::MAX));
    for (proc, seq, threads) in [
        (few, 0, 2),
        (few, 1, 2),
        (few, 2, 1),
        (all, 3, 4),
        (all, 4, 3),
    ] {
        push(&sched, proc, seq, threads);
    }
    assert_eq!(next(&sched), Some(0));
    assert_eq!(
        next(&sched),
        Some(3),
        "it passes the head that is kept back"
    );
    assert_eq!(
        next(&sched),
        None,
        "its own head reserves the two that are free"
    );
    give_back(&sched, few, 1);
    assert_eq!(
        next(&sched),
        Some(1),
        "which is older than what waits for a third"
    );
    assert_eq!(next(&sched), None, "there are three of it");
    give_back(&sched, few, 1);
    assert_eq!(sched.free(), 2);
    assert_eq!(next(&sched), Some(2));
    give_back(&sched, all, 2);
    assert_eq!(next(&sched), Some(4));
    assert_eq!(sched.free(), 0);
}

#[test]
fn rule_2_3_a_blocked_process_passes_the_head_that_its_limit_keeps_back() {
    let sched = Sched::new(8);
    let ((process, few), (_, all)) = (limited(&sched, 3), limited(&sched, u32::MAX));
    push(&sched, few, 0, 2);
    assert_eq!(next(&sched), Some(0));
    assert_eq!(next(&sched), None);
    for (proc, seq, threads) in [
        (few, 1, 3),
        (few, 2, 2),
        (few, 3, 1),
        (few, 4, 1),
        (all, 5, 1),
    ] {
        push(&sched, proc, seq, threads);
    }
    process.block(1);
    assert!(!sched.standing(few).startable, "one of its threads goes on");
    process.block(2);
    assert!(sched.standing(few).startable);
    assert_eq!(
        next(&sched),
        Some(3),
        "in its head's turn, what fits its limit"
    );
    assert_eq!(next(&sched), Some(5), "no more of it fits");
    process.block(3);
    assert!(!sched.standing(few).startable, "all that it may have wait");
    assert_eq!(next(&sched), None);
    give_back(&sched, few, 1);
    process.block(2);
    assert_eq!(next(&sched), Some(4));
    give_back(&sched, few, 3);
    process.block(0);
    assert_eq!(next(&sched), Some(1));
    assert_eq!(next(&sched), None);
    give_back(&sched, few, 3);
    assert_eq!(next(&sched), Some(2));
}

/// Where another's head reserves what is free, as where nothing is ready but what is kept back.
#[test]
fn rule_2_3_units_that_others_leave_free_do_not_lift_a_limit() {
    let sched = Sched::new(8);
    let ((process, few), (_, all)) = (limited(&sched, 3), limited(&sched, u32::MAX));
    push(&sched, few, 0, 2);
    assert_eq!(next(&sched), Some(0));
    process.block(2);
    for (proc, seq, threads) in [(all, 1, 8), (few, 2, 3), (few, 3, 2)] {
        push(&sched, proc, seq, threads);
    }
    assert_eq!(next(&sched), None, "two more would be four");
    push(&sched, few, 4, 1);
    assert_eq!(next(&sched), Some(4));
}

#[test]
fn rule_2_8_who_takes_no_steps_finds_none_behind_a_head() {
    let none = Taking {
        no_steps: true,
        ..Taking::default()
    };
    let sched = Sched::new(3);
    let (process, few) = limited(&sched, 2);
    push(&sched, few, 0, 1);
    assert_eq!(next(&sched), Some(0));
    process.block(1);
    push(&sched, few, 1, 2);
    let step = rig::step_of(few, 2);
    assert!(step.open());
    sched.push(step);
    let taken = sched.next_by(none, None, None, &mut Vec::new());
    assert!(taken.is_none());
    push(&sched, few, 3, 1);
    let taken = sched.next_by(none, None, None, &mut Vec::new());
    assert_eq!(taken.expect("it fits").launch.seq, 3);
    process.block(2);
    assert_eq!(next(&sched), Some(2), "others do");
}
