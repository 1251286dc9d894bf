//! Arguments given twice.
use doca_dpa::{DeviceBuffer, Dpa};
use tests::{CountArgs, count};

fn launch(dpa: &Dpa, total: &DeviceBuffer<u64>) {
    let _ = dpa.launch(count).args(CountArgs { total }).args(CountArgs { total }).submit();
}

fn main() {}
