//! Device memory as the host reads and writes it.

use dpa_abi::FaultKind;
use dpa_abi::global::AnyGlobal;
use thiserror::Error;

use crate::backend::{HeapInfo, OutOfMemory};
use crate::process::ProcessRef;

/// Which way a copy goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// From the host to the device.
    In,
    /// From the device to the host.
    Out,
}

/// A copy or a fill was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("device memory: {len} bytes at {addr:#x}: {kind}")]
#[non_exhaustive]
pub struct AccessError {
    /// The first byte.
    pub addr: u64,
    /// How many bytes.
    pub len: u64,
    /// What is wrong with them.
    pub kind: FaultKind,
}

impl ProcessRef {
    /// Allocates device memory, aligned for any type. Its contents are what was there before, unless `zeroed`.
    ///
    /// # Errors
    /// Out of memory: what was asked, what is free, the largest block.
    #[doc(alias = "flexio_buf_dev_alloc")]
    #[doc(alias = "doca_dpa_mem_alloc")]
    pub fn alloc(&self, bytes: u64, zeroed: bool) -> Result<u64, OutOfMemory> {
        self.raw().alloc(bytes, zeroed)
    }

    /// Frees what was allocated at `addr`; false if nothing is. The range is used again only after all launches that
    /// started before are over.
    #[doc(alias = "flexio_buf_dev_free")]
    #[doc(alias = "doca_dpa_mem_free")]
    pub fn free(&self, addr: u64) -> bool {
        self.raw().free(addr)
    }

    /// The device address of a global variable of the application, of which each process has one.
    ///
    /// # Errors
    /// Out of memory.
    pub fn global(&self, global: &'static dyn AnyGlobal) -> Result<u64, OutOfMemory> {
        self.raw().global(global)
    }

    /// Copies bytes to the device; complete when it returns.
    ///
    /// # Errors
    /// Not in one live allocation.
    #[doc(alias = "flexio_host2dev_memcpy")]
    #[doc(alias = "doca_dpa_h2d_memcpy")]
    pub fn write(&self, addr: u64, bytes: &[u8]) -> Result<(), AccessError> {
        let written = self.raw().host_write(addr, bytes);
        written.map_err(failed(addr, bytes.len() as u64))
    }

    /// Copies bytes from the device; complete when it returns.
    ///
    /// # Errors
    /// Not in one live allocation.
    #[doc(alias = "doca_dpa_d2h_memcpy")]
    pub fn read(&self, addr: u64, bytes: &mut [u8]) -> Result<(), AccessError> {
        let len = bytes.len() as u64;
        self.raw().host_read(addr, bytes).map_err(failed(addr, len))
    }

    /// Sets bytes of the device; complete when it returns.
    ///
    /// # Errors
    /// Not in one live allocation.
    #[doc(alias = "flexio_buf_dev_memset")]
    #[doc(alias = "doca_dpa_memset")]
    pub fn fill(&self, addr: u64, len: u64, value: u8) -> Result<(), AccessError> {
        let filled = self.raw().host_fill(addr, len, value);
        filled.map_err(failed(addr, len))
    }

    /// The figures of its heap.
    #[doc(alias = "flexio_process_mem_info_get")]
    pub fn memory_info(&self) -> HeapInfo {
        self.raw().heap.info()
    }
}

fn failed(addr: u64, len: u64) -> impl Fn(dpa_abi::FaultKind) -> AccessError {
    move |kind| AccessError { addr, len, kind }
}
