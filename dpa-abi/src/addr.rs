//! Device addresses.

use core::cmp::Ordering;
use core::fmt;
use core::hash::{Hash, Hasher};
use core::marker::PhantomData;

/// Where the heap of every process begins in its own device address space. Device addresses are offsets from this
/// fixed base, so they are equal in every run.
pub const HEAP_BASE: u64 = 0x0000_4000_0000_0000;

/// Where the device addresses of windows onto host memory begin, behind those of any heap.
pub const WINDOW_BASE: u64 = 1 << 48;

/// A device address of a `T`: eight plain bytes that may lie.
///
/// It can stand in device memory and in arguments. It keeps nothing alive and proves nothing: a kernel turns it
/// into a checked view with `thread.bind(addr, len)`.
#[doc(alias = "doca_dpa_dev_uintptr_t")]
#[doc(alias = "flexio_uintptr_t")]
#[repr(transparent)]
pub struct DevAddr<T> {
    raw: u64,
    of: PhantomData<fn() -> T>,
}

impl<T> DevAddr<T> {
    /// The null address, which is in no heap.
    pub const NULL: Self = Self::from_raw(0);

    /// An address from its number. Nothing is checked here: a bad one is a fault where it is bound.
    pub const fn from_raw(raw: u64) -> Self {
        Self {
            raw,
            of: PhantomData,
        }
    }

    /// Whether it is an address of a window: what is there lies in host memory. No heap reaches so far.
    pub const fn is_external(self) -> bool {
        self.raw >= WINDOW_BASE
    }

    /// The number.
    pub const fn raw(self) -> u64 {
        self.raw
    }

    /// Whether this is the null address.
    pub const fn is_null(self) -> bool {
        self.raw == 0
    }

    /// The same address of something else.
    pub const fn cast<U>(self) -> DevAddr<U> {
        DevAddr::from_raw(self.raw)
    }

    /// The address `bytes` further on, wrapping.
    pub const fn byte_add(self, bytes: u64) -> Self {
        Self::from_raw(self.raw.wrapping_add(bytes))
    }
}

impl<T: crate::Pod> DevAddr<T> {
    /// The address of the element `index` elements further on, wrapping.
    #[must_use]
    pub const fn element(self, index: u64) -> Self {
        self.byte_add(index.wrapping_mul(T::SIZE as u64))
    }
}

impl<T> Clone for DevAddr<T> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<T> Copy for DevAddr<T> {}
impl<T> PartialEq for DevAddr<T> {
    fn eq(&self, other: &Self) -> bool {
        self.raw == other.raw
    }
}
impl<T> Eq for DevAddr<T> {}
impl<T> PartialOrd for DevAddr<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl<T> Ord for DevAddr<T> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.raw.cmp(&other.raw)
    }
}
impl<T> Hash for DevAddr<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.raw.hash(state);
    }
}
impl<T> Default for DevAddr<T> {
    fn default() -> Self {
        Self::NULL
    }
}
impl<T> fmt::Debug for DevAddr<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DevAddr({:#x})", self.raw)
    }
}
impl<T> fmt::LowerHex for DevAddr<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::LowerHex::fmt(&self.raw, f)
    }
}
