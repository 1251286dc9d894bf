//! Global variables of an application: one of each in every process.

use core::sync::atomic::AtomicU8;

use crate::pod::Pod;

/// Bytes of a global variable, at most: all of it is made at once, on the stack of the kernel that reaches it first.
pub const MOST_BYTES: usize = 64 * 1024;

/// A global variable as a device sees it: a name, a size, and what it begins with. Its own address tells it from others.
pub trait AnyGlobal: Sync {
    /// Its name, for messages.
    fn name(&self) -> &'static str;
    /// Its bytes.
    fn size(&self) -> usize;
    /// Writes what it begins with; `out` has [`AnyGlobal::size`] bytes.
    fn initial(&self, out: &mut [u8]);
}

/// A global variable. Declared with `#[dpa_global]`:
///
/// ```text
/// #[dpa_global]
/// pub static HITS: Global<u64> = Global::new(0);
/// ```
///
/// Each process has one of its own, in device memory. A kernel reaches it through its thread (`thread.global(&HITS)`), the
/// host through its context (`dpa.global(&HITS)`). A `const` of this type is no global: a reference to it does not live long enough.
#[derive(Debug)]
pub struct Global<T: Pod + Sync> {
    name: &'static str,
    initial: T,
    /// What can change is not promoted to a static where a `const` of it is referred to: two of them would have one address, or
    /// one two.
    _changes: AtomicU8,
}

impl<T: Pod + Sync> Global<T> {
    /// A global that begins with this value in each process.
    ///
    /// # Panics
    /// If it takes more than [`MOST_BYTES`]: a static of that size does not compile. Such memory is allocated by the host, and the
    /// global keeps its address.
    #[track_caller]
    pub const fn new(initial: T) -> Self {
        assert!(
            T::SIZE <= MOST_BYTES,
            "a global variable takes at most 64 KiB; allocate the memory on the host, and keep its address in the global"
        );
        Self {
            name: "a global",
            initial,
            _changes: AtomicU8::new(0),
        }
    }

    /// With this name. Called by the code that `#[dpa_global]` makes.
    #[doc(hidden)]
    #[must_use]
    pub const fn named(self, name: &'static str) -> Self
    where
        T: Copy,
    {
        Self {
            name,
            initial: self.initial,
            _changes: AtomicU8::new(0),
        }
    }
}

impl<T: Pod + Sync> AnyGlobal for Global<T> {
    fn name(&self) -> &'static str {
        self.name
    }

    fn size(&self) -> usize {
        T::SIZE
    }

    fn initial(&self, out: &mut [u8]) {
        T::encode_slice(core::slice::from_ref(&self.initial), out);
    }
}
