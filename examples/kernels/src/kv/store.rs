//! The store: a hash table from keys to slots, and the slots with the values.
//!
//! Any number of threads use it at once. Rules:
//! 1. A slot is free, being filled, or in the table; who has taken it off the free list fills it, and who has taken it out of
//!    the table (by a put that replaced it, or a delete: the table gives each of them a different one) frees it.
//! 2. A value is never changed where it is: a put fills another slot, and the table turns from one to the other at once.
//! 3. A slot's head holds how often it has been filled, its *generation*, and the table holds the same beside the slot's
//!    number. The head is marked invalid before the first word is filled, and valid behind the last. So a reader that finds
//!    the head before and after its copy as the table said has copied one whole value; else it asks the table again.
//! 4. The head of the free list counts its changes, so that who takes a slot off never mistakes it for an earlier one.

use doca_dpa_dev::prelude::*;

use super::protocol::{MAX_VALUE, words_of};

/// Words of a slot: the head, then the value.
const SLOT: usize = 1 + words_of(MAX_VALUE);
/// Slots that there are more than entries: one for each put that is under way.
pub const SPARE: u32 = 64;
/// Of a slot's head: the value is whole.
const VALID: u64 = 1 << 31;

/// Words of the values of a store with so many entries.
pub const fn value_words(entries: u32) -> usize {
    (entries + SPARE) as usize * SLOT
}

/// Words of the free list of a store with so many entries.
pub const fn free_words(entries: u32) -> usize {
    2 + (entries + SPARE) as usize
}

/// The key is new, and there is room for no more. Nothing has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoreFull;

/// The store. All its memory is zero at first.
#[derive(Arg, Clone, Copy, Debug)]
pub struct Store<'t> {
    /// From a key to the generation (32 bits) and number (32) of a slot.
    table: HashTable<'t>,
    /// The slots.
    values: AtomicSlice<'t, u64>,
    /// The free list: its changes (32 bits) and first slot + 1 (32); slots that have ever been used; of each free slot the next + 1.
    free: AtomicSlice<'t, u64>,
}

impl Store<'_> {
    /// Copies the value of `key` into `out` (room for [`MAX_VALUE`] bytes); its bytes, if the key is there.
    pub fn get(&self, key: u32, out: &DevSliceMut<u64>) -> Option<u32> {
        loop {
            let place = self.table.get(key)?;
            if let Some(len) = self.copy_out(place, out) {
                return Some(len);
            }
        }
    }

    /// Stores `len` bytes, at most [`MAX_VALUE`], under `key`.
    ///
    /// # Errors
    /// The store is full.
    pub fn put(&self, key: u32, value: &DevSlice<u64>, len: u32) -> Result<(), StoreFull> {
        let slot = self.take_slot().ok_or(StoreFull)?;
        let place = self.fill(slot, value, len);
        match self.table.insert(key, place) {
            Ok(None) => Ok(()),
            Ok(Some(replaced)) => {
                self.free_slot(replaced as u32);
                Ok(())
            }
            Err(_) => {
                self.free_slot(slot);
                Err(StoreFull)
            }
        }
    }

    /// Takes `key` out; whether it was there.
    pub fn delete(&self, key: u32) -> bool {
        let taken = self.table.remove(key);
        if let Some(place) = taken {
            self.free_slot(place as u32);
        }
        taken.is_some()
    }

    fn copy_out(&self, place: u64, out: &DevSliceMut<u64>) -> Option<u32> {
        let base = place as u32 as usize * SLOT;
        let head = self.values.at(base).load();
        let len = (head & (VALID - 1)) as u32;
        if head & VALID == 0 || head >> 32 != place >> 32 || len > MAX_VALUE {
            return None;
        }
        for word in 0..words_of(len) {
            out.write(word, self.values.at(base + 1 + word).load());
        }
        (self.values.at(base).load() == head).then_some(len)
    }

    /// Fills a slot that is this thread's; what the table is to hold.
    fn fill(&self, slot: u32, value: &DevSlice<u64>, len: u32) -> u64 {
        let base = slot as usize * SLOT;
        let head = self.values.at(base);
        let generation = (head.load() >> 32).wrapping_add(1) << 32;
        head.store(generation);
        for word in 0..words_of(len) {
            self.values.at(base + 1 + word).store(value.read(word));
        }
        head.store(generation | VALID | u64::from(len));
        generation | u64::from(slot)
    }

    fn take_slot(&self) -> Option<u32> {
        let first = self.free.at(0);
        let mut head = first.load();
        while head as u32 != 0 {
            let slot = head as u32 - 1;
            let next = self.free.at(2 + slot as usize).load();
            match first.compare_exchange(head, changed(head, next as u32)) {
                Ok(_) => return Some(slot),
                Err(now) => head = now,
            }
        }
        self.take_new_slot()
    }

    /// A slot that has never been used.
    fn take_new_slot(&self) -> Option<u32> {
        let used = self.free.at(1);
        let slots = self.free.len() as u64 - 2;
        let mut count = used.load();
        while count < slots {
            match used.compare_exchange(count, count + 1) {
                Ok(_) => return Some(count as u32),
                Err(now) => count = now,
            }
        }
        None
    }

    fn free_slot(&self, slot: u32) {
        let first = self.free.at(0);
        let mut head = first.load();
        loop {
            self.free
                .at(2 + slot as usize)
                .store(u64::from(head as u32));
            match first.compare_exchange(head, changed(head, slot + 1)) {
                Ok(_) => return,
                Err(now) => head = now,
            }
        }
    }
}

/// The head of the free list with another first slot.
const fn changed(head: u64, first: u32) -> u64 {
    ((head >> 32).wrapping_add(1) << 32) | first as u64
}
