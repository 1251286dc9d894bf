//! Queues in device memory as the NIC works them. The protocols stand in [`dpa_abi::queue::record`].
//!
//! The NIC keeps places and sizes for itself; what a kernel writes into a record can delay its own process's work, and
//! nothing else.

use std::sync::Arc;

use dpa_abi::access::{AtomicNumber, Cell};
use dpa_abi::queue::record::{
    ACKNOWLEDGED, ARMED, COMPLETION_ENTRIES, COMPLETION_RING, COMPLETION_WORDS, ERROR,
    NOTIFY_EVENT, READ, RECEIVE_TAKEN, SEND_TAKEN, connection,
};
use dpa_abi::queue::work::PHASE_WORD;
use dpa_abi::queue::{
    BadEntry, CompletionEntry, ENTRY_BYTES, ENTRY_WORDS, EntryWords, WorkData, WorkEntry,
    completion, notify, phase,
};
use rdma::region::LocalKey;
use rdma::work::{Receive, Segment};

use super::after::After;
use crate::event::EventRef;
use crate::handler::Handler;
use crate::heap::OutOfMemory;
use crate::process::Process;

/// Device memory that the NIC's queues lie in; freed with it.
#[derive(Debug)]
pub(crate) struct Block {
    pub(crate) process: Arc<Process>,
    pub(crate) addr: u64,
    bytes: u64,
}

impl Block {
    /// So many words, zeroed.
    pub(crate) fn new(process: &Arc<Process>, words: usize) -> Result<Self, OutOfMemory> {
        let bytes = words as u64 * 8;
        let addr = process.heap.alloc(&process.epochs, bytes, true)?;
        Ok(Self {
            process: process.clone(),
            addr,
            bytes,
        })
    }

    /// A ring of so many entries.
    pub(crate) fn ring(process: &Arc<Process>, entries: u32) -> Result<Self, OutOfMemory> {
        Self::new(process, entries as usize * ENTRY_WORDS)
    }

    fn cell(&self) -> Cell {
        let cell = self.process.heap.within(self.addr, self.bytes);
        cell.expect("a block that was allocated lies in its heap")
    }

    /// A word as the NIC sees it.
    pub(crate) fn load(&self, word: usize) -> u64 {
        if self.process.heap.is_coherent() {
            return u64::load_acquire(&self.cell(), word * 8);
        }
        let mut bytes = [0; 8];
        let heap = &self.process.heap;
        heap.nic_read(self.addr + word as u64 * 8, &mut bytes);
        u64::from_ne_bytes(bytes)
    }

    pub(crate) fn store(&self, word: usize, value: u64) {
        u64::store_release(&self.cell(), word * 8, value);
        self.process.heap.wrote(self.addr + word as u64 * 8, 8);
    }

    fn swap(&self, word: usize, value: u64) -> u64 {
        let before = u64::swap(&self.cell(), word * 8, value);
        self.process.heap.wrote(self.addr + word as u64 * 8, 8);
        before
    }

    /// The entry in this slot, if it is of the round of `number`: then all of it is there.
    fn entry(&self, number: u64, entries: u64) -> Option<EntryWords> {
        let first = (number % entries) as usize * ENTRY_WORDS;
        let word = self.load(first + PHASE_WORD);
        if !WorkEntry::has_phase(word, phase(number, entries)) {
            return None;
        }
        let mut words = [0; ENTRY_WORDS];
        if !self.process.heap.is_coherent() {
            for (index, word) in words.iter_mut().enumerate() {
                *word = self.load(first + index);
            }
            return Some(words);
        }
        let cell = self.cell().part(first * 8, ENTRY_BYTES);
        for (index, word) in words.iter_mut().enumerate() {
            *word = dpa_abi::pod::Load::u64(&cell, index * 8);
        }
        Some(words)
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        self.process.heap.free(&self.process.epochs, self.addr);
    }
}

/// The send queue of a connection.
#[derive(Debug)]
pub(crate) struct SendRing {
    ring: Block,
    table: Arc<Block>,
    record: usize,
    entries: u64,
    taken: u64,
}

impl SendRing {
    pub(crate) fn new(ring: Block, table: Arc<Block>, id: u32, entries: u32) -> Self {
        Self {
            ring,
            table,
            record: connection(id as usize),
            entries: entries.into(),
            taken: 0,
        }
    }

    pub(crate) fn addr(&self) -> u64 {
        self.ring.addr
    }

    /// The next entry and its number, left where it is.
    pub(crate) fn peek(&self) -> Option<(u16, Result<WorkEntry, BadEntry>)> {
        let words = self.ring.entry(self.taken, self.entries)?;
        Some((self.taken as u16, WorkEntry::decode(&words)))
    }

    /// The entry that was looked at is taken.
    pub(crate) fn take(&mut self) {
        self.taken += 1;
        self.table.store(self.record + SEND_TAKEN, self.taken);
    }
}

/// The receive queue of a context.
#[derive(Debug)]
pub(crate) struct ReceiveRing {
    ring: Block,
    table: Arc<Block>,
    entries: u64,
    taken: u64,
}

impl ReceiveRing {
    pub(crate) fn new(ring: Block, table: Arc<Block>, entries: u32) -> Self {
        Self {
            ring,
            table,
            entries: entries.into(),
            taken: 0,
        }
    }

    pub(crate) fn addr(&self) -> u64 {
        self.ring.addr
    }

    /// The next receive.
    pub(crate) fn take(&mut self) -> Option<Receive> {
        let words = self.ring.entry(self.taken, self.entries)?;
        let number = self.taken as u16;
        self.taken += 1;
        self.table.store(RECEIVE_TAKEN, self.taken);
        let buffer = match WorkEntry::decode(&words).ok()?.data {
            WorkData::Local { address, len, key } => Segment {
                address,
                len,
                key: LocalKey(key),
            },
            WorkData::Inline { .. } => return None,
        };
        let id = u64::from(number);
        Some(Receive { id, buffer })
    }
}

/// The word by which a kernel asks for a notification.
struct Armed<'a>(&'a Block);

impl notify::Flag for Armed<'_> {
    fn swap(&self, value: u64) -> u64 {
        self.0.swap(ARMED, value)
    }
}

/// A completion queue.
#[derive(Debug)]
pub(crate) struct CompletionRing {
    ring: Block,
    record: Block,
    event: EventRef,
    handler: Option<Arc<Handler>>,
    entries: u64,
    produced: u64,
    overrun: bool,
}

/// A completion queue takes no entry any more.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Overrun;

impl CompletionRing {
    /// A queue of so many entries; `event` is told of notifications.
    pub(crate) fn new(
        process: &Arc<Process>,
        entries: u32,
        event: EventRef,
    ) -> Result<Self, OutOfMemory> {
        let ring = Block::ring(process, entries)?;
        for slot in 0..entries as usize {
            let word = slot * ENTRY_WORDS + completion::OWNER_WORD;
            ring.store(word, completion::INVALID_OWNER_WORD);
        }
        let record = Block::new(process, COMPLETION_WORDS)?;
        record.store(COMPLETION_RING, ring.addr);
        record.store(COMPLETION_ENTRIES, entries.into());
        record.store(NOTIFY_EVENT, event.handle().0.to_bits());
        Ok(Self {
            ring,
            record,
            event,
            handler: None,
            entries: entries.into(),
            produced: 0,
            overrun: false,
        })
    }

    /// Where its record is.
    pub(crate) fn addr(&self) -> u64 {
        self.record.addr
    }

    /// Whether it has overrun.
    pub(crate) fn has_overrun(&self) -> bool {
        self.overrun
    }

    /// Writes an entry; a notification, if one was asked for.
    pub(crate) fn put(&mut self, entry: &CompletionEntry) -> Result<Option<After>, Overrun> {
        if self.overrun {
            return Err(Overrun);
        }
        let free_from = self.record.load(ACKNOWLEDGED);
        if self.produced.wrapping_sub(free_from) >= self.entries {
            self.overrun = true;
            self.record.store(ERROR, 1);
            return Err(Overrun);
        }
        let timestamp = self.record.process.device().clock.now();
        let entry = CompletionEntry {
            timestamp,
            ..*entry
        };
        let words = entry.encode(phase(self.produced, self.entries));
        let first = (self.produced % self.entries) as usize * ENTRY_WORDS;
        let armed = notify::write_then_take(&Armed(&self.record), || {
            for (index, word) in words.iter().enumerate() {
                // The word with the owner is the last.
                self.ring.store(first + index, *word);
            }
        });
        self.produced += 1;
        Ok(armed.then(|| self.notification()))
    }

    /// From now on notifications trigger this handler; the first is asked for. What is there already triggers it at once.
    pub(crate) fn attach(&mut self, handler: Arc<Handler>) -> Option<After> {
        self.handler = Some(handler);
        self.record.store(ARMED, 1);
        (self.produced > self.record.load(READ)).then(|| self.notification())
    }

    /// Notifications go to the event again.
    pub(crate) fn detach(&mut self) -> Option<Arc<Handler>> {
        self.handler.take()
    }

    /// The handler that is attached.
    pub(crate) fn attached(&self) -> Option<&Arc<Handler>> {
        self.handler.as_ref()
    }

    /// Whether a handler is attached.
    pub(crate) fn is_attached(&self) -> bool {
        self.handler.is_some()
    }

    /// What wakes whoever waits for a notification.
    pub(crate) fn notification(&self) -> After {
        let process = self.record.process.clone();
        match self.handler.clone() {
            Some(handler) => After::Trigger { process, handler },
            None => After::Notify {
                process,
                index: self.event.handle().0.index,
            },
        }
    }
}

const _: () = assert!(completion::OWNER_WORD == ENTRY_WORDS - 1);
