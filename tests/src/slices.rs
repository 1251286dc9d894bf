//! Kernels that compute for long without a device call, on one stack depth or another.

use doca_dpa_dev::prelude::*;

/// One step of the sums below: whole numbers, floating point, and more of both than a processor has registers.
const fn mixed(n: u64, sums: &mut [u64; 6], parts: &mut [f64; 6]) {
    let mut i = 0;
    while i < 6 {
        sums[i] = sums[i].rotate_left(i as u32 + 1).wrapping_add(n ^ i as u64);
        parts[i] = parts[i] * 0.75 + (n % 1000) as f64 / (i as f64 + 1.0);
        i += 1;
    }
}

/// What [`compute`] finds.
pub fn computed(rounds: u64, from: u64) -> u64 {
    let (mut sums, mut parts) = ([from; 6], [from as f64; 6]);
    for n in 0..rounds {
        mixed(n, &mut sums, &mut parts);
    }
    let sums = sums.iter().fold(0, |all, sum| all ^ sum);
    parts
        .iter()
        .fold(sums, |all, part| all.rotate_left(7) ^ part.to_bits())
}

/// Computes for so many rounds, without a device call; writes down what it found.
#[dpa_kernel]
pub fn compute(thread: &Thread, rounds: u64, found: DevSliceMut<u64>) {
    let rank = thread.rank() as usize;
    let value = computed(rounds, rank as u64);
    found.write(rank, value);
}

#[inline(never)]
fn down(deep: u64, rounds: u64) -> u64 {
    let frame = core::hint::black_box([deep; 64]);
    if deep == 0 {
        return computed(rounds, 1);
    }
    down(deep - 1, rounds).wrapping_add(core::hint::black_box(frame)[7])
}

/// As [`compute`], `deep` calls of about half a KiB down its stack.
#[dpa_kernel]
pub fn compute_deep(_thread: &Thread, deep: u64, rounds: u64, found: DevSliceMut<u64>) {
    found.write(0, down(deep, rounds));
}

/// More than the processor copies in a moment.
const MUCH: usize = 1 << 20;

/// Copies, fills and compares, each at one go, for ever. None of this is its crate's own code.
#[dpa_kernel]
pub fn copies(_thread: &Thread) {
    let (mut from, mut to) = ([7u8; MUCH], [0u8; MUCH]);
    loop {
        core::hint::black_box(&mut to).copy_from_slice(core::hint::black_box(&from));
        core::hint::black_box(&mut to).copy_within(1.., 0);
        core::hint::black_box(&mut from).fill(7);
        core::hint::black_box(from == to);
    }
}

/// Makes device calls that have nothing to wait for, so many times, until another has written `go`; whether it has. `what`: waits for
/// what holds, waits for an event that is closed, meetings with nobody else.
#[dpa_kernel]
pub fn never_blocks(
    thread: &Thread,
    what: u64,
    times: u64,
    event: EventHandle,
    go: DevSlice<u64>,
    seen: DevSliceMut<u64>,
) {
    let (event, mut n) = (thread.event(event), 0);
    while n < times && go.read(0) == 0 {
        match what {
            0 => drop(event.wait(Condition::ge(0))),
            1 => drop(event.wait(Condition::ge(1))),
            _ => thread.barrier(),
        }
        n += 1;
    }
    seen.write(0, go.read(0));
}

/// Computes so many times for some milliseconds, each time up to a safe point.
#[dpa_kernel]
pub fn computes_with_pauses(thread: &Thread, times: u64) {
    for _ in 0..times {
        for n in 0..500_000u64 {
            core::hint::black_box(n);
        }
        thread.safe_point();
    }
}

/// Asks for its local storage without end.
#[dpa_kernel]
pub fn asks_for_storage(thread: &Thread) {
    loop {
        core::hint::black_box(thread.local_storage::<u64>());
    }
}
