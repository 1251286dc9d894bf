use doca_dpa_dev::prelude::*;

#[dpa_kernel]
fn sum(_thread: &Thread, xs: DevSlice<u32>) -> u64 {
    xs.len() as u64
}

fn main() {}
