use doca_dpa_dev::prelude::*;

#[dpa_kernel]
fn scale(_thread: &Thread, #[cfg(debug_assertions)] _by: u32) {}

#[dpa_kernel]
fn shift(_thread: &Thread, #[cfg_attr(all(), cfg(any()))] _by: u32) {}

#[dpa_kernel]
fn nothing(#[cfg(any())] _thread: &Thread) {}

fn main() {}
