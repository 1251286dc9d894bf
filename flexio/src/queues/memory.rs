//! Where the entries of a queue lie.

use std::sync::Arc;

use dpa_abi::Rights;

use crate::backend::{self, QueueMemoryError};
use crate::process::ProcessRef;
use crate::window::Window;

/// Where the entries of a queue lie. Their indices, and what else a queue has, are in device memory either way.
///
/// In external memory, host and peers see them, and device memory is spared. Kernels reach them through a window, so they are
/// not coherent: what a kernel writes the NIC sees after a
/// [`window_writeback`](flexio_dev::ThreadContext::window_writeback), and what the NIC writes a kernel sees after a
/// [`window_read_inv`](flexio_dev::ThreadContext::window_read_inv). The library's own doorbells and polls do that; the unfenced
/// ones leave it out.
#[doc(alias = "flexio_qmem")]
#[derive(Clone, Debug, Default)]
pub enum QueueMemory {
    /// In device memory, which the queue allocates.
    #[default]
    Device,
    /// In host memory behind a window, from this offset in bytes on, a multiple of [`QueueMemory::ALIGN`]. The queue keeps the
    /// window open, and so does what works with the queue. What stood there is overwritten with zeros. Nothing else may lie there.
    External {
        /// The window, for reads and writes.
        window: Arc<Window>,
        /// Where in it, in bytes.
        offset: u64,
    },
}

impl QueueMemory {
    /// What the offset of entries in external memory is a multiple of, in bytes.
    pub const ALIGN: u64 = backend::QUEUE_ALIGN;

    /// The same for the device.
    pub(super) fn checked(
        self,
        process: &ProcessRef,
    ) -> Result<backend::QueueMemory, QueueMemoryError> {
        let (window, offset) = match self {
            Self::Device => return Ok(backend::QueueMemory::Device),
            Self::External { window, offset } => (window, offset),
        };
        if !Arc::ptr_eq(window.process().raw(), process.raw()) {
            return Err(QueueMemoryError::Foreign);
        }
        if window.rights() != Rights::ReadWrite {
            return Err(QueueMemoryError::NotWritable);
        }
        Ok(backend::QueueMemory::External {
            memory: window.memory().clone(),
            offset,
            addr: window.addr().raw().saturating_add(offset),
            window,
        })
    }
}
