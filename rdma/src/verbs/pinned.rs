//! Memory that a device may be given.
#![expect(unsafe_code, reason = "a promise about memory")]

use std::ptr::NonNull;

/// Memory of this program that stays where it is as long as the value lives, so that a device can be let at it.
///
/// # Safety
///
/// `pinned` always gives the same mapped, writable memory, which is neither unmapped nor freed nor referred to by Rust
/// references while the value lives: a device writes to it at any time.
pub unsafe trait Pinned: Send + Sync {
    /// Its first byte, and how many there are.
    fn pinned(&self) -> (NonNull<u8>, usize);
}
