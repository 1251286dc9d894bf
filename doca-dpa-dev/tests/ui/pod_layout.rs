use doca_dpa_dev::prelude::*;

#[derive(Clone, Copy, Pod)]
#[repr(C, packed)]
struct Head {
    kind: u8,
    len: u32,
}

#[derive(Clone, Copy, Pod)]
#[repr(packed(2))]
struct Halves {
    kind: u8,
    len: u32,
}

#[derive(Clone, Copy, Pod)]
#[repr(C, align(64))]
struct Line {
    count: u64,
}

fn main() {}
