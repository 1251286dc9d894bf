//! What the scheduler says of itself: whether there is something to do, how a process stands, who is told what.

use super::*;
use crate::launch::Outcome;
use std::sync::atomic::AtomicBool;

/// Takes the next launch and leaves its ranks to be claimed.
fn start(sched: &Sched<Process>) -> Arc<Launch> {
    sched.next(None, None).expect("work").launch
}

fn give_back(sched: &Sched<Process>, p: &Process2, units: u32) {
    sched.release(Release::units(p.1, units)).follow();
}

fn claim_all(launch: &Launch) {
    let gang = launch.gang().expect("more than one thread");
    while gang.claim(1, launch.threads).is_some() {}
}

/// Whether it says, without its lock, that there is nothing, and that no launch is ready.
fn looks(sched: &Sched<Process>) -> (bool, bool) {
    (sched.looks_empty(), sched.has_no_launches())
}

#[test]
fn rule_2_8_whatever_is_ready_is_seen_without_the_lock() {
    let sched = Sched::new(2);
    let p = process(&sched);
    assert_eq!(looks(&sched), (true, true));
    sched.push(launch(&p, 0, 1));
    assert_eq!(looks(&sched), (false, false), "in the inbox");
    sched.push(launch(&p, 1, 1));
    start(&sched);
    assert_eq!(looks(&sched), (false, false), "in the ready queue");
    start(&sched);
    assert_eq!(looks(&sched), (true, true), "both have started");
}

#[test]
fn rule_2_8_ranks_that_nobody_has_claimed_are_seen_without_the_lock() {
    let sched = Sched::new(4);
    let p = process(&sched);
    sched.push(launch(&p, 0, 3));
    let gang = start(&sched);
    assert_eq!(looks(&sched), (false, true));
    assert_eq!(start(&sched).seq, 0, "every worker that asks gets it");
    claim_all(&gang);
    assert!(sched.next(None, None).is_none());
    assert_eq!(looks(&sched), (true, true));
}

/// Units of others come back some day; and a process of which all threads wait passes a head that does not fit.
#[test]
fn rule_2_10_what_fits_when_others_have_given_back_is_startable() {
    let sched = Sched::new(3);
    let (p, other) = (process(&sched), process(&sched));
    sched.push(launch(&p, 0, 1));
    start(&sched);
    sched.push(launch(&other, 1, 2));
    claim_all(&start(&sched));
    assert!(sched.next(None, None).is_none());
    assert!(!sched.standing(p.1).startable, "nothing is ready");
    let behind = launch(&p, 3, 2);
    sched.push(behind.clone());
    assert!(
        sched.standing(p.1).startable,
        "when the other gives its two back"
    );
    sched.push(launch(&p, 2, 3));
    assert!(!sched.standing(p.1).startable, "its thread goes on first");
    p.0.0.store(1, Ordering::Relaxed);
    assert!(
        sched.standing(p.1).startable,
        "behind a head that needs all three"
    );
    behind.take_back(Outcome::Cancelled);
    assert!(!sched.standing(p.1).startable, "it does not start any more");
}

#[test]
fn what_a_dismissed_process_had_is_not_seen_any_more() {
    let sched = Sched::new(1);
    let p = process(&sched);
    (0..3).for_each(|seq| sched.push(launch(&p, seq, 1)));
    start(&sched);
    assert_eq!(looks(&sched), (false, false));
    sched.dismiss(p.1);
    assert_eq!(looks(&sched), (true, true));
}

#[test]
fn rule_2_10_a_process_that_can_start_something_is_not_stuck() {
    let sched = Sched::new(3);
    let (p, other) = (process(&sched), process(&sched));
    let standing = |started, ready, startable| Standing {
        steps: 0,
        started,
        ready,
        startable,
    };
    assert_eq!(sched.standing(p.1), standing(0, 0, false));
    sched.push(launch(&p, 0, 2));
    assert_eq!(sched.standing(p.1), standing(0, 1, true), "it fits");
    let gang = start(&sched);
    assert_eq!(sched.standing(p.1), standing(2, 0, true), "unclaimed ranks");
    assert_eq!(
        sched.standing(other.1),
        standing(0, 0, false),
        "the ranks of another process are not its own"
    );
    claim_all(&gang);
    assert!(sched.next(None, None).is_none());
    assert_eq!(sched.standing(p.1), standing(2, 0, false));
    sched.push(launch(&p, 1, 2));
    assert_eq!(sched.standing(p.1), standing(2, 1, false), "too large");
    give_back(&sched, &p, 1);
    assert_eq!(sched.standing(p.1), standing(1, 1, true), "it just fits");
    assert_eq!(sched.standing(77), Standing::default());
}

#[test]
fn a_process_with_something_ready_or_started_is_occupied() {
    let sched = Sched::new(1);
    let (p, idle) = (process(&sched), process(&sched));
    let occupied = || -> Vec<bool> {
        let all = sched.occupied();
        assert!(Arc::ptr_eq(&all[0].0, &p.0) && Arc::ptr_eq(&all[1].0, &idle.0));
        all.into_iter().map(|(_, busy)| busy).collect()
    };
    assert_eq!(occupied(), [false, false]);
    sched.push(launch(&p, 0, 1));
    assert_eq!(occupied(), [true, false], "no worker has come by");
    start(&sched);
    assert_eq!(occupied(), [true, false], "started");
    p.0.0.store(1, Ordering::Relaxed);
    assert_eq!(occupied(), [false, false], "all that is started waits");
    p.0.0.store(0, Ordering::Relaxed);
    sched.push(launch(&p, 1, 1));
    assert_eq!(sched.standing(p.1).ready, 1);
    assert_eq!(occupied(), [true, false], "both");
    give_back(&sched, &p, 1);
    assert_eq!(occupied(), [true, false], "ready");
}

#[test]
fn what_has_not_started_is_taken_in_order() {
    let sched = Sched::new(1);
    let (p, other) = (process(&sched), process(&sched));
    for seq in [3, 1, 2] {
        sched.push(launch(&p, seq, 1));
    }
    sched.push(launch(&other, 0, 1));
    let mut taken = Vec::new();
    sched.take_ready(p.1, |launch| taken.push(launch.seq));
    assert_eq!(taken, [1, 2, 3]);
    assert_eq!(start(&sched).seq, 0, "others keep theirs");
    assert!(sched.next(None, None).is_none());
    assert_eq!(looks(&sched), (true, true));
}

#[test]
fn numbers_of_processes_are_never_used_again() {
    let sched = Sched::new(1);
    let (a, b) = (process(&sched), process(&sched));
    sched.dismiss(b.1);
    let c = process(&sched);
    assert_eq!([a.1, b.1, c.1], [0, 1, 2]);
    let every_third = Sched::numbered(1, 2, 3);
    assert_eq!([(); 3].map(|()| process(&every_third).1), [2, 5, 8]);
    let last = Sched::<super::Process>::numbered(1, u32::MAX - 7, 7);
    let admitted = || {
        let mut number = None;
        let made = |n| {
            number = Some(n);
            Arc::new(super::Process(AtomicU32::new(0)))
        };
        assert_eq!(last.admit(made).is_some(), number.is_some());
        number
    };
    let numbers = [(); 4].map(|()| admitted());
    assert_eq!(numbers, [Some(u32::MAX - 7), Some(u32::MAX), None, None]);
}

#[test]
fn work_names_its_process_unless_the_worker_holds_it() {
    let sched = Sched::new(4);
    let (p, other) = (process(&sched), process(&sched));
    (0..3).for_each(|seq| sched.push(launch(&p, seq, 1)));
    let of = |held: Option<&Process2>| {
        let work = sched.next(None, held.map(|held| &held.0)).expect("work");
        work.process
    };
    assert!(of(Some(&p)).is_none());
    assert!(of(Some(&other)).is_some_and(|process| Arc::ptr_eq(&process, &p.0)));
    assert!(of(None).is_some_and(|process| Arc::ptr_eq(&process, &p.0)));
}

#[test]
fn rule_2_6_a_launch_that_was_taken_back_counts_as_never_started() {
    let sched = Sched::new(4);
    let p = process(&sched);
    let gone = launch(&p, 0, 2);
    sched.push(gone.clone());
    sched.push(launch(&p, 1, 1));
    assert!(gone.take_back(Outcome::Cancelled));
    assert_eq!(start(&sched).seq, 1);
    assert_eq!((sched.standing(p.1).started, sched.free()), (1, 3));
}

/// A process that notes what it is told.
#[derive(Default)]
struct Told {
    closing: AtomicBool,
    back: AtomicU32,
    gone: AtomicU32,
    never_started: AtomicU32,
}

impl Tenant for Told {
    fn blocked(&self) -> u32 {
        0
    }

    fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Relaxed)
    }

    fn units_back(&self) {
        self.back.fetch_add(1, Ordering::Relaxed);
    }

    fn gone(&self) {
        self.gone.fetch_add(1, Ordering::Relaxed);
    }

    fn never_starts(process: &Arc<Self>, _launch: &Arc<Launch>) {
        process.never_started.fetch_add(1, Ordering::Relaxed);
    }
}

impl Told {
    fn counts(&self) -> (u32, u32) {
        let of = |count: &AtomicU32| count.load(Ordering::Relaxed);
        (of(&self.back), of(&self.gone))
    }
}

fn started(sched: &Sched<Told>, launches: u64) -> Arc<Told> {
    let told = sched.admit(|_| Arc::default()).expect("a number");
    for seq in 0..launches {
        sched.push(super::launch_of(0, seq, 1));
        assert!(sched.next(None, None).is_some());
    }
    told
}

#[test]
fn a_closing_process_is_told_of_each_unit_that_comes_back() {
    let one = Release::units(0, 1);
    let sched = Sched::new(3);
    let told = started(&sched, 3);
    sched.next(Some(one), None);
    assert_eq!(told.counts(), (0, 0), "it is not closing");
    told.closing.store(true, Ordering::Relaxed);
    sched.next(Some(one), None);
    assert_eq!(told.counts(), (1, 0));
    sched.release(one).follow();
    assert_eq!(told.counts(), (2, 0));
}

#[test]
fn a_dismissed_process_is_told_once_when_its_units_are_free() {
    let sched = Sched::new(2);
    let told = started(&sched, 0);
    sched.dismiss(0);
    sched.dismiss(0);
    assert_eq!(told.counts().1, 1, "it had none");

    let sched = Sched::new(2);
    let told = started(&sched, 2);
    sched.dismiss(0);
    for gone in [0, 1] {
        assert_eq!(told.counts().1, 0);
        sched.release(Release::units(0, 1)).follow();
        assert_eq!(told.counts().1, gone);
    }
}

/// What came for a dismissed process ends when whoever found it follows, without the lock.
#[test]
fn strays_end_where_the_caller_follows() {
    let sched = Sched::new(2);
    let told = started(&sched, 1);
    sched.dismiss(0);
    let never_started = || told.never_started.load(Ordering::Relaxed);
    let mut after = Vec::new();
    sched.push(super::launch_of(0, 1, 1));
    assert!(
        sched
            .next_by(Taking::default(), None, None, &mut after)
            .is_none()
    );
    assert_eq!(never_started(), 0);
    after.into_iter().for_each(After::follow);
    assert_eq!(never_started(), 1);
    sched.push(super::launch_of(0, 2, 1));
    let after = sched.release(Release::units(0, 1));
    assert_eq!((never_started(), told.counts().1), (1, 0));
    after.follow();
    assert_eq!((never_started(), told.counts().1), (2, 1));
}

/// A step takes no unit. As long as it is under way its process has not gone: what it makes ready ends.
#[test]
fn rule_7_a_process_with_a_step_under_way_is_not_forgotten() {
    let sched = Sched::new(1);
    let told = started(&sched, 0);
    told.closing.store(true, Ordering::Relaxed);
    let step = rig::step_of(0, 0);
    assert!(step.open());
    sched.push(step);
    let work = sched.next(None, None).expect("the step");
    assert!(work.process.is_some());
    let standing = sched.standing(0);
    assert_eq!((standing.started, standing.steps), (0, 1));
    sched.dismiss(0);
    assert_eq!(told.counts(), (0, 0), "it is under way");
    sched.push(super::launch_of(0, 1, 1));
    sched.release(Release::step(0)).follow();
    assert_eq!(told.counts(), (1, 1));
    assert_eq!(told.never_started.load(Ordering::Relaxed), 1);
    assert_eq!((sched.standing(0), sched.free()), (Standing::default(), 1));
}

#[test]
fn a_step_that_was_taken_back_is_not_under_way() {
    let sched = Sched::new(1);
    started(&sched, 0);
    let steps = [0, 1].map(|seq| rig::step_of(0, seq));
    for step in &steps {
        assert!(step.open());
        sched.push(step.clone());
    }
    assert!(sched.next(None, None).is_some());
    assert!(steps[1].take_back(Outcome::Cancelled));
    assert!(sched.next(None, None).is_none());
    let standing = sched.standing(0);
    assert_eq!((standing.steps, standing.ready), (1, 0));
}

/// A process that is only what it must be.
struct Plain;

impl Tenant for Plain {
    fn blocked(&self) -> u32 {
        0
    }

    fn units_back(&self) {
        unreachable!("a process is not closing unless it says so");
    }
}

#[test]
fn a_process_that_does_not_say_so_is_not_closing() {
    let sched = Sched::new(1);
    assert!(sched.admit(|_| Arc::new(Plain)).is_some());
    sched.push(super::launch_of(0, 0, 1));
    assert!(sched.next(None, None).is_some());
    sched.release(Release::units(0, 1)).follow();
    assert_eq!(sched.free(), 1);
}
