use doca_dpa_dev::prelude::*;

#[dpa_kernel]
fn keeps(_thread: &Thread, _view: DevSlice<'static, u32>) {}

#[dpa_kernel]
fn stays(_thread: &'static Thread) {}

#[dpa_rpc]
fn stays_within(_thread: &Thread<'static>) -> u64 {
    0
}

fn main() {}
