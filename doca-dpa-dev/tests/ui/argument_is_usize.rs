use doca_dpa_dev::prelude::*;

#[dpa_kernel]
fn count(_thread: &Thread, _times: usize) {}

fn main() {}
