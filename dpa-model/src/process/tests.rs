//! How a process ends while something else is under way.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::task::{Context, Wake};
use std::time::Duration;

use dpa_abi::{Condition, FaultKind, Update};

use super::*;
use crate::event::EventRef;
use crate::lanes::From;
use crate::rig::{Still, Wakes, spec, step};
use crate::sched::{Release, Taking, Work};
use crate::stack::StackError;
use crate::submit::Spec;
use crate::worker::Worker;

/// Longer than any of this takes.
const PATIENCE: Duration = Duration::from_secs(20);

fn parked_at(event: &EventRef) -> Spec {
    Spec {
        wait: Some((event.handle(), Condition::ge(1))),
        ..spec()
    }
}

/// Takes what may start next, as a worker does.
fn take(process: &Still) -> Option<Work<Process>> {
    let taking = |_| Taking::default();
    let mut after = Vec::new();
    let sched = &process.device.sched;
    let work = sched.next(From::Each(0), taking, None, None, &mut after);
    assert!(after.is_empty());
    work
}

#[test]
fn rule_7_a_process_rests_when_its_step_has_been_given_back() {
    let process = Still::new();
    process.accept(step());
    process.refuse();
    assert!(!process.is_at_rest(), "it is ready");
    let work = take(&process).expect("the step");
    assert!(!process.is_at_rest(), "a worker has it");
    let wakes = Wakes::new();
    let mut rests = std::pin::pin!(process.at_rest());
    assert!(wakes.poll(|cx| rests.as_mut().poll(cx)).is_pending());
    process.ended(&work.launch, Outcome::Completed);
    assert!(!process.is_at_rest(), "it may have opened something");
    let told = wakes.count();
    assert!(wakes.poll(|cx| rests.as_mut().poll(cx)).is_pending());
    let sched = &process.device.sched;
    sched.release(Release::step(process.number)).follow();
    assert!(wakes.count() > told && process.is_at_rest());
}

/// Without a stack for it, it gives back what it had: nothing that it had not.
#[test]
fn rule_7_a_step_for_which_there_is_no_stack_is_given_back() {
    let process = Still::new();
    let free = process.snapshot().free_units;
    let launch = process.accept(step());
    let worker = Worker::new(process.device.clone(), 0);
    worker.pending.set(take(&process));
    worker.fail_for_lack_of(StackError::Exhausted { limit: 1 });
    assert!(!process.is_at_rest());
    worker.flush();
    assert_eq!(launch.outcome(), Some(Outcome::Faulted));
    assert!(process.is_at_rest());
    assert_eq!(process.snapshot().free_units, free);
}

/// That a launch which was taken back is still in the queue is nobody's business.
#[test]
fn rule_7_what_was_taken_back_keeps_no_process_from_rest() {
    let process = Still::new();
    let launches = [(); 3].map(|()| process.accept(spec()));
    process.refuse();
    assert_eq!(process.snapshot().ready, 3);
    let wakes = Wakes::new();
    let mut rests = std::pin::pin!(process.at_rest());
    for launch in &launches {
        assert!(wakes.poll(|cx| rests.as_mut().poll(cx)).is_pending());
        let told = wakes.count();
        assert!(process.cancel(launch) && wakes.count() > told);
    }
    assert!(process.is_at_rest());
    assert_eq!(process.snapshot().ready, 0);
}

/// A worker has begun to make it fatal, and still copies for the crash report.
#[test]
fn rule_7_a_process_that_is_shut_down_is_stopped_though_another_was_about_to() {
    let process = Still::new();
    let event = process.event();
    let launch = process.accept(parked_at(&event));
    let fault = Fault::of(FaultKind::Panic, "nothing", 0, 0);
    assert!(process.fault.set(Arc::new(fault)).is_ok());
    assert_eq!(process.shut_down().launches_dropped, 0);
    assert!(process.is_stopped() && process.has_ended());
    assert_eq!(launch.outcome(), Some(Outcome::Faulted));
    let closed = event.update(Update::Add(1)).expect_err("closed");
    assert!(closed.to_string().contains("fault"), "{closed}");
}

/// A task whose waker takes as long as it is let.
struct Slow(parking_lot::Mutex<(Sender<()>, Receiver<()>)>);

impl Wake for Slow {
    fn wake(self: Arc<Self>) {
        let (begun, ends) = &*self.0.lock();
        let _ = begun.send(());
        let _ = ends.recv_timeout(PATIENCE);
    }
}

/// Has a thread shut it down that comes no further than to the waker of `first`, and shuts it down a second time meanwhile: that ends
/// `rest`.
fn second_close<W: Future>(process: &Still, first: W, rest: &[Arc<Launch>]) {
    let ((begun, begins), (end, ends)) = (channel(), channel());
    let slow = Arc::new(Slow(parking_lot::Mutex::new((begun, ends)))).into();
    let mut first = std::pin::pin!(first);
    assert!(
        first
            .as_mut()
            .poll(&mut Context::from_waker(&slow))
            .is_pending()
    );
    std::thread::scope(|scope| {
        scope.spawn(|| process.shut_down());
        begins.recv_timeout(PATIENCE).expect("it ends the first");
        assert!(rest.iter().all(|launch| launch.outcome().is_none()));
        assert!(!process.has_ended());
        process.shut_down();
        for launch in rest {
            assert_eq!(launch.outcome(), Some(Outcome::ContextClosed));
        }
        assert!(process.has_ended());
        end.send(()).expect("it waits for this");
    });
}

/// A close that returns has closed everything, also if another is in the middle of that.
#[test]
fn rule_7_a_second_close_does_what_the_first_has_not_done_yet() {
    let process = Still::new();
    let events = [(); 2].map(|()| process.event());
    let rest = [process.accept(parked_at(&events[1]))];
    let first = events[0].wait(Condition::ge(1)).expect("the host may");
    second_close(&process, first, &rest);
}

#[test]
fn rule_7_a_second_close_ends_what_is_ready() {
    let process = Still::new();
    let [first, rest @ ..] = [(); 3].map(|()| process.accept(spec()));
    second_close(&process, over(&first), &rest);
}

#[test]
fn rule_7_a_second_close_breaks_streams_off() {
    let process = Still::new();
    let event = process.event();
    let streams = [(); 2].map(|()| process.stream());
    let in_stream = |of: usize| {
        process.accept(Spec {
            stream: Some(streams[of].clone()),
            ..parked_at(&event)
        })
    };
    let [_, first, same, front, other] = [0, 0, 0, 1, 1].map(in_stream);
    second_close(&process, over(&first), &[same, front, other]);
}

/// Until it is over.
fn over(launch: &Launch) -> impl Future<Output = Outcome> + '_ {
    std::future::poll_fn(|cx| launch.poll(cx))
}

/// Who waits for the end of a process is not asked again at each idle moment.
#[test]
fn who_waits_for_the_end_sleeps_through_idle_moments() {
    let process = Still::new();
    let [ends, idles] = [Wakes::new(), Wakes::new()];
    let mut ended = std::pin::pin!(process.stopped());
    assert!(ends.poll(|cx| ended.as_mut().poll(cx)).is_pending());
    for round in 0..3 {
        let launch = process.accept(spec());
        let mut idle = std::pin::pin!(process.idle());
        assert!(idles.poll(|cx| idle.as_mut().poll(cx)).is_pending());
        assert!(take(&process).is_some());
        process.ended(&launch, Outcome::Completed);
        assert_eq!((idles.count(), ends.count()), (round + 1, 0));
    }
    process.shut_down();
    assert!(ends.count() > 0 && ends.poll(|cx| ended.as_mut().poll(cx)).is_ready());
}
