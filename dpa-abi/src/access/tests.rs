//! Each access, inside and outside of its cell.

extern crate std;

use super::*;
use crate::pod::{Load, Store};

fn with_cell(bytes: &mut [u64], f: impl FnOnce(Cell)) {
    let len = size_of_val(bytes);
    // SAFETY: the range is this slice's, exclusively, aligned to 8, for as long as `f` runs.
    f(unsafe { Cell::new(bytes.as_mut_ptr().cast(), len) });
}

#[test]
fn every_size_reads_what_it_stored() {
    with_cell(&mut [0; 4], |cell| {
        let mut to = cell;
        to.put_u8(1, 0xab);
        to.put_u16(2, 0x1234);
        to.put_u32(4, 0xdead_beef);
        to.put_u64(8, u64::MAX - 1);
        assert_eq!(
            (cell.u8(1), cell.u16(2), cell.u32(4), cell.u64(8)),
            (0xab, 0x1234, 0xdead_beef, u64::MAX - 1)
        );
        assert_eq!(Volatile(cell).u64(0), 0xdead_beef_1234_ab00);
    });
}

#[test]
fn atomics_return_the_previous_value() {
    with_cell(&mut [5, 0], |cell| {
        assert_eq!(u64::fetch_add(&cell, 0, 3), 5);
        assert_eq!(u64::swap(&cell, 0, 10), 8);
        assert_eq!(u64::compare_exchange(&cell, 0, 9, 1), 10);
        assert_eq!(u64::compare_exchange(&cell, 0, 10, 1), 10);
        assert_eq!(u64::load_acquire(&cell, 0), 1);
        assert_eq!(u32::fetch_add(&cell, 12, u32::MAX), 0);
        assert_eq!(u32::swap(&cell, 12, 7), u32::MAX);
        assert_eq!(u32::compare_exchange(&cell, 12, 7, 8), 7);
        u64::store_release(&cell, 0, 77);
        assert_eq!(cell.u64(0), 77);
    });
}

#[test]
fn bulk_copies_and_fills_touch_only_their_bytes() {
    for len in [0, 1, 7, 8, 9, 31, 40] {
        with_cell(&mut [0; 8], |cell| {
            let data: [u8; 40] = core::array::from_fn(|i| i as u8 + 1);
            cell.copy_in(8, &data[..len]);
            let mut out = [0xffu8; 64];
            cell.copy_out(0, &mut out);
            assert!(out[..8].iter().chain(&out[8 + len..]).all(|&b| b == 0));
            assert_eq!(&out[8..8 + len], &data[..len]);
            cell.part(8, len).fill(0x5a);
            cell.copy_out(0, &mut out);
            assert!(out[8..8 + len].iter().all(|&b| b == 0x5a));
            assert!(out[..8].iter().chain(&out[8 + len..]).all(|&b| b == 0));
        });
    }
}

/// The copies of one kind of machine.
struct Copies {
    copy_out: unsafe fn(*const u8, &mut [u8]),
    copy_in: unsafe fn(&[u8], *mut u8),
    copy: unsafe fn(*const u8, *mut u8, usize),
    fill: unsafe fn(*mut u8, u8, usize),
}

macro_rules! copies {
    ($machine:ident) => {
        Copies {
            copy_out: $machine::copy_out,
            copy_in: $machine::copy_in,
            copy: $machine::copy,
            fill: $machine::fill,
        }
    };
}

const MACHINES: &[Copies] = &[
    copies!(native),
    #[cfg(all(target_arch = "x86_64", not(dpa_sanitize)))]
    copies!(portable),
];

const ROOM: usize = 2560;

/// From `from` to `to`, `len` bytes, in each of the ways that there are.
fn copy_between(machine: &Copies, from: usize, to: usize, len: usize) {
    let source: [u8; ROOM] = core::array::from_fn(|i| (i % 251) as u8 + 1);
    let mut memory = [[0u64; ROOM / 8]; 2];
    let [a, b] = memory
        .each_mut()
        .map(|words| words.as_mut_ptr().cast::<u8>());
    let mut out = [0u8; ROOM];
    // SAFETY: all ranges are within the arrays, which are this function's.
    unsafe {
        (machine.copy_in)(&source[to..to + len], a.add(from));
        (machine.copy)(a.add(from), b.add(to), len);
        (machine.copy_out)(b.add(to), &mut out[from..from + len]);
    }
    assert_eq!(out[from..from + len], source[to..to + len]);
    assert!(
        out[..from]
            .iter()
            .chain(&out[from + len..])
            .all(|&b| b == 0)
    );
    // SAFETY: as above.
    unsafe {
        (machine.copy_out)(b, &mut out);
        (machine.fill)(b.add(to), 0, len);
    }
    assert!(out[..to].iter().chain(&out[to + len..]).all(|&b| b == 0));
    // SAFETY: as above.
    unsafe { (machine.copy_out)(b, &mut out) };
    assert_eq!(out, [0; ROOM]);
}

#[test]
fn bulk_copies_of_any_length_from_anywhere_to_anywhere() {
    for machine in MACHINES {
        for (from, to) in (0..9).flat_map(|from| (0..9).map(move |to| (from, to))) {
            let lengths = (0..41).chain([2047, 2048, 2049, 2055, 2062]);
            lengths.for_each(|len| copy_between(machine, from, to, len));
        }
    }
}

/// One thread stores one of two values, whole or within a copy, while another looks whether it ever sees something else.
fn never_torn<const N: usize>(
    store: impl Fn(*mut u8, [u8; N]) + Sync,
    load: impl Fn(*mut u8) -> [u8; N] + Sync,
) {
    use std::sync::Barrier;
    use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
    const ROUNDS: u32 = 50_000;
    // The number lies at a multiple of its size, and not of more.
    let memory = [const { AtomicU64::new(0) }; 4];
    let place = || memory.as_ptr().cast::<u8>().cast_mut().wrapping_add(8 + N);
    let (both, stored) = (Barrier::new(2), AtomicU32::new(0));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            both.wait();
            for round in 1..=ROUNDS {
                store(place(), [0xff; N]);
                store(place(), [0; N]);
                stored.store(round, Ordering::Relaxed);
            }
        });
        both.wait();
        let (mut looked, mut torn) = (0, 0);
        while looked < ROUNDS || stored.load(Ordering::Relaxed) < ROUNDS {
            let seen = load(place());
            torn += u32::from(![[0; N], [0xff; N]].contains(&seen));
            looked += 1;
        }
        assert_eq!(torn, 0, "numbers of {N} bytes");
    });
}

/// A number at the end of a copy, behind another of its size or alone, through bytes that lie anywhere.
fn numbers_stay_whole<const N: usize>(
    machine: &Copies,
    get: fn(&Cell) -> [u8; N],
    put: fn(&mut Cell, [u8; N]),
) {
    // SAFETY: the number lies within the memory of `never_torn`, and the one before it does.
    let cell = |p: *mut u8| unsafe { Cell::new(p, N) };
    for before in [0, N, 2 * N] {
        let load = |p: *mut u8| {
            let mut bytes = [0u8; 32];
            // SAFETY: as above.
            unsafe { (machine.copy_out)(p.sub(before), &mut bytes[1..=before + N]) };
            core::array::from_fn(|i| bytes[1 + before + i])
        };
        never_torn(|p, v| put(&mut cell(p), v), load);
        let store = |p: *mut u8, v: [u8; N]| {
            let mut bytes = [0u8; 32];
            bytes[1 + before..][..N].copy_from_slice(&v);
            // SAFETY: as above.
            unsafe { (machine.copy_in)(&bytes[1..=before + N], p.sub(before)) };
        };
        never_torn(store, |p| get(&cell(p)));
        // SAFETY: as above.
        let fill = |p: *mut u8, v: [u8; N]| unsafe {
            (machine.fill)(p.sub(before), v[0], before + N);
        };
        never_torn(fill, |p| get(&cell(p)));
    }
}

#[test]
fn bulk_copies_cut_no_number() {
    for machine in MACHINES {
        numbers_stay_whole(
            machine,
            |cell| cell.u16(0).to_ne_bytes(),
            |cell, v| cell.put_u16(0, u16::from_ne_bytes(v)),
        );
        numbers_stay_whole(
            machine,
            |cell| cell.u32(0).to_ne_bytes(),
            |cell, v| cell.put_u32(0, u32::from_ne_bytes(v)),
        );
        numbers_stay_whole(
            machine,
            |cell| cell.u64(0).to_ne_bytes(),
            |cell, v| cell.put_u64(0, u64::from_ne_bytes(v)),
        );
    }
}

#[test]
#[should_panic(expected = "access in a cell")]
fn an_offset_outside_is_a_panic() {
    with_cell(&mut [0; 2], |cell| {
        cell.u64(9);
    });
}

#[test]
fn words_are_named_by_their_number() {
    with_cell(&mut [5, 6, 7], |cell| {
        let words = WordCell::new(cell.part(8, 16));
        assert_eq!((words.len(), words.is_empty()), (2, false));
        assert_eq!([words.load_acquire(0), words.load_acquire(1)], [6, 7]);
        assert_eq!(words.load_twice(0), [6, 7, 6]);
        assert_eq!(u64::swap(&words.word(1), 0, 9), 7);
        assert_eq!(cell.u64(16), 9);
    });
}

fn outside(len: usize, f: fn(WordCell)) {
    with_cell(&mut [0; 4], |cell| {
        let words = WordCell::new(cell.part(0, len));
        let panics = std::panic::catch_unwind(|| f(words)).is_err();
        assert!(panics, "of {len} bytes");
    });
}

#[test]
fn words_outside_are_a_panic() {
    for len in [0, 7, 8, 15] {
        outside(len, |words| _ = words.load_acquire(words.len()));
        outside(len, |words| _ = words.word(words.len()));
        outside(len, |words| _ = words.load_twice(words.len()));
        outside(len, |words| {
            _ = words.load_twice(words.len().wrapping_sub(1));
        });
        outside(len, |words| _ = words.load_acquire(usize::MAX));
        outside(len, |words| _ = words.load_twice(usize::MAX));
    }
    with_cell(&mut [0; 4], |cell| {
        assert!(std::panic::catch_unwind(|| WordCell::new(cell.part(4, 16))).is_err());
    });
}
