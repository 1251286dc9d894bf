use doca_dpa_dev::prelude::*;

#[dpa_kernel]
fn scale(_thread: &Thread, #[cfg(debug_assertions)] _by: u32) {}

fn main() {}
