//! Kernels that guess at what is another process's.

use doca_dpa_dev::Handle;
use doca_dpa_dev::prelude::*;

/// How far handles are guessed: indices, and generations of each.
const INDICES: u32 = 64;
const GENERATIONS: u32 = 16;

fn guesses() -> impl Iterator<Item = Handle> {
    (0..INDICES)
        .flat_map(|index| (0..GENERATIONS).map(move |generation| Handle { index, generation }))
}

/// Updates an event that it was told of.
#[dpa_kernel]
pub fn guess_event(thread: &Thread, event: EventHandle) {
    if thread.event(event).add(1).is_err() {
        thread.error(1);
    }
}

/// Wakes every thread it can name; how many there were.
#[dpa_kernel]
pub fn guess_threads(thread: &Thread, found: AtomicSlice<u64>) {
    for handle in guesses() {
        if thread.notify(HandlerHandle(handle)) {
            found.at(0).add(1);
        }
    }
}

/// Tells the host what the memory map is, as plain numbers.
#[dpa_kernel]
pub fn tell_map(_thread: &Thread, map: LocalMemory, told: DevSliceMut<LocalMemory>) {
    told.write(0, map);
}

/// Copies from one map to another; the syndrome of the completion.
#[dpa_kernel]
pub fn copy_between(
    thread: &Thread,
    ops: AsyncOps,
    done: Completions,
    to: LocalMemory,
    from: LocalMemory,
    result: DevSliceMut<u64>,
) {
    if ops
        .copy(to.at(0, 8), from.at(0, 8), PostFlags::FLUSH)
        .is_err()
    {
        thread.error(1);
    }
    let Ok(completion) = done.wait() else {
        thread.error(2);
    };
    let syndrome = completion.result().map_or_else(|e| e.syndrome.0, |()| 0);
    result.write(0, syndrome.into());
}
