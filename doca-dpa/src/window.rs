//! Windows: host memory that kernels see.

use dpa_abi::{DevAddr, Pod, Rights};
use flexio::WindowError;

use crate::buffer::BufferSlice;
use crate::dpa::Dpa;
use crate::rdma::{HostBuffer, Returned};

/// A host buffer that kernels see: an argument where a view is asked for, like a [`DeviceBuffer`](crate::DeviceBuffer).
///
/// Host and kernels access it side by side: the host copies bytes in and out through [`HostWindow::buffer`]. What a kernel
/// wrote is there once an update of an event that it made behind it has been seen, as for device memory.
#[doc(alias = "doca_dpa_dev_mmap_get_external_ptr")]
#[doc(alias = "doca_dpa_dev_buf_get_external_ptr")]
#[derive(Debug)]
pub struct HostWindow<T> {
    all: BufferSlice<T>,
    buffer: HostBuffer,
}

impl Dpa {
    /// Opens a window onto a host buffer. Bytes behind the last whole element are not seen through it.
    ///
    /// # Errors
    /// Too many windows; the buffer is too large; the context is closed or faulted. The buffer is back.
    pub fn window<T: Pod>(
        &self,
        buffer: HostBuffer,
    ) -> Result<HostWindow<T>, Returned<WindowError>> {
        self.open_window(buffer, Rights::ReadWrite)
    }

    /// As [`Dpa::window`], for kernels that only read: a view that could write is refused with a fault.
    ///
    /// # Errors
    /// As [`Dpa::window`].
    pub fn read_window<T: Pod>(
        &self,
        buffer: HostBuffer,
    ) -> Result<HostWindow<T>, Returned<WindowError>> {
        self.open_window(buffer, Rights::Read)
    }

    fn open_window<T: Pod>(
        &self,
        buffer: HostBuffer,
        rights: Rights,
    ) -> Result<HostWindow<T>, Returned<WindowError>> {
        let tried = self.process().window(buffer.memory(), rights);
        let (window, buffer) = Returned::unless(tried, buffer)?;
        Ok(HostWindow {
            all: BufferSlice::of_window(window),
            buffer,
        })
    }
}

impl<T: Pod> HostWindow<T> {
    /// The buffer: bytes are copied in and out.
    pub fn buffer(&self) -> &HostBuffer {
        &self.buffer
    }

    /// All of it, or with [`BufferSlice::slice`] a part, as an argument.
    pub fn all(&self) -> BufferSlice<T> {
        self.all.clone()
    }

    /// The device address of the first element. Plain: it keeps nothing open.
    pub fn addr(&self) -> DevAddr<T> {
        self.all.addr()
    }

    /// Its elements.
    pub fn len(&self) -> usize {
        self.all.len()
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Closes it, and takes the buffer back. Launches that were given it keep it open until they are over.
    pub fn into_buffer(self) -> HostBuffer {
        self.buffer
    }
}
