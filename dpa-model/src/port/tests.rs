use super::*;
use crate::rig::Still;
use crate::worker::Worker;

#[test]
fn rule_4_a_thread_that_nobody_else_waits_for_makes_calls_without_an_end() {
    let process = Still::new();
    let worker = Worker::new(process.device.clone(), 0);
    let core = Core::new();
    core.runs_on(&worker);
    core.calls.set(u32::MAX);
    take_turns(&core, false);
    assert!(core.calls.get() >= CALLS_PER_TURN);
}
