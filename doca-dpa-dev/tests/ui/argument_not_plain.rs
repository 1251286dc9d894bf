use doca_dpa_dev::prelude::*;

#[dpa_kernel]
fn greet(_thread: &Thread, _name: String) {}

fn main() {}
