//! Two constants with one value could have one address, and one of them another in each crate.
use doca_dpa_dev::prelude::*;

const HITS: Global<u64> = Global::new(0);

#[dpa_kernel]
fn count(thread: &Thread) {
    thread.global(&HITS);
}

fn main() {}
