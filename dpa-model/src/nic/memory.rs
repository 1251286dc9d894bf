//! Memory as the NIC sees it: heaps of processes, host memory, sync events.
//!
//! The NIC works under its own lock, and an event's waiters are foreign code. So an update changes the counter at once,
//! and what it opens is kept for when the lock is free: [`After`].

use std::cell::RefCell;
use std::sync::Arc;

use dpa_abi::Update;
use dpa_abi::access::{AtomicNumber, Cell};
use rdma::memory::{Atomic, EventGone, EventUpdate, Memory, SpaceId, Target};
use slab::Slab;
use smallvec::SmallVec;
use sync_event::{Location, Reached};

use super::after::After;
use super::host_memory::HostMemory;
use crate::event::EventUse;
use crate::placed::{Bytes, Places, Touched};
use crate::process::Process;

/// Who updates an event by the NIC: peers, and kernels by their own node's.
const BY_NIC: &[Location] = &[Location::Remote, Location::Device];

/// One memory that regions lie in.
#[derive(Debug)]
pub(crate) enum Space {
    /// The heap of a process; offsets are device addresses.
    Heap(Arc<Process>),
    /// Host memory; offsets from its first byte.
    Host(Arc<HostMemory>),
    /// A sync event.
    Event(EventUse),
}

impl Space {
    /// The events that stand in it; `None`: none can.
    #[inline]
    pub(crate) fn places(&self) -> Option<&Places> {
        match self {
            Self::Heap(process) => Some(&process.places),
            Self::Host(memory) => Some(memory.places()),
            Self::Event(_) => None,
        }
    }

    /// Whether it belongs to this process.
    pub(crate) fn is_of(&self, process: &Process) -> bool {
        match self {
            Self::Heap(owner) => std::ptr::eq(&raw const **owner, process),
            Self::Event(event) => std::ptr::eq(&raw const **event.process(), process),
            Self::Host(_) => false,
        }
    }
}

/// All memories of a NIC.
#[derive(Debug, Default)]
pub(crate) struct NicMemory {
    pub(crate) spaces: Slab<Space>,
    pub(crate) after: RefCell<Vec<After>>,
}

impl NicMemory {
    fn cell(&self, at: Target, len: usize) -> Option<Cell> {
        match self.spaces.get(at.space.0 as usize)? {
            Space::Heap(process) => process.heap.within(at.offset, len as u64),
            Space::Host(memory) => memory.cell(at.offset, len),
            Space::Event(_) => None,
        }
    }

    /// The events that stand in a range.
    #[inline]
    fn touched(&self, at: Target, len: usize) -> SmallVec<[Touched; 1]> {
        match self.spaces.get(at.space.0 as usize).and_then(Space::places) {
            Some(places) => places.touched(at.offset, len as u64),
            None => SmallVec::new(),
        }
    }

    /// An event gets what was written where it stands.
    #[cold]
    fn update_written(&self, touched: &Touched, at: Target, data: &[u8]) {
        if touched.admits(BY_NIC) {
            let value = touched.written(at.offset, Bytes::Of(data));
            let (process, index) = (&touched.process, touched.index());
            let event = process.events.event(index);
            process.note_update_by_nic(index, Update::Set(value), event);
            if let Err(reached) = event.try_update_fast(Update::Set(value)) {
                self.open_later(touched.event(), reached);
            }
        }
    }

    #[cold]
    fn update_placed(&self, touched: &Touched, operation: Atomic) -> u64 {
        let (process, index) = (&touched.process, touched.index());
        let event = process.events.event(index);
        process.note_atomic_by_nic(index, operation, event);
        let result = match operation {
            Atomic::Add(n) => event.try_update_fast(Update::Add(n)),
            Atomic::CompareSwap { compare, swap } => event.try_compare_swap(compare, swap),
        };
        result.unwrap_or_else(|reached| self.open_later(touched.event(), reached))
    }

    /// Kernels see what the NIC has stored.
    fn wrote(&self, at: Target, len: usize) {
        if let Some(Space::Heap(process)) = self.spaces.get(at.space.0 as usize) {
            process.heap.wrote(at.offset, len as u64);
        }
    }

    /// Enters a memory; its name.
    pub(crate) fn enter(&mut self, space: Space) -> SpaceId {
        SpaceId(self.spaces.insert(space) as u64)
    }
}

impl Memory for NicMemory {
    fn read(&self, from: Target, out: &mut [u8]) {
        // Regions lie in their memories, so there always is a place.
        match self.spaces.get(from.space.0 as usize) {
            Some(Space::Heap(process)) => {
                process.heap.nic_read(from.offset, out);
                process.places.show_in(from.offset, out);
            }
            Some(Space::Host(memory)) => {
                memory.read(from.offset, out);
            }
            Some(Space::Event(_)) | None => {}
        }
    }

    fn write(&self, to: Target, data: &[u8]) {
        if let Some(cell) = self.cell(to, data.len()) {
            cell.copy_in(0, data);
            self.wrote(to, data.len());
            for touched in self.touched(to, data.len()) {
                self.update_written(&touched, to, data);
            }
        }
    }

    fn atomic(&self, at: Target, operation: Atomic) -> u64 {
        for touched in self.touched(at, 8) {
            if touched.admits(BY_NIC) {
                return self.update_placed(&touched, operation);
            }
        }
        let Some(cell) = self.cell(at, 8) else {
            return 0;
        };
        let before = match operation {
            Atomic::Add(n) => u64::fetch_add(&cell, 0, n),
            Atomic::CompareSwap { compare, swap } => u64::compare_exchange(&cell, 0, compare, swap),
        };
        self.wrote(at, 8);
        before
    }

    fn event_update(&self, at: Target, update: EventUpdate) -> Result<u64, EventGone> {
        let Some(Space::Event(event)) = self.spaces.get(at.space.0 as usize) else {
            return Err(EventGone);
        };
        let (process, index) = (event.process(), event.index());
        if event.closed().is_some() {
            return Err(EventGone);
        }
        match update {
            EventUpdate::Set(value) => {
                process.note_update_by_nic(index, Update::Set(value), event);
            }
            EventUpdate::Atomic(operation) => process.note_atomic_by_nic(index, operation, event),
        }
        let result = match update {
            EventUpdate::Set(value) => event.try_update_fast(Update::Set(value)),
            EventUpdate::Atomic(Atomic::Add(n)) => event.try_update_fast(Update::Add(n)),
            EventUpdate::Atomic(Atomic::CompareSwap { compare, swap }) => {
                event.try_compare_swap(compare, swap)
            }
        };
        Ok(result.unwrap_or_else(|reached| self.open_later(event.again(), reached)))
    }
}

impl NicMemory {
    #[cold]
    pub(crate) fn open_later(&self, event: EventUse, reached: Reached) -> u64 {
        let previous = reached.previous();
        self.after.borrow_mut().push(After::Open { event, reached });
        previous
    }
}
