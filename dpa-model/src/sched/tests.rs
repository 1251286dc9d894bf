//! Rules of the scheduler, as scenarios.

mod limited;
mod standing;

use super::*;
use crate::launch::Outcome;
use crate::rig;
use std::sync::atomic::AtomicU32;

struct Process(AtomicU32);

impl Tenant for Process {
    fn blocked(&self) -> u32 {
        self.0.load(Ordering::Relaxed)
    }
}

fn launch(proc: &Process2, seq: u64, threads: u32) -> Arc<Launch> {
    launch_of(proc.1, seq, threads)
}

fn launch_of(proc: u32, seq: u64, threads: u32) -> Arc<Launch> {
    let launch = rig::launch_of(proc, seq, threads);
    assert!(launch.open());
    launch
}

struct Process2(Arc<Process>, u32);

fn process(sched: &Sched<Process>) -> Process2 {
    let mut number = 0;
    let process = sched.admit(|n| {
        number = n;
        Arc::new(Process(AtomicU32::new(0)))
    });
    Process2(process.expect("a number"), number)
}

fn next_seq(sched: &Sched<Process>) -> Option<u64> {
    sched.next(None, None).map(|work| {
        if let Some(gang) = work.launch.gang() {
            while gang.claim(1, work.launch.threads).is_some() {}
        }
        work.launch.seq
    })
}

#[test]
fn rule_2_2_starts_in_order_of_submission() {
    let sched = Sched::new(4);
    let p = process(&sched);
    for seq in [2, 0, 1] {
        sched.push(launch(&p, seq, 1));
    }
    let order: Vec<_> = std::iter::from_fn(|| next_seq(&sched)).collect();
    assert_eq!(order, [0, 1, 2]);
    assert_eq!(sched.free(), 1);
}

#[test]
fn rule_2_3_a_head_that_does_not_fit_reserves_units() {
    let sched = Sched::new(4);
    let p = process(&sched);
    sched.push(launch(&p, 0, 2));
    assert_eq!(next_seq(&sched), Some(0));
    sched.push(launch(&p, 1, 4));
    sched.push(launch(&p, 2, 1));
    assert_eq!(
        next_seq(&sched),
        None,
        "a younger launch must not take the reserved units"
    );
    sched.release(Release::units(p.1, 1)).follow();
    assert_eq!(next_seq(&sched), None);
    sched.release(Release::units(p.1, 1)).follow();
    assert_eq!(next_seq(&sched), Some(1));
    assert_eq!(next_seq(&sched), None);
}

#[test]
fn rule_2_3_a_fully_blocked_process_may_pass_its_head() {
    let sched = Sched::new(4);
    let p = process(&sched);
    sched.push(launch(&p, 0, 2));
    assert_eq!(next_seq(&sched), Some(0));
    sched.push(launch(&p, 1, 4));
    sched.push(launch(&p, 2, 1));
    p.0.0.store(1, Ordering::Relaxed);
    assert_eq!(next_seq(&sched), None, "one of two threads still runs");
    p.0.0.store(2, Ordering::Relaxed);
    assert_eq!(next_seq(&sched), Some(2));
}

/// A search in vain is not made again before it can find something, and then it is.
#[test]
fn rule_2_3_what_fits_later_passes_a_head_that_was_passed_in_vain() {
    let sched = Sched::new(4);
    let p = process(&sched);
    let release = |units| sched.release(Release::units(p.1, units)).follow();
    sched.push(launch(&p, 0, 3));
    assert_eq!(next_seq(&sched), Some(0));
    p.0.0.store(3, Ordering::Relaxed);
    for (seq, threads) in [(1, 4), (2, 3), (3, 2), (4, 2)] {
        sched.push(launch(&p, seq, threads));
    }
    assert_eq!(next_seq(&sched), None);
    assert_eq!(next_seq(&sched), None);
    sched.push(launch(&p, 5, 1));
    assert_eq!(next_seq(&sched), Some(5), "one came that fits");
    p.0.0.store(4, Ordering::Relaxed);
    assert_eq!(next_seq(&sched), None);
    release(2);
    p.0.0.store(2, Ordering::Relaxed);
    assert_eq!(next_seq(&sched), Some(3), "more are free");
    assert_eq!(next_seq(&sched), None);
    release(4);
    p.0.0.store(0, Ordering::Relaxed);
    assert_eq!(next_seq(&sched), Some(1));
    release(4);
    assert_eq!(next_seq(&sched), Some(2));
    release(3);
    assert_eq!(next_seq(&sched), Some(4));
    assert_eq!(next_seq(&sched), None);
}

#[test]
fn rule_2_3_processes_take_turns_by_the_age_of_their_heads() {
    let sched = Sched::new(1);
    let (a, b) = (process(&sched), process(&sched));
    for (p, seq) in [(&a, 0), (&a, 2), (&b, 1), (&b, 3)] {
        sched.push(launch(p, seq, 1));
    }
    let mut order = Vec::new();
    while let Some(work) = sched.next(None, None) {
        order.push(work.launch.seq);
        sched.release(Release::units(work.launch.proc, 1)).follow();
    }
    assert_eq!(order, [0, 1, 2, 3]);
}

#[test]
fn rule_2_6_a_launch_that_was_taken_back_gives_its_units_back() {
    let sched = Sched::new(2);
    let p = process(&sched);
    let gone = launch(&p, 0, 2);
    sched.push(gone.clone());
    sched.push(launch(&p, 1, 2));
    assert!(gone.take_back(crate::launch::Outcome::Cancelled));
    assert_eq!(next_seq(&sched), Some(1));
}

#[test]
fn a_dismissed_process_is_dropped_when_its_last_unit_is_back() {
    let sched = Sched::new(2);
    let p = process(&sched);
    sched.push(launch(&p, 0, 1));
    assert_eq!(next_seq(&sched), Some(0));
    sched.push(launch(&p, 1, 1));
    sched.dismiss(p.1);
    assert_eq!(next_seq(&sched), None);
    assert_eq!(sched.processes().len(), 1);
    sched.release(Release::units(p.1, 1)).follow();
    assert_eq!(sched.processes().len(), 0);
    assert_eq!(sched.free(), 2);
    assert_eq!(Arc::strong_count(&p.0), 1);
}

#[test]
fn rule_2_3_who_has_started_nothing_does_not_pass_a_head_that_waits() {
    let sched = Sched::new(4);
    let (a, b) = (process(&sched), process(&sched));
    sched.push(launch(&a, 0, 2));
    assert_eq!(next_seq(&sched), Some(0));
    sched.push(launch(&a, 1, 4));
    sched.push(launch(&b, 2, 1));
    assert_eq!(next_seq(&sched), None, "its units are reserved");
}

/// What a launch keeps, and what asks the scheduler something when it is dropped.
struct Asks(Arc<Sched<Process>>, std::sync::mpsc::Sender<u32>);

impl crate::launch::Keep for Asks {
    fn let_go(&mut self) {}
}

impl Drop for Asks {
    fn drop(&mut self) {
        self.1.send(self.0.free()).expect("the test waits for it");
    }
}

#[test]
fn what_a_stray_launch_holds_is_dropped_without_the_lock() {
    type Ask = fn(&Sched<Process>, u32);
    let each: [Ask; 4] = [
        |sched, _| assert!(sched.next(None, None).is_none()),
        |sched, gone| sched.take_ready(gone, |_| ()),
        |sched, gone| assert_eq!(sched.standing(gone), Standing::default()),
        |sched, gone| sched.dismiss(gone),
    ];
    for ask in each {
        let sched = Arc::new(Sched::new(3));
        let gone = process(&sched).1;
        sched.dismiss(gone);
        let (sender, said) = std::sync::mpsc::channel();
        let parts = crate::launch::Parts {
            keep: Some(Box::new(Asks(sched.clone(), sender))),
            ..rig::parts(gone, 0, 1)
        };
        sched.push(Arc::new(Launch::new(parts, None)));
        std::thread::spawn(move || ask(&sched, gone));
        let patience = std::time::Duration::from_secs(10);
        assert_eq!(said.recv_timeout(patience), Ok(3), "it waits for itself");
    }
}

/// Counts those of its launches that end because they never start.
#[derive(Default)]
struct Ending(AtomicU32);

impl Tenant for Ending {
    fn blocked(&self) -> u32 {
        0
    }

    fn never_starts(process: &Arc<Self>, _: &Arc<Launch>) {
        process.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// A worker that has not seen yet that its process is dismissed opens a launch, and then gives its unit back.
#[test]
fn rule_7_launches_of_a_process_that_is_dismissed_end() {
    type Ask = fn(&Sched<Ending>, Release);
    let each: [Ask; 3] = [
        |sched, release| assert!(sched.next(Some(release), None).is_none()),
        |sched, release| sched.release(release).follow(),
        |sched, release| sched.dismiss(release.proc),
    ];
    for ask in each {
        let sched = Sched::new(1);
        let mut proc = 0;
        let process = sched.admit(|number| {
            proc = number;
            Arc::<Ending>::default()
        });
        let process = process.expect("a number");
        let ended = || process.0.load(Ordering::Relaxed);
        for seq in 0..2 {
            sched.push(launch_of(proc, seq, 1));
        }
        assert!(sched.next(None, None).is_some());
        sched.dismiss(proc);
        assert_eq!(ended(), 1, "the one that was ready");
        sched.push(launch_of(proc, 2, 1));
        // Who only looks leaves its end, which is foreign code, to who comes by.
        for _ in 0..2 {
            assert_eq!(sched.occupied().len(), 1);
        }
        assert!(ended() == 1 && !sched.has_no_launches());
        ask(&sched, Release::units(proc, 1));
        assert_eq!(ended(), 2, "the one that came late");
        assert!(sched.has_no_launches());
    }
}

/// As many as there are processes may be idle; who has something ready again and again is found each time.
#[test]
fn rule_2_3_what_is_ready_is_found_among_many_idle_processes() {
    let sched = Sched::new(1);
    let all: Vec<Process2> = (0..50).map(|_| process(&sched)).collect();
    for round in 0..3 {
        // The greatest number first: not the order in which they start.
        for (at, p) in all.iter().enumerate().skip(round).step_by(7).rev() {
            sched.push(launch(p, (round * 100 + at) as u64, 1));
        }
        let taken = launch(&all[round], 99, 1);
        sched.push(taken.clone());
        assert!(taken.take_back(crate::launch::Outcome::Cancelled));
        for at in (round..50).step_by(7) {
            let work = sched.next(None, None).expect("ready");
            assert_eq!(work.launch.seq, (round * 100 + at) as u64);
            assert_eq!(work.launch.proc, all[at].1);
            let proc = work.launch.proc;
            sched.release(Release::units(proc, 1)).follow();
        }
        assert!(sched.next(None, None).is_none() && sched.looks_empty());
    }
    sched.push(launch(&all[9], 1, 1));
    sched.take_ready(all[9].1, drop);
    sched.push(launch(&all[9], 2, 1));
    assert_eq!(next_seq(&sched), Some(2), "also when all was taken out");
}

#[test]
fn a_worker_that_leaves_steps_takes_what_comes_before_them() {
    use crate::launch::{Extra, Step};
    let sched = Sched::new(4);
    let p = process(&sched);
    let step = |seq| {
        let parts = crate::launch::Parts {
            body: Body::Step(Box::new(Step::new("step", || ()))),
            ..rig::parts(p.1, seq, 1)
        };
        let step = Arc::new(Launch::new(parts, None::<Box<Extra>>));
        assert!(step.open());
        step
    };
    sched.push(launch(&p, 0, 1));
    sched.push(step(1));
    sched.push(launch(&p, 2, 1));
    let next = |no_steps| {
        let taking = Taking {
            no_steps,
            ..Taking::default()
        };
        let work = sched.next_by(taking, None, None, &mut Vec::new());
        work.map(|work| work.launch.seq)
    };
    let taken = [true, true, false, true, false].map(next);
    assert_eq!(taken, [Some(0), None, Some(1), Some(2), None]);
}

#[test]
fn rule_2_6_what_was_cancelled_behind_a_head_gives_its_units_back() {
    let sched = Sched::new(3);
    let p = process(&sched);
    sched.push(launch(&p, 0, 1));
    assert_eq!(next_seq(&sched), Some(0));
    p.0.0.store(1, Ordering::Relaxed);
    let cancelled = launch(&p, 2, 2);
    sched.push(launch(&p, 1, 3));
    sched.push(cancelled.clone());
    sched.push(launch(&p, 3, 2));
    cancelled.take_back(Outcome::Cancelled);
    assert_eq!(next_seq(&sched), Some(3), "both units are free again");
    assert_eq!(next_seq(&sched), None);
}
