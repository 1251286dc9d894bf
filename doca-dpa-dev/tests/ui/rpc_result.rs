use doca_dpa_dev::prelude::*;

#[dpa_rpc]
fn none(_thread: &Thread) {}

#[dpa_rpc]
fn large(_thread: &Thread) -> [u32; 3] {
    [0; 3]
}

#[dpa_rpc]
fn never(_thread: &Thread) -> ! {
    loop {}
}

fn main() {}
