//! Words that a device writes for events (SEMANTICS 1.5).
//!
//! A device behind verbs does not see the atomics of processors, nor they its own, and it tells nobody of what it writes.
//! So an event that peers signal through a device has a word of its own, which only the device writes. The NIC reads the
//! words whenever anybody works it, and carries what has changed to the events. While somebody waits for such an event and
//! nobody works the NIC, its thread reads them (`attend.rs`).
//!
//! Kernels do not update such an event but through the NIC. An update by the host is a request of the device to itself.

use std::sync::Arc;
#[cfg(feature = "verbs")]
use std::sync::Weak;

use dpa_abi::Update;
use dpa_abi::access::AtomicNumber;
use rdma::region::RemoteKey;
use slab::Slab;
#[cfg(feature = "verbs")]
use sync_event::Observer;

#[cfg(feature = "verbs")]
use super::DeviceNic;
use super::host_memory::HostMemory;
use super::memory::NicMemory;
use crate::process::Process;

/// Bytes of a word.
pub(crate) const BYTES: usize = 8;
/// Words in one page, which is registered word by word.
const PER_PAGE: usize = 4096 / BYTES;

/// The words of a NIC.
#[derive(Debug, Default)]
pub(crate) struct Words {
    pages: Vec<Arc<HostMemory>>,
    all: Slab<Word>,
}

#[derive(Debug)]
struct Word {
    process: Arc<Process>,
    index: u32,
    /// The value that the event has been given.
    seen: u64,
    /// What the registrations that give it away are known by to peers.
    users: Vec<(RemoteKey, u64)>,
}

impl Words {
    #[cfg(feature = "verbs")]
    /// The word of this event, made if it has none: its number, its memory and where it stands in that.
    pub(crate) fn enter(
        &mut self,
        nic: &Weak<DeviceNic>,
        process: &Arc<Process>,
        index: u32,
    ) -> Option<(usize, Arc<HostMemory>, usize)> {
        let is = |word: &Word| word.index == index && Arc::ptr_eq(&word.process, process);
        let there = self
            .all
            .iter()
            .find(|(_, word)| is(word))
            .map(|(key, _)| key);
        let key = match there {
            Some(key) => key,
            None => self.make(nic, process, index)?,
        };
        let (page, offset) = place(key);
        Some((key, self.pages[page].clone(), offset))
    }

    #[cfg(feature = "verbs")]
    fn make(&mut self, nic: &Weak<DeviceNic>, process: &Arc<Process>, index: u32) -> Option<usize> {
        let slot = process.events.slot(index);
        slot.event.observe(Some(observer(nic, process)));
        slot.set_far(true);
        let seen = slot.event.get();
        let key = self.all.vacant_key();
        let (page, offset) = place(key);
        if page == self.pages.len() {
            self.pages.push(Arc::new(HostMemory::new(4096)?));
        }
        // No device knows the word yet, or any more.
        self.pages[page].put(offset as u64, &seen.to_ne_bytes());
        Some(self.all.insert(Word {
            process: process.clone(),
            index,
            seen,
            users: Vec::new(),
        }))
    }

    #[cfg(feature = "verbs")]
    /// Peers know the word by this.
    pub(crate) fn add(&mut self, key: usize, remote: (RemoteKey, u64)) {
        self.all[key].users.push(remote);
    }

    /// They do no more.
    pub(crate) fn leave(&mut self, key: usize, remote: (RemoteKey, u64)) {
        let Some(word) = self.all.get_mut(key) else {
            return;
        };
        word.users.retain(|user| *user != remote);
        if word.users.is_empty() {
            let word = self.all.remove(key);
            let slot = word.process.events.slot(word.index);
            slot.event.observe(None);
            slot.set_far(false);
        }
    }

    /// What the word of an event is known by, and the value that the event has of it.
    #[cfg(feature = "verbs")]
    pub(crate) fn find(&self, process: &Process, index: u32) -> Option<((RemoteKey, u64), u64)> {
        let is =
            |word: &Word| word.index == index && std::ptr::eq(&raw const *word.process, process);
        let (_, word) = self.all.iter().find(|(_, word)| is(word))?;
        Some((*word.users.first()?, word.seen))
    }

    /// Whether there are none.
    pub(crate) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Carries what has changed to the events; whether anything has.
    pub(crate) fn carry(&mut self, memory: &NicMemory) -> bool {
        let mut any = false;
        for (key, word) in &mut self.all {
            let (page, offset) = place(key);
            let Some(cell) = self.pages[page].cell(offset as u64, BYTES) else {
                continue;
            };
            let value = u64::load_acquire(&cell, 0);
            if value == word.seen {
                continue;
            }
            word.seen = value;
            any = true;
            let event = &word.process.events.slot(word.index).event;
            if let Err(reached) = event.try_update_fast(Update::Set(value)) {
                memory.open_later(&word.process, word.index, reached);
            }
        }
        any
    }

    /// Whether somebody waits for one of the events.
    pub(crate) fn has_waiters(&self) -> bool {
        let event = |word: &Word| word.process.events.slot(word.index).event.waiters();
        self.all.iter().any(|(_, word)| event(word) > 0)
    }
}

#[cfg(feature = "verbs")]
/// Who begins to wait wakes the NIC's thread.
fn observer(nic: &Weak<DeviceNic>, process: &Arc<Process>) -> Observer {
    let (nic, device) = (nic.clone(), Arc::downgrade(&process.device));
    Observer::new(move || {
        if let (Some(nic), Some(device)) = (nic.upgrade(), device.upgrade()) {
            nic.begin_words(device.clock.now());
        }
    })
}

/// The page of a word, and where it stands in that.
fn place(key: usize) -> (usize, usize) {
    (key / PER_PAGE, key % PER_PAGE * BYTES)
}
