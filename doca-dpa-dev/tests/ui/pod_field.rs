use doca_dpa_dev::prelude::*;

#[derive(Clone, Copy, Pod)]
struct Entry {
    key: u32,
    name: &'static str,
}

#[derive(Clone, Copy, Pod)]
struct View<'t> {
    bytes: DevSlice<'t, u8>,
}

fn main() {}
