use doca_dpa_dev::__private::{IntoArgs, Kernel};
use doca_dpa_dev::prelude::*;

#[dpa_kernel]
fn scale(_thread: &Thread, _by: u32, _exact: bool) {}

/// As a launch takes arguments.
fn args<K: Kernel>(_kernel: K, _args: impl IntoArgs<K::Args>) {}

fn main() {
    args(scale, ScaleArgs { _by: 3, _exact: true });
    args(scale, ScaleArgs { _by: 3u64, _exact: true });
}
