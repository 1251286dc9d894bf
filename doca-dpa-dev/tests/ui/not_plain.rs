//! Types that are no plain values, though they might be.
use doca_dpa_dev::prelude::*;

#[derive(Clone, Copy, Pod)]
struct Pair<T>(u8, T);

fn plain<T: Pod>() {}

fn main() {
    plain::<u128>();
    plain::<char>();
    plain::<Option<u32>>();
    plain::<core::num::NonZero<u32>>();
    plain::<(u32, u32)>();
    plain::<Pair<char>>();
}
