//! Kernels of the end-to-end tests. `no_std`, so that their threads may move between workers.
//!
//! The tests stand in `tests/`, a file for each subject; a test of a rule of the semantics is named after it.
#![no_std]
#![forbid(unsafe_code)]

use doca_dpa_dev::prelude::*;

pub mod async_ops;
pub mod cmdq;
pub mod coherency;
pub mod destructors;
pub mod device;
pub mod figures;
pub mod globals;
pub mod hash_table;
pub mod hostile;
pub mod isolation;
pub mod memory_maps;
pub mod messages;
pub mod queues;
pub mod rdma;
pub mod slices;
pub mod threads;
pub mod windows;

/// Each thread adds 1.
#[dpa_kernel]
pub fn count(_thread: &Thread, total: AtomicSlice<u64>) {
    total.at(0).add(1);
}

/// From this rank on each waits until the event has the value 1.
#[dpa_kernel]
pub fn waits_from(thread: &Thread, event: DevEvent, first: u64) {
    if u64::from(thread.rank()) >= first {
        let _ = event.wait(Condition::ge(1));
    }
}

/// Waits, and fails.
#[dpa_kernel]
pub fn waits_and_fails(thread: &Thread, go_on: DevEvent) {
    // However the wait ends.
    let _ = go_on.wait(Condition::ge(1));
    thread.error(200);
}

/// Does nothing.
#[dpa_kernel]
pub fn nothing(_thread: &Thread) {}

/// Writes how many have written before.
#[dpa_kernel]
pub fn stamp(_thread: &Thread, next: AtomicSlice<u64>, stamps: DevSliceMut<u64>, slot: u64) {
    stamps.write(slot as usize, next.at(0).add(1));
}

/// Each thread writes its rank and the number of threads, meets the others, and checks what they wrote.
#[dpa_kernel]
pub fn meet(thread: &Thread, ranks: DevSliceMut<u64>, wrong: AtomicSlice<u64>) {
    let all = thread.threads();
    ranks.write(
        thread.rank() as usize,
        u64::from(thread.rank() + 1) * 1000 + u64::from(all),
    );
    thread.barrier();
    for rank in 0..all {
        if ranks.read(rank as usize) != u64::from(rank + 1) * 1000 + u64::from(all) {
            wrong.at(0).add(1);
        }
    }
}

/// Waits until the event has this value, then writes 1.
#[dpa_kernel]
pub fn wait_then_count(_thread: &Thread, event: DevEvent, value: u64, total: AtomicSlice<u64>) {
    if event.wait(Condition::ge(value)).is_ok() {
        total.at(0).add(1);
    }
}

/// Waits for an event, and adds to another.
#[dpa_kernel]
pub fn relay(_thread: &Thread, from: DevEvent, value: u64, to: DevEvent) {
    if from.wait(Condition::ge(value)).is_ok() {
        let _ = to.add(1);
    }
}

/// What an event says that is closed meanwhile: the last value to a wait, an update and a look, and to a wait that it satisfies.
#[dpa_kernel]
pub fn asks_a_closed_event(_thread: &Thread, event: DevEvent, seen: DevSliceMut<u64>) {
    let last = |ended| match ended {
        Err(EventError::Closed { last }) => last,
        _ => 0,
    };
    seen.write(0, last(event.wait(Condition::ge(100))));
    seen.write(1, last(event.add(1)));
    seen.write(2, last(event.set(50)));
    seen.write(3, event.get());
    seen.write(4, event.wait(Condition::ge(5)).unwrap_or(0));
    seen.write(5, last(event.wait(Condition::ge(8))));
}

/// All meet; the thread of rank 1 waits for an event before.
#[dpa_kernel]
pub fn meets_behind(thread: &Thread, event: DevEvent) {
    if thread.rank() == 1 {
        let _ = event.wait(Condition::ge(1));
    }
    thread.barrier();
}

/// Each thread writes with a plain store and publishes with the event.
#[dpa_kernel]
pub fn write_and_publish(thread: &Thread, out: DevSliceMut<u64>, done: DevEvent) {
    out.write(thread.rank() as usize, u64::from(thread.rank()) + 1);
    let _ = done.add(1);
}

/// Adds up what others have published.
#[dpa_kernel]
pub fn add_up(_thread: &Thread, values: DevSlice<u64>, sum: DevSliceMut<u64>) {
    sum.write(0, (0..values.len()).map(|i| values.read(i)).sum());
}

/// Polls memory with atomic loads until it is not 0.
#[dpa_kernel]
pub fn poll(_thread: &Thread, flag: AtomicSlice<u64>) {
    while flag.at(0).load() == 0 {}
}

/// Sets memory that another kernel polls.
#[dpa_kernel]
pub fn raise(_thread: &Thread, flag: AtomicSlice<u64>) {
    flag.at(0).store(1);
}

/// Panics.
#[dpa_kernel]
pub fn panics(_thread: &Thread, number: u64) {
    panic!("the number is {number}");
}

/// Reads one element behind the end.
#[dpa_kernel]
pub fn reads_too_far(_thread: &Thread, xs: DevSlice<u32>) {
    xs.read(xs.len());
}

/// Binds an address that it was given by number.
#[dpa_kernel]
pub fn binds(thread: &Thread, addr: DevAddr<u32>, len: u64) {
    match thread.bind(addr, len as usize) {
        Ok(_) => {}
        Err(kind) => thread.fault(kind),
    }
}

/// Ends with an error code.
#[dpa_kernel]
pub fn gives_up(thread: &Thread, code: u64) {
    thread.error(code);
}

/// Calls itself until its stack is full.
#[dpa_kernel]
pub fn overflows(_thread: &Thread, depth: u64) {
    core::hint::black_box(descend(depth));
}

#[expect(unconditional_recursion, reason = "it is to overflow the stack")]
fn descend(depth: u64) -> u64 {
    let frame = core::hint::black_box([depth; 64]);
    descend(depth + 1) + frame[(depth % 64) as usize]
}

/// Never returns and never comes to a safe point.
#[dpa_kernel]
pub fn spins(_thread: &Thread, from: u64) {
    let mut n = from;
    loop {
        n = core::hint::black_box(n.wrapping_add(1));
    }
}

/// Never returns, but comes to safe points.
#[dpa_kernel]
pub fn yields(thread: &Thread, started: AtomicSlice<u64>) {
    started.at(0).add(1);
    loop {
        thread.yield_now();
    }
}

/// The sum of numbers.
#[dpa_rpc]
pub fn sum_of(_thread: &Thread, xs: DevSlice<u32>) -> u64 {
    (0..xs.len()).map(|i| u64::from(xs.read(i))).sum()
}

/// The sum of the numbers up to this one.
#[dpa_rpc]
pub fn sum_to(_thread: &Thread, last: u64) -> u64 {
    (1..=last).sum()
}

/// The previous value of a counter that it adds to: calls come in order.
#[dpa_rpc]
pub fn ticket(_thread: &Thread, next: AtomicSlice<u64>) -> u64 {
    next.at(0).add(1)
}

/// Panics.
#[dpa_rpc]
pub fn panicking_call(_thread: &Thread) -> u32 {
    panic!("not today")
}

/// Ends itself as threads of handlers do, instead of returning.
#[dpa_rpc]
pub fn leaving_call(thread: &Thread, how: u32) -> u64 {
    match how {
        0 => thread.finish(),
        1 => thread.reschedule(),
        2 => thread.retrigger(),
        _ => 0,
    }
}

/// The threads of ranks 0 and 2 do not meet, while that of rank 1 waits for what nobody does.
#[dpa_kernel]
pub fn does_not_meet(thread: &Thread, never: DevEvent) {
    match thread.rank() {
        0 => thread.barrier(),
        1 => _ = never.wait(Condition::ge(1)),
        _ => _ = thread.max(7),
    }
}

/// The thread of rank 0 does not come to where the others meet.
#[dpa_kernel]
pub fn stays_away(thread: &Thread) {
    if thread.rank() != 0 {
        thread.barrier();
    }
}
