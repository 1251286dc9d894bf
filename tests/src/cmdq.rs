//! Jobs of command queues.

use doca_dpa_dev::prelude::*;

/// Adds 1 to a word.
#[dpa_kernel]
pub fn tally(thread: &Thread, at: DevAddr<u64>, index: u64) {
    match thread.bind_atomic(at.element(index), 1) {
        Ok(word) => word.at(0).add(1),
        Err(kind) => thread.fault(kind),
    };
}

/// Counts who is inside, keeps the greatest number, and stays a while.
#[dpa_kernel]
pub fn stay(thread: &Thread, at: DevAddr<u64>) {
    let inside = match thread.bind_atomic(at, 2) {
        Ok(words) => words,
        Err(kind) => thread.fault(kind),
    };
    let others = inside.at(0).add(1);
    inside.at(1).max(others + 1);
    for _ in 0..6 {
        thread.yield_now();
    }
    inside.at(0).add(u64::MAX);
}

struct Leaves<'t>(AtomicSlice<'t, u64>);

impl Drop for Leaves<'_> {
    fn drop(&mut self) {
        self.0.at(1).add(1);
    }
}

/// Adds 1 to the first of two words, and ends itself; a destructor adds 1 to the second.
#[dpa_kernel]
pub fn leave(thread: &Thread, at: DevAddr<u64>, how: u32) {
    let words = match thread.bind_atomic(at, 2) {
        Ok(words) => words,
        Err(kind) => thread.fault(kind),
    };
    words.at(0).add(1);
    let _leaves = Leaves(words);
    match how {
        0 => thread.finish(),
        1 => thread.reschedule(),
        _ => thread.retrigger(),
    }
}

/// Writes 1 if it is called by its name, and waits.
#[dpa_kernel]
pub fn wait_by_name(thread: &Thread, at: DevAddr<u64>, event: EventHandle) {
    match thread.bind_mut(at, 1) {
        Ok(word) => word.write(0, (thread.name() == "wait_by_name").into()),
        Err(kind) => thread.fault(kind),
    }
    _ = thread.event(event).wait(Condition::ge(1));
}
