//! Kernels of a crate that is `no_std`, but has an allocator: they may move between workers, and are not interrupted.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

use alloc::boxed::Box;

use doca_dpa_dev::prelude::*;

/// Allocates and frees so many times, without a device call.
#[dpa_kernel]
pub fn allocates(_thread: &Thread, times: u64) {
    for n in 0..times {
        drop(core::hint::black_box(Box::new(n)));
    }
}

/// As a call.
#[dpa_rpc]
pub fn allocates_and_says(_thread: &Thread, value: u64) -> u64 {
    *core::hint::black_box(Box::new(value))
}
