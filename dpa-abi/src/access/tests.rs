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
