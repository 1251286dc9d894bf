//! Host memory that the NIC may touch: owned bytes, alive as long as anybody may access them.

use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::ptr::NonNull;

use dpa_abi::access::Cell;

use crate::placed::{self, Bytes, Places};

/// Its alignment: a page, as for any memory that is registered.
const ALIGN: usize = 4096;

/// So many bytes of this program's memory, zeroed, aligned to a page. Program and NIC access them side by side, so all
/// accesses go through `dpa_abi::access`; no reference to the bytes is ever given out.
#[derive(Debug)]
pub struct HostMemory {
    base: NonNull<u8>,
    len: usize,
    places: Places,
}

// SAFETY: the memory is accessed only through `dpa_abi::access`, from any thread.
unsafe impl Send for HostMemory {}
// SAFETY: as above.
unsafe impl Sync for HostMemory {}

impl HostMemory {
    fn layout(len: usize) -> Layout {
        Layout::from_size_align(len.max(1), ALIGN).expect("a size that was allocated or refused")
    }

    /// So many bytes, zeroed. `None` if there can be no such size, or the system does not give as many.
    pub fn new(len: usize) -> Option<Self> {
        if len > isize::MAX as usize - ALIGN {
            return None;
        }
        let layout = Self::layout(len);
        // SAFETY: the layout's size is not 0.
        let base = unsafe { alloc_zeroed(layout) };
        let base = NonNull::new(base)?;
        Some(Self {
            base,
            len,
            places: Places::default(),
        })
    }

    /// Its bytes.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// `len` bytes from `offset` on, if they lie in it. The caller keeps the memory while it uses the cell.
    pub(crate) fn cell(&self, offset: u64, len: usize) -> Option<Cell> {
        let end = offset.checked_add(len as u64)?;
        if end > self.len as u64 {
            return None;
        }
        // SAFETY: the range lies within the allocation, which lives as long as `self`.
        Some(unsafe { Cell::new(self.base.as_ptr().add(offset as usize), len) })
    }

    /// Where `len` bytes from `offset` on are, if they lie in it. The caller keeps the memory while it uses the address.
    pub(crate) fn address(&self, offset: u64, len: u64) -> Option<NonNull<u8>> {
        let end = offset.checked_add(len)?;
        let base = self.base.as_ptr().wrapping_add(offset as usize);
        NonNull::new(base).filter(|_| end <= self.len as u64)
    }

    /// Copies bytes out; false if they do not lie in it.
    pub fn read(&self, offset: u64, out: &mut [u8]) -> bool {
        let cell = self.cell(offset, out.len());
        let copied = cell.map(|cell| cell.copy_out(0, out)).is_some();
        if copied {
            self.places.show_in(offset, out);
        }
        copied
    }

    /// Copies bytes in; false if they do not fit.
    pub(crate) fn put(&self, offset: u64, bytes: &[u8]) -> bool {
        let cell = self.cell(offset, bytes.len());
        cell.map(|cell| cell.copy_in(0, bytes)).is_some()
    }

    /// As the host writes: events that stand there are updated. False if the bytes do not fit.
    pub fn write(&self, offset: u64, bytes: &[u8]) -> bool {
        let done = self.put(offset, bytes);
        if done {
            placed::written_by_host(&self.places, offset, Bytes::Of(bytes));
        }
        done
    }

    /// The events that stand in it.
    pub(crate) fn places(&self) -> &Places {
        &self.places
    }
}

impl Drop for HostMemory {
    fn drop(&mut self) {
        // SAFETY: allocated in `new` with this layout; nothing else refers to it any more.
        unsafe { dealloc(self.base.as_ptr(), Self::layout(self.len)) }
    }
}

#[cfg(feature = "verbs")]
// SAFETY: the allocation lives as long as the value, and its bytes are accessed only through `dpa_abi::access`.
unsafe impl rdma::verbs::Pinned for HostMemory {
    fn pinned(&self) -> (NonNull<u8>, usize) {
        (self.base, self.len)
    }
}
