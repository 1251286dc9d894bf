//! The entries of a queue, in device memory or in host memory that its kernels reach through a window.

use std::any::Any;
use std::sync::Arc;

use dpa_abi::access::{AtomicNumber, Cell};
use dpa_abi::queue::work::PHASE_WORD;
use dpa_abi::queue::{ENTRY_BYTES, ENTRY_WORDS, EntryWords, WorkEntry, phase, slot};
use thiserror::Error;

use super::host_memory::HostMemory;
use super::queues::Block;
use crate::heap::OutOfMemory;
use crate::process::Process;

/// Where the entries of a queue in external memory begin: at a multiple of so many bytes.
pub const QUEUE_ALIGN: u64 = 64;

/// Where the entries of a queue lie.
#[derive(Clone, Debug)]
pub enum QueueMemory {
    /// In device memory of the process, which the queue takes for itself.
    Device,
    /// In host memory.
    External {
        /// The memory.
        memory: Arc<HostMemory>,
        /// Where in it they begin.
        offset: u64,
        /// The same place as kernels see it, through a window.
        addr: u64,
        /// The window, which is kept open as long as the queue is there.
        window: Arc<dyn Any + Send + Sync>,
    },
}

/// Why the entries of a queue cannot lie there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum QueueMemoryError {
    /// They do not lie in it, or not aligned.
    #[error(
        "the queue's {bytes} bytes were to lie at offset {offset} of external memory: that must be a multiple of {QUEUE_ALIGN}, \
         and there are {len} bytes"
    )]
    Range {
        /// Where they were to begin.
        offset: u64,
        /// What they take.
        bytes: u64,
        /// Bytes of the memory.
        len: u64,
    },
    /// Kernels may not write through the window.
    #[error("the entries of a queue cannot lie behind a window for reads only")]
    NotWritable,
    /// The window is one of another process.
    #[error("the window belongs to another process than the queue")]
    Foreign,
}

impl QueueMemory {
    /// So many words of it for a queue's entries, zeroed.
    pub(crate) fn ring<E>(&self, process: &Arc<Process>, words: usize) -> Result<Ring, E>
    where
        E: From<OutOfMemory> + From<QueueMemoryError>,
    {
        let (memory, offset, addr, window) = match self {
            Self::Device => return Ok(Ring::device(process, words)?),
            Self::External {
                memory,
                offset,
                addr,
                window,
            } => (memory.clone(), *offset, *addr, window.clone()),
        };
        let bytes = words * 8;
        let fits = memory.cell(offset, bytes).is_some() && offset.is_multiple_of(QUEUE_ALIGN);
        if !fits {
            let (bytes, len) = (bytes as u64, memory.len() as u64);
            return Err(QueueMemoryError::Range { offset, bytes, len }.into());
        }
        let external = External {
            memory,
            offset,
            bytes,
            addr,
            _window: window,
        };
        (0..words).for_each(|word| external.store(word, 0));
        Ok(Ring::External(external))
    }
}

/// A part of host memory.
#[derive(Debug)]
pub(crate) struct External {
    memory: Arc<HostMemory>,
    offset: u64,
    bytes: usize,
    addr: u64,
    _window: Arc<dyn Any + Send + Sync>,
}

impl External {
    fn cell(&self) -> Cell {
        let cell = self.memory.cell(self.offset, self.bytes);
        cell.expect("a part that was found in it")
    }

    fn load(&self, word: usize) -> u64 {
        u64::load_acquire(&self.cell(), word * 8)
    }

    fn store(&self, word: usize, value: u64) {
        u64::store_release(&self.cell(), word * 8, value);
    }
}

/// The entries of a queue as the NIC works them.
#[derive(Debug)]
pub(crate) enum Ring {
    Device(Block),
    External(External),
}

impl Ring {
    /// So many words of device memory, zeroed.
    pub(crate) fn device(process: &Arc<Process>, words: usize) -> Result<Self, OutOfMemory> {
        Block::new(process, words).map(Self::Device)
    }

    /// Where kernels find it.
    pub(crate) fn addr(&self) -> u64 {
        match self {
            Self::Device(block) => block.addr,
            Self::External(external) => external.addr,
        }
    }

    /// A word as the NIC sees it.
    #[inline]
    pub(crate) fn load(&self, word: usize) -> u64 {
        match self {
            Self::Device(block) => block.load(word),
            Self::External(external) => external.load(word),
        }
    }

    #[inline]
    pub(crate) fn store(&self, word: usize, value: u64) {
        match self {
            Self::Device(block) => block.store(word, value),
            Self::External(external) => external.store(word, value),
        }
    }

    /// Stores a whole entry: the word at `last` when the others are there.
    #[inline]
    pub(crate) fn store_entry(&self, first: usize, words: &EntryWords, last: usize) {
        let external = match self {
            Self::Device(block) => return block.store_entry(first, words, last),
            Self::External(external) => external,
        };
        for (index, word) in words.iter().enumerate().filter(|(index, _)| *index != last) {
            external.store(first + index, *word);
        }
        external.store(first + last, words[last]);
    }

    /// The entry in this slot, if it is of the round of `number`: then all of it is there.
    #[inline]
    pub(crate) fn entry(&self, number: u64, entries: u64) -> Option<EntryWords> {
        let first = slot(number, entries) * ENTRY_WORDS;
        let word = self.load(first + PHASE_WORD);
        WorkEntry::has_phase(word, phase(number, entries)).then(|| self.words_of(number, entries))
    }

    /// What stands in the slot of `number`.
    #[inline]
    pub(crate) fn words_of(&self, number: u64, entries: u64) -> EntryWords {
        let first = slot(number, entries) * ENTRY_WORDS;
        match self {
            Self::Device(block) => block.entry_at(first),
            Self::External(external) => std::array::from_fn(|word| external.load(first + word)),
        }
    }
}

const _: () = assert!(ENTRY_BYTES as u64 == QUEUE_ALIGN);
