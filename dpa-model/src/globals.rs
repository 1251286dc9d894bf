//! The global variables of a process: each is allocated and initialised when it is first reached.
//!
//! What one begins with is made by code of the program: as the code of who reaches it, a kernel or the host, and with no lock held. Where
//! several reach it at once, what the first of them brings counts.

use std::collections::HashMap;

use dpa_abi::global::AnyGlobal;
use parking_lot::Mutex;

use crate::epoch::Epochs;
use crate::heap::{Heap, OutOfMemory};

fn key(global: &'static dyn AnyGlobal) -> usize {
    std::ptr::from_ref(global).cast::<()>() as usize
}

/// By the address of its declaration: where it is in device memory.
#[derive(Debug, Default)]
pub(crate) struct Globals {
    known: Mutex<HashMap<usize, u64>>,
}

impl Globals {
    /// The address of a global that has been reached before.
    pub(crate) fn find(&self, global: &'static dyn AnyGlobal) -> Option<u64> {
        self.known.lock().get(&key(global)).copied()
    }

    /// The address of a global that begins with these bytes, unless it was reached meanwhile.
    pub(crate) fn put(
        &self,
        heap: &Heap,
        epochs: &Epochs,
        global: &'static dyn AnyGlobal,
        initial: &[u8],
    ) -> Result<u64, OutOfMemory> {
        let mut known = self.known.lock();
        if let Some(&addr) = known.get(&key(global)) {
            return Ok(addr);
        }
        let addr = heap.alloc(epochs, initial.len() as u64, true)?;
        if let Some(cell) = heap.within(addr, initial.len() as u64) {
            cell.copy_in(0, initial);
            heap.wrote(addr, initial.len() as u64);
        }
        known.insert(key(global), addr);
        Ok(addr)
    }
}
