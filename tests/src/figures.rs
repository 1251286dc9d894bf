//! Kernels that use what few others do: counters, fixed-point numbers, fences one by one, completions given back by hand.

use doca_dpa_dev::math;
use doca_dpa_dev::prelude::*;
use doca_dpa_dev::raw::{ReceiveQueue, Wqe};
use dpa_abi::queue::{WorkData, WorkFlags, WorkOpcode};

/// Counters that only grow, and fixed-point numbers.
#[dpa_kernel]
pub fn counts_and_figures(thread: &Thread, seen: DevSliceMut<u64>) {
    let (cycles, retired) = (thread.cycles(), thread.instructions_retired());
    let before = thread.time();
    for _ in 0..100 {
        thread.yield_now();
    }
    let grew = thread.cycles() >= cycles
        && thread.instructions_retired() >= retired
        && thread.time() >= before;
    seen.write(0, grew.into());
    seen.write(1, math::reciprocal(4 * math::ONE).into());
    seen.write(2, math::pow2(3 << 16).into());
    seen.write(3, u64::from(math::log2(8 * math::ONE).unsigned_abs()));
}

/// Stores through a window, orders that with one kind of fence, and says so; stays, for a thread's end writes back.
#[dpa_kernel]
pub fn orders(
    thread: &Thread,
    which: u64,
    host: DevSliceMut<u64>,
    told: DevSliceMut<u64>,
    go_on: DevEvent,
) {
    host.write(0, 7);
    match which {
        0 => thread.window_fence(Ops::W, Ops::W),
        1 => thread.outbox_fence(Ops::W, Ops::W),
        _ => thread.system_fence(),
    }
    told.write(0, 1);
    if go_on.wait(Condition::ge(1)).is_err() {
        thread.error(1);
    }
    thread.log_line(LogLevel::Debug, format_args!("ordered {}", host.len()));
}

/// Adds to a peer's event, and gives the completions back all at once.
#[dpa_kernel]
pub fn adds_to_peer(
    thread: &Thread,
    rdma: Rdma,
    done: Completions,
    event: RemoteEvent,
    times: u32,
) {
    let peer = rdma.connection(0);
    for _ in 0..times {
        if peer.signal_add(event, 2, PostFlags::NONE).is_err() {
            thread.error(1);
        }
    }
    peer.flush();
    let mut seen = 0;
    while seen < times {
        match done.poll_unacknowledged() {
            Ok(Some(completion)) if completion.result().is_ok() => seen += 1,
            Ok(None) => thread.yield_now(),
            _ => thread.error(2),
        }
    }
    done.acknowledge(times);
}

/// Sends to the peer with and without a number, writes with one, into receives of eight bytes behind each other; then sets
/// an event to what the numbers add up to.
#[dpa_kernel]
pub fn sends_each_way(
    thread: &Thread,
    rdma: Rdma,
    done: Completions,
    from: LocalMemory,
    into: LocalMemory,
    to: RemoteMemory,
    told: DevEvent,
) {
    let peer = rdma.connection(0);
    let (data, first) = (from.at(0, 8), into.at(0, 8));
    for place in 0..3 {
        let at = Buf {
            address: first.address + 8 * place,
            ..first
        };
        if rdma.post_receive(at).is_err() {
            thread.error(1);
        }
    }
    let posted = [
        peer.send(data, PostFlags::OPTIMIZE_REPORTS),
        peer.send_imm(data, 20, PostFlags::OPTIMIZE_REPORTS),
        peer.write_imm(
            data,
            to.at(16, 8),
            300,
            PostFlags::OPTIMIZE_REPORTS | PostFlags::FLUSH,
        ),
    ];
    if posted.iter().any(Result::is_err) {
        thread.error(2);
    }
    let (mut sum, mut received) = (0, 0);
    while received < 3 {
        match done.wait() {
            Ok(completion) if completion.result().is_ok() => {
                received += u32::from(completion.kind().is_receive());
                sum += u64::from(completion.immediate().unwrap_or(1));
            }
            _ => thread.error(3),
        }
    }
    rdma.receive_ack(received);
    if told.set(sum).is_err() {
        thread.error(4);
    }
}

/// Holds the connection up until an event has this value; behind that a write to the peer and a signal.
#[dpa_kernel]
pub fn writes_behind_a_wait(
    thread: &Thread,
    rdma: Rdma,
    go: EventHandle,
    value: u64,
    from: LocalMemory,
    to: RemoteMemory,
    arrived: RemoteEvent,
) {
    let peer = rdma.connection(0);
    let posted = [
        peer.wait_for(go, Condition::ge(value), PostFlags::NONE),
        peer.write(from.at(0, 8), to.at(0, 8), PostFlags::NONE),
        peer.signal_add(arrived, 1, PostFlags::FLUSH),
    ];
    if posted.iter().any(Result::is_err) {
        thread.error(1);
    }
}

/// Puts an entry of a queue together and looks at what it says.
#[dpa_kernel]
pub fn puts_an_entry_together(_thread: &Thread, from: LocalMemory, seen: DevSliceMut<u64>) {
    let to = RemoteBuf {
        address: 4096,
        key: 9,
        len: 8,
    };
    let wqe = Wqe::control(WorkOpcode::WriteImmediate, WorkFlags::FENCE)
        .immediate(77)
        .remote(to)
        .data(from.at(0, 8))
        .atomic(3, 4);
    let entry = wqe.entry();
    let said = entry.opcode == WorkOpcode::WriteImmediate && entry.flags == WorkFlags::FENCE;
    let data = WorkData::Local {
        address: from.base,
        len: 8,
        key: from.key,
    };
    seen.write(0, (said && entry.data == data).into());
    seen.write(1, entry.immediate.into());
    seen.write(2, entry.remote.address + u64::from(entry.remote.key));
    seen.write(3, entry.atomic[0] * 10 + entry.atomic[1]);
}

/// Writes two entries of a receive queue, gives them to the NIC at once, and says the producer index before and after.
#[dpa_kernel]
pub fn gives_receives(
    thread: &Thread,
    queue: ReceiveQueue<'_>,
    into: DevAddr<u64>,
    seen: DevAddr<u64>,
) {
    let Ok(seen) = thread.bind_mut(seen, 2) else {
        thread.error(1);
    };
    seen.write(0, queue.producer());
    for index in 0..2 {
        let buf = Buf {
            address: into.raw(),
            len: 8,
            key: 1,
        };
        queue.write(index, buf);
    }
    queue.inc_pi(2);
    seen.write(1, queue.producer());
}
