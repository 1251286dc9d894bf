use doca_dpa_dev::prelude::*;

#[dpa_global]
static TABLE: Global<[u64; 8193]> = Global::new([0; 8193]);

fn main() {}
