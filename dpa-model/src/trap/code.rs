//! Where a kernel may be taken off its worker between two device calls: in code of the program itself, and in the functions of the
//! C library that compilers call by themselves to copy, fill and compare. They hold no lock, keep nothing for each OS thread and
//! call nobody. Any other code of a library may be what holds a lock, that of the allocator for instance.

use std::ffi::c_void;
use std::ops::Range;
use std::sync::OnceLock;

const HELPERS: usize = 5;

/// No such function is longer.
const LONGEST: usize = 1 << 14;

static EXTENTS: OnceLock<[Range<usize>; HELPERS]> = OnceLock::new();

unsafe extern "C" {
    static __executable_start: u8;
    static etext: u8;

    fn bcmp(a: *const c_void, b: *const c_void, len: usize) -> libc::c_int;

    /// Of the unwinder: where the function begins that a return to `code` goes into; null if it knows of none.
    fn _Unwind_FindEnclosingFunction(code: *mut c_void) -> *mut c_void;
}

/// Finds the functions, once for the program. Not for a signal handler.
pub(super) fn find_helpers() {
    EXTENTS.get_or_init(|| helpers().map(extent));
}

/// Whether a kernel whose code is interrupted here may be taken off. For signal handlers.
pub(super) fn may_be_left(code: usize) -> bool {
    is_of_program(code) || is_of_helpers(code)
}

/// Whether this is an address of the program's own code.
fn is_of_program(code: usize) -> bool {
    let (start, end) = (&raw const __executable_start, &raw const etext);
    (start as usize..end as usize).contains(&code)
}

fn is_of_helpers(code: usize) -> bool {
    let extents = EXTENTS.get();
    extents.is_some_and(|extents| extents.iter().any(|extent| extent.contains(&code)))
}

/// Where they begin: those that this machine's processor is served with.
fn helpers() -> [usize; HELPERS] {
    [
        libc::memcpy as *const () as usize,
        libc::memmove as *const () as usize,
        libc::memset as *const () as usize,
        libc::memcmp as *const () as usize,
        bcmp as *const () as usize,
    ]
}

/// From where to where the function goes that begins here; nothing, if the unwinder does not know.
fn extent(begin: usize) -> Range<usize> {
    // One more, for it takes what it is given for the address behind a call.
    // SAFETY: it looks the address up in tables, and reads nothing there.
    let is_of_it = |code: usize| unsafe {
        _Unwind_FindEnclosingFunction((code + 1) as *mut c_void) as usize == begin
    };
    let (mut inside, mut behind) = (0, LONGEST);
    if !is_of_it(begin) {
        return begin..begin;
    }
    while behind - inside > 1 {
        let middle = inside + (behind - inside) / 2;
        match is_of_it(begin + middle) {
            true => inside = middle,
            false => behind = middle,
        }
    }
    begin..begin + behind
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_functions_are_found_and_nothing_beside_them() {
        find_helpers();
        for begin in helpers() {
            let extent = extent(begin);
            assert!((16..LONGEST).contains(&extent.len()), "{extent:x?}");
            assert!(may_be_left(begin) && may_be_left(extent.end - 1));
        }
        assert!(may_be_left(find_helpers as *const () as usize));
        let others = [libc::malloc as *const (), libc::getpid as *const ()];
        assert!(others.iter().all(|&other| !may_be_left(other as usize)));
    }
}
