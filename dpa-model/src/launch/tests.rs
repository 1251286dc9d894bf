//! The rules of a launch's state word, one step at a time.

use dpa_abi::kernel::{KernelEntry, RpcEntry};
use sync_event::CloseReason;

use super::*;
use crate::rig::{self, Wakes};

static ENTRY: KernelEntry = KernelEntry {
    name: "kernel",
    file: "",
    line: 0,
    arg_bytes: 24,
    reach: dpa_abi::kernel::Reach::UNKNOWN,
    run: |_, _| (),
    promise: {
        // SAFETY: it keeps nothing.
        unsafe { dpa_abi::kernel::Promise::new() }
    },
};

static CALL: RpcEntry = RpcEntry {
    name: "call",
    file: "",
    line: 0,
    arg_bytes: 16,
    reach: {
        // SAFETY: it keeps nothing across device calls, and calls nothing that does.
        unsafe { dpa_abi::kernel::Reach::new(|| true, || true) }
    },
    run: |_, _| 0,
    promise: {
        // SAFETY: it keeps nothing.
        unsafe { dpa_abi::kernel::Promise::new() }
    },
};

fn parts(body: Body, threads: u32) -> Parts {
    Parts {
        body,
        args: ArgBytes::new(),
        threads,
        proc: 0,
        seq: 7,
        then: None,
        keep: None,
    }
}

fn waiting() -> Launch {
    Launch::new(parts(Body::Kernel(&ENTRY), 1), None)
}

/// A launch in each phase.
fn phases() -> [Launch; 4] {
    let launches = [waiting(), waiting(), waiting(), waiting()];
    assert!(launches[1].open());
    assert!(launches[2].open_and_start());
    assert!(launches[3].open_and_start() && launches[3].finish(Outcome::Completed));
    launches
}

/// From which phases a step can be made; what it tries again is refused.
fn made_from(step: impl Fn(&Launch) -> bool) -> [bool; 4] {
    phases().map(|launch| {
        let made = step(&launch);
        assert!(!step(&launch), "a step is made once");
        made
    })
}

const CLOSED: Closed = Closed {
    reason: CloseReason::Explicit,
    last: 5,
};

#[test]
fn each_step_is_made_from_its_phase_only() {
    let from = |step: fn(&Launch) -> bool| made_from(step);
    assert_eq!(from(Launch::open), [true, false, false, false]);
    assert_eq!(from(Launch::start), [false, true, false, false]);
    assert_eq!(from(Launch::open_and_start), [true, false, false, false]);
    assert_eq!(from(Launch::unstart), [false, false, true, false]);
    assert_eq!(
        from(|l| l.finish(Outcome::Completed)),
        [false, false, true, false]
    );
    assert_eq!(
        from(|l| l.wait_closed(Outcome::WaitEventClosed, CLOSED)),
        [true, false, false, false]
    );
}

#[test]
fn rule_2_6_only_what_has_not_started_is_taken_back() {
    assert_eq!(
        made_from(|launch| launch.take_back(Outcome::Cancelled)),
        [true, true, false, false]
    );
    let [waiting, ready, started, done] = phases();
    assert!(!waiting.started() && !ready.started());
    assert!(started.started() && done.started());
    waiting.take_back(Outcome::Cancelled);
    assert!(!waiting.open() && !waiting.open_and_start() && !waiting.start());
}

#[test]
fn rule_2_5_the_outcome_is_that_of_the_step_that_ended_it() {
    use Outcome::*;
    for outcome in [
        Completed,
        CompletedButEventClosed,
        Cancelled,
        Faulted,
        WaitEventClosed,
        ContextClosed,
    ] {
        let launch = waiting();
        assert!(launch.open() && launch.start());
        assert_eq!(launch.outcome(), None);
        assert!(launch.finish(outcome) && !launch.finish(Completed));
        assert_eq!(launch.outcome(), Some(outcome));
        assert!(launch.watched(), "steps leave the other bits alone");
    }
}

#[test]
fn rule_1_9_a_launch_whose_event_is_closed_keeps_its_last_value() {
    for reason in [CloseReason::Explicit, CloseReason::PublisherGone] {
        let (launch, closed) = (waiting(), Closed { reason, ..CLOSED });
        assert!(launch.wait_closed(Outcome::WaitEventClosed, closed));
        assert_eq!(launch.outcome(), Some(Outcome::WaitEventClosed));
        assert_eq!(launch.wait_event(), closed);
    }
}

#[test]
fn rule_2_1_times_are_those_that_were_set() {
    let launch = waiting();
    assert_eq!(launch.times(), [0, 0]);
    launch.set_start_time(3);
    launch.set_end_time(4);
    assert_eq!(launch.times(), [3, 4]);
}

#[test]
fn rule_2_1_times_are_taken_for_whoever_may_ask() {
    let launch = waiting();
    assert!(launch.is_timed());
    launch.unwatch();
    assert!(!launch.is_timed());
    let call = Launch::new(parts(Body::Rpc(&CALL), 1), None);
    assert!(call.watched() && !call.is_timed(), "its result is there");
}

fn poll(wakes: &std::sync::Arc<Wakes>, launch: &Launch) -> Poll<Outcome> {
    wakes.poll(|cx| launch.poll(cx))
}

#[test]
fn rule_2_1_the_last_waker_is_woken_once_by_the_end() {
    let (first, last) = (Wakes::new(), Wakes::new());
    let launch = waiting();
    assert_eq!(poll(&first, &launch), Poll::Pending);
    assert_eq!(poll(&last, &launch), Poll::Pending);
    assert!(launch.open() && launch.start());
    assert_eq!((first.count(), last.count()), (0, 0));
    assert!(launch.finish(Outcome::Completed));
    assert_eq!((first.count(), last.count()), (0, 1));
    assert_eq!(poll(&last, &launch), Poll::Ready(Outcome::Completed));
}

#[test]
fn a_launch_that_nobody_watches_has_no_waker_and_goes_on() {
    for polled in [false, true] {
        let wakes = Wakes::new();
        let launch = waiting();
        assert!(launch.open_and_start() && launch.watched());
        if polled {
            assert_eq!(poll(&wakes, &launch), Poll::Pending);
        }
        launch.unwatch();
        assert_eq!(
            std::sync::Arc::strong_count(&wakes),
            1,
            "its waker is dropped"
        );
        assert!(!launch.watched());
        assert!(launch.started() && launch.outcome().is_none());
        assert!(launch.finish(Outcome::Completed));
        assert_eq!(wakes.count(), 0);
        assert!(!launch.watched());
    }
}

#[test]
fn rule_2_3_a_launch_takes_a_unit_for_each_thread_and_a_step_none() {
    let units = |body, threads| Launch::new(parts(body, threads), None).units();
    assert_eq!(units(Body::Kernel(&ENTRY), 3), 3);
    assert_eq!(units(Body::Rpc(&CALL), 1), 1);
    let step = || Body::Step(Box::new(Step::new("step", || ())));
    assert_eq!(units(step(), 1), 0);
}

#[test]
fn it_takes_the_arguments_of_its_entry() {
    let step = Body::Step(Box::new(Step::new("step", || ())));
    let bodies = [Body::Kernel(&ENTRY), Body::Rpc(&CALL), Body::Queue, step];
    assert_eq!(bodies.map(|body| body.arg_bytes()), [24, 16, 0, 0]);
}

#[test]
fn what_it_does_has_a_name_and_says_whether_it_may_move() {
    let of = |body| {
        let launch = Launch::new(parts(body, 1), None);
        (launch.body.name(), launch.movable())
    };
    let step = Body::Step(Box::new(Step::new("step", || ())));
    assert_eq!(of(Body::Kernel(&ENTRY)), ("kernel", false));
    assert_eq!(of(Body::Rpc(&CALL)), ("call", true));
    assert_eq!(of(Body::Queue), ("command queue", false));
    assert_eq!(of(step), ("step", true));
}

#[test]
fn rule_2_5_the_completion_update_is_the_one_asked_for() {
    for update in [Update::Add(2), Update::Set(3)] {
        let parts = Parts {
            then: Some((9, update)),
            ..parts(Body::Queue, 1)
        };
        assert_eq!(Launch::new(parts, None).then(), Some((9, update)));
    }
    assert_eq!(waiting().then(), None);
}

#[test]
fn what_it_keeps_alive_is_let_go_of_when_it_is_over() {
    let kept = Arc::new(());
    let parts = Parts {
        keep: Some(Box::new(Some(kept.clone()))),
        ..parts(Body::Queue, 1)
    };
    let launch = Launch::new(parts, None);
    assert!(launch.is_plain() && launch.keeps());
    launch.release_kept();
    assert_eq!(Arc::strong_count(&kept), 1);
    launch.release_kept();
    assert!(!Launch::new(self::parts(Body::Queue, 1), None).keeps());
}

#[test]
fn rule_2_3_each_rank_of_a_gang_is_claimed_once() {
    let launch = rig::launch(0, 5);
    let gang = launch.gang().expect("more than one thread");
    assert_eq!((gang.unclaimed(5), gang.all_claimed(5)), (5, false));
    assert_eq!(gang.claim(2, 5), Some((0, 2)));
    assert_eq!(gang.claim(2, 5), Some((2, 4)));
    assert_eq!((gang.unclaimed(5), gang.all_claimed(5)), (1, false));
    assert_eq!(gang.claim(2, 5), Some((4, 5)), "no more than there are");
    assert_eq!((gang.unclaimed(5), gang.all_claimed(5)), (0, true));
    assert_eq!(gang.claim(2, 5), None);
}

#[test]
fn rule_2_3_who_comes_too_late_for_the_last_rank_claims_none() {
    assert_eq!(Gang::ranks(4, 1, 5), Some((4, 5)));
    for late in [5, 6, u32::MAX] {
        assert_eq!(Gang::ranks(late, 1, 5), None);
    }
    let all = u32::MAX / 2;
    assert_eq!(Gang::ranks(1, all, 5), Some((1, 5)));
}

#[test]
fn rule_2_5_whoever_reports_the_last_thread_is_told() {
    let gang = Gang::new(4);
    assert!(!gang.returned(1));
    assert!(!gang.returned(2));
    assert!(gang.returned(1));
    assert!(Gang::new(4).returned(4));
}

#[cfg(not(dpa_sanitize))]
#[test]
fn rule_2_8_only_who_has_promised_it_is_interrupted() {
    assert!(!waiting().interruptible(None), "it has promised nothing");
    let call = Launch::new(parts(Body::Rpc(&CALL), 1), None);
    assert!(call.interruptible(None));
    let queue = Launch::new(parts(Body::Queue, 1), None);
    assert!(!queue.interruptible(None), "between two jobs");
    assert!(!queue.interruptible(Some(&ENTRY)));
}
