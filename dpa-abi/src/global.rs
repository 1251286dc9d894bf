//! Global variables of an application: one of each in every process.

use crate::pod::{Bytes, Pod};

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
/// host through its context (`dpa.global(&HITS)`).
#[derive(Debug)]
pub struct Global<T: Pod + Sync> {
    name: &'static str,
    initial: T,
}

impl<T: Pod + Sync> Global<T> {
    /// A global that begins with this value in each process.
    pub const fn new(initial: T) -> Self {
        Self {
            name: "a global",
            initial,
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
        self.initial.store(&mut Bytes(out), 0);
    }
}
