use doca_dpa_dev::prelude::*;

#[dpa_kernel]
fn count(_thread: &Thread, _times: usize) {}

#[dpa_kernel]
fn shift(_thread: &Thread, _by: isize) {}

fn main() {}
