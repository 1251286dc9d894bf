//! Kernels that work the queues of the low layer: entries by hand, indices, doorbells by number.

mod external;
mod fences;
mod order;

use doca_dpa_dev::prelude::*;
use doca_dpa_dev::raw::{
    CompletionEntry, CompletionQueue, ENTRY_WORDS, OutboxHandle, PollError, ReceiveQueue,
    RingError, SendQueue, WorkFlags, WorkOpcode, Wqe,
};

pub use external::*;
pub use fences::*;
pub use order::*;

/// What a doorbell is answered with, as a number.
fn answer(rung: Result<(), RingError>) -> u64 {
    match rung {
        Ok(()) => 0,
        Err(RingError::NoOutbox) => 1,
        Err(RingError::NoQueue { .. }) => 2,
        Err(_) => 3,
    }
}

/// Opcodes as they stand in entries.
pub const WRITE: u64 = 0x08;
/// A message.
pub const SEND: u64 = 0x0a;
/// A read.
pub const READ: u64 = 0x10;
/// An atomic compare-and-swap.
pub const COMPARE_SWAP: u64 = 0x11;
/// An atomic addition.
pub const FETCH_ADD: u64 = 0x12;

/// Four words for the host.
fn words<'t>(thread: &Thread<'t>, at: DevAddr<u64>) -> AtomicSlice<'t, u64> {
    match thread.bind_atomic(at, 4) {
        Ok(words) => words,
        Err(kind) => thread.fault(kind),
    }
}

/// An entry whose completion is asked for.
fn signaled(opcode: WorkOpcode) -> Wqe {
    Wqe::control(opcode, WorkFlags::SIGNALED)
}

/// Waits for the completion with this index.
fn completion_at(queue: CompletionQueue<'_>, index: u64) -> Result<CompletionEntry, PollError> {
    loop {
        if let Some(completion) = queue.poll(index)? {
            return Ok(completion);
        }
    }
}

/// What to post: the opcode as it stands in entries, and its operands.
#[derive(Clone, Copy, Debug, Pod)]
pub struct Work {
    /// The opcode.
    pub opcode: u64,
    /// What an atomic swaps in or adds.
    pub swap_or_add: u64,
    /// What a compare-and-swap expects.
    pub compare: u64,
}

fn entry(thread: &Thread, work: Work, local: Buf, remote: RemoteBuf) -> Wqe {
    let opcode = match work.opcode {
        WRITE => WorkOpcode::Write,
        SEND => WorkOpcode::Send,
        READ => WorkOpcode::Read,
        COMPARE_SWAP => WorkOpcode::CompareSwap,
        FETCH_ADD => WorkOpcode::FetchAdd,
        other => thread.error(other),
    };
    signaled(opcode)
        .remote(remote)
        .data(local)
        .atomic(work.swap_or_add, work.compare)
}

/// Posts the same work so many times, and rings once.
#[dpa_kernel]
pub fn post(
    thread: &Thread,
    queue: SendQueue<'_>,
    work: Work,
    local: Buf,
    remote: RemoteBuf,
    times: u64,
) {
    let wqe = entry(thread, work, local, remote);
    for _ in 0..times {
        if queue.post(&wqe).is_err() {
            thread.error(1);
        }
    }
    if queue.ring().is_err() {
        thread.error(2);
    }
}

/// Writes entries word by word, whatever they say, and rings for all of them.
#[dpa_kernel]
pub fn post_words(thread: &Thread, queue: SendQueue<'_>, entries: DevAddr<u64>, count: u64) {
    let words = match thread.bind_atomic(entries, count as usize * ENTRY_WORDS) {
        Ok(words) => words,
        Err(kind) => thread.fault(kind),
    };
    for n in 0..count {
        let first = n as usize * ENTRY_WORDS;
        let entry = core::array::from_fn(|word| words.at(first + word).load());
        queue.write_words(n, &entry);
    }
    let _ = thread.qp_sq_ring_db(count, queue.number());
}

/// Sends eight bytes that travel in the entry; then rings with indices that cannot be.
#[dpa_kernel]
pub fn send_inline(thread: &Thread, queue: SendQueue<'_>, value: u64, answers: DevAddr<u64>) {
    let answers = words(thread, answers);
    let wqe = signaled(WorkOpcode::Send);
    let Ok(wqe) = wqe.inline(&value.to_le_bytes()) else {
        thread.error(1);
    };
    queue.write(0, &wqe);
    let number = queue.number();
    let too_far = queue.entries() + 1;
    answers
        .at(0)
        .store(answer(thread.qp_sq_ring_db(too_far, number)));
    answers.at(1).store(answer(thread.qp_sq_ring_db(1, number)));
    // Nothing new.
    answers.at(2).store(answer(thread.qp_sq_ring_db(1, number)));
    answers
        .at(3)
        .store(u64::from(wqe.inline(&[0; 29]).is_err()));
}

/// Posts a wait for an event, and a copy behind it.
#[dpa_kernel]
pub fn wait_then_copy(
    thread: &Thread,
    queue: SendQueue<'_>,
    event: EventHandle,
    from: Buf,
    to: RemoteBuf,
) {
    let wait = Wqe::control(WorkOpcode::Wait, WorkFlags::NONE).wait_on(event, Condition::ge(3));
    let copy = signaled(WorkOpcode::Copy);
    let copy = copy.data(from).remote(to);
    let posted = queue.post(&wait).and_then(|_| queue.post(&copy));
    if posted.is_err() || queue.ring().is_err() {
        thread.error(1);
    }
}

/// Gives so many receives to the NIC, one behind the other in memory.
#[dpa_kernel]
pub fn post_receives(thread: &Thread, queue: ReceiveQueue<'_>, first: Buf, times: u64) {
    for n in 0..times {
        let buf = Buf {
            address: first.address + n * u64::from(first.len),
            ..first
        };
        if queue.post(buf).is_err() {
            thread.error(1);
        }
    }
}

/// A handler: reads every completion, counts activations and completions, tells the event of each; arms the queue
/// again if it is to.
#[dpa_kernel]
pub fn on_completion(
    thread: &Thread,
    queue: CompletionQueue<'_>,
    event: EventHandle,
    arms: u64,
    counts: DevAddr<u64>,
) {
    let counts = words(thread, counts);
    let mut consumer = queue.consumer();
    let mut read = 0;
    while let Ok(Some(completion)) = queue.poll(consumer) {
        consumer += 1;
        read += 1;
        counts.at(2).store(completion.user_data.into());
        counts.at(3).store(completion.kind as u64);
    }
    counts.at(0).add(1);
    counts.at(1).add(read);
    queue.set_ci(consumer);
    if arms != 0 && thread.cq_arm(consumer, queue.number()).is_err() {
        thread.error(1);
    }
    if thread.event(event).add(read).is_err() {
        thread.error(2);
    }
}

/// Reads what is in a queue, from its consumer index on: how many completions, how many lost, whether it has overrun,
/// and the entry number of the first that was read.
#[dpa_kernel]
pub fn drain(thread: &Thread, queue: CompletionQueue<'_>, found: DevAddr<u64>) {
    let found = words(thread, found);
    let mut consumer = queue.consumer();
    let (mut read, mut lost) = (0, 0);
    loop {
        match queue.poll(consumer) {
            Ok(Some(completion)) => {
                if read == 0 {
                    found.at(3).store(completion.index.into());
                }
                read += 1;
                consumer += 1;
            }
            Ok(None) => break,
            Err(PollError::Lost { count }) => {
                lost += count;
                consumer += count;
            }
            Err(PollError::Overrun) => {
                found.at(2).store(1);
                break;
            }
            Err(_) => thread.error(1),
        }
    }
    queue.set_ci(consumer);
    found.at(0).store(read);
    found.at(1).store(lost);
}

/// A completion of nothing.
#[dpa_kernel]
pub fn dummy(thread: &Thread, number: u32, times: u64) {
    for _ in 0..times {
        if thread.zcqe_gen(number).is_err() {
            thread.error(1);
        }
    }
}

/// Asks for a notification of what comes behind the first `consumer` completions.
#[dpa_kernel]
pub fn arm(thread: &Thread, queue: CompletionQueue<'_>, consumer: u64, answers: DevAddr<u64>) {
    let answers = words(thread, answers);
    answers
        .at(0)
        .store(answer(thread.cq_arm(consumer, queue.number())));
}

/// Rings every doorbell there is for numbers that are another process's, through the default outbox.
#[dpa_kernel]
pub fn ring_foreign(thread: &Thread, send: u32, completions: u32, answers: DevAddr<u64>) {
    let answers = words(thread, answers);
    answers.at(0).store(answer(thread.qp_sq_ring_db(1, send)));
    answers.at(1).store(answer(thread.cq_arm(0, completions)));
    answers.at(2).store(answer(thread.zcqe_gen(completions)));
    answers
        .at(3)
        .store(thread.errno().map_or(0, |errno| errno.code().into()));
}

/// Configures an outbox and makes a completion through it; again when the host has closed it.
#[dpa_kernel]
pub fn through_outbox(
    thread: &Thread,
    outbox: OutboxHandle,
    number: u32,
    step: EventHandle,
    answers: DevAddr<u64>,
) {
    let answers = words(thread, answers);
    answers.at(0).store(answer(thread.outbox_config(outbox)));
    answers.at(1).store(answer(thread.zcqe_gen(number)));
    let event = thread.event(step);
    if event.add(1).is_err() || event.wait(Condition::ge(2)).is_err() {
        thread.error(1);
    }
    answers.at(2).store(answer(thread.zcqe_gen(number)));
    answers.at(3).store(answer(thread.outbox_config(outbox)));
}

/// A handler. At its first activation it configures an outbox and makes a completion through it; at later ones it makes a
/// completion through whatever outbox it has.
#[dpa_kernel]
pub fn configures_once(thread: &Thread, outbox: OutboxHandle, number: u32, answers: DevAddr<u64>) {
    let answers = words(thread, answers);
    let activation = answers.at(3).add(1);
    if activation == 0 {
        answers.at(0).store(answer(thread.outbox_config(outbox)));
    }
    let rung = answer(thread.zcqe_gen(number));
    answers.at(1 + activation as usize).store(rung);
}

/// Writes eight bytes so many times, and asks for a completion of the last only.
#[dpa_kernel]
pub fn write_often(
    thread: &Thread,
    queue: SendQueue<'_>,
    local: Buf,
    remote: RemoteBuf,
    times: u64,
) {
    for left in (0..times).rev() {
        let flags = match left {
            0 => WorkFlags::SIGNALED,
            _ => WorkFlags::NONE,
        };
        let wqe = Wqe::control(WorkOpcode::Write, flags);
        let wqe = wqe.data(local).remote(remote);
        while queue.post(&wqe).is_err() {
            if queue.ring().is_err() {
                thread.error(1);
            }
            thread.yield_now();
        }
    }
    if queue.ring().is_err() {
        thread.error(2);
    }
}

/// Writes down the numbers of three queues.
#[dpa_kernel]
pub fn say_numbers(
    thread: &Thread,
    send: SendQueue<'_>,
    receive: ReceiveQueue<'_>,
    completions: CompletionQueue<'_>,
    numbers: DevAddr<u64>,
) {
    let numbers = words(thread, numbers);
    numbers.at(0).store(send.number().into());
    numbers.at(1).store(receive.number().into());
    numbers.at(2).store(completions.number().into());
}

/// Raises the producer index of a receive queue behind no entries.
#[dpa_kernel]
pub fn raise(_thread: &Thread, queue: ReceiveQueue<'_>, count: u32) {
    queue.inc_pi(count);
}

/// Posts a write and a fetch-add, and says of each completion what its entry asked for.
#[dpa_kernel]
pub fn say_opcodes(
    thread: &Thread,
    send: SendQueue<'_>,
    queue: CompletionQueue<'_>,
    local: Buf,
    remote: RemoteBuf,
    said: DevAddr<u64>,
) {
    let entry = |opcode| signaled(opcode).remote(remote);
    let write = entry(WorkOpcode::Write).data(local);
    let add = entry(WorkOpcode::FetchAdd).atomic(1, 0).data(local);
    let posted = send.post(&write).and_then(|_| send.post(&add));
    if posted.is_err() || send.ring().is_err() {
        thread.error(1);
    }
    for index in 0..2 {
        let Ok(completion) = completion_at(queue, index) else {
            thread.error(2);
        };
        let opcode = send.opcode(completion.index.into());
        words(thread, said)
            .at(index as usize)
            .store(opcode.map_or(0, |opcode| opcode as u64));
    }
}
