use doca_dpa_dev::prelude::*;

#[dpa_kernel]
fn sum(_xs: DevSlice<u32>) {}

fn main() {}
