//! Kernels that see host memory.

use doca_dpa_dev::prelude::*;

/// Doubles each number of its share.
#[dpa_kernel]
pub fn double(thread: &Thread, numbers: DevSliceMut<u64>) {
    for i in thread.chunk(numbers.len()) {
        numbers.write(i, numbers.read(i) * 2);
    }
}

/// The sum of host memory, into device memory.
#[dpa_kernel]
pub fn sum_up(thread: &Thread, numbers: DevSlice<u64>, total: AtomicSlice<u64>) {
    for i in thread.strided(numbers.len()) {
        total.at(0).add(numbers.read(i));
    }
}

/// Stores at an address that it got as a number.
#[dpa_kernel]
pub fn store_at(thread: &Thread, at: DevAddr<u64>, value: u64) {
    match thread.bind_mut(at, 1) {
        Ok(view) => view.write(0, value),
        Err(kind) => thread.fault(kind),
    }
}

/// Binds host memory, says so, waits, and then stores.
#[dpa_kernel]
pub fn store_late(thread: &Thread, at: DevAddr<u64>, bound: DevEvent, go: DevEvent) {
    let Ok(view) = thread.bind_mut(at, 512) else {
        thread.error(1);
    };
    let told = bound.add(1);
    let went = go.wait(Condition::ge(1));
    if told.is_err() || went.is_err() {
        thread.error(2);
    }
    for i in 0..512 {
        view.write(i, 7);
    }
}

/// Copies device memory to host memory, and back to another place.
#[dpa_kernel]
pub fn copy_around(
    thread: &Thread,
    from: DevSlice<u64>,
    host: DevSliceMut<u64>,
    to: DevSliceMut<u64>,
) {
    let share = thread.chunk(from.len());
    let part = from.part(share.start, share.len());
    host.copy_from(share.start, &part);
    to.copy_from(share.start, &host.as_slice().part(share.start, share.len()));
}
