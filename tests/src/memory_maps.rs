//! Kernels that take buffers out of arrays, and read events.

use doca_dpa_dev::prelude::*;

/// Copies each element of an array to the opposite place of another; how many there were.
#[dpa_kernel]
pub fn reverse_elements(
    thread: &Thread,
    ops: AsyncOps,
    done: Completions,
    from: BufArray,
    to: BufArray,
    count: DevSliceMut<u64>,
) {
    let all = from.len();
    if from.get(all).is_some() || to.len() != all {
        thread.error(1);
    }
    for index in 0..all {
        let (Some(from), Some(to)) = (from.get(index), to.get(all - 1 - index)) else {
            thread.error(2);
        };
        let posted = ops.copy(to, from, PostFlags::FLUSH);
        let ended = done.wait().map(|completion| completion.result());
        if posted.is_err() || !matches!(ended, Ok(Ok(()))) {
            thread.error(3);
        }
    }
    count.write(0, u64::from(all));
}

/// Takes the element behind the last.
#[dpa_kernel]
pub fn element_behind(_thread: &Thread, array: BufArray, address: DevSliceMut<u64>) {
    address.write(0, array.at(array.len()).address);
}

/// Writes down the value of an event, adds to it, and writes it down again.
#[dpa_kernel]
pub fn read_event(thread: &Thread, event: DevEvent, values: DevSliceMut<u64>) {
    values.write(0, event.get());
    if event.add(5).is_err() {
        thread.error(1);
    }
    values.write(1, event.get());
}
