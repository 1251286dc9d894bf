//! Kernels for what a thread has of its own: locks, the last refusal, error codes, its name, the place where it waits.

use doca_dpa_dev::prelude::*;
use doca_dpa_dev::{Handle, compiler_barrier};

/// Adds to a counter that is no atomic, under a lock, and says the ticket it had.
#[dpa_kernel]
pub fn count_locked(
    thread: &Thread,
    words: AtomicSlice<u32>,
    total: DevSliceMut<u64>,
    tickets: AtomicSlice<u64>,
    times: u64,
) {
    let lock = SpinLock::new(thread, words, 1);
    for _ in 0..times {
        let held = lock.lock();
        let before = total.read_volatile(0);
        thread.yield_now();
        total.write(0, before + 1);
        tickets.at(held.ticket() as usize).add(1);
    }
}

/// Locks and never gives back; or, if it is the second, finds that it is held.
#[dpa_kernel]
pub fn try_twice(thread: &Thread, words: AtomicSlice<u32>, seen: DevSliceMut<u64>) {
    let lock = SpinLock::new(thread, words, 0);
    let first = lock.try_lock();
    let second = lock.try_lock();
    seen.write(0, first.is_some().into());
    seen.write(1, second.is_none().into());
    seen.write(2, lock.is_locked().into());
    drop(first);
    seen.write(3, lock.is_locked().into());
    seen.write(4, lock.try_lock().is_some().into());
}

/// The last refusal, before and after each of several calls.
#[dpa_kernel]
pub fn refusals(thread: &Thread, event: DevEvent, seen: DevSliceMut<u64>, gone: HandlerHandle) {
    let code = |thread: &Thread| thread.errno().map_or(0, |errno| errno.code().into());
    seen.write(0, code(thread));
    if thread.bind(DevAddr::<u64>::from_raw(8), 1).is_ok() {
        thread.error(1);
    }
    seen.write(1, code(thread));
    if thread.notify(gone) {
        thread.error(2);
    }
    seen.write(2, code(thread));
    if event
        .wait_timeout(Condition::ge(100), Duration::from_micros(1))
        .is_ok()
    {
        thread.error(3);
    }
    seen.write(3, code(thread));
    // What succeeds leaves it alone.
    event.get();
    seen.write(4, code(thread));
    seen.write(
        5,
        thread.take_errno().map_or(0, |errno| errno.code().into()),
    );
    seen.write(6, code(thread));
    if !msg!(
        thread,
        StreamHandle(Handle::from_bits(77)),
        Error,
        "nobody hears it"
    ) {
        seen.write(7, code(thread));
    }
    thread.reset_errno();
    seen.write(8, code(thread));
}

/// Says what was refused at its last activation, and then has something refused.
#[dpa_kernel]
pub fn refused_each_time(thread: &Thread, last: AtomicSlice<u64>, ran: DevEvent) {
    last.at(0)
        .add(thread.errno().map_or(0, |errno| errno.code().into()));
    if thread.bind(DevAddr::<u64>::from_raw(8), 1).is_ok() || ran.add(1).is_err() {
        thread.error(1);
    }
}

/// Ends the process for no error.
#[dpa_kernel]
pub fn finishes_process(thread: &Thread) {
    thread.process_finish();
}

/// Counts on its stack how often it was triggered, and says so each time.
#[dpa_kernel]
pub fn counts_on_its_stack(thread: &Thread, told: DevSliceMut<u64>, ran: DevEvent) {
    let mut count = 0;
    loop {
        count += 1;
        told.write(0, count);
        if ran.add(1).is_err() || !thread.await_trigger() {
            return;
        }
    }
}

/// Goes on so many times by triggers of its own.
#[dpa_kernel]
pub fn goes_on(thread: &Thread, times: u64, told: DevSliceMut<u64>, done: DevEvent) {
    let mut count = 0;
    while count < times && thread.yield_and_retrigger() {
        count += 1;
    }
    told.write(0, count);
    if done.add(1).is_err() {
        thread.error(1);
    }
}

/// Who it is: its number, whether it is its handler, and its name's length.
#[dpa_kernel]
pub fn says_who(thread: &Thread, seen: DevSliceMut<u64>, done: DevEvent) {
    seen.write(0, thread.id());
    seen.write(1, thread.handler().map_or(0, |handler| handler.0.to_bits()));
    seen.write(2, (thread.name() == "says_who").into());
    if done.add(1).is_err() {
        thread.error(1);
    }
}

/// Notes that something went wrong, and tells the host; then does something wrong itself, if asked to.
#[dpa_kernel]
pub fn cleans_up(thread: &Thread, note: DevSliceMut<u64>, told: DevEvent, worse: u64) {
    note.write(0, 0xdead);
    note.write(1, (thread.name() == "gives_up").into());
    // It cannot wait: that ends at once.
    note.write(2, told.wait(Condition::ge(1000)).is_err().into());
    thread.barrier();
    if told.add(1).is_err() || worse == 1 {
        thread.error(200);
    }
    assert_ne!(worse, 2, "worse and worse");
    if worse == 3 {
        thread.finish();
    }
}

/// All read-modify-writes, each with what it gave.
#[dpa_kernel]
pub fn read_modify_writes(_thread: &Thread, word: AtomicSlice<u64>, seen: DevSliceMut<u64>) {
    let cell = word.at(0);
    let gave = [
        cell.load(),
        cell.swap(10),
        cell.add(5),
        cell.sub(3),
        cell.add_fetch(8),
        cell.sub_fetch(21),
        cell.compare_exchange(u64::MAX, 7).unwrap_or(1),
        cell.compare_exchange(8, 9).unwrap_or_else(|found| found),
        cell.load(),
    ];
    seen.write_from(0, &gave);
}

/// Copies from host memory to the device and back, so many bytes at a time.
#[dpa_kernel]
pub fn copies(_thread: &Thread, from: DevSlice<u8>, here: DevSliceMut<u8>, to: DevSliceMut<u8>) {
    let mut at = 0;
    for bytes in [16, 32, 64] {
        here.copy_from(at, &from.part(at, bytes));
        to.copy_from(at, &here.part(at, bytes).as_slice());
        at += bytes;
    }
}

/// Stores through a window, forgets it, and says what it reads then; then stores, flushes, and says so.
#[dpa_kernel]
pub fn forgets(thread: &Thread, host: DevSliceMut<u64>, seen: DevSliceMut<u64>, flushed: DevEvent) {
    host.write(0, 111);
    thread.data_ignore(host.addr());
    seen.write(0, host.read_volatile(0));
    host.write(0, 222);
    compiler_barrier();
    thread.l1_flush();
    seen.write(1, host.read_volatile(0));
    if flushed.add(1).is_err() {
        thread.error(1);
    }
}

/// Copies twice, one behind the other, and says what the completions say beside that they are there.
#[dpa_kernel]
pub fn looks_at_completions(
    thread: &Thread,
    ops: AsyncOps,
    done: Completions,
    bytes: LocalMemory,
    seen: DevSliceMut<u64>,
) {
    let half = (bytes.len / 2) as u32;
    let (to, from) = (bytes.at(half.into(), half), bytes.at(0, half));
    for round in 0..2 {
        let before = thread.time();
        let Ok(number) = ops.copy(to, from, PostFlags::FLUSH) else {
            thread.error(1);
        };
        let Ok(completion) = done.wait() else {
            thread.error(2);
        };
        let now = thread.time();
        let in_order = before <= completion.timestamp() && completion.timestamp() <= now;
        seen.write(round, u64::from(in_order && completion.index() == number));
        seen.write(2 + round, completion.queue_pair().into());
    }
}
