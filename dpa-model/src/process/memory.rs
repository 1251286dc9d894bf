//! What the host does with the memory of a process.

use dpa_abi::FaultKind;

use super::Process;
use crate::placed::{self, Bytes};

impl Process {
    /// Frees what was allocated at this address; false if nothing is.
    pub fn free(&self, addr: u64) -> bool {
        self.heap.free(&self.epochs, addr)
    }

    /// The host writes to the heap.
    ///
    /// # Errors
    /// Not in one live allocation.
    pub fn host_write(&self, addr: u64, bytes: &[u8]) -> Result<(), FaultKind> {
        let cell = self.heap.checked(addr, bytes.len() as u64)?;
        cell.copy_in(0, bytes);
        self.wrote(addr, Bytes::Of(bytes));
        Ok(())
    }

    /// The host sets so many bytes of the heap to one value.
    ///
    /// # Errors
    /// Not in one live allocation.
    pub fn host_fill(&self, addr: u64, len: u64, value: u8) -> Result<(), FaultKind> {
        self.heap.checked(addr, len)?.fill(value);
        self.wrote(addr, Bytes::Fill(value, len));
        Ok(())
    }

    fn wrote(&self, addr: u64, bytes: Bytes<'_>) {
        self.heap.wrote(addr, bytes.len());
        placed::written_by_host(&self.places, addr, bytes);
    }

    /// The host reads the heap; of events that stand there, their values.
    ///
    /// # Errors
    /// Not in one live allocation.
    pub fn host_read(&self, addr: u64, copy: &mut [u8]) -> Result<(), FaultKind> {
        self.heap
            .checked(addr, copy.len() as u64)?
            .copy_out(0, copy);
        self.places.show_in(addr, copy);
        Ok(())
    }
}
