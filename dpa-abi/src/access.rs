//! The one file through which device memory is read and written.
//!
//! Device memory is shared between kernels, the host and the NIC without any agreement that the language could check,
//! and Rust allows neither racing plain accesses nor overlapping atomics of different sizes. So no reference and no
//! `memcpy` ever points into a heap. On x86-64 and aarch64 each access is one instruction in inline assembly, which
//! the language's memory model does not see; elsewhere, and under sanitizers (`cfg(dpa_sanitize)`), it is a relaxed
//! atomic of the same size. A bulk copy is a block instruction, or a loop of eight-byte accesses.
//!
//! All functions need a pointer into native memory that stays mapped, aligned to the access. None of them tears.

#[cfg(all(target_arch = "x86_64", not(dpa_sanitize)))]
mod native {
    use core::arch::asm;

    macro_rules! access {
        ($load:ident, $load_volatile:ident, $store:ident, $t:ty, $class:ident, $in:literal, $out:literal) => {
            #[inline(always)]
            pub(super) unsafe fn $load(p: *const $t) -> $t {
                let v: $t;
                // SAFETY: the caller gives a mapped, aligned pointer; the instruction only reads it.
                unsafe {
                    asm!($in, v = out($class) v, p = in(reg) p, options(pure, readonly, nostack, preserves_flags));
                }
                v
            }
            #[inline(always)]
            pub(super) unsafe fn $load_volatile(p: *const $t) -> $t {
                let v: $t;
                // SAFETY: as above; not `pure`, so that no read is left out or merged.
                unsafe {
                    asm!($in, v = out($class) v, p = in(reg) p, options(nostack, preserves_flags));
                }
                v
            }
            #[inline(always)]
            pub(super) unsafe fn $store(p: *mut $t, v: $t) {
                // SAFETY: the caller gives a mapped, writable, aligned pointer.
                unsafe {
                    asm!($out, v = in($class) v, p = in(reg) p, options(nostack, preserves_flags));
                }
            }
        };
    }

    access!(
        load_u8,
        load_volatile_u8,
        store_u8,
        u8,
        reg_byte,
        "mov {v}, byte ptr [{p}]",
        "mov byte ptr [{p}], {v}"
    );
    access!(
        load_u16,
        load_volatile_u16,
        store_u16,
        u16,
        reg,
        "mov {v:x}, word ptr [{p}]",
        "mov word ptr [{p}], {v:x}"
    );
    access!(
        load_u32,
        load_volatile_u32,
        store_u32,
        u32,
        reg,
        "mov {v:e}, dword ptr [{p}]",
        "mov dword ptr [{p}], {v:e}"
    );
    access!(
        load_u64,
        load_volatile_u64,
        store_u64,
        u64,
        reg,
        "mov {v:r}, qword ptr [{p}]",
        "mov qword ptr [{p}], {v:r}"
    );

    /// From here on the string instructions are faster than a loop: they have a start-up cost of some 30 ns.
    const LONG: usize = 2048;

    /// Copies `len` bytes upwards; aligned quadwords do not tear.
    #[inline]
    pub(super) unsafe fn copy(from: *const u8, to: *mut u8, len: usize) {
        if len < LONG {
            // SAFETY: the caller's promise is passed on.
            unsafe { copy_short(from, to, len) }
        } else {
            // SAFETY: as above.
            unsafe { copy_long(from, to, len) }
        }
    }

    unsafe fn copy_short(from: *const u8, to: *mut u8, len: usize) {
        // SAFETY: the caller gives two mapped ranges of `len` bytes that do not overlap.
        unsafe {
            asm!(
                "cmp {len}, 64",
                "jb 3f",
                "2:",
                "movups {a}, xmmword ptr [{from}]",
                "movups {b}, xmmword ptr [{from} + 16]",
                "movups {c}, xmmword ptr [{from} + 32]",
                "movups {d}, xmmword ptr [{from} + 48]",
                "movups xmmword ptr [{to}], {a}",
                "movups xmmword ptr [{to} + 16], {b}",
                "movups xmmword ptr [{to} + 32], {c}",
                "movups xmmword ptr [{to} + 48], {d}",
                "add {from}, 64",
                "add {to}, 64",
                "sub {len}, 64",
                "cmp {len}, 64",
                "jae 2b",
                "3:",
                "cmp {len}, 8",
                "jb 5f",
                "4:",
                "mov {word}, qword ptr [{from}]",
                "mov qword ptr [{to}], {word}",
                "add {from}, 8",
                "add {to}, 8",
                "sub {len}, 8",
                "cmp {len}, 8",
                "jae 4b",
                "5:",
                "test {len}, {len}",
                "jz 7f",
                "6:",
                "movzx {word:e}, byte ptr [{from}]",
                "mov byte ptr [{to}], {word:l}",
                "inc {from}",
                "inc {to}",
                "dec {len}",
                "jnz 6b",
                "7:",
                from = inout(reg) from => _,
                to = inout(reg) to => _,
                len = inout(reg) len => _,
                word = out(reg) _,
                a = out(xmm_reg) _,
                b = out(xmm_reg) _,
                c = out(xmm_reg) _,
                d = out(xmm_reg) _,
                options(nostack)
            );
        }
    }

    /// Whole quadwords first.
    unsafe fn copy_long(from: *const u8, to: *mut u8, len: usize) {
        // SAFETY: the caller gives two mapped ranges of `len` bytes that do not overlap; the direction flag is clear
        // by the calling convention.
        unsafe {
            asm!(
                "mov {tail}, rcx",
                "shr rcx, 3",
                "rep movsq",
                "mov rcx, {tail}",
                "and rcx, 7",
                "rep movsb",
                tail = out(reg) _,
                inout("rcx") len => _,
                inout("rsi") from => _,
                inout("rdi") to => _,
                options(nostack)
            );
        }
    }

    /// Stores `value` into `len` bytes.
    #[inline]
    pub(super) unsafe fn fill(to: *mut u8, value: u8, len: usize) {
        let word = u64::from_ne_bytes([value; 8]);
        // SAFETY: the caller gives a mapped, writable range of `len` bytes.
        unsafe {
            asm!(
                "mov {tail}, rcx",
                "shr rcx, 3",
                "rep stosq",
                "mov rcx, {tail}",
                "and rcx, 7",
                "rep stosb",
                tail = out(reg) _,
                inout("rcx") len => _,
                in("rax") word,
                inout("rdi") to => _,
                options(nostack)
            );
        }
    }

    macro_rules! rmw {
        ($add:ident, $swap:ident, $cas:ident, $t:ty, $xadd:literal, $xchg:literal, $cmpxchg:literal, $acc:tt) => {
            #[inline(always)]
            pub(super) unsafe fn $add(p: *mut $t, n: $t) -> $t {
                let previous: $t;
                // SAFETY: the caller gives a mapped, writable, aligned pointer.
                unsafe { asm!($xadd, v = inout(reg) n => previous, p = in(reg) p, options(nostack)) };
                previous
            }
            #[inline(always)]
            pub(super) unsafe fn $swap(p: *mut $t, n: $t) -> $t {
                let previous: $t;
                // SAFETY: as above.
                unsafe { asm!($xchg, v = inout(reg) n => previous, p = in(reg) p, options(nostack, preserves_flags)) };
                previous
            }
            #[inline(always)]
            pub(super) unsafe fn $cas(p: *mut $t, expected: $t, new: $t) -> $t {
                let previous: $t;
                // SAFETY: as above.
                unsafe {
                    asm!($cmpxchg, v = in(reg) new, p = in(reg) p, inout($acc) expected => previous, options(nostack));
                }
                previous
            }
        };
    }

    rmw!(
        add_u32,
        swap_u32,
        cas_u32,
        u32,
        "lock xadd dword ptr [{p}], {v:e}",
        "xchg dword ptr [{p}], {v:e}",
        "lock cmpxchg dword ptr [{p}], {v:e}",
        "eax"
    );
    rmw!(
        add_u64,
        swap_u64,
        cas_u64,
        u64,
        "lock xadd qword ptr [{p}], {v:r}",
        "xchg qword ptr [{p}], {v:r}",
        "lock cmpxchg qword ptr [{p}], {v:r}",
        "rax"
    );
}

#[cfg(not(all(target_arch = "x86_64", not(dpa_sanitize))))]
mod native {
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
}

/// Checked access to one bound range of device memory.
///
/// Having one proves that `len` bytes at the pointer are mapped and may be accessed. Offsets are checked: a bad one is
/// a panic, which is a bug of the caller (the views check indices before).
#[derive(Clone, Copy, Debug)]
pub struct Cell {
    base: *mut u8,
    len: usize,
}

impl Cell {
    /// A range of device memory.
    ///
    /// # Safety
    /// `len` bytes at `base` must stay mapped while the cell is used, be accessed only through this file by everybody,
    /// and `base` must be aligned to 8 bytes or to the largest access that will be made.
    #[inline]
    pub const unsafe fn new(base: *mut u8, len: usize) -> Self {
        Self { base, len }
    }

    /// Bytes in the range.
    #[inline]
    pub const fn len(self) -> usize {
        self.len
    }

    /// Whether the range is empty.
    #[inline]
    pub const fn is_empty(self) -> bool {
        self.len == 0
    }

    /// The bytes from `at` on, `len` of them.
    ///
    /// # Panics
    /// If they are not within the range.
    #[inline]
    pub fn part(self, at: usize, len: usize) -> Self {
        assert!(at <= self.len && len <= self.len - at, "part of a cell");
        Self {
            base: self.base.wrapping_add(at),
            len,
        }
    }

    #[inline(always)]
    fn at<T>(&self, at: usize) -> *mut T {
        assert!(
            at <= self.len && size_of::<T>() <= self.len - at,
            "access in a cell"
        );
        let p = self.base.wrapping_add(at).cast::<T>();
        debug_assert!(p.is_aligned(), "aligned access in a cell");
        p
    }

    /// Copies the range's bytes out, from `at` on.
    ///
    /// # Panics
    /// If `out` is longer than what is there.
    pub fn copy_out(self, at: usize, out: &mut [u8]) {
        let from = self.part(at, out.len());
        // SAFETY: `from` is within the range; `out` is host memory, which never overlaps device memory.
        unsafe { native::copy(from.base, out.as_mut_ptr(), out.len()) };
    }

    /// Copies bytes in, from `at` on.
    ///
    /// # Panics
    /// If `bytes` is longer than what is there.
    pub fn copy_in(self, at: usize, bytes: &[u8]) {
        let to = self.part(at, bytes.len());
        // SAFETY: as in `copy_out`.
        unsafe { native::copy(bytes.as_ptr(), to.base, bytes.len()) };
    }

    /// Copies from another range of device memory of the same length. Overlapping ranges give a mixture.
    ///
    /// # Panics
    /// If the lengths differ.
    pub fn copy_from(self, other: Self) {
        assert_eq!(self.len, other.len, "lengths of cells");
        // SAFETY: both ranges are mapped; an overlap mixes bytes but reads and writes only within them.
        unsafe { native::copy(other.base, self.base, self.len) };
    }

    /// Sets every byte.
    pub fn fill(self, value: u8) {
        // SAFETY: the range is mapped and writable.
        unsafe { native::fill(self.base, value, self.len) };
    }
}

macro_rules! cell_access {
    ($($name:ident, $put:ident, $load:ident, $load_volatile:ident, $store:ident, $t:ty;)*) => {
        impl crate::pod::Load for Cell {$(
            #[inline(always)]
            fn $name(&self, at: usize) -> $t {
                // SAFETY: `at` checks the offset; the creator promised the mapping and alignment.
                unsafe { native::$load(self.at::<$t>(at)) }
            }
        )*}
        impl crate::pod::Store for Cell {$(
            #[inline(always)]
            fn $put(&mut self, at: usize, v: $t) {
                // SAFETY: as for loads.
                unsafe { native::$store(self.at::<$t>(at), v) }
            }
        )*}
        impl crate::pod::Load for Volatile {$(
            #[inline(always)]
            fn $name(&self, at: usize) -> $t {
                // SAFETY: as for plain loads.
                unsafe { native::$load_volatile(self.0.at::<$t>(at)) }
            }
        )*}
    };
}

/// The same range, read so that no read is left out or merged with another.
#[derive(Clone, Copy, Debug)]
pub struct Volatile(pub Cell);

cell_access! {
    u8, put_u8, load_u8, load_volatile_u8, store_u8, u8;
    u16, put_u16, load_u16, load_volatile_u16, store_u16, u16;
    u32, put_u32, load_u32, load_volatile_u32, store_u32, u32;
    u64, put_u64, load_u64, load_volatile_u64, store_u64, u64;
}

/// A number on which device memory has atomic read-modify-writes: `u32`, `u64`.
pub trait AtomicNumber: crate::Pod + PartialEq {
    /// Adds, wrapping; the previous value. Acquire-release.
    fn fetch_add(cell: &Cell, at: usize, n: Self) -> Self;
    /// Stores; the previous value. Acquire-release.
    fn swap(cell: &Cell, at: usize, n: Self) -> Self;
    /// Stores `new` if the value is `expected`; the previous value. Acquire-release.
    fn compare_exchange(cell: &Cell, at: usize, expected: Self, new: Self) -> Self;
    /// An acquiring load.
    fn load_acquire(cell: &Cell, at: usize) -> Self;
    /// A releasing store.
    fn store_release(cell: &Cell, at: usize, v: Self);
    /// `a + b`, wrapping.
    fn plus(a: Self, b: Self) -> Self;
    /// `-a`, wrapping.
    fn negated(a: Self) -> Self;
    /// `a & b`, for the updates built from compare-and-swap.
    fn and(a: Self, b: Self) -> Self;
    /// `a | b`.
    fn or(a: Self, b: Self) -> Self;
    /// `a ^ b`.
    fn xor(a: Self, b: Self) -> Self;
    /// The lesser.
    fn min(a: Self, b: Self) -> Self;
    /// The greater.
    fn max(a: Self, b: Self) -> Self;
}

macro_rules! atomic_number {
    ($t:ty, $add:ident, $swap:ident, $cas:ident, $get:ident, $put:ident) => {
        impl AtomicNumber for $t {
            #[inline]
            fn fetch_add(cell: &Cell, at: usize, n: Self) -> Self {
                // SAFETY: `at` checks the offset; the creator promised the mapping and alignment.
                unsafe { native::$add(cell.at::<$t>(at), n) }
            }
            #[inline]
            fn swap(cell: &Cell, at: usize, n: Self) -> Self {
                // SAFETY: as above.
                unsafe { native::$swap(cell.at::<$t>(at), n) }
            }
            #[inline]
            fn compare_exchange(cell: &Cell, at: usize, expected: Self, new: Self) -> Self {
                // SAFETY: as above.
                unsafe { native::$cas(cell.at::<$t>(at), expected, new) }
            }
            #[inline]
            fn load_acquire(cell: &Cell, at: usize) -> Self {
                let v = crate::pod::Load::$get(&Volatile(*cell), at);
                core::sync::atomic::fence(core::sync::atomic::Ordering::Acquire);
                v
            }
            #[inline]
            fn store_release(cell: &Cell, at: usize, v: Self) {
                core::sync::atomic::fence(core::sync::atomic::Ordering::Release);
                crate::pod::Store::$put(&mut { *cell }, at, v);
            }
            fn plus(a: Self, b: Self) -> Self {
                a.wrapping_add(b)
            }
            fn negated(a: Self) -> Self {
                a.wrapping_neg()
            }
            fn and(a: Self, b: Self) -> Self {
                a & b
            }
            fn or(a: Self, b: Self) -> Self {
                a | b
            }
            fn xor(a: Self, b: Self) -> Self {
                a ^ b
            }
            fn min(a: Self, b: Self) -> Self {
                Ord::min(a, b)
            }
            fn max(a: Self, b: Self) -> Self {
                Ord::max(a, b)
            }
        }
    };
}

atomic_number!(u32, add_u32, swap_u32, cas_u32, u32, put_u32);
atomic_number!(u64, add_u64, swap_u64, cas_u64, u64, put_u64);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pod::{Load, Store};

    fn with_cell(bytes: &mut [u64], f: impl FnOnce(Cell)) {
        let len = size_of_val(bytes);
        // SAFETY: the range is this slice's, exclusively, aligned to 8, for as long as `f` runs.
        f(unsafe { Cell::new(bytes.as_mut_ptr().cast(), len) });
    }

    #[test]
    fn every_size_reads_what_it_stored() {
        with_cell(&mut [0; 4], |cell| {
            let mut to = cell;
            to.put_u8(1, 0xab);
            to.put_u16(2, 0x1234);
            to.put_u32(4, 0xdead_beef);
            to.put_u64(8, u64::MAX - 1);
            assert_eq!(
                (cell.u8(1), cell.u16(2), cell.u32(4), cell.u64(8)),
                (0xab, 0x1234, 0xdead_beef, u64::MAX - 1)
            );
            assert_eq!(Volatile(cell).u64(0), 0xdead_beef_1234_ab00);
        });
    }

    #[test]
    fn atomics_return_the_previous_value() {
        with_cell(&mut [5, 0], |cell| {
            assert_eq!(u64::fetch_add(&cell, 0, 3), 5);
            assert_eq!(u64::swap(&cell, 0, 10), 8);
            assert_eq!(u64::compare_exchange(&cell, 0, 9, 1), 10);
            assert_eq!(u64::compare_exchange(&cell, 0, 10, 1), 10);
            assert_eq!(u64::load_acquire(&cell, 0), 1);
            assert_eq!(u32::fetch_add(&cell, 12, u32::MAX), 0);
            assert_eq!(u32::swap(&cell, 12, 7), u32::MAX);
            assert_eq!(u32::compare_exchange(&cell, 12, 7, 8), 7);
            u64::store_release(&cell, 0, 77);
            assert_eq!(cell.u64(0), 77);
        });
    }

    #[test]
    fn bulk_copies_and_fills_touch_only_their_bytes() {
        for len in [0, 1, 7, 8, 9, 31, 40] {
            with_cell(&mut [0; 8], |cell| {
                let data: [u8; 40] = core::array::from_fn(|i| i as u8 + 1);
                cell.copy_in(8, &data[..len]);
                let mut out = [0xffu8; 64];
                cell.copy_out(0, &mut out);
                assert!(out[..8].iter().chain(&out[8 + len..]).all(|&b| b == 0));
                assert_eq!(&out[8..8 + len], &data[..len]);
                cell.part(8, len).fill(0x5a);
                cell.copy_out(0, &mut out);
                assert!(out[8..8 + len].iter().all(|&b| b == 0x5a));
                assert!(out[..8].iter().chain(&out[8 + len..]).all(|&b| b == 0));
            });
        }
    }

    #[test]
    #[should_panic(expected = "access in a cell")]
    fn an_offset_outside_is_a_panic() {
        extern crate std;
        with_cell(&mut [0; 2], |cell| {
            cell.u64(9);
        });
    }
}
