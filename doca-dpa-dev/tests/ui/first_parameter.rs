use doca_dpa_dev::prelude::*;

#[dpa_kernel]
fn nothing() {}

#[dpa_kernel]
fn moved(_thread: Thread) {}

#[dpa_rpc]
fn exclusive(_thread: &mut Thread) -> u64 {
    0
}

fn main() {}
