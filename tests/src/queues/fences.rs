//! Kernels that order by hand what the NIC reads and writes, with fences or without.

use doca_dpa_dev::prelude::*;
use doca_dpa_dev::raw::{CompletionKind, CompletionQueue, ReceiveQueue, SendQueue, WorkOpcode};

use super::{completion_at, signaled, words};

/// The fence between a receive and its doorbell record, and the writeback behind that.
pub const ORDERED: u64 = 1;
/// A writeback of device memory; see [`ORDERED`].
pub const WRITTEN_BACK: u64 = 2;
/// A writeback through windows, where entries lie in external memory.
pub const ENTRY_WRITTEN_BACK: u64 = 4;

/// Stores what is sent, posts it and rings, with these writebacks before the doorbell.
#[dpa_kernel]
pub fn send_by_hand(
    thread: &Thread,
    queue: SendQueue<'_>,
    bytes: DevAddr<u64>,
    local: Buf,
    remote: RemoteBuf,
    fences: u64,
) {
    words(thread, bytes).at(0).store(42);
    let wqe = signaled(WorkOpcode::Write);
    let posted = queue.post(&wqe.data(local).remote(remote));
    if fences & ENTRY_WRITTEN_BACK != 0 {
        thread.window_writeback();
    }
    if fences & WRITTEN_BACK != 0 {
        thread.memory_writeback();
    }
    if posted.is_err() || queue.ring_unfenced().is_err() {
        thread.error(1);
    }
}

/// The same with bytes in host memory, behind a window.
#[dpa_kernel]
pub fn send_from_a_window(
    thread: &Thread,
    queue: SendQueue<'_>,
    bytes: DevAddr<u64>,
    local: Buf,
    remote: RemoteBuf,
    fenced: u64,
) {
    match thread.bind_mut(bytes, 1) {
        Ok(bytes) => bytes.write(0, 42),
        Err(kind) => thread.fault(kind),
    }
    if fenced == 1 {
        thread.window_writeback();
    }
    let wqe = signaled(WorkOpcode::Write);
    let posted = queue.post(&wqe.data(local).remote(remote));
    if posted.is_err() || queue.ring().is_err() {
        thread.error(1);
    }
}

/// Writes the receive of this number and raises the doorbell record, with these fences and some steps between.
fn receive_with(
    thread: &Thread,
    queue: ReceiveQueue<'_>,
    number: u64,
    to: Buf,
    steps: u64,
    fences: u64,
) {
    queue.write(number, to);
    if fences & ENTRY_WRITTEN_BACK != 0 {
        thread.window_writeback();
    }
    if fences & ORDERED != 0 {
        thread.memory_fence(Ops::W, Ops::W);
    }
    queue.inc_pi_unfenced(1);
    (0..steps).for_each(|_| thread.safe_point());
    if fences & WRITTEN_BACK != 0 {
        thread.memory_writeback();
    }
}

/// Posts a receive to one queue pair, and has the other send to it.
#[dpa_kernel]
pub fn receive_by_hand(
    thread: &Thread,
    send: SendQueue<'_>,
    queue: ReceiveQueue<'_>,
    from: Buf,
    to: Buf,
    fences: u64,
) {
    let wqe = signaled(WorkOpcode::Send);
    let posted = send.post(&wqe.data(from));
    thread.memory_writeback();
    receive_with(thread, queue, 0, to, 0, fences);
    if posted.is_err() || send.ring_unfenced().is_err() {
        thread.error(1);
    }
}

/// How many receives [`receive_while_others_send`](struct@receive_while_others_send) posts.
pub const RECEIVES: u64 = 8;

/// Rank 0 posts receives one by one, and rank 1 sends to each while that is done.
#[dpa_kernel]
pub fn receive_while_others_send(
    thread: &Thread,
    send: SendQueue<'_>,
    queue: ReceiveQueue<'_>,
    from: Buf,
    to: Buf,
    turn: DevAddr<u64>,
    fences: u64,
) {
    let turn = words(thread, turn);
    for number in 0..RECEIVES {
        if thread.rank() == 0 {
            turn.at(0).store(number + 1);
            receive_with(thread, queue, number, to, 30, fences);
            continue;
        }
        while turn.at(0).load() <= number {
            thread.safe_point();
        }
        let wqe = signaled(WorkOpcode::Send);
        let posted = send.post(&wqe.data(from));
        // One that has failed is seen by who reads the completions.
        if posted.is_err() || send.ring().is_err() {
            return;
        }
    }
}

/// Has a completion queue filled three times, and reads the completions; how many it has read.
#[dpa_kernel]
pub fn poll_by_hand(
    thread: &Thread,
    send: SendQueue<'_>,
    queue: CompletionQueue<'_>,
    local: Buf,
    remote: RemoteBuf,
    read: DevAddr<u64>,
    fenced: u64,
) {
    let wqe = signaled(WorkOpcode::Write);
    let wqe = wqe.data(local).remote(remote);
    for round in 0..3 {
        let first = round * queue.entries();
        let posted = (0..queue.entries()).try_for_each(|_| send.post(&wqe).map(drop));
        thread.memory_writeback();
        queue.set_ci_unfenced(first);
        if fenced == 1 {
            thread.memory_writeback();
        }
        if posted.is_err() || send.ring_unfenced().is_err() {
            thread.error(1);
        }
        for index in first..first + queue.entries() {
            let sent =
                completion_at(queue, index).is_ok_and(|entry| entry.kind == CompletionKind::Send);
            if !sent {
                return;
            }
            words(thread, read).at(0).add(1);
        }
    }
}
