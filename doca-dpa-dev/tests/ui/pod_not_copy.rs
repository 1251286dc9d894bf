use doca_dpa_dev::prelude::*;

#[derive(Pod)]
struct Entry {
    key: u32,
}

fn main() {}
