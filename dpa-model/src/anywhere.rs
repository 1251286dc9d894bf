//! What may go to any thread, told once.
//!
//! Whether a future may be spawned the compiler finds out by looking at all that stands behind what it holds, field by field and no
//! deeper than 128 levels (`recursion_limit`). Processes, devices, NICs and launches refer to each other, and the longest way through
//! them was as long as that: programs with a few futures within each other did not compile. For those four it is told here, which
//! ends the search, and each of their fields is looked at where they are defined.

/// A type may go to any thread, since all its fields may: they are given, and one that is missing or may not does not compile.
macro_rules! goes_anywhere {
    ($type:ident { $($field:ident),+ $(,)? }) => {
        // SAFETY: all fields may, as is looked at below.
        unsafe impl Send for $type {}
        // SAFETY: likewise.
        unsafe impl Sync for $type {}
        const _: fn(&$type) = |all| {
            fn may<T: Send + Sync>(_: &T) {}
            let $type { $($field),+ } = all;
            $(may($field);)+
        };
    };
}

pub(crate) use goes_anywhere;
