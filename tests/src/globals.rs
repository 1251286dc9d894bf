//! Kernels with global variables.

use doca_dpa_dev::prelude::*;

/// How often [`count_globally`](struct@count_globally) has run.
#[dpa_global]
pub static RUNS: Global<u64> = Global::new(100);

/// A table that begins with these.
#[dpa_global]
pub static TABLE: Global<[u32; 4]> = Global::new([1, 2, 3, 4]);

/// Counts its runs.
#[dpa_kernel]
pub fn count_globally(thread: &Thread) {
    match thread.bind_atomic(thread.global(&RUNS), 1) {
        Ok(runs) => runs.at(0).add(1),
        Err(kind) => thread.fault(kind),
    };
}

/// Doubles the table.
#[dpa_kernel]
pub fn double_table(thread: &Thread) {
    match thread.bind_mut(thread.global(&TABLE), 1) {
        Ok(table) => table.write(0, table.read(0).map(|n| n * 2)),
        Err(kind) => thread.fault(kind),
    }
}
