//! The global variables of a process: each is allocated and initialised when it is first reached.

use std::collections::HashMap;

use dpa_abi::global::AnyGlobal;
use parking_lot::Mutex;

use crate::epoch::Epochs;
use crate::heap::{Heap, OutOfMemory};

/// By the address of its declaration: where it is in device memory.
#[derive(Debug, Default)]
pub(crate) struct Globals {
    known: Mutex<HashMap<usize, u64>>,
}

impl Globals {
    /// The address of a global.
    pub(crate) fn find(
        &self,
        heap: &Heap,
        epochs: &Epochs,
        global: &'static dyn AnyGlobal,
    ) -> Result<u64, OutOfMemory> {
        let key = std::ptr::from_ref(global).cast::<()>() as usize;
        // Whoever comes first initialises it while the others wait.
        let mut known = self.known.lock();
        if let Some(&addr) = known.get(&key) {
            return Ok(addr);
        }
        let addr = heap.alloc(epochs, global.size() as u64, true)?;
        let mut initial = vec![0; global.size()];
        global.initial(&mut initial);
        if let Some(cell) = heap.within(addr, initial.len() as u64) {
            cell.copy_in(0, &initial);
            heap.wrote(addr, initial.len() as u64);
        }
        known.insert(key, addr);
        Ok(addr)
    }
}
