//! Kernels that share memory by hand: right with their fences, wrong without. Each is told which fence
//! it has, or none.

use core::time::Duration;

use doca_dpa_dev::prelude::*;

/// How often a kernel looks before it gives up.
const LOOKS: u64 = 200;

/// Polls a flag that the host sets, through a window. Returns whether it has seen it.
#[dpa_kernel]
pub fn poll_a_flag(
    thread: &Thread,
    flag: DevSlice<u64>,
    seen: DevSliceMut<u64>,
    ready: DevEvent,
    fenced: u64,
) {
    let before = flag.read(0);
    if before != 0 || ready.add(1).is_err() {
        thread.error(1);
    }
    for _ in 0..LOOKS {
        match fenced {
            1 => thread.window_read_inv(),
            2 => thread.system_fence(),
            _ => {}
        }
        if flag.read_volatile(0) != 0 {
            seen.write(0, 1);
            return;
        }
        thread.safe_point();
    }
}

/// Polls an event until the host says that it has set a flag behind a window, and then looks at that.
#[dpa_kernel]
pub fn poll_an_event(
    thread: &Thread,
    flag: DevSlice<u64>,
    seen: DevSliceMut<u64>,
    ready: DevEvent,
    told: DevEvent,
    fenced: u64,
) {
    let before = flag.read(0);
    if before != 0 || ready.add(1).is_err() {
        thread.error(1);
    }
    while told.get() == 0 {}
    if fenced == 1 {
        thread.window_read_inv();
    }
    seen.write(0, flag.read_volatile(0));
}

/// Sets a flag in host memory, and then says so in device memory.
#[dpa_kernel]
pub fn set_a_flag(
    thread: &Thread,
    flag: DevSliceMut<u64>,
    told: DevSliceMut<u64>,
    go_on: DevEvent,
    fenced: u64,
) {
    flag.write(0, 7);
    match fenced {
        1 => thread.window_writeback(),
        2 => thread.system_fence(),
        _ => {}
    }
    told.write(0, 1);
    if go_on.wait(Condition::ge(1)).is_err() {
        thread.error(1);
    }
}

/// Rank 0 stores a value and then a flag; rank 1 waits for the flag and reads the value.
#[dpa_kernel]
pub fn hand_over(thread: &Thread, value: DevSliceMut<u64>, flag: DevSliceMut<u64>, fenced: u64) {
    if thread.rank() == 0 {
        value.write(0, 42);
        if fenced == 1 {
            thread.memory_fence(Ops::W, Ops::W);
        }
        flag.write(0, 1);
        return linger(thread, &flag);
    }
    while flag.read_volatile(0) != 1 {
        thread.safe_point();
    }
    value.write(1, value.read(0));
    flag.write(0, 2);
}

/// A thread's end is a release of all it has stored, so it stays until it was seen.
fn linger(thread: &Thread, flag: &DevSliceMut<'_, u64>) {
    while flag.read_volatile(0) != 2 {
        thread.safe_point();
    }
}

/// Rank 0 stores what is to be copied, and a flag on another line; rank 1 has the NIC copy it once it sees that.
#[dpa_kernel]
pub fn copy_what_another_stored(
    thread: &Thread,
    ops: AsyncOps,
    done: Completions,
    from: LocalMemory,
    to: LocalMemory,
    words: DevSliceMut<u64>,
    fenced: u64,
) {
    let flag = words.part(8, 1);
    if thread.rank() == 0 {
        words.write(0, 42);
        match fenced {
            1 => thread.memory_writeback(),
            2 => thread.system_fence(),
            3 => thread.memory_fence(Ops::W, Ops::W),
            _ => thread.fence(Space::Heap, Ops::W, Ops::W),
        }
        flag.write(0, 1);
        return linger(thread, &flag);
    }
    while flag.read_volatile(0) != 1 {
        thread.safe_point();
    }
    let posted = ops.copy(to.at(0, 8), from.at(0, 8), PostFlags::FLUSH);
    let ended = done.wait().map(|completion| completion.result());
    if posted.is_err() || !matches!(ended, Ok(Ok(()))) {
        thread.error(1);
    }
    flag.write(0, 2);
}

/// Rank 0 posts work without a doorbell, and waits; rank 1 sees that, posts behind it, rings, and waits for both.
#[dpa_kernel]
pub fn ring_for_another(
    thread: &Thread,
    ops: AsyncOps,
    done: Completions,
    flag: DevSliceMut<u64>,
    over: DevEvent,
) {
    let post = |flags| ops.copy(Buf::default(), Buf::default(), flags).is_ok();
    if thread.rank() == 0 {
        let posted = post(PostFlags::NONE);
        flag.write(0, 1);
        if !posted || over.wait(Condition::ge(1)).is_err() {
            thread.error(1);
        }
        return;
    }
    while flag.read_volatile(0) != 1 {
        thread.safe_point();
    }
    if !post(PostFlags::FLUSH) {
        thread.error(2);
    }
    for _ in 0..2 {
        match done.wait_timeout(Duration::from_millis(10)) {
            Ok(completion) if completion.result().is_ok() => {}
            _ => thread.error(3),
        }
    }
    if over.add(1).is_err() {
        thread.error(4);
    }
}

/// Stores through a window and says so by an event; stays, for a thread's end writes back.
#[dpa_kernel]
pub fn set_and_tell(thread: &Thread, flag: DevSliceMut<u64>, told: DevEvent, go_on: DevEvent) {
    flag.write(0, 7);
    if told.add(1).is_err() || go_on.wait(Condition::ge(1)).is_err() {
        thread.error(1);
    }
}

/// Reads a window, waits, and reads it again.
#[dpa_kernel]
pub fn look_behind_a_wait(
    thread: &Thread,
    flag: DevSlice<u64>,
    seen: DevSliceMut<u64>,
    ready: DevEvent,
    told: DevEvent,
) {
    let before = flag.read(0);
    if before != 0 || ready.add(1).is_err() || told.wait(Condition::ge(1)).is_err() {
        thread.error(1);
    }
    seen.write(0, flag.read_volatile(0));
}

/// Both look through a window, they meet, rank 0 stores, they meet, and rank 1 looks again.
#[dpa_kernel]
pub fn meet_at_a_window(thread: &Thread, flag: DevSliceMut<u64>, seen: DevSliceMut<u64>) {
    let before = flag.read_volatile(0);
    thread.barrier();
    if thread.rank() == 0 {
        flag.write(0, 7);
    }
    thread.barrier();
    if thread.rank() == 1 {
        seen.write(0, before);
        seen.write(1, flag.read_volatile(0));
    }
    thread.barrier();
}

/// Stores through a window and wakes another thread; stays.
#[dpa_kernel]
pub fn set_and_wake(
    thread: &Thread,
    flag: DevSliceMut<u64>,
    other: HandlerHandle,
    go_on: DevEvent,
) {
    flag.write(0, 7);
    if !thread.notify(other) || go_on.wait(Condition::ge(1)).is_err() {
        thread.error(1);
    }
}

/// At each trigger: what it sees through a window. For continuable threads, which keep what they have cached.
#[dpa_kernel]
pub fn look_at_each_trigger(
    thread: &Thread,
    flag: DevSlice<u64>,
    seen: DevSliceMut<u64>,
    ran: DevEvent,
) {
    loop {
        seen.write(0, flag.read_volatile(0));
        if ran.add(1).is_err() || !thread.await_trigger() {
            return;
        }
    }
}
