//! Programs that run under both drivers.

pub mod on;

use doca_dpa::Dpa;
pub use on::{Outcome, both_on};

/// Runs a program on a device with threads, and on simulated ones of several seeds.
pub fn both(program: impl AsyncFn(Dpa) -> Outcome) {
    both_on(&Dpa::builder().workers(2), program);
}
