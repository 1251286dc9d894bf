//! Words that a device writes for events (SEMANTICS 1.5).
//!
//! A device behind verbs does not see the atomics of processors, nor they its own, and it tells nobody of what it writes.
//! So an event that peers signal through a device has a word of its own, which only the device writes. The NIC reads the
//! words whenever anybody works it, and carries what has changed to the events. While somebody waits for such an event and
//! nobody works the NIC, its thread reads them (`attend.rs`).
//!
//! Kernels do not update such an event but through the NIC. An update by the host is a request of the device to itself.
//!
//! The word of an event that stands in memory (`placed.rs`) is the place where it stands, if peers may write that.

use std::sync::Arc;
#[cfg(feature = "verbs")]
use std::sync::Weak;

use dpa_abi::Update;
use dpa_abi::access::AtomicNumber;
#[cfg(feature = "verbs")]
use rdma::region::RemoteKey;
use slab::Slab;
#[cfg(feature = "verbs")]
use sync_event::Observer;

#[cfg(feature = "verbs")]
use super::DeviceNic;
use super::host_memory::HostMemory;
use super::memory::NicMemory;
use crate::event::EventUse;
use crate::placed::Placed;
#[cfg(feature = "verbs")]
use crate::placed::{EventPlace, Touched};
#[cfg(feature = "verbs")]
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
    /// Its event, whose slot is no other's as long as a device may write the word.
    event: EventUse,
    /// The value that the event has been given.
    seen: u64,
    /// What the registrations that give it away are known by to peers.
    #[cfg(feature = "verbs")]
    users: Vec<(RemoteKey, u64)>,
    /// Where it is, if that is not in a page of ours.
    place: Option<Arc<Placed>>,
    /// What that is registered by for requests of the device to itself.
    #[cfg(feature = "verbs")]
    own: Option<rdma::verbs::OwnWord>,
}

/// Why there can be no word for an event.
#[cfg(feature = "verbs")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoWord {
    /// No memory for it.
    Full,
    /// It has another, of another NIC or in another place.
    Another,
}

/// A word: its number, its memory, and where it stands in that.
#[cfg(feature = "verbs")]
pub(crate) type WordAt = (usize, Arc<dyn rdma::verbs::Pinned>, usize);

impl Words {
    #[cfg(feature = "verbs")]
    /// The word of this event, made if it has none.
    pub(crate) fn enter(
        &mut self,
        nic: &Weak<DeviceNic>,
        process: &Arc<Process>,
        index: u32,
    ) -> Result<WordAt, NoWord> {
        let key = match self.key_of(process, index) {
            Some(key) => key,
            None => self.make(nic, process, index, None)?,
        };
        Ok(match &self.all[key].place {
            Some(placed) => {
                let (memory, offset) = pinned(placed.place(), process);
                (key, memory, offset)
            }
            None => {
                let (page, offset) = place(key);
                (key, self.pages[page].clone(), offset)
            }
        })
    }

    /// The word of an event that stands in memory which peers may write from now on: the place itself.
    #[cfg(feature = "verbs")]
    pub(crate) fn enter_placed(
        &mut self,
        nic: &Weak<DeviceNic>,
        touched: &Touched,
    ) -> Result<WordAt, NoWord> {
        let (process, placed) = (&touched.process, touched.placed());
        let key = match self.key_of(process, touched.index()) {
            Some(key) if self.all[key].place.is_some() => key,
            Some(_) => return Err(NoWord::Another),
            None => self.make(nic, process, touched.index(), Some(placed.clone()))?,
        };
        let (memory, offset) = pinned(placed.place(), process);
        Ok((key, memory, offset))
    }

    #[cfg(feature = "verbs")]
    fn key_of(&self, process: &Process, index: u32) -> Option<usize> {
        let is = |Word { event, .. }: &Word| {
            event.index() == index && std::ptr::eq(&raw const **event.process(), process)
        };
        self.all
            .iter()
            .find(|(_, word)| is(word))
            .map(|(key, _)| key)
    }

    #[cfg(feature = "verbs")]
    fn make(
        &mut self,
        nic: &Weak<DeviceNic>,
        process: &Arc<Process>,
        index: u32,
        placed: Option<Arc<Placed>>,
    ) -> Result<usize, NoWord> {
        let slot = process.events.slot(index);
        let key = self.all.vacant_key();
        let (page, offset) = place(key);
        while self.pages.len() <= page {
            let made = HostMemory::new(4096).ok_or(NoWord::Full)?;
            self.pages.push(Arc::new(made));
        }
        // None: another NIC updates it.
        let seen = slot.begin_far().ok_or(NoWord::Another)?;
        slot.event.observe(Some(observer(nic, process)));
        // No device knows the word yet, or any more.
        match &placed {
            Some(placed) => placed.give_to_device(process, seen),
            None => drop(self.pages[page].put(offset as u64, &seen.to_ne_bytes())),
        }
        Ok(self.all.insert(Word {
            event: process.another_use(index),
            seen,
            users: Vec::new(),
            place: placed,
            own: None,
        }))
    }

    /// Whether the device has no way yet to reach this word by a request to itself.
    #[cfg(feature = "verbs")]
    pub(crate) fn lacks_own(&self, key: usize) -> bool {
        self.all[key].own.is_none()
    }

    /// It has this one.
    #[cfg(feature = "verbs")]
    pub(crate) fn set_own(&mut self, key: usize, own: rdma::verbs::OwnWord) {
        self.all[key].own = Some(own);
    }

    #[cfg(feature = "verbs")]
    /// Peers know the word by this.
    pub(crate) fn add(&mut self, key: usize, remote: (RemoteKey, u64)) {
        self.all[key].users.push(remote);
    }

    /// They do no more.
    #[cfg(feature = "verbs")]
    pub(crate) fn leave(&mut self, key: usize, remote: (RemoteKey, u64)) {
        let Some(word) = self.all.get_mut(key) else {
            return;
        };
        word.users.retain(|user| *user != remote);
        if word.users.is_empty() {
            let word = self.all.remove(key);
            word.place
                .iter()
                .for_each(|placed| placed.take_from_device());
            word.event.observe(None);
            let process = word.event.process();
            process.events.slot(word.event.index()).end_far();
        }
    }

    /// What the word of an event is known by, and the value that the event has of it.
    #[cfg(feature = "verbs")]
    pub(crate) fn find(&self, process: &Process, index: u32) -> Option<((RemoteKey, u64), u64)> {
        let word = &self.all[self.key_of(process, index)?];
        let own = word.own.as_ref().map(rdma::verbs::OwnWord::at);
        Some((own.or(word.users.first().copied())?, word.seen))
    }

    /// Whether there are none.
    pub(crate) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Carries what has changed to the events; whether anything has.
    pub(crate) fn carry(&mut self, memory: &NicMemory) -> bool {
        let mut any = false;
        for (key, word) in &mut self.all {
            let value = match &word.place {
                Some(placed) => placed.read(word.event.process()),
                None => {
                    let (page, offset) = place(key);
                    let cell = self.pages[page].cell(offset as u64, BYTES);
                    cell.map(|cell| u64::load_acquire(&cell, 0))
                }
            };
            let Some(value) = value.filter(|value| *value != word.seen) else {
                continue;
            };
            word.seen = value;
            any = true;
            let event = &word.event;
            if let Err(reached) = event.try_update_fast(Update::Set(value)) {
                memory.open_later(event.again(), reached);
            }
        }
        any
    }

    /// Whether somebody waits for one of the events.
    pub(crate) fn has_waiters(&self) -> bool {
        self.all.iter().any(|(_, word)| word.event.waiters() > 0)
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

/// The memory that an event stands in, and where.
#[cfg(feature = "verbs")]
fn pinned(place: &EventPlace, process: &Arc<Process>) -> (Arc<dyn rdma::verbs::Pinned>, usize) {
    match place {
        EventPlace::Host(memory, offset) => (memory.clone(), *offset as usize),
        EventPlace::Heap(addr) => (process.clone(), (addr - dpa_abi::HEAP_BASE) as usize),
    }
}

/// The page of a word, and where it stands in that.
fn place(key: usize) -> (usize, usize) {
    (key / PER_PAGE, key % PER_PAGE * BYTES)
}
