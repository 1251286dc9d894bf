use doca_dpa_dev::prelude::*;

#[dpa_kernel]
fn sum<T: Pod>(_thread: &Thread, _xs: DevSlice<T>) {}

fn main() {}
