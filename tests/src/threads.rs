//! Kernels of DPA threads.

use doca_dpa_dev::prelude::*;

/// Adds 1 at each activation.
#[dpa_kernel]
pub fn tick(thread: &Thread, total: DevEvent) {
    add(thread, total);
}

/// Adds 1 to an event that must be open.
fn add(thread: &Thread, event: DevEvent) {
    if event.add(1).is_err() {
        thread.error(100);
    }
}

/// Runs again at once until its storage has counted so many, then says so; the next event begins anew.
#[dpa_kernel]
pub fn count_to(thread: &Thread, until: u64, done: DevEvent) {
    let Ok(storage) = thread.bind_mut(thread.local_storage::<u64>(), 1) else {
        thread.error(1);
    };
    let count = storage.read(0) + 1;
    storage.write(0, count % until);
    if count < until {
        thread.retrigger();
    }
    add(thread, done);
}

/// Wakes itself at each activation: it never comes to rest.
#[dpa_kernel]
pub fn restless(thread: &Thread, total: DevEvent) {
    add(thread, total);
    match thread.handler() {
        Some(own) if thread.notify(own) => {}
        _ => thread.error(1),
    }
}

/// As [`restless`], and binds what stands at an address that nothing keeps alive.
#[dpa_kernel]
pub fn restless_reader(thread: &Thread, total: DevEvent, at: DevAddr<u64>) {
    match thread.bind(at, 8) {
        Ok(words) => _ = words.read(0),
        Err(kind) => thread.fault(kind),
    }
    add(thread, total);
    if let Some(own) = thread.handler() {
        thread.notify(own);
    }
}

/// Runs three times.
#[dpa_kernel]
pub fn three_times(thread: &Thread, total: DevEvent) {
    match total.add(1) {
        Ok(2) => thread.finish(),
        Ok(_) => thread.reschedule(),
        Err(_) => thread.error(1),
    }
}

/// Wakes another thread so many times.
#[dpa_kernel]
pub fn wake(thread: &Thread, other: HandlerHandle, times: u64) {
    for _ in 0..times {
        if !thread.notify(other) {
            thread.error(1);
        }
        thread.yield_now();
    }
}

/// Passes on what it got by waking the next.
#[dpa_kernel]
pub fn pass_on(thread: &Thread, next: HandlerHandle, passed: DevEvent) {
    add(thread, passed);
    thread.notify(next);
}

/// Says its rank and the number of threads.
#[dpa_kernel]
pub fn say_rank(thread: &Thread, ranks: AtomicSlice<u64>, done: DevEvent) {
    ranks
        .at(thread.rank() as usize)
        .add(1 + thread.threads() as u64);
    add(thread, done);
}

/// Is never inside together with more than `most - 1` others: marks the greatest number it saw.
#[dpa_kernel]
pub fn crowd(thread: &Thread, inside: AtomicSlice<u64>, done: DevEvent) {
    let others = inside.at(0).add(1);
    inside.at(1).max(others + 1);
    for _ in 0..8 {
        thread.yield_now();
    }
    inside.at(0).add(u64::MAX);
    add(thread, done);
}

/// Takes what is complete, posts each receive again, asks for the next notification, and ends.
#[dpa_kernel]
pub fn serve_messages(
    thread: &Thread,
    rdma: Rdma,
    done: Completions,
    inbox: LocalMemory,
    sum: AtomicSlice<u64>,
    served: DevEvent,
) {
    loop {
        while let Ok(Some(completion)) = done.poll() {
            let Some(number) = completion.immediate() else {
                thread.error(1);
            };
            sum.at(0).add(number.into());
            rdma.receive_ack(1);
            if rdma.post_receive(inbox.at(0, 8)).is_err() {
                thread.error(2);
            }
            add(thread, served);
        }
        if !done.request_notification() {
            return;
        }
    }
}

/// Posts so many receives.
#[dpa_kernel]
pub fn post_receives(thread: &Thread, rdma: Rdma, inbox: LocalMemory, count: u32) {
    for _ in 0..count {
        if rdma.post_receive(inbox.at(0, 8)).is_err() {
            thread.error(1);
        }
    }
}

/// At each event waits until a gate has come as far, and counts.
#[dpa_kernel]
pub fn counts_behind_a_gate(thread: &Thread, gate: DevEvent, ran: DevEvent) {
    let mut number = 1;
    while gate.wait(Condition::ge(number)).is_ok() {
        add(thread, ran);
        number += 1;
        if !thread.await_trigger() {
            return;
        }
    }
}

/// Tries to wake a thread that may be gone.
#[dpa_kernel]
pub fn wake_raw(thread: &Thread, other: HandlerHandle) {
    if thread.notify(other) {
        thread.error(1);
    }
}

/// Asks the thread of rank 0 for its rank.
#[dpa_kernel]
pub fn ask_rank(thread: &Thread, told: AtomicSlice<u64>, done: DevEvent) {
    told.at(0)
        .add(1 + u64::from(thread.broadcast(0, thread.rank())));
    add(thread, done);
}
