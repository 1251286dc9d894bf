use doca_dpa_dev::prelude::*;

#[derive(Arg)]
struct Job<'t> {
    xs: DevSlice<'t, u32>,
    name: String,
}

fn main() {}
