//! The one module through which device memory is read and written.
//!
//! Device memory is shared between kernels, the host and the NIC without any agreement that the language could check,
//! and Rust allows neither racing plain accesses nor overlapping atomics of different sizes. So no reference and no
//! `memcpy` ever points into a heap. On x86-64 and aarch64 each access is one instruction in inline assembly, which
//! the language's memory model does not see; elsewhere, and under sanitizers (`cfg(dpa_sanitize)`), it is a relaxed
//! atomic of the same size. A bulk copy is a block instruction, or a loop; it takes what lies at a multiple of 2, 4 or 8 bytes in
//! device memory as whole as that allows.
//!
//! All functions need a pointer into native memory that stays mapped, aligned to the access. None of them tears. Of a bulk copy that
//! is promised for numbers at multiples of their size, if the copy begins and ends at such a multiple.

#[cfg_attr(
    all(target_arch = "x86_64", not(dpa_sanitize)),
    path = "access/x86_64.rs"
)]
#[cfg_attr(
    not(all(target_arch = "x86_64", not(dpa_sanitize))),
    path = "access/portable.rs"
)]
mod native;

/// What other machines do, to be tested here, too.
#[cfg(all(test, target_arch = "x86_64", not(dpa_sanitize)))]
#[expect(dead_code, reason = "of it only the copies are tested")]
#[path = "access/portable.rs"]
mod portable;

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
        // Our own accesses of x86-64 may be unaligned; the others go through the library's atomics.
        if cfg!(any(
            not(target_arch = "x86_64"),
            dpa_sanitize,
            debug_assertions
        )) {
            assert!(p.is_aligned(), "aligned access in a cell");
        }
        p
    }

    /// Copies the range's bytes out, from `at` on.
    ///
    /// # Panics
    /// If `out` is longer than what is there.
    pub fn copy_out(self, at: usize, out: &mut [u8]) {
        let from = self.part(at, out.len());
        // SAFETY: `from` is within the range, and as long as `out`, which is host memory and never overlaps device memory.
        unsafe { native::copy_out(from.base, out) };
    }

    /// Copies bytes in, from `at` on.
    ///
    /// # Panics
    /// If `bytes` is longer than what is there.
    pub fn copy_in(self, at: usize, bytes: &[u8]) {
        let to = self.part(at, bytes.len());
        // SAFETY: as in `copy_out`.
        unsafe { native::copy_in(bytes, to.base) };
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

/// A cell as words of 64 bits, which are named by their number: one comparison checks an access.
#[derive(Clone, Copy, Debug)]
pub struct WordCell {
    base: *mut u64,
    len: usize,
}

impl WordCell {
    /// The whole words of a cell.
    ///
    /// # Panics
    /// If it does not begin at a multiple of 8 bytes.
    pub fn new(cell: Cell) -> Self {
        let base = cell.base.cast::<u64>();
        assert!(base.is_aligned(), "words of a cell");
        Self {
            base,
            len: cell.len / 8,
        }
    }

    /// How many there are.
    #[inline]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether there is none.
    #[inline]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// An acquiring load.
    ///
    /// # Panics
    /// If there is no such word, here as below.
    #[inline(always)]
    pub fn load_acquire(&self, at: usize) -> u64 {
        assert!(at < self.len, "word in a cell");
        // SAFETY: it is there and aligned; the cell's creator promised the mapping.
        unsafe { native::load_word(self.base, at) }
    }

    /// The word of this number, the next, and the first again: loaded in this order, each acquiring.
    #[inline(always)]
    pub fn load_twice(&self, at: usize) -> [u64; 3] {
        assert!(
            at < self.len.wrapping_sub(1) && self.len > 0,
            "word in a cell"
        );
        // SAFETY: as above, both words.
        unsafe { native::load_word_twice(self.base, at) }
    }

    /// The cell of one word, for all other accesses.
    #[inline]
    pub fn word(&self, at: usize) -> Cell {
        assert!(at < self.len, "word in a cell");
        Cell {
            base: self.base.wrapping_add(at).cast(),
            len: 8,
        }
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
pub trait AtomicNumber: crate::Pod + PartialEq + sealed::Number {
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

/// What the processor has atomic instructions for, and nothing else.
mod sealed {
    pub trait Number {}
}

macro_rules! atomic_number {
    ($t:ty, $add:ident, $swap:ident, $cas:ident, $get:ident, $put:ident) => {
        impl sealed::Number for $t {}

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
#[path = "access/tests.rs"]
mod tests;
