//! One access is one instruction in inline assembly on aarch64, a relaxed atomic elsewhere; a bulk copy is a loop.

use core::sync::atomic::{AtomicU8, AtomicU16, AtomicU32, AtomicU64, Ordering};

macro_rules! access {
    ($load:ident, $load_volatile:ident, $store:ident, $t:ty, $atomic:ty, $asm_load:literal, $asm_store:literal) => {
        #[cfg(all(target_arch = "aarch64", not(dpa_sanitize)))]
        #[inline(always)]
        pub(super) unsafe fn $load_volatile(p: *const $t) -> $t {
            let v: u64;
            // SAFETY: the caller gives a mapped, aligned pointer; the instruction only reads it.
            unsafe { core::arch::asm!($asm_load, v = out(reg) v, p = in(reg) p, options(nostack, preserves_flags)) };
            v as $t
        }
        #[cfg(all(target_arch = "aarch64", not(dpa_sanitize)))]
        #[inline(always)]
        pub(super) unsafe fn $store(p: *mut $t, v: $t) {
            // SAFETY: the caller gives a mapped, writable, aligned pointer.
            unsafe {
                core::arch::asm!($asm_store, v = in(reg) u64::from(v), p = in(reg) p, options(nostack, preserves_flags));
            }
        }
        #[cfg(not(all(target_arch = "aarch64", not(dpa_sanitize))))]
        #[inline(always)]
        pub(super) unsafe fn $load_volatile(p: *const $t) -> $t {
            // SAFETY: the caller gives a mapped, aligned pointer that is only accessed through this file.
            unsafe { <$atomic>::from_ptr(p.cast_mut()) }.load(Ordering::Relaxed)
        }
        #[cfg(not(all(target_arch = "aarch64", not(dpa_sanitize))))]
        #[inline(always)]
        pub(super) unsafe fn $store(p: *mut $t, v: $t) {
            // SAFETY: as above, and writable.
            unsafe { <$atomic>::from_ptr(p) }.store(v, Ordering::Relaxed);
        }
        #[inline(always)]
        pub(super) unsafe fn $load(p: *const $t) -> $t {
            // SAFETY: handed on.
            unsafe { $load_volatile(p) }
        }
    };
}

access!(
    load_u8,
    load_volatile_u8,
    store_u8,
    u8,
    AtomicU8,
    "ldrb {v:w}, [{p}]",
    "strb {v:w}, [{p}]"
);
access!(
    load_u16,
    load_volatile_u16,
    store_u16,
    u16,
    AtomicU16,
    "ldrh {v:w}, [{p}]",
    "strh {v:w}, [{p}]"
);
access!(
    load_u32,
    load_volatile_u32,
    store_u32,
    u32,
    AtomicU32,
    "ldr {v:w}, [{p}]",
    "str {v:w}, [{p}]"
);
access!(
    load_u64,
    load_volatile_u64,
    store_u64,
    u64,
    AtomicU64,
    "ldr {v}, [{p}]",
    "str {v}, [{p}]"
);

/// The word of this number, read in order with what is around it.
#[inline(always)]
pub(super) unsafe fn load_word(base: *const u64, at: usize) -> u64 {
    // SAFETY: the caller gives a mapped, aligned word.
    let v = unsafe { load_volatile_u64(base.add(at)) };
    core::sync::atomic::fence(Ordering::Acquire);
    v
}

/// The word of this number, the next, and the first again, in this order.
#[inline(always)]
pub(super) unsafe fn load_word_twice(base: *const u64, at: usize) -> [u64; 3] {
    // SAFETY: the caller gives two mapped, aligned words.
    [at, at + 1, at].map(|at| unsafe { load_word(base, at) })
}

pub(super) unsafe fn copy(from: *const u8, to: *mut u8, len: usize) {
    let mut at = 0;
    let together = (from.addr() | to.addr()) % 8 == 0;
    while together && len - at >= 8 {
        // SAFETY: the caller gives two mapped ranges of `len` bytes; both pointers are aligned to 8 here.
        unsafe { store_u64(to.add(at).cast(), load_u64(from.add(at).cast())) };
        at += 8;
    }
    while at < len {
        // SAFETY: within the ranges.
        unsafe { store_u8(to.add(at), load_u8(from.add(at))) };
        at += 1;
    }
}

pub(super) unsafe fn fill(to: *mut u8, value: u8, len: usize) {
    let mut at = 0;
    while to.addr() % 8 == 0 && len - at >= 8 {
        // SAFETY: the caller gives a mapped, writable range; aligned to 8 here.
        unsafe { store_u64(to.add(at).cast(), u64::from_ne_bytes([value; 8])) };
        at += 8;
    }
    while at < len {
        // SAFETY: within the range.
        unsafe { store_u8(to.add(at), value) };
        at += 1;
    }
}

macro_rules! rmw {
    ($add:ident, $swap:ident, $cas:ident, $t:ty, $atomic:ty) => {
        #[inline(always)]
        pub(super) unsafe fn $add(p: *mut $t, n: $t) -> $t {
            // SAFETY: the caller gives a mapped, writable, aligned pointer that is only accessed through this file.
            unsafe { <$atomic>::from_ptr(p) }.fetch_add(n, Ordering::SeqCst)
        }
        #[inline(always)]
        pub(super) unsafe fn $swap(p: *mut $t, n: $t) -> $t {
            // SAFETY: as above.
            unsafe { <$atomic>::from_ptr(p) }.swap(n, Ordering::SeqCst)
        }
        #[inline(always)]
        pub(super) unsafe fn $cas(p: *mut $t, expected: $t, new: $t) -> $t {
            // SAFETY: as above.
            match unsafe { <$atomic>::from_ptr(p) }.compare_exchange(
                expected,
                new,
                Ordering::SeqCst,
                Ordering::SeqCst,
            ) {
                Ok(previous) | Err(previous) => previous,
            }
        }
    };
}

rmw!(add_u32, swap_u32, cas_u32, u32, AtomicU32);
rmw!(add_u64, swap_u64, cas_u64, u64, AtomicU64);
