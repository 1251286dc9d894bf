use doca_dpa_dev::prelude::*;

#[dpa_kernel]
fn fill(_thread: &Thread, _to: DevSliceMut<u8>, _with: [u8; 241]) {}

fn main() {}
