use doca_dpa_dev::prelude::*;

#[dpa_kernel]
fn area(_thread: &Thread, [_x, _y]: [u32; 2]) {}

#[dpa_kernel]
fn borrows(_thread: &Thread, ref _x: u32) {}

#[dpa_kernel]
fn names(_thread: &Thread, _x @ _: u32) {}

fn main() {}
