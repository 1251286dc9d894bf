//! Rules of section 2: launches.

mod common;

use std::panic::Location;
use std::sync::atomic::Ordering;
use std::sync::mpsc::channel;
use std::time::Duration;

use common::*;
use dpa_abi::Condition;
use dpa_abi::Update;
use dpa_abi::port::{Collective, ReduceOp};
use dpa_model::launch::{ArgBytes, Body, Outcome, Step};
use dpa_model::{Spec, SubmitError};

kernel!(COUNT, |_unit, args| {
    bump(counter(args, 0));
});

kernel!(WAIT, |unit, args| {
    wait(unit, word(args, 1), word(args, 2));
    bump(counter(args, 0));
});

kernel!(NOTE, |_unit, args| {
    let order = counter(args, 0);
    order.store(
        order.load(Ordering::SeqCst) * 10 + word(args, 1),
        Ordering::SeqCst,
    );
});

kernel!(SUM_OF_RANKS, |unit, args| {
    let at = Location::caller();
    unit.collective(Collective::Barrier, at);
    let value = u64::from(unit.rank());
    let op = ReduceOp::Sum;
    let sum = unit.collective(Collective::Reduce { op, value }, at);
    let root = unit.collective(Collective::Broadcast { root: 3, value }, at);
    counter(args, 0).fetch_add(sum * 1000 + root, Ordering::SeqCst);
});

#[test]
fn rule_2_1_a_launch_runs_and_its_end_can_be_seen() {
    let (_device, process) = open(config(2));
    let (number, address) = leaked();
    let launch = submit(&process, spec(&COUNT, &[address]));
    assert_eq!(outcome(&launch), Outcome::Completed);
    assert_eq!(number.load(Ordering::SeqCst), 1);
    let [start, end] = launch.times();
    assert!(start <= end && end > 0);
    process.shut_down();
}

/// The worker has said at the end before the step that it looks for work soon.
#[test]
fn rule_2_8_a_step_behind_an_end_leaves_nobody_asleep() {
    let (_device, process) = open(config(2));
    let (number, address) = leaked();
    let gate = event(&process);
    let stream = process.stream();
    let in_stream = |spec: Spec| Spec {
        stream: Some(stream.clone()),
        ..spec
    };
    submit(&process, in_stream(spec(&WAIT, &[address, bits(&gate), 1])));
    let (begins, begun) = channel();
    let (over, ends) = channel::<()>();
    let step = Step::new("long", move || {
        begins.send(()).expect("the test waits");
        let _ = ends.recv();
    });
    let step = Spec::new(Body::Step(Box::new(step)), ArgBytes::new());
    let step = submit(&process, in_stream(step));
    // Long enough for the other worker to fall asleep, as a rule.
    std::thread::sleep(Duration::from_millis(20));
    gate.update(Update::Add(1)).expect("open");
    begun.recv_timeout(LONG).expect("the step begins");
    let beside = submit(&process, spec(&COUNT, &[address]));
    assert_eq!(outcome(&beside), Outcome::Completed);
    drop(over);
    assert_eq!(outcome(&step), Outcome::Completed);
    assert_eq!(number.load(Ordering::SeqCst), 2);
    process.shut_down();
}

#[test]
fn rule_2_1_a_full_queue_hands_the_launch_back() {
    let (_device, process) = open(dpa_model::DeviceConfig {
        max_unfinished: 3,
        ..config(1)
    });
    let gate = event(&process);
    let parked = |entry| {
        let mut spec = spec(entry, &[leaked().1]);
        spec.wait = Some((gate.handle(), Condition::ge(1)));
        spec
    };
    let first: Vec<_> = (0..3).map(|_| submit(&process, parked(&COUNT))).collect();
    let (error, spec) = process.submit(parked(&COUNT)).expect_err("full");
    assert_eq!(error, SubmitError::QueueFull { limit: 3 });
    assert_eq!(spec.body.name(), "COUNT");
    gate.update(Update::Add(1)).expect("open");
    first
        .iter()
        .for_each(|launch| assert_eq!(outcome(launch), Outcome::Completed));
    common::until("there is room again", || process.snapshot().unfinished == 0);
    submit(&process, spec);
    process.shut_down();
}

#[test]
fn rule_2_2_a_chain_of_launches_runs_in_order() {
    let (_device, process) = open(config(2));
    let chain = event(&process);
    let (number, address) = leaked();
    for link in 1..=1000u64 {
        let mut spec = spec(&COUNT, &[address]);
        spec.wait = Some((chain.handle(), Condition::ge(link)));
        spec.then = Some((chain.handle(), Update::Add(1)));
        submit(&process, spec);
    }
    chain.update(Update::Add(1)).expect("open");
    wait_for(&chain, 1001);
    assert_eq!(number.load(Ordering::SeqCst), 1000);
    process.shut_down();
}

/// In real time: under the seeded driver nothing is handed over directly.
#[test]
fn rule_2_2_what_a_launch_opens_passes_nobody_who_is_ready() {
    let (_device, process) = open(dpa_model::DeviceConfig {
        partition_eus: 1,
        ..config(1)
    });
    let (hold, opened) = (event(&process), event(&process));
    let (order, address) = leaked();
    // It has the only unit until all are there.
    let holds = submit(&process, spec(&WAIT, &[leaked().1, bits(&hold), 1]));
    common::until("it waits", || process.snapshot().waiting.len() == 1);
    let mut first = spec(&NOTE, &[address, 1]);
    first.then = Some((opened.handle(), Update::Add(1)));
    let second = spec(&NOTE, &[address, 2]);
    let mut last = spec(&NOTE, &[address, 3]);
    last.wait = Some((opened.handle(), Condition::ge(1)));
    let all = [first, second, last].map(|spec| submit(&process, spec));
    hold.update(Update::Set(1)).expect("open");
    for launch in all.iter().chain([&holds]) {
        assert_eq!(outcome(launch), Outcome::Completed);
    }
    assert_eq!(order.load(Ordering::SeqCst), 123);
    process.shut_down();
}

#[test]
fn rule_2_3_all_threads_of_a_launch_start_together() {
    let (_device, process) = open(config(2));
    let (number, address) = leaked();
    for _ in 0..20 {
        let mut spec = spec(&SUM_OF_RANKS, &[address]);
        spec.threads = 100;
        assert_eq!(outcome(&submit(&process, spec)), Outcome::Completed);
        assert_eq!(number.swap(0, Ordering::SeqCst), 100 * (4950 * 1000 + 3));
    }
    process.shut_down();
}

#[test]
fn rule_2_3_a_number_of_threads_out_of_range_is_an_error_at_submit() {
    let (_device, process) = open(config(1));
    for asked in [0, 191] {
        let mut spec = spec(&COUNT, &[0]);
        spec.threads = asked;
        let (error, _) = process.submit(spec).expect_err("out of range");
        assert_eq!(error, SubmitError::Threads { asked, max: 190 });
    }
    process.shut_down();
}

#[test]
fn rule_2_4_a_thread_that_waits_holds_its_unit() {
    let (_device, process) = open(dpa_model::DeviceConfig {
        partition_eus: 2,
        ..config(2)
    });
    let gate = event(&process);
    let (number, address) = leaked();
    let waiting: Vec<_> = (0..2)
        .map(|_| submit(&process, spec(&WAIT, &[address, bits(&gate), 1])))
        .collect();
    common::until("both wait", || process.snapshot().waiting.len() == 2);
    let behind = submit(&process, spec(&COUNT, &[address]));
    std::thread::sleep(std::time::Duration::from_millis(20));
    assert_eq!(behind.outcome(), None, "no unit is free");
    gate.update(Update::Set(1)).expect("open");
    waiting
        .iter()
        .for_each(|launch| assert_eq!(outcome(launch), Outcome::Completed));
    assert_eq!(outcome(&behind), Outcome::Completed);
    assert_eq!(number.load(Ordering::SeqCst), 3);
    process.shut_down();
}

#[test]
fn rule_2_6_cancel_takes_back_what_has_not_started() {
    let (_device, process) = open(config(1));
    let (gate, done) = (event(&process), event(&process));
    let (number, address) = leaked();
    let mut parked = spec(&COUNT, &[address]);
    parked.wait = Some((gate.handle(), Condition::ge(1)));
    parked.then = Some((done.handle(), Update::Add(1)));
    let parked = submit(&process, parked);
    assert!(process.cancel(&parked));
    assert!(!process.cancel(&parked), "only once");
    assert_eq!(parked.outcome(), Some(Outcome::Cancelled));
    gate.update(Update::Add(1)).expect("open");
    let over = submit(&process, spec(&COUNT, &[address]));
    outcome(&over);
    assert!(!process.cancel(&over), "it has started");
    assert_eq!((number.load(Ordering::SeqCst), done.get()), (1, 0));
    process.shut_down();
}

#[test]
fn rule_2_5_a_chain_behind_a_cancelled_launch_stays_parked_until_it_is_cancelled_too() {
    let (_device, process) = open(config(1));
    let events: Vec<_> = (0..4).map(|_| event(&process)).collect();
    let launches: Vec<_> = events
        .windows(2)
        .map(|pair| {
            let mut spec = spec(&COUNT, &[leaked().1]);
            spec.wait = Some((pair[0].handle(), Condition::ge(1)));
            spec.then = Some((pair[1].handle(), Update::Add(1)));
            submit(&process, spec)
        })
        .collect();
    assert!(process.cancel(&launches[0]));
    assert_eq!(launches[1].outcome(), None);
    assert_eq!(process.cancel_chain(events[1].handle()), 2);
    assert!(
        launches
            .iter()
            .all(|launch| launch.outcome() == Some(Outcome::Cancelled))
    );
    process.shut_down();
}
