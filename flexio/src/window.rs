//! Windows: host memory at device addresses.

use std::sync::Arc;

use dpa_abi::{DevAddr, Rights};

use crate::backend::{HostMemory, WindowError};
use crate::process::ProcessRef;

/// A window onto host memory. When it is dropped its addresses mean nothing any more; the memory stays until all launches
/// that started before are over.
#[doc(alias = "flexio_window")]
#[derive(Debug)]
pub struct Window {
    process: ProcessRef,
    memory: Arc<HostMemory>,
    rights: Rights,
    addr: u64,
}

impl ProcessRef {
    /// Opens a window: kernels of this process may bind views at its addresses.
    ///
    /// # Errors
    /// Too many windows; too much memory; the process is stopped.
    #[doc(alias = "flexio_window_create")]
    #[doc(alias = "flexio_dev_window_config")]
    pub fn window(&self, memory: &Arc<HostMemory>, rights: Rights) -> Result<Window, WindowError> {
        Ok(Window {
            process: self.clone(),
            memory: memory.clone(),
            rights,
            addr: self.raw().open_window(memory, rights)?,
        })
    }
}

impl Window {
    /// The device address of its first byte.
    #[doc(alias = "flexio_window_get_id")]
    #[doc(alias = "flexio_dev_window_ptr_acquire")]
    pub fn addr(&self) -> DevAddr<u8> {
        DevAddr::from_raw(self.addr)
    }

    /// The memory it shows.
    pub fn memory(&self) -> &Arc<HostMemory> {
        &self.memory
    }

    /// What kernels may do through it.
    pub fn rights(&self) -> Rights {
        self.rights
    }

    /// Its process.
    pub fn process(&self) -> &ProcessRef {
        &self.process
    }
}

impl Drop for Window {
    fn drop(&mut self) {
        self.process.raw().close_window(self.addr);
    }
}
