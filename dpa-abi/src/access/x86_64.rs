//! One access is one instruction in inline assembly; a bulk copy is a block instruction.

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

/// The word of this number, read in order with what is around it.
#[inline(always)]
pub(super) unsafe fn load_word(base: *const u64, at: usize) -> u64 {
    let v: u64;
    // SAFETY: the caller gives a mapped, aligned word.
    unsafe {
        asm!("mov {v}, qword ptr [{p} + 8 * {at}]", v = out(reg) v, p = in(reg) base, at = in(reg) at,
            options(nostack, preserves_flags));
    }
    v
}

/// The word of this number, the next, and the first again, in this order.
#[inline(always)]
pub(super) unsafe fn load_word_twice(base: *const u64, at: usize) -> [u64; 3] {
    let (first, next, again): (u64, u64, u64);
    // SAFETY: the caller gives two mapped, aligned words. Loads are not reordered with loads here.
    unsafe {
        asm!(
            "mov {first}, qword ptr [{p} + 8 * {at}]",
            "mov {next}, qword ptr [{p} + 8 * {at} + 8]",
            "mov {again}, qword ptr [{p} + 8 * {at}]",
            first = out(reg) first,
            next = out(reg) next,
            again = lateout(reg) again,
            p = in(reg) base,
            at = in(reg) at,
            options(nostack, preserves_flags)
        );
    }
    [first, next, again]
}

/// From here on the string instructions are faster than a loop: they have a start-up cost of some 30 ns.
const LONG: usize = 2048;

/// Copies as many bytes as `out` has out of device memory.
#[inline]
pub(super) unsafe fn copy_out(from: *const u8, out: &mut [u8]) {
    // SAFETY: the caller gives a mapped range of that length, apart from `out`.
    unsafe { copy(from, out.as_mut_ptr(), out.len()) }
}

/// Copies bytes into device memory.
#[inline]
pub(super) unsafe fn copy_in(bytes: &[u8], to: *mut u8) {
    // SAFETY: as above, and writable.
    unsafe { copy(bytes.as_ptr(), to, bytes.len()) }
}

/// Copies `len` bytes upwards, by eight and what is left by 4, 2 and 1: from where numbers of some size begin to where they end, none
/// of them is cut.
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
            "test {len}, 4",
            "jz 6f",
            "mov {word:e}, dword ptr [{from}]",
            "mov dword ptr [{to}], {word:e}",
            "add {from}, 4",
            "add {to}, 4",
            "6:",
            "test {len}, 2",
            "jz 7f",
            "movzx {word:e}, word ptr [{from}]",
            "mov word ptr [{to}], {word:x}",
            "add {from}, 2",
            "add {to}, 2",
            "7:",
            "test {len}, 1",
            "jz 8f",
            "movzx {word:e}, byte ptr [{from}]",
            "mov byte ptr [{to}], {word:l}",
            "8:",
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
    let (from_tail, to_tail): (*const u8, *mut u8);
    // SAFETY: the caller gives two mapped ranges of `len` bytes that do not overlap; the direction flag is clear
    // by the calling convention.
    unsafe {
        asm!(
            "rep movsq",
            inout("rcx") len / 8 => _,
            inout("rsi") from => from_tail,
            inout("rdi") to => to_tail,
            options(nostack, preserves_flags)
        );
    }
    // SAFETY: what is left of both.
    unsafe { copy_short(from_tail, to_tail, len % 8) }
}

/// Stores `value` into `len` bytes, cut up as in a copy.
#[inline]
pub(super) unsafe fn fill(to: *mut u8, value: u8, len: usize) {
    let word = u64::from_ne_bytes([value; 8]);
    let mut tail: *mut u8;
    // SAFETY: the caller gives a mapped, writable range of `len` bytes.
    unsafe {
        asm!(
            "rep stosq",
            inout("rcx") len / 8 => _,
            in("rax") word,
            inout("rdi") to => tail,
            options(nostack, preserves_flags)
        );
    }
    // SAFETY: what is left of it: each store begins where the one before ended.
    unsafe {
        if len & 4 != 0 {
            store_u32(tail.cast(), word as u32);
            tail = tail.add(4);
        }
        if len & 2 != 0 {
            store_u16(tail.cast(), word as u16);
            tail = tail.add(2);
        }
        if len & 1 != 0 {
            store_u8(tail, value);
        }
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
