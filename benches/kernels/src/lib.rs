//! The kernels of the benches.

#![no_std]
#![forbid(unsafe_code)]

use doca_dpa_dev::prelude::*;

/// Returns at once.
#[dpa_kernel]
pub fn nothing(_thread: &Thread) {}

/// Returns at once, with an argument.
#[dpa_kernel]
pub fn take(_thread: &Thread, value: u64) {
    core::hint::black_box(value);
}

/// Meets the other threads once.
#[dpa_kernel]
pub fn meet(thread: &Thread) {
    thread.barrier();
}

/// Waits until the event is set.
#[dpa_kernel]
pub fn wait(_thread: &Thread, go: DevEvent) {
    // A closed event ends the wait as well.
    let _ = go.wait(Condition::ge(1));
}

/// Answers so many requests: each request adds one to `asked`, each answer one to `answered`.
#[dpa_kernel]
pub fn serve(_thread: &Thread, asked: DevEvent, answered: DevEvent, requests: u64) {
    for n in 1..=requests {
        if asked.wait(Condition::ge(n)).is_err() || answered.add(1).is_err() {
            return;
        }
    }
}
