use doca_dpa_dev::prelude::*;

#[dpa_kernel]
fn greet(_thread: &Thread, _name: &str) {}

fn main() {}
