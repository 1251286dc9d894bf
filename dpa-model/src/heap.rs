//! The heap of one process: one reserved range of native memory, and which parts of it are allocated.
//!
//! A device address is an offset from [`HEAP_BASE`]. The range stays mapped as long as the heap lives, so a checked
//! address can be accessed without a lock; what is checked is that it lies in one live allocation. Freed ranges cannot
//! be bound again at once, and are handed out again only after all launches that started before are over.

mod free;

use std::collections::BTreeMap;
use std::ops::Range;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};

use dpa_abi::access::Cell;
use dpa_abi::{FaultKind, HEAP_BASE};
use parking_lot::{Mutex, RwLock};
use thiserror::Error;

use crate::coherency::image::Image;
use crate::epoch::{Epochs, Quarantine};
use crate::recent::Recent;
use free::FreeRanges;

/// Every allocation begins at a multiple of this many bytes, so it is aligned for any type and for DMA.
pub const GRANULE: u64 = 64;

/// The bytes of a page that large allocations ask for.
const HUGE_PAGE: usize = 2 << 20;

/// A byte that fills freed memory under the seeded driver.
pub const POISON: u8 = 0xde;

/// Memory could not be allocated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("out of device memory: {asked} bytes asked, {free} free, the largest block has {largest}")]
pub struct OutOfMemory {
    /// Bytes asked for.
    pub asked: u64,
    /// Bytes free in all.
    pub free: u64,
    /// Bytes of the largest free block.
    pub largest: u64,
}

impl From<OutOfMemory> for FaultKind {
    fn from(none: OutOfMemory) -> Self {
        let OutOfMemory {
            asked,
            free,
            largest,
        } = none;
        Self::OutOfMemory {
            asked,
            free,
            largest,
        }
    }
}

/// A figure of a heap.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HeapInfo {
    /// Device address of its first byte.
    pub base: u64,
    /// Its size in bytes.
    pub size: u64,
    /// Bytes asked for by live allocations.
    pub requested: u64,
    /// Bytes taken by them.
    pub allocated: u64,
    /// Live allocations.
    pub allocations: usize,
}

/// The heap of one process.
#[derive(Debug)]
pub struct Heap {
    map: Map,
    live: RwLock<BTreeMap<u64, u64>>,
    /// Counts what was freed: see [`Recent`].
    freed: AtomicU64,
    ranges: Mutex<Ranges>,
    poison: bool,
    /// What the NIC sees of it, under the seeded driver.
    pub(crate) image: Option<Box<Image>>,
}

#[derive(Debug)]
struct Ranges {
    free: FreeRanges,
    quarantine: Quarantine<Range<u64>>,
    allocated: u64,
}

/// The mapping under a heap.
#[derive(Debug)]
struct Map {
    base: NonNull<u8>,
    bytes: usize,
}

// SAFETY: the mapping is accessed only through `dpa_abi::access`, from any thread.
unsafe impl Send for Map {}
// SAFETY: as above.
unsafe impl Sync for Map {}

impl Map {
    fn new(bytes: usize) -> std::io::Result<Self> {
        use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous};
        let flags = MapFlags::PRIVATE | MapFlags::NORESERVE;
        // SAFETY: a fresh anonymous mapping at an address of the system's choice touches nothing that exists.
        let base = unsafe {
            mmap_anonymous(
                std::ptr::null_mut(),
                bytes,
                ProtFlags::READ | ProtFlags::WRITE,
                flags,
            )
        }?;
        let base = NonNull::new(base.cast()).ok_or(std::io::ErrorKind::OutOfMemory)?;
        Ok(Self { base, bytes })
    }

    /// Asks for pages of 2 MiB where these bytes cover them whole: a kernel that looks all over a large allocation then
    /// waits less for addresses to be translated, and small allocations take no more memory than before. Where the
    /// system has no such pages, nothing changes.
    fn prefer_huge_pages(&self, offset: usize, bytes: usize) {
        use rustix::mm::{Advice, madvise};
        let base = self.base.as_ptr() as usize;
        let first = (base + offset).next_multiple_of(HUGE_PAGE);
        let end = (base + offset + bytes) / HUGE_PAGE * HUGE_PAGE;
        if first < end {
            let start = self.base.as_ptr().wrapping_add(first - base);
            // SAFETY: callers give a range of this value's mapping; the advice changes no byte of it.
            let _ = unsafe { madvise(start.cast(), end - first, Advice::LinuxHugepage) };
        }
    }
}

impl Drop for Map {
    fn drop(&mut self) {
        // SAFETY: the mapping is this value's own, and nothing accesses it any more.
        let _ = unsafe { rustix::mm::munmap(self.base.as_ptr().cast(), self.bytes) };
    }
}

fn round_up(bytes: u64) -> u64 {
    bytes.max(1).div_ceil(GRANULE) * GRANULE
}

impl Heap {
    /// Reserves a heap of so many bytes. If `seeded`, freed memory is filled with [`POISON`], and the NIC sees only what is
    /// written back.
    ///
    /// # Errors
    /// The system has no address space left.
    pub fn new(bytes: usize, seeded: bool) -> std::io::Result<Self> {
        let bytes = bytes.next_multiple_of(4096);
        let free = FreeRanges::new(HEAP_BASE..HEAP_BASE + bytes as u64);
        let ranges = Ranges {
            free,
            quarantine: Quarantine::default(),
            allocated: 0,
        };
        Ok(Self {
            map: Map::new(bytes)?,
            live: RwLock::default(),
            freed: AtomicU64::new(0),
            ranges: Mutex::new(ranges),
            poison: seeded,
            image: seeded.then(Box::default),
        })
    }

    /// Allocates `bytes`, aligned for any type.
    ///
    /// # Errors
    /// Out of memory: what was asked, what is free, the largest block.
    pub fn alloc(&self, epochs: &Epochs, bytes: u64, zeroed: bool) -> Result<u64, OutOfMemory> {
        let size = self.checked_size(bytes)?;
        let mut ranges = self.ranges.lock();
        ranges.collect(epochs);
        let range = ranges
            .free
            .take(size)
            .ok_or_else(|| ranges.out_of_memory(bytes, self.map.bytes))?;
        ranges.allocated += size;
        drop(ranges);
        let offset = (range.start - HEAP_BASE) as usize;
        self.map.prefer_huge_pages(offset, size as usize);
        if zeroed {
            self.cell(range.start, size).fill(0);
            self.wrote(range.start, size);
        }
        self.live.write().insert(range.start, bytes);
        Ok(range.start)
    }

    /// The error of an allocation that does not fit.
    pub(crate) fn refusal(&self, bytes: u64) -> OutOfMemory {
        self.ranges.lock().out_of_memory(bytes, self.map.bytes)
    }

    fn checked_size(&self, bytes: u64) -> Result<u64, OutOfMemory> {
        if bytes > self.map.bytes as u64 {
            return Err(self.refusal(bytes));
        }
        Ok(round_up(bytes))
    }

    /// Frees the allocation at `addr`. False if there is none.
    pub fn free(&self, epochs: &Epochs, addr: u64) -> bool {
        let Some(bytes) = self.live.write().remove(&addr) else {
            return false;
        };
        self.freed.fetch_add(1, Ordering::SeqCst);
        let size = round_up(bytes);
        if self.poison {
            self.cell(addr, size).fill(POISON);
            self.wrote(addr, size);
        }
        let mut ranges = self.ranges.lock();
        ranges.allocated -= size;
        ranges.quarantine.put(epochs, addr..addr + size);
        ranges.collect(epochs);
        true
    }

    /// The live allocation in which all these bytes lie.
    fn allocation_of(&self, addr: u64, len: u64) -> Option<Range<u64>> {
        let live = self.live.read();
        let (&start, &bytes) = live.range(..=addr).next_back()?;
        let into = addr - start;
        (into <= bytes && len <= bytes - into).then(|| start..start + bytes)
    }

    /// Checks a range and gives where it is.
    ///
    /// # Errors
    /// Unaligned, or not in one live allocation.
    pub fn bind(&self, addr: u64, len: u64, align: u32) -> Result<NonNull<u8>, FaultKind> {
        self.bind_found(addr, len, align, |_| ())
    }

    /// As [`Heap::bind`]; `found` is told of the allocation, if there are any bytes.
    fn bind_found(
        &self,
        addr: u64,
        len: u64,
        align: u32,
        found: impl FnOnce(&Range<u64>),
    ) -> Result<NonNull<u8>, FaultKind> {
        if !addr.is_multiple_of(u64::from(align.max(1))) {
            return Err(FaultKind::Unaligned { addr, align });
        }
        if len == 0 {
            return Ok(self.map.base);
        }
        let allocation = self.allocation_of(addr, len);
        let allocation = allocation.ok_or(FaultKind::OutOfRange { addr, len })?;
        found(&allocation);
        Ok(self.native(addr))
    }

    /// As [`Heap::bind`], for a unit that remembers what it has found.
    #[inline]
    pub(crate) fn bind_again(
        &self,
        recent: &Recent,
        addr: u64,
        len: u64,
        align: u32,
    ) -> Result<NonNull<u8>, FaultKind> {
        let freed = self.freed.load(Ordering::SeqCst);
        if align.is_power_of_two()
            && addr & u64::from(align - 1) == 0
            && recent.knows(freed, addr, len)
        {
            return Ok(self.native(addr));
        }
        self.bind_found(addr, len, align, |allocation| {
            recent.keep(freed, addr, allocation);
        })
    }

    /// A checked range as a cell, for the host's copies.
    ///
    /// # Errors
    /// Not in one live allocation.
    pub(crate) fn checked(&self, addr: u64, len: u64) -> Result<Cell, FaultKind> {
        let base = self.bind(addr, len, 1)?;
        // SAFETY: the range is in the mapping, which lives as long as the heap; callers hold the heap while they copy.
        Ok(unsafe { Cell::new(base.as_ptr(), len as usize) })
    }

    /// Bytes of the heap, whether or not they are allocated: for the NIC, whose regions keep what they name alive.
    /// `None` outside of the heap. Callers hold the heap while they use the cell.
    #[inline]
    pub(crate) fn within(&self, addr: u64, len: u64) -> Option<Cell> {
        let offset = addr.checked_sub(HEAP_BASE)?;
        let end = offset.checked_add(len)?;
        (end <= self.map.bytes as u64).then(|| self.cell(addr, len))
    }

    /// The live allocations, ascending.
    pub(crate) fn live_ranges(&self) -> Vec<Range<u64>> {
        let live = self.live.read();
        live.iter()
            .map(|(&start, &bytes)| start..start + bytes)
            .collect()
    }

    /// Its size.
    pub(crate) fn bytes(&self) -> u64 {
        self.map.bytes as u64
    }

    /// Where its first byte is in native memory.
    pub(crate) fn native_base(&self) -> u64 {
        self.map.base.as_ptr() as u64
    }

    fn native(&self, addr: u64) -> NonNull<u8> {
        let offset = (addr - HEAP_BASE) as usize;
        debug_assert!(offset <= self.map.bytes, "an address in the heap");
        // SAFETY: callers give addresses within the mapping, or its end.
        unsafe { self.map.base.add(offset) }
    }

    fn cell(&self, addr: u64, len: u64) -> Cell {
        // SAFETY: only called for ranges within the mapping: those that the allocator gave out, or checked against it.
        unsafe { Cell::new(self.native(addr).as_ptr(), len as usize) }
    }

    /// Its figures.
    pub fn info(&self) -> HeapInfo {
        let live = self.live.read();
        HeapInfo {
            base: HEAP_BASE,
            size: self.map.bytes as u64,
            requested: live.values().sum(),
            allocated: self.ranges.lock().allocated,
            allocations: live.len(),
        }
    }
}

impl Ranges {
    fn collect(&mut self, epochs: &Epochs) {
        let Self {
            free, quarantine, ..
        } = self;
        quarantine.take(epochs, |range| free.give(range));
    }

    fn out_of_memory(&self, asked: u64, total: usize) -> OutOfMemory {
        let quarantined: u64 = self.quarantine.iter().map(|r| r.end - r.start).sum();
        OutOfMemory {
            asked,
            free: total as u64 - self.allocated - quarantined,
            largest: self.free.largest(),
        }
    }
}

#[cfg(feature = "verbs")]
// SAFETY: the heap's mapping lives as long as the process, and is accessed only through `dpa_abi::access`.
unsafe impl rdma::verbs::Pinned for crate::process::Process {
    fn pinned(&self) -> (NonNull<u8>, usize) {
        (self.heap.map.base, self.heap.map.bytes)
    }
}

#[cfg(test)]
mod tests;
