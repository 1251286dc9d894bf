//! A buffer of `u32` where the kernel takes `u64`.
use doca_dpa::{DeviceBuffer, Dpa};
use tests::{CountArgs, count};

fn launch(dpa: &Dpa, total: &DeviceBuffer<u32>) {
    let _ = dpa.launch(count).args(CountArgs { total }).submit();
}

fn main() {}
