//! The agreement among those who post entries to one ring, and between them and who rings for it.
//!
//! 1. Who posts takes a number by a compare-and-swap of the counter ([`reserve`]), and then writes the entry of that number.
//! 2. The counter never has a value twice, whoever has the ring: who finds after it has loaded a number that the ring is still
//!    the one it knows, and then takes that number, has taken it from that ring.
//! 3. What is known of free slots may be newer than the number: others have posted meanwhile, and the reader has taken. So
//!    the ring is full only if the number is the counter's value still.
//! 4. The reader stops at an entry that is reserved and not written, also when it is rung for one behind. So who has written an
//!    entry and does not ring itself looks whether somebody has reserved behind it ([`is_passed`]), and rings then. Both are
//!    read-modify-writes of the counter and have an order: if this one comes first, whoever reserves behind, and the reader
//!    it rings for, see the entry.

/// A counter of entries, on which all have acquire-release read-modify-writes.
pub trait Count {
    /// An acquiring load.
    fn load(&self) -> u64;

    /// Adds, wrapping; the previous value. Acquire-release.
    fn add(&self, n: u64) -> u64;

    /// Stores `new` if the value is `expected`. Acquire-release.
    ///
    /// # Errors
    /// The value that was there instead.
    fn compare_exchange(&self, expected: u64, new: u64) -> Result<u64, u64>;
}

/// Why there was no number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoNumber {
    /// All entries are in use.
    Full,
    /// The ring is another one than before.
    Gone,
}

/// Takes the next number of a ring of so many entries. `free_from`: the entries before this number are free again. `is_mine`:
/// whether the ring is the one that the caller knows.
///
/// # Errors
/// All entries are in use; the ring is another.
#[inline]
pub fn reserve(
    counter: &impl Count,
    entries: u64,
    free_from: impl Fn() -> u64,
    is_mine: impl Fn() -> bool,
) -> Result<u64, NoNumber> {
    #[cfg(dpa_mutant = "post_look_before_number")]
    let is_mine = {
        let was_mine = is_mine();
        move || was_mine
    };
    let mut number = counter.load();
    loop {
        if !is_mine() {
            return Err(NoNumber::Gone);
        }
        if number.wrapping_sub(free_from()) >= entries {
            let now = counter.load();
            if now == number {
                return Err(NoNumber::Full);
            }
            number = now;
            continue;
        }
        match counter.compare_exchange(number, number.wrapping_add(1)) {
            Ok(_) => return Ok(number),
            Err(now) => number = now,
        }
    }
}

/// Whether a number behind this one is taken; asked when the entry of this one is written, and visible to the reader.
#[inline]
pub fn is_passed(counter: &impl Count, number: u64) -> bool {
    #[cfg(dpa_mutant = "post_looks_without_order")]
    let next = counter.load();
    #[cfg(not(dpa_mutant = "post_looks_without_order"))]
    let next = counter.add(0);
    next != number.wrapping_add(1)
}
