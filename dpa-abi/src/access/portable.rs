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

/// Bytes of the largest access that this address allows (1, 2, 4 or 8), of so many that are left, which are not none.
fn largest(addr: usize, left: usize) -> usize {
    let (aligned, fits) = (1 << (addr | 8).trailing_zeros(), 1 << left.ilog2());
    usize::min(aligned, fits)
}

/// Copies as many bytes as `out` has out of device memory. Where they go does not matter to how whole they are taken.
pub(super) unsafe fn copy_out(from: *const u8, out: &mut [u8]) {
    let mut at = 0;
    while at < out.len() {
        let size = largest(from.addr() + at, out.len() - at);
        // SAFETY: the caller gives a mapped range of that length.
        let p = unsafe { from.add(at) };
        let out = &mut out[at..];
        // SAFETY: `size` bytes at `p` are within the range, and it is aligned to that.
        unsafe {
            match size {
                8 => {
                    at += copy_words_out(p.cast(), out);
                    continue;
                }
                4 => out[..4].copy_from_slice(&load_u32(p.cast()).to_ne_bytes()),
                2 => out[..2].copy_from_slice(&load_u16(p.cast()).to_ne_bytes()),
                _ => out[0] = load_u8(p),
            }
        }
        at += size;
    }
}

/// Copies whole words; bytes that this was.
unsafe fn copy_words_out(from: *const u64, out: &mut [u8]) -> usize {
    for (i, bytes) in out.chunks_exact_mut(8).enumerate() {
        // SAFETY: the caller gives a mapped range as long as `out`, aligned to 8.
        bytes.copy_from_slice(&unsafe { load_u64(from.add(i)) }.to_ne_bytes());
    }
    out.len() / 8 * 8
}

/// Copies bytes into device memory, as whole as in [`copy_out`].
pub(super) unsafe fn copy_in(bytes: &[u8], to: *mut u8) {
    let mut at = 0;
    while at < bytes.len() {
        let size = largest(to.addr() + at, bytes.len() - at);
        // SAFETY: the caller gives a mapped, writable range of that length.
        let p = unsafe { to.add(at) };
        let bytes = &bytes[at..];
        // SAFETY: `size` bytes at `p` are within the range, and it is aligned to that.
        unsafe {
            match size {
                8 => {
                    at += copy_words_in(bytes, p.cast());
                    continue;
                }
                4 => store_u32(
                    p.cast(),
                    u32::from_ne_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]),
                ),
                2 => store_u16(p.cast(), u16::from_ne_bytes([bytes[0], bytes[1]])),
                _ => store_u8(p, bytes[0]),
            }
        }
        at += size;
    }
}

/// Copies whole words; bytes that this was.
unsafe fn copy_words_in(bytes: &[u8], to: *mut u64) -> usize {
    let (words, _) = bytes.as_chunks::<8>();
    for (i, word) in words.iter().enumerate() {
        // SAFETY: the caller gives a mapped, writable range as long as `bytes`, aligned to 8.
        unsafe { store_u64(to.add(i), u64::from_ne_bytes(*word)) };
    }
    words.len() * 8
}

/// Copies from device memory to device memory, as whole as both addresses allow.
pub(super) unsafe fn copy(from: *const u8, to: *mut u8, len: usize) {
    let mut at = 0;
    while at < len {
        let size = largest((from.addr() + at) | (to.addr() + at), len - at);
        // SAFETY: the caller gives two mapped ranges of `len` bytes, of which `size` are left here; both are aligned to that.
        unsafe {
            let (from, to) = (from.add(at), to.add(at));
            match size {
                8 => store_u64(to.cast(), load_u64(from.cast())),
                4 => store_u32(to.cast(), load_u32(from.cast())),
                2 => store_u16(to.cast(), load_u16(from.cast())),
                _ => store_u8(to, load_u8(from)),
            }
        }
        at += size;
    }
}

/// Stores `value` into `len` bytes, as whole as in [`copy_in`].
pub(super) unsafe fn fill(to: *mut u8, value: u8, len: usize) {
    let word = u64::from_ne_bytes([value; 8]);
    let mut at = 0;
    while at < len {
        let size = largest(to.addr() + at, len - at);
        // SAFETY: the caller gives a mapped, writable range, of which `size` bytes are left here; it is aligned to that.
        unsafe {
            let to = to.add(at);
            match size {
                8 => store_u64(to.cast(), word),
                4 => store_u32(to.cast(), word as u32),
                2 => store_u16(to.cast(), word as u16),
                _ => store_u8(to, value),
            }
        }
        at += size;
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
