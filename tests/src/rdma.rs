//! Kernels that do RDMA.

use core::time::Duration;

use doca_dpa_dev::prelude::*;

/// Writes everything to the peer, then sets the peer's event.
#[dpa_kernel]
pub fn write_and_signal(
    thread: &Thread,
    rdma: Rdma,
    from: LocalMemory,
    to: RemoteMemory,
    event: RemoteEvent,
    value: u64,
) {
    let peer = rdma.connection(0);
    let len = from.len as u32;
    let posted = peer
        .write(from.at(0, len), to.at(0, len), PostFlags::OPTIMIZE_REPORTS)
        .and_then(|_| {
            let flags = PostFlags::FLUSH | PostFlags::OPTIMIZE_REPORTS;
            peer.signal_set(event, value, flags)
        });
    if posted.is_err() {
        thread.error(1);
    }
}

/// Reads what the NIC has counted of the connection.
#[dpa_kernel]
pub fn count_packets(_thread: &Thread, rdma: Rdma, values: DevSliceMut<u64>) {
    let counted = rdma.connection(0).counters([
        NicCounter::Resent,
        NicCounter::Duplicates,
        NicCounter::SequenceNaksReceived,
        NicCounter::Timeouts,
        NicCounter::Dropped,
    ]);
    for (at, value) in counted.into_iter().enumerate() {
        values.write(at, value);
    }
}

/// Waits for a completion that must be a success.
fn success(thread: &Thread, done: &Completions) -> Completion {
    match done.wait() {
        Ok(completion) if completion.result().is_ok() => completion,
        Ok(_) => thread.error(2),
        Err(_) => thread.error(3),
    }
}

/// A write, a read, and both atomics, each awaited: numbers and words before go to `results`.
#[dpa_kernel]
pub fn all_kinds(
    thread: &Thread,
    rdma: Rdma,
    done: Completions,
    local: LocalMemory,
    to: RemoteMemory,
    results: DevSliceMut<u64>,
) {
    let peer = rdma.connection(0);
    let now = PostFlags::FLUSH;
    let posted = [
        peer.write(local.at(0, 16), to.at(0, 16), PostFlags::NONE),
        peer.read(local.at(32, 16), to.at(16, 16), PostFlags::NONE),
        peer.fetch_add(to.at(0, 8), 10, Some(local.at(48, 8)), PostFlags::NONE),
        peer.compare_swap(to.at(8, 8), 2, 77, None, now),
    ];
    for (count, number) in posted.into_iter().enumerate() {
        let completion = success(thread, &done);
        if number != Ok(completion.index()) || completion.kind() != CompletionKind::Send {
            thread.error(4);
        }
        results.write(0, count as u64 + 1);
        match count {
            2 => results.write(1, completion.original()),
            3 => results.write(2, completion.original()),
            _ => {}
        }
    }
}

/// Sends so many equal parts, each with a number, and waits until all have arrived.
#[dpa_kernel]
pub fn send_messages(
    thread: &Thread,
    rdma: Rdma,
    done: Completions,
    from: LocalMemory,
    count: u32,
) {
    let peer = rdma.connection(0);
    let part = from.len as u32 / count;
    for number in 0..count {
        let data = from.at(u64::from(number * part), part);
        if peer
            .send_imm(data, 1000 + number, PostFlags::FLUSH)
            .is_err()
        {
            thread.error(1);
        }
    }
    for _ in 0..count {
        success(thread, &done);
    }
}

/// Posts so many receives, one after the other, and logs number and length of what arrives in each.
#[dpa_kernel]
pub fn receive_messages(
    thread: &Thread,
    rdma: Rdma,
    done: Completions,
    inbox: LocalMemory,
    log: DevSliceMut<u64>,
    count: u32,
) {
    let part = inbox.len as u32 / count;
    for number in 0..count {
        let slot = inbox.at(u64::from(number * part), part);
        if rdma.post_receive(slot).is_err() {
            thread.error(1);
        }
    }
    for slot in 0..count {
        let completion = success(thread, &done);
        rdma.receive_ack(1);
        let Some(number) = completion.immediate() else {
            thread.error(2);
        };
        log.write(slot as usize, number.into());
        log.write((count + slot) as usize, completion.len().into());
    }
}

/// Waits for a signal that never comes; the end of the wait must be that the event is closed.
#[dpa_kernel]
pub fn wait_for_signal(thread: &Thread, event: DevEvent) {
    match event.wait(Condition::ge(1)) {
        Err(EventError::Closed { .. }) => {}
        _ => thread.error(5),
    }
}

/// Posts more than the completion queue has room for, and reads none before it has overrun; then all.
#[dpa_kernel]
pub fn overrun(
    thread: &Thread,
    rdma: Rdma,
    done: Completions,
    to: RemoteMemory,
    read: DevSliceMut<u64>,
) {
    let peer = rdma.connection(0);
    for value in 0..16 {
        if peer
            .write_word(value, to.at(0, 8), PostFlags::FLUSH)
            .is_err()
        {
            thread.error(1);
        }
    }
    while peer.state() == ConnectionState::Ready {
        thread.yield_now();
    }
    let mut count = 0;
    while let Ok(Some(_)) = done.poll() {
        count += 1;
    }
    if done.poll() != Err(CompletionError::Overrun) {
        thread.error(6);
    }
    read.write(0, count);
}

/// Two writes that the peer refuses: logs of each whether it was sent. The second waits behind the first.
#[dpa_kernel]
pub fn two_failures(
    thread: &Thread,
    rdma: Rdma,
    done: Completions,
    to: RemoteMemory,
    log: DevSliceMut<u64>,
) {
    let peer = rdma.connection(0);
    let refused = peer.write_word(1, to.at(0, 8), PostFlags::FLUSH);
    if refused.is_err() {
        thread.error(1);
    }
    for place in 0..2 {
        let Ok(completion) = done.wait() else {
            thread.error(2);
        };
        match completion.result() {
            Err(failure) => log.write(place, failure.sent.into()),
            Ok(()) => thread.error(3),
        }
        // The queue pair is in error now: this one never leaves.
        if place == 0 && peer.write_word(2, to.at(0, 8), PostFlags::FLUSH).is_err() {
            thread.error(4);
        }
    }
}

/// Adds 1 to a word of the peer's and signals an event of the peer's as often, with some of both on their way.
#[dpa_kernel]
pub fn add_many(
    thread: &Thread,
    rdma: Rdma,
    done: Completions,
    to: RemoteMemory,
    event: RemoteEvent,
    count: u32,
) {
    const AHEAD: u32 = 16;
    let peer = rdma.connection(0);
    for number in 0..count + AHEAD {
        if number >= AHEAD {
            success(thread, &done);
        }
        if number < count {
            let quiet = PostFlags::OPTIMIZE_REPORTS;
            let posted = peer
                .signal_add(event, 1, quiet)
                .and_then(|_| peer.fetch_add(to.at(0, 8), 1, None, PostFlags::FLUSH));
            if posted.is_err() {
                thread.error(1);
            }
        }
    }
}

/// Keeps a connection while the host drops it and makes another with its id: work is posted to that only by who looks it up
/// again.
#[dpa_kernel]
pub fn keep_a_connection(
    thread: &Thread,
    rdma: Rdma,
    done: Completions,
    to: RemoteMemory,
    kept: DevEvent,
    go_on: DevEvent,
) {
    let write = |peer: &Connection<'_>| peer.write_word(7, to.at(0, 8), PostFlags::FLUSH);
    let old = rdma.connection(0);
    if write(&old).is_err() {
        thread.error(1);
    }
    success(thread, &done);
    if kept.add(1).is_err() || go_on.wait(Condition::ge(1)).is_err() {
        thread.error(4);
    }
    let gone = write(&old) == Err(PostError::NotConnected);
    if !gone || old.state() != ConnectionState::Disconnected {
        thread.error(5);
    }
    if write(&rdma.connection(0)).is_err() {
        thread.error(6);
    }
    match done.wait_timeout(Duration::from_secs(20)) {
        Ok(completion) if completion.result().is_ok() && completion.index() == 0 => {}
        _ => thread.error(7),
    }
}

/// Reads a word of the peer's, and overwrites it behind that, with the fence flag or without.
#[dpa_kernel]
pub fn read_and_overwrite(
    thread: &Thread,
    rdma: Rdma,
    done: Completions,
    into: LocalMemory,
    to: RemoteMemory,
    fenced: u64,
) {
    let peer = rdma.connection(0);
    let flags = match fenced {
        1 => PostFlags::FLUSH | PostFlags::FENCE,
        _ => PostFlags::FLUSH,
    };
    let posted = peer
        .read(into.at(0, 8), to.at(0, 8), PostFlags::NONE)
        .and_then(|_| peer.write_word(2, to.at(0, 8), flags));
    if posted.is_err() {
        thread.error(1);
    }
    for _ in 0..2 {
        success(thread, &done);
    }
}
