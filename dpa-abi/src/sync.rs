//! The façade over atomics: the only module that names `loom`.
//!
//! Code that implements a protocol between threads imports its atomics from here, so that `--cfg dpa_loom`
//! checks the code that ships. The standard library's half (locks, `Arc`, parking) is in `sync_event::sync`,
//! built from what this module exports.
//!
//! What loom cannot model, and what therefore other tests cover:
//!
//! * more than four threads beside the main one, and unbounded preemption (models bound it at 2 or 3);
//! * kernel stacks: a model's kernel thread is a value that is handed from owner to owner, never a switched stack;
//! * sequentially consistent *accesses*: loom treats them as acquire-release, so [`publish`] adds the fence that
//!   real hardware does not need there;
//! * signals, time and `madvise`;
//! * the atomicity of device-memory accesses in `access.rs`, which are single instructions outside Rust's model.

/// Atomic types and fences.
pub mod atomic {
    #[cfg(not(dpa_loom))]
    pub use core::sync::atomic::{
        AtomicBool, AtomicPtr, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence,
    };
    #[cfg(dpa_loom)]
    pub use loom::sync::atomic::{
        AtomicBool, AtomicPtr, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence,
    };
}

/// The model checker itself, for `sync_event::sync` and for the models.
#[cfg(dpa_loom)]
pub use loom;

/// Tells the processor (or the model checker) that this thread is spinning.
#[inline]
pub fn spin_loop() {
    #[cfg(not(dpa_loom))]
    core::hint::spin_loop();
    #[cfg(dpa_loom)]
    loom::thread::yield_now();
}

/// The first half of Dekker's agreement: publishes something by `rmw`, after which the caller checks what the
/// other side has published.
///
/// `rmw` must be a sequentially consistent read-modify-write, and the check behind it a sequentially consistent
/// load. If two threads each publish and then check, at least one of them sees the other's publication.
/// On x86-64 and aarch64 this costs no fence.
#[inline(always)]
pub fn publish<R>(rmw: impl FnOnce() -> R) -> R {
    let result = rmw();
    #[cfg(dpa_loom)]
    atomic::fence(atomic::Ordering::SeqCst);
    result
}
