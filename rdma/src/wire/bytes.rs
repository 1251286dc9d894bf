//! Big-endian numbers in byte ranges. The ranges come from the field tables, whose lengths match.

use std::ops::Range;

pub(super) fn get(bytes: &[u8], at: Range<usize>) -> u64 {
    bytes[at]
        .iter()
        .fold(0, |sum, &byte| sum << 8 | u64::from(byte))
}

pub(super) fn put(bytes: &mut [u8], at: Range<usize>, value: u64) {
    let len = at.len();
    bytes[at].copy_from_slice(&value.to_be_bytes()[8 - len..]);
}
