//! Queues as the NIC works them. The protocols stand in [`dpa_abi::queue::record`].
//!
//! The NIC keeps places and sizes for itself; what a kernel writes into a record can delay its own process's work, and
//! nothing else.

use std::sync::Arc;

use dpa_abi::access::{AtomicNumber, Cell};
use dpa_abi::queue::record::{
    CONNECTION_WORDS, RECEIVE_PRODUCED, RECEIVE_STATE, RECEIVE_TAKEN, SEND_ENTRIES, SEND_PRODUCED,
    SEND_RING, SEND_TAKEN, STATE, STATE_ERROR, STATE_NONE,
};
use dpa_abi::queue::work::{RECEIVE_WORDS, decode_receive};
use dpa_abi::queue::{BadEntry, ENTRY_BYTES, ENTRY_WORDS, EntryWords, WorkData, WorkEntry, slot};
use rdma::region::LocalKey;
use rdma::work::{Receive, Segment};

use super::ring::Ring;
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
        let addr = process.alloc(bytes, true)?;
        Ok(Self {
            process: process.clone(),
            addr,
            bytes,
        })
    }

    #[inline]
    fn cell(&self) -> Cell {
        let cell = self.process.heap.within(self.addr, self.bytes);
        cell.expect("a block that was allocated lies in its heap")
    }

    /// A word as the NIC sees it.
    #[inline]
    pub(crate) fn load(&self, word: usize) -> u64 {
        if self.process.heap.is_coherent() {
            return u64::load_acquire(&self.cell(), word * 8);
        }
        let mut bytes = [0; 8];
        let heap = &self.process.heap;
        heap.nic_read(self.addr + word as u64 * 8, &mut bytes);
        u64::from_ne_bytes(bytes)
    }

    #[inline]
    pub(crate) fn store(&self, word: usize, value: u64) {
        u64::store_release(&self.cell(), word * 8, value);
        self.process.heap.wrote(self.addr + word as u64 * 8, 8);
    }

    /// Sets bits of a word, and leaves the others, by a read-modify-write; the word before.
    pub(crate) fn or(&self, word: usize, bits: u64) -> u64 {
        let (cell, at) = (self.cell(), word * 8);
        let mut seen = u64::load_acquire(&cell, at);
        loop {
            let before = u64::compare_exchange(&cell, at, seen, seen | bits);
            if before == seen {
                break;
            }
            seen = before;
        }
        self.process.heap.wrote(self.addr + at as u64, 8);
        seen
    }

    /// Stores a whole entry: the word at `last` when the others are there.
    pub(crate) fn store_entry(&self, first: usize, words: &EntryWords, last: usize) {
        let mut cell = self.cell().part(first * 8, ENTRY_BYTES);
        for (index, word) in words.iter().enumerate().filter(|(index, _)| *index != last) {
            dpa_abi::pod::Store::put_u64(&mut cell, index * 8, *word);
        }
        u64::store_release(&cell, last * 8, words[last]);
        let heap = &self.process.heap;
        heap.wrote(self.addr + first as u64 * 8, ENTRY_BYTES as u64);
    }

    #[inline]
    pub(crate) fn swap(&self, word: usize, value: u64) -> u64 {
        let before = u64::swap(&self.cell(), word * 8, value);
        self.process.heap.wrote(self.addr + word as u64 * 8, 8);
        before
    }

    /// The entry whose words begin there.
    #[inline]
    pub(crate) fn entry_at(&self, first: usize) -> EntryWords {
        let mut words = [0; ENTRY_WORDS];
        if !self.process.heap.is_coherent() {
            for (index, word) in words.iter_mut().enumerate() {
                *word = self.load(first + index);
            }
            return words;
        }
        let cell = self.cell().part(first * 8, ENTRY_BYTES);
        for (index, word) in words.iter_mut().enumerate() {
            *word = dpa_abi::pod::Load::u64(&cell, index * 8);
        }
        words
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        self.process.free(self.addr);
    }
}

/// Words of a block: what kernels see of a queue.
#[derive(Clone, Debug)]
pub(crate) struct Record {
    block: Arc<Block>,
    first: usize,
    /// Of a connection of a context: its first number, which its state carries.
    number: u64,
}

impl Record {
    /// The words of this block from `first` on.
    pub(crate) fn new(block: Arc<Block>, first: usize) -> Self {
        let number = 0;
        Self {
            block,
            first,
            number,
        }
    }

    /// As [`Record::new`], of a connection whose entries have this number and those behind it.
    pub(crate) fn numbered(block: Arc<Block>, first: usize, number: u64) -> Self {
        Self {
            number,
            ..Self::new(block, first)
        }
    }

    /// Where it is.
    pub(crate) fn addr(&self) -> u64 {
        self.block.addr + self.first as u64 * 8
    }

    pub(crate) fn load(&self, word: usize) -> u64 {
        self.block.load(self.first + word)
    }

    #[inline]
    pub(crate) fn store(&self, word: usize, value: u64) {
        self.block.store(self.first + word, value);
    }

    /// Stores one of the states of [`dpa_abi::queue::record`].
    pub(crate) fn set_state(&self, state: u64) {
        self.store(STATE, self.number | state);
    }

    /// Tells kernels of a connection that is new: of everything but its state, which says that it is there.
    pub(crate) fn begin(&self, ring: u64, entries: u32) {
        self.store(SEND_RING, ring);
        self.store(SEND_ENTRIES, entries.into());
        self.store(SEND_PRODUCED, self.number);
        self.store(SEND_TAKEN, self.number);
    }

    /// The connection is gone: kernels find that out before they find anything else. Which number would have been the next: none is
    /// reserved from now on.
    pub(crate) fn end(&self) -> u64 {
        self.store(STATE, STATE_NONE);
        let produced = self.block.swap(self.first + SEND_PRODUCED, 0);
        let rest = (0..CONNECTION_WORDS).filter(|word| *word != STATE);
        rest.for_each(|word| self.store(word, 0));
        produced
    }
}

/// A send queue.
#[derive(Debug)]
pub(crate) struct SendRing {
    ring: Ring,
    record: Record,
    entries: u64,
    taken: u64,
    /// The count of the work that the next entry comes behind, once somebody has looked whether that is over.
    behind: Option<u64>,
    /// One of the low layer: doorbells say how far the NIC may read. Else it reads as far as entries have their phase.
    rung: Option<u64>,
}

impl SendRing {
    /// One of a connection.
    pub(crate) fn new(ring: Ring, record: Record, entries: u32) -> Self {
        let taken = record.number;
        Self {
            ring,
            record,
            entries: entries.into(),
            taken,
            behind: None,
            rung: None,
        }
    }

    /// Above all numbers that kernels can have reserved.
    pub(crate) fn end(&self) -> u64 {
        self.taken + self.entries
    }

    /// The entries that are reserved below this number and not taken, written or not.
    pub(crate) fn rest(&self, produced: u64) -> impl Iterator<Item = u16> + use<> {
        let ahead = produced.wrapping_sub(self.taken);
        // A kernel that has stored something else there has no more than its own to lose.
        let ahead = if ahead <= self.entries { ahead } else { 0 };
        (self.taken..self.taken + ahead).map(|number| number as u16)
    }

    /// One of the low layer.
    pub(crate) fn indexed(ring: Ring, record: Record, entries: u32) -> Self {
        Self {
            rung: Some(0),
            ..Self::new(ring, record, entries)
        }
    }

    pub(crate) fn addr(&self) -> u64 {
        self.ring.addr()
    }

    /// The next entry and its number, left where it is.
    #[inline]
    pub(crate) fn peek(&self) -> Option<(u16, Result<WorkEntry, BadEntry>)> {
        let words = match self.rung {
            Some(end) => (self.taken < end).then(|| self.ring.words_of(self.taken, self.entries)),
            None => self.ring.entry(self.taken, self.entries),
        }?;
        Some((self.taken as u16, WorkEntry::decode(&words)))
    }

    /// The entry that was looked at is taken.
    #[inline]
    pub(crate) fn take(&mut self) {
        self.taken += 1;
        self.behind = None;
        self.record.store(SEND_TAKEN, self.taken);
    }

    /// What the next entry comes behind: what there is when this is asked for the first time.
    pub(crate) fn comes_behind(&mut self, posted: impl FnOnce() -> u64) -> u64 {
        *self.behind.get_or_insert_with(posted)
    }

    /// A doorbell says that entries below `producer` are there; `None`: that cannot be. One that comes late says nothing
    /// new.
    pub(crate) fn rung(&mut self, producer: u16) -> Option<()> {
        let end = self.rung.as_mut()?;
        let ahead = u64::from(producer.wrapping_sub(self.taken as u16));
        let behind = u64::from((self.taken as u16).wrapping_sub(producer));
        if ahead <= self.entries {
            *end = (self.taken + ahead).max(*end);
            return Some(());
        }
        (behind <= self.entries).then_some(())
    }
}

/// The receive queue of a context.
#[derive(Debug)]
pub(crate) struct ReceiveRing {
    ring: Ring,
    table: Arc<Block>,
    entries: u64,
    taken: u64,
}

impl ReceiveRing {
    pub(crate) fn new(ring: Ring, table: Arc<Block>, entries: u32) -> Self {
        Self {
            ring,
            table,
            entries: entries.into(),
            taken: 0,
        }
    }

    pub(crate) fn addr(&self) -> u64 {
        self.ring.addr()
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

/// A receive queue of the low layer, of one queue pair or shared by several: its producer index says how far entries are
/// there. What its kernels write into it can delay or spoil their own process's receives, and nothing else.
#[derive(Debug)]
pub(crate) struct IndexedReceives {
    ring: Ring,
    record: Record,
    entries: u64,
    taken: u64,
    failed: bool,
    number: u32,
}

impl IndexedReceives {
    pub(crate) fn new(ring: Ring, record: Record, entries: u32) -> Self {
        Self {
            ring,
            record,
            entries: entries.into(),
            taken: 0,
            failed: false,
            number: 0,
        }
    }

    /// With this number, by which completions name it.
    pub(crate) fn numbered(self, number: u32) -> Self {
        Self { number, ..self }
    }

    /// Its number.
    pub(crate) fn number(&self) -> u32 {
        self.number
    }

    /// The next receive. A producer index further ahead than there are entries is none.
    pub(crate) fn take(&mut self) -> Option<Receive> {
        if self.failed {
            return None;
        }
        let ahead = self.record.load(RECEIVE_PRODUCED).wrapping_sub(self.taken);
        if ahead == 0 || ahead > self.entries {
            return None;
        }
        let first = slot(self.taken, self.entries) * RECEIVE_WORDS;
        let (address, len, key) =
            decode_receive([self.ring.load(first), self.ring.load(first + 1)]);
        let key = LocalKey(key);
        let id = u64::from(self.taken as u16);
        self.taken += 1;
        self.record.store(RECEIVE_TAKEN, self.taken);
        let buffer = Segment { address, len, key };
        Some(Receive { id, buffer })
    }

    /// From now on it gives nothing; the numbers of the receives that it had.
    pub(crate) fn fail(&mut self) -> Vec<u16> {
        let rest = std::iter::from_fn(|| self.take()).map(|receive| receive.id as u16);
        let rest = rest.collect();
        self.failed = true;
        self.record.store(RECEIVE_STATE, STATE_ERROR);
        rest
    }
}
