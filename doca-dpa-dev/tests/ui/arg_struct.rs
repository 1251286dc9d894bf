use doca_dpa_dev::prelude::*;

#[derive(Arg)]
struct Unnamed<'t>(DevSlice<'t, u32>);

#[derive(Arg)]
enum Either<'t> {
    Words(DevSlice<'t, u32>),
    Nothing,
}

#[derive(Arg)]
struct Two<'a, 'b> {
    xs: DevSlice<'a, u32>,
    ys: DevSlice<'b, u32>,
}

#[derive(Arg)]
struct Of<'t, T: Pod> {
    xs: DevSlice<'t, T>,
}

fn main() {}
