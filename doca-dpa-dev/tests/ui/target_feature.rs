use doca_dpa_dev::prelude::*;

#[dpa_kernel]
#[target_feature(enable = "sse2")]
fn wide(_thread: &Thread) {}

fn main() {}
