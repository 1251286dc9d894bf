//! Memory that this thread writes soon is fetched now: what another core wrote last takes longer to come than a launch takes.

use crate::launch::Launch;

/// Bytes that come at a time.
const LINE: usize = 64;

/// Begins to fetch a launch with its counts, which lie before it, to change both.
#[inline]
pub(crate) fn launch(launch: *const Launch) {
    let counts = 2 * size_of::<usize>();
    for_write(
        launch.cast::<u8>().wrapping_sub(counts),
        counts + size_of::<Launch>(),
    );
}

/// Begins to fetch a count, to read and change it: what is only read comes a second time to be changed.
#[inline]
pub(crate) fn count<T>(count: &T) {
    line(std::ptr::from_ref(count).cast());
}

/// Begins to fetch so many bytes, to write them. Of what may not be read nothing is fetched.
#[inline]
fn for_write(from: *const u8, bytes: usize) {
    for offset in (0..bytes).step_by(LINE).chain([bytes - 1]) {
        line(from.wrapping_add(offset));
    }
}

#[cfg(all(target_arch = "x86_64", not(dpa_sanitize)))]
#[inline(always)]
fn line(at: *const u8) {
    // SAFETY: a hint. It changes no register and no memory, and faults at no address; where the processor does not know it, it does
    // nothing.
    unsafe {
        core::arch::asm!("prefetchw [{}]", in(reg) at, options(nostack, preserves_flags, readonly));
    }
}

#[cfg(not(all(target_arch = "x86_64", not(dpa_sanitize))))]
fn line(_: *const u8) {}
