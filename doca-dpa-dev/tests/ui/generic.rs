use doca_dpa_dev::prelude::*;

#[dpa_kernel]
fn sum<T: Pod>(_thread: &Thread, _xs: DevSlice<T>) {}

#[dpa_kernel]
fn first<const N: usize>(_thread: &Thread, _xs: [u64; N]) {}

#[dpa_kernel]
fn any(_thread: &Thread, _x: impl Pod) {}

fn main() {}
