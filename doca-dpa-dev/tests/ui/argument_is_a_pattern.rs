use doca_dpa_dev::prelude::*;

#[dpa_kernel]
fn area(_thread: &Thread, [_x, _y]: [u32; 2]) {}

fn main() {}
