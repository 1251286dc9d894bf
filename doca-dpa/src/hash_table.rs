//! Hash tables in device memory, owned by the host. What kernels can rely on stands in [`flexio_dev::hash_table`].

use std::cell::Cell;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use dpa_abi::IntoArg;
use flexio_dev::hash_table::{Layout, Table};
use flexio_dev::{HashTable as DeviceTable, HashTableWire, TableFull};
use thiserror::Error;

use crate::args::belongs_to;
use crate::buffer::DeviceBuffer;
use crate::dpa::Dpa;
use crate::error::MemoryError;

/// A launch that nobody awaited lets go of its arguments a moment after its completion update; that moment is waited for so long.
const LETTING_GO: Duration = Duration::from_millis(100);

/// A hash table could not be made, filled or read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum HashTableError {
    /// No table can have so many entries.
    #[error("a hash table of {asked} entries was asked for, it can have {max}")]
    TooManyEntries {
        /// What was asked for.
        asked: u64,
        /// The most it can have.
        max: u64,
    },
    /// More keys than the table may have entries.
    #[error("the keys are more than the {} entries of the hash table", .0.entries)]
    Full(TableFull),
    /// A launch or call that was given the table is unfinished, so its kernels may be using it. (A launch lets go of it a
    /// moment after its completion update. That is waited for, 100 ms at most, but not in a simulation; once the launch was
    /// awaited, or after `Dpa::wait_idle`, it is certain.)
    #[error("an unfinished launch uses the hash table")]
    InUse,
    /// Its memory could not be allocated, or accessed.
    #[error(transparent)]
    Memory(#[from] MemoryError),
}

/// A hash table in device memory: 32-bit keys, 64-bit values, a fixed number of entries. A reference to it is the
/// argument of kernels that take a `HashTable`; it is freed when it is dropped and no launch that was given such a
/// reference is unfinished.
///
/// Kernels insert, get and remove, any number of threads at once. The host fills and reads the whole table while no
/// kernel has it.
///
/// ```
/// # mod kernels {
/// use doca_dpa_dev::prelude::*;
///
/// /// Moves the value of one key to another.
/// #[dpa_kernel]
/// pub fn rename(thread: &Thread, table: HashTable, from: u32, to: u32) {
///     if let Some(value) = table.remove(from)
///         && table.insert(to, value).is_err()
///     {
///         error!(thread, "no room for {to}");
///     }
/// }
/// # }
/// # use kernels::*;
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), doca_dpa::Error> {
/// # let dpa = doca_dpa::Dpa::open()?;
/// let mut table = dpa.hash_table(1000)?;               // 1,024: rounded up to a power of two
/// table.load([(7, 70), (8, 80)])?;
/// dpa.launch(rename).args(RenameArgs { table: &table, from: 7, to: 9 }).submit()?.await?;
/// let mut entries = table.entries()?;
/// entries.sort_unstable();
/// assert_eq!(entries, [(8, 80), (9, 70)]);
/// # Ok(())
/// # }
/// ```
#[doc(alias = "doca_dpa_hash_table_destroy")]
#[derive(Debug)]
pub struct HashTable {
    shared: Arc<Shared>,
}

/// What the host and unfinished launches hold.
#[derive(Debug)]
struct Shared {
    layout: Layout,
    words: DeviceBuffer<u64>,
}

impl Dpa {
    /// An empty hash table for at least so many entries: the next power of two, and never more. It takes some 30 bytes
    /// of the heap for each entry, and up to 4 KiB.
    ///
    /// # Errors
    /// More than 2^31 entries; out of memory; the context is closed.
    #[doc(alias = "doca_dpa_hash_table_create")]
    pub fn hash_table(&self, entries: u64) -> Result<HashTable, HashTableError> {
        let too_many = HashTableError::TooManyEntries {
            asked: entries,
            max: Layout::MAX_ENTRIES,
        };
        let layout = Layout::new(entries).ok_or(too_many)?;
        let words = self.zeroed_blocking(layout.words())?;
        Ok(HashTable {
            shared: Arc::new(Shared { layout, words }),
        })
    }
}

impl HashTable {
    /// How many entries it may have.
    pub fn capacity(&self) -> u64 {
        self.shared.layout.entries()
    }

    /// How many entries it has, with those that kernels are inserting or removing right now.
    ///
    /// # Errors
    /// The context is closed.
    pub fn len(&self) -> Result<u64, MemoryError> {
        let words = self.shared.words.slice(..1)?.read()?;
        Ok(words.first().copied().unwrap_or(0))
    }

    /// Whether it has none.
    ///
    /// # Errors
    /// The context is closed.
    pub fn is_empty(&self) -> Result<bool, MemoryError> {
        Ok(self.len()? == 0)
    }

    /// Its place and size, as kernels can find it in memory. Keeps nothing alive: whoever passes it by hand sees to it
    /// that the table outlives its use, and is not loaded, cleared or read as a whole meanwhile.
    #[doc(alias = "doca_dpa_hash_table_get_dpa_handle")]
    pub fn wire(&self) -> HashTableWire {
        HashTableWire {
            addr: self.shared.words.addr().raw(),
            entries: self.capacity(),
        }
    }

    /// Inserts all these entries, in one copy; a key that is there gets its new value. Complete when it returns.
    ///
    /// # Errors
    /// The keys are too many, and nothing was inserted; an unfinished launch uses the table; the context is closed.
    pub fn load(
        &mut self,
        entries: impl IntoIterator<Item = (u32, u64)>,
    ) -> Result<(), HashTableError> {
        let shared = self.unshared()?;
        let mut image = shared.words.copy_out_blocking()?;
        let table = Table::new(shared.layout, cells(&mut image));
        table.free_locks();
        for (key, value) in entries {
            table.insert(key, value).map_err(HashTableError::Full)?;
        }
        Ok(shared.words.write_blocking(0, &image)?)
    }

    /// Takes all entries out.
    ///
    /// # Errors
    /// An unfinished launch uses the table; the context is closed.
    pub fn clear(&mut self) -> Result<(), HashTableError> {
        Ok(self.unshared()?.words.fill_blocking(0)?)
    }

    /// All entries, in an order that means nothing.
    ///
    /// # Errors
    /// An unfinished launch uses the table; the context is closed.
    pub fn entries(&mut self) -> Result<Vec<(u32, u64)>, HashTableError> {
        let shared = self.unshared()?;
        let mut image = shared.words.copy_out_blocking()?;
        let table = Table::new(shared.layout, cells(&mut image));
        Ok(table.entries().collect())
    }

    /// While this lasts nobody can hand it to a launch, for which a reference is needed.
    fn unshared(&mut self) -> Result<&Shared, HashTableError> {
        let until = Instant::now() + self.letting_go();
        while Arc::get_mut(&mut self.shared).is_none() {
            if Instant::now() >= until {
                return Err(HashTableError::InUse);
            }
            thread::yield_now();
        }
        Ok(&self.shared)
    }

    /// In a simulation nothing goes on while this is waited for.
    fn letting_go(&self) -> Duration {
        let slice = self.shared.words.all();
        match slice.hold().process().device().is_simulated() {
            true => Duration::ZERO,
            false => LETTING_GO,
        }
    }
}

fn cells(image: &mut [u64]) -> &[Cell<u64>] {
    Cell::from_mut(image).as_slice_of_cells()
}

/// What a launch keeps alive.
#[derive(Debug)]
pub struct Kept {
    _shared: Arc<Shared>,
}

impl IntoArg<DeviceTable<'static>> for &HashTable {
    type Kept = Kept;
    fn into_arg(self) -> (HashTableWire, Kept) {
        belongs_to(self.shared.words.all().hold().process());
        let kept = Kept {
            _shared: self.shared.clone(),
        };
        (self.wire(), kept)
    }
}
