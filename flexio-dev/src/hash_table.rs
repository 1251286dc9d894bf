//! A hash table in device memory: 32-bit keys, 64-bit values, a fixed number of entries.
//!
//! Any number of threads may use one table at once. What they can rely on:
//!
//! 1. *One order.* Every [`insert`](HashTable::insert), [`get`](HashTable::get) and [`remove`](HashTable::remove) takes
//!    effect at one moment between its call and its return; what a thread sees agrees with one order of these moments.
//!    A value that was inserted is seen whole, or not at all, and only under its own key.
//! 2. *Lookups wait for nobody.* `get` takes no lock and tries nothing twice, whatever writers do or if they are stopped.
//! 3. *Writers wait for few.* Writers of one key wait for each other, and so do writers of keys that share one of the at
//!    most 64 locks. A writer that waits lets other threads run; one that works holds a single lock, so none waits in a
//!    circle.
//! 4. *Full is an error.* A table of n entries takes n entries, whatever their keys are. With n in it a new key is
//!    refused with [`TableFull`] and nothing has changed; a key that is there gets its new value. An entry counts from
//!    the start of the insert that makes it until the end of the remove that takes it.
//! 5. *Every key.* 0 and `u32::MAX` are keys like all others.
//! 6. *Churn leaves no trace.* A lookup looks at the chunk of its key, and further only while entries stand further on
//!    because a chunk was full. Nothing else is left by entries that are gone. (A chunk that 32,767 entries at once have
//!    found full is passed for ever after: slower, not wrong.)
//! 7. *Order for others.* Who gets a value by `get` also sees what its writer wrote before the `insert`.
//!
//! Rule 1 has one limit: a lookup that is stopped between two loads while its slot is filled 2^31 times.
//!
//! How the words are laid out, and why this holds: [`Table`].

mod table;

use core::fmt;

use dpa_abi::access::{AtomicNumber, WordCell};
use dpa_abi::pod::{Load, Store};
use dpa_abi::{FaultKind, KernelArg, Pod, Rights};

pub use self::table::{Layout, Table, Words};
use crate::context::{BindArg, ThreadContext};

/// A table has as many entries as it may have: the new key was not inserted, and nothing has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TableFull {
    /// How many entries it may have.
    pub entries: u64,
}

impl fmt::Display for TableFull {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "all {} entries of the hash table are in use",
            self.entries
        )
    }
}

impl core::error::Error for TableFull {}

/// How a [`HashTable`] travels: its place and its size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HashTableWire {
    /// The address of its first word.
    pub addr: u64,
    /// How many entries it may have: a power of two.
    pub entries: u64,
}

#[diagnostic::do_not_recommend]
impl Pod for HashTableWire {
    const SIZE: usize = 16;
    const ALIGN: usize = 8;
    fn load<L: Load + ?Sized>(from: &L, at: usize) -> Self {
        Self {
            addr: from.u64(at),
            entries: from.u64(at + 8),
        }
    }
    fn store<S: Store + ?Sized>(self, to: &mut S, at: usize) {
        to.put_u64(at, self.addr);
        to.put_u64(at + 8, self.entries);
    }
}

/// A hash table, as a kernel's thread uses it. What threads that share it can rely on stands in the
/// [module](crate::hash_table).
///
/// Having one proves that its memory is there for as long as the thread runs.
#[doc(alias = "doca_dpa_dev_hash_table_t")]
#[derive(Clone, Copy, Debug)]
pub struct HashTable<'t> {
    table: Table<DeviceWords<'t>>,
}

#[diagnostic::do_not_recommend]
impl KernelArg for HashTable<'_> {
    type Wire = HashTableWire;
}

impl<'t> BindArg<'t> for HashTable<'t> {
    fn bind_arg(wire: HashTableWire, thread: &'t ThreadContext<'t>) -> Result<Self, FaultKind> {
        Self::bind(thread, wire)
    }
}

impl<'t> HashTable<'t> {
    /// The table at this place: for one that was found in memory. Arguments are bound already.
    ///
    /// # Errors
    /// Not in one live allocation of the process, or of a size that no table has.
    pub fn bind(thread: &'t ThreadContext<'t>, wire: HashTableWire) -> Result<Self, FaultKind> {
        let HashTableWire { addr, entries } = wire;
        let unlikely = FaultKind::OutOfRange { addr, len: entries };
        let layout = Layout::exact(entries).ok_or(unlikely)?;
        let bytes = layout.words().checked_mul(8).ok_or(unlikely)?;
        let cell = thread.unit().bind_cell(addr, bytes, 8, Rights::Atomic)?;
        Ok(Self {
            table: Table::new(
                layout,
                DeviceWords {
                    words: WordCell::new(cell),
                    thread,
                },
            ),
        })
    }

    /// The value of `key`, if it is there. Waits for nobody; every 1,024th call is a safe point.
    #[doc(alias = "doca_dpa_dev_hash_table_find")]
    #[inline]
    pub fn get(&self, key: u32) -> Option<u64> {
        self.table.words().thread.polled();
        self.table.get(key)
    }

    /// Gives `key` this value; the one it had before. May wait for another writer.
    ///
    /// # Errors
    /// The key is new, and the table has as many entries as it may have.
    #[doc(alias = "doca_dpa_dev_hash_table_add")]
    pub fn insert(&self, key: u32, value: u64) -> Result<Option<u64>, TableFull> {
        self.table
            .words()
            .thread
            .noting(self.table.insert(key, value))
    }

    /// Takes `key` out; the value it had. May wait for another writer.
    #[doc(alias = "doca_dpa_dev_hash_table_remove")]
    pub fn remove(&self, key: u32) -> Option<u64> {
        self.table.remove(key)
    }

    /// How many entries it has, with those that are being inserted or removed right now.
    pub fn len(&self) -> u64 {
        self.table.words().thread.polled();
        self.table.len()
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many entries it may have.
    pub fn capacity(&self) -> u64 {
        self.table.layout().entries()
    }

    /// How many chunks of seven entries a lookup of `key` looks at now: 1 for nearly every key.
    pub fn probes(&self, key: u32) -> u32 {
        self.table.words().thread.polled();
        self.table.probes(key)
    }
}

/// The words of a table in device memory.
#[derive(Clone, Copy, Debug)]
struct DeviceWords<'t> {
    words: WordCell,
    thread: &'t ThreadContext<'t>,
}

impl Words for DeviceWords<'_> {
    #[inline(always)]
    fn load(&self, at: usize) -> u64 {
        self.words.load_acquire(at)
    }

    #[inline(always)]
    fn load_slot(&self, at: usize) -> [u64; 3] {
        self.words.load_twice(at)
    }

    fn store(&self, at: usize, value: u64) {
        u64::store_release(&self.words.word(at), 0, value);
    }

    fn swap(&self, at: usize, value: u64) -> u64 {
        u64::swap(&self.words.word(at), 0, value)
    }

    fn compare_exchange(&self, at: usize, expected: u64, new: u64) -> Result<u64, u64> {
        let previous = u64::compare_exchange(&self.words.word(at), 0, expected, new);
        if previous == expected {
            Ok(previous)
        } else {
            Err(previous)
        }
    }

    fn pause(&self) {
        self.thread.yield_now();
    }

    #[inline]
    fn step(&self) {
        self.thread.polled();
    }
}
