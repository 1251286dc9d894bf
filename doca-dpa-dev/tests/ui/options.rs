use doca_dpa_dev::prelude::*;

#[dpa_kernel(threads = 4)]
fn count(_thread: &Thread) {}

#[dpa_rpc(threads = 4)]
fn sum(_thread: &Thread) -> u64 {
    0
}

#[dpa_global(shared)]
static HITS: Global<u64> = Global::new(0);

fn main() {}
