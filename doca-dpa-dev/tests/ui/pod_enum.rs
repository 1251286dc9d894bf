use doca_dpa_dev::prelude::*;

#[derive(Clone, Copy, Pod)]
enum State {
    On,
    Off,
}

#[derive(Clone, Copy, Pod)]
union Either {
    a: u32,
    b: f32,
}

fn main() {}
