//! How a process ends while something else is under way.

use super::*;
use crate::lanes::From;
use crate::rig::{Still, Wakes, step};
use crate::sched::{Release, Taking, Work};
use crate::stack::StackError;
use crate::worker::Worker;

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
    assert!(work.launch.finish(Outcome::Completed));
    process.settled(&work.launch, Outcome::Completed);
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
