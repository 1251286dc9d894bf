//! Kernels that post copies and waits.

use doca_dpa_dev::prelude::*;

/// Copies one to the other, and waits for the completion.
#[dpa_kernel]
pub fn copy_over(
    thread: &Thread,
    ops: AsyncOps,
    done: Completions,
    to: LocalMemory,
    from: LocalMemory,
    shift: u64,
) {
    let len = (from.len.min(to.len) - shift) as u32;
    let posted = ops.copy(to.at(shift, len), from.at(0, len), PostFlags::FLUSH);
    let completion = done.wait();
    match (posted, completion) {
        (Ok(number), Ok(completion))
            if completion.index() == number
                && completion.result().is_ok()
                && completion.len() == len
                && completion.user_data() == 77 => {}
        _ => thread.error(1),
    }
}

/// Transposes one into the other, and waits for the completion.
#[dpa_kernel]
pub fn transpose_over(
    thread: &Thread,
    ops: AsyncOps,
    done: Completions,
    to: LocalMemory,
    from: LocalMemory,
    shape: [u8; 3],
) {
    let [element, columns, rows] = shape;
    let matrix = Matrix {
        element,
        columns,
        rows,
    };
    let len = matrix.bytes();
    let (to, from) = (to.at(0, len), from.at(0, len));
    let posted = ops.transpose(to, from, matrix, PostFlags::FLUSH);
    match (posted, done.wait()) {
        (Ok(number), Ok(completion))
            if completion.index() == number
                && completion.result().is_ok()
                && completion.len() == len => {}
        _ => thread.error(1),
    }
}

/// Posts a wait for a condition, and returns.
#[dpa_kernel]
pub fn wait_for_bits(thread: &Thread, queue: AsyncOps, event: EventHandle, mask: u64, bits: u64) {
    let condition = Condition::eq(bits).masked(mask);
    if queue.wait_for(event, condition, PostFlags::FLUSH).is_err() {
        thread.error(1);
    }
}

/// Posts a wait and a copy behind it, and returns.
#[dpa_kernel]
pub fn copy_when(
    ops: &Thread,
    queue: AsyncOps,
    event: DevEvent,
    to: LocalMemory,
    from: LocalMemory,
) {
    let len = from.len as u32;
    let posted = queue
        .wait_for(
            event.handle(),
            Condition::ge(3),
            PostFlags::OPTIMIZE_REPORTS,
        )
        .and_then(|_| queue.copy(to.at(0, len), from.at(0, len), PostFlags::FLUSH));
    if posted.is_err() {
        ops.error(1);
    }
}

/// Waits for so many completions; says of each whether it was a success, and if not its syndrome.
#[dpa_kernel]
pub fn log_completions(thread: &Thread, done: Completions, log: DevSliceMut<u64>) {
    for slot in 0..log.len() {
        let Ok(completion) = done.wait() else {
            thread.error(1);
        };
        let syndrome = completion.result().map_or_else(|e| e.syndrome.0, |()| 0);
        log.write(slot, syndrome.into());
    }
}

/// Posts a copy with a wrong key, and one behind it.
#[dpa_kernel]
pub fn copy_wrongly(thread: &Thread, ops: AsyncOps, to: LocalMemory) {
    let right = to.at(0, 8);
    let wrong = Buf {
        key: right.key ^ 0x5555,
        ..right
    };
    let posted = ops
        .copy(wrong, right, PostFlags::NONE)
        .and_then(|_| ops.copy(right, right, PostFlags::FLUSH));
    if posted.is_err() {
        thread.error(1);
    }
}

/// Each completion of its queue: counts it, posts the wait for the next value, asks for the next notification.
#[dpa_kernel]
pub fn follow_event(
    thread: &Thread,
    ops: AsyncOps,
    done: Completions,
    event: EventHandle,
    seen: DevEvent,
) {
    loop {
        while let Ok(Some(completion)) = done.poll() {
            if completion.result().is_err() {
                thread.finish();
            }
            let (Ok(before), Ok(_)) = (seen.add(1), completion.result()) else {
                thread.error(2);
            };
            let next = Condition::ge(before + 2);
            if ops.wait_for(event, next, PostFlags::FLUSH).is_err() {
                thread.error(1);
            }
        }
        if !done.request_notification() {
            return;
        }
    }
}

/// Posts the first wait.
#[dpa_kernel]
pub fn wait_first(thread: &Thread, ops: AsyncOps, event: EventHandle) {
    if ops
        .wait_for(event, Condition::ge(1), PostFlags::FLUSH)
        .is_err()
    {
        thread.error(1);
    }
}

/// Posts a copy of more bytes than an entry names, and one of as many as it does, of memory that has fewer.
#[dpa_kernel]
pub fn copy_too_much(thread: &Thread, ops: AsyncOps, done: Completions, at: LocalMemory) {
    let buf = |len| Buf { len, ..at.at(0, 1) };
    let longest = (1 << 31) - 1;
    for len in [longest + 1, u32::MAX] {
        match ops.copy(buf(len), buf(len), PostFlags::FLUSH) {
            Err(PostError::TooLong { len: said }) if said == len => {}
            _ => thread.error(1),
        }
    }
    let posted = ops.copy(buf(longest), buf(longest), PostFlags::FLUSH);
    match (posted, done.wait()) {
        (Ok(_), Ok(completion)) if completion.result().is_err() => {}
        _ => thread.error(2),
    }
}

/// Copies all of one to the other again and again, at one doorbell, and waits for all of that.
#[dpa_kernel]
pub fn copy_often(
    thread: &Thread,
    ops: AsyncOps,
    done: Completions,
    to: LocalMemory,
    from: LocalMemory,
    times: u32,
) {
    let len = from.len as u32;
    for time in 0..times {
        let flags = match time + 1 == times {
            true => PostFlags::FLUSH,
            false => PostFlags::NONE,
        };
        if ops.copy(to.at(0, len), from.at(0, len), flags).is_err() {
            thread.error(1);
        }
    }
    for _ in 0..times {
        if !done.wait().is_ok_and(|done| done.result().is_ok()) {
            thread.error(2);
        }
    }
}

/// Posts waits for what holds, as fast as it can, until the flag is set.
#[dpa_kernel]
pub fn wait_without_end(
    _thread: &Thread,
    ops: AsyncOps,
    event: EventHandle,
    flag: AtomicSlice<u64>,
) {
    while flag.at(0).load() == 0 {
        for _ in 0..256 {
            // Full: it goes on when the NIC has taken some.
            let _ = ops.wait_for(event, Condition::ge(0), PostFlags::OPTIMIZE_REPORTS);
        }
        ops.flush();
    }
}

/// Attached to the queue: posts a wait at its first activation, and sleeps until that is over.
#[dpa_kernel]
pub fn sleep_where_attached(
    thread: &Thread,
    ops: AsyncOps,
    done: Completions,
    event: EventHandle,
    posted: DevEvent,
    over: DevEvent,
) {
    if posted.get() != 0 {
        return;
    }
    let flags = PostFlags::FLUSH;
    let number = ops.wait_for(event, Condition::ge(1), flags);
    if number.is_err() || posted.add(1).is_err() {
        thread.error(1);
    }
    match done.wait() {
        Ok(completion) if completion.result().is_ok() && over.add(1).is_ok() => {}
        _ => thread.error(2),
    }
}
