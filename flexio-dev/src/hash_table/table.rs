//! The words of a hash table, and what readers and writers do with them.

use super::TableFull;

/// Memory of 64-bit words that threads share, as a [`Table`] uses it.
pub trait Words {
    /// An acquiring load.
    fn load(&self, at: usize) -> u64;
    /// A releasing store.
    fn store(&self, at: usize, value: u64);
    /// Stores; the previous value. Acquire-release.
    fn swap(&self, at: usize, value: u64) -> u64;
    /// Stores `new` if the value is `expected`; acquire-release.
    ///
    /// # Errors
    /// The value that was there instead.
    fn compare_exchange(&self, at: usize, expected: u64, new: u64) -> Result<u64, u64>;
    /// Loads this word, the next, and this one again, in this order, each acquiring.
    fn load_slot(&self, at: usize) -> [u64; 3] {
        [self.load(at), self.load(at + 1), self.load(at)]
    }
    /// Another writer must go on first: lets others run.
    fn pause(&self);
    /// Between two steps of a writer, where others may run.
    fn step(&self);
}

/// Words of one owner: for a table that is made or read while nobody else uses it.
impl Words for &[core::cell::Cell<u64>] {
    fn load(&self, at: usize) -> u64 {
        self[at].get()
    }
    fn store(&self, at: usize, value: u64) {
        self[at].set(value);
    }
    fn swap(&self, at: usize, value: u64) -> u64 {
        self[at].replace(value)
    }
    fn compare_exchange(&self, at: usize, expected: u64, new: u64) -> Result<u64, u64> {
        let previous = self[at].get();
        if previous != expected {
            return Err(previous);
        }
        self[at].set(new);
        Ok(previous)
    }
    fn pause(&self) {}
    fn step(&self) {}
}

/// Slots of a chunk, each with a tag of seven bits in the chunk's word.
const LANES: usize = 7;
/// Bits of a tag.
const TAG_BITS: u32 = 7;
/// A one in each lane.
const ONES: u64 = LANES_MASK / ((1 << TAG_BITS) - 1);
/// All tags of a chunk's word; the bits above count the entries that found the chunk full.
const LANES_MASK: u64 = (1 << COUNT_SHIFT) - 1;
const COUNT_SHIFT: u32 = LANES as u32 * TAG_BITS;
const COUNT_ONE: u64 = 1 << COUNT_SHIFT;
/// The count from which on it stays.
const COUNT_MAX: u64 = u64::MAX >> COUNT_SHIFT;
/// The highest bit of each lane.
const HIGH: u64 = ONES << (TAG_BITS - 1);

/// The bit of a slot's first word that says it has an entry; the number of changes counts on from here.
const FULL: u64 = 1 << 32;
/// The key in a slot's first word, and whether there is one.
const IDENTITY: u64 = FULL | u32::MAX as u64;

/// Words of a cache line: what is written apart stands apart.
const LINE: usize = 8;
const LEN: usize = 0;
const LOCKS: usize = LINE;
const MAX_LOCKS: usize = 64;

/// Where the words of a table of one size stand.
///
/// | words | what |
/// |---|---|
/// | 8 | the number of entries |
/// | 8 for each lock | 1: held by a writer of one of its keys |
/// | 1 for each chunk | seven tags of seven bits, the last slot's lowest, 0 for a free slot; above them, how many entries found the chunk full |
/// | 14 for each chunk | seven slots: key, full or not, number of changes; value |
///
/// All zero is an empty table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    entries: u64,
    chunks: usize,
}

impl Layout {
    /// The most entries a table can have.
    pub const MAX_ENTRIES: u64 = 1 << 31;

    /// For at least so many entries: the next power of two. Nothing, if there are too many.
    pub fn new(entries: u64) -> Option<Self> {
        Self::exact(entries.checked_next_power_of_two()?)
    }

    /// For exactly so many entries. Nothing, if they are too many or no power of two.
    pub fn exact(entries: u64) -> Option<Self> {
        let possible = entries.is_power_of_two() && entries <= Self::MAX_ENTRIES;
        let chunks = usize::try_from(entries / 4).ok()?.max(1);
        possible.then_some(Self { entries, chunks })
    }

    /// How many entries it may have.
    pub fn entries(&self) -> u64 {
        self.entries
    }

    /// All its words.
    pub fn words(&self) -> usize {
        self.slots() + self.chunks * LANES * 2
    }

    fn locks(&self) -> usize {
        self.chunks.min(MAX_LOCKS)
    }

    fn tags(&self) -> usize {
        LOCKS + self.locks() * LINE
    }

    fn slots(&self) -> usize {
        self.tags() + self.chunks.next_multiple_of(LINE)
    }
}

/// What of a key's hash is used.
#[derive(Clone, Copy)]
struct Hash {
    home: usize,
    tag: u64,
}

/// An entry that was found.
#[derive(Clone, Copy)]
struct Entry {
    chunk: usize,
    lane: u32,
    slot: usize,
    /// What the slot's first word was.
    identity: u64,
    /// Nothing, if it was removed meanwhile.
    value: Option<u64>,
}

/// A hash table in such words.
///
/// A slot's first word alone decides whether a key is there; it changes with each entry that comes or goes, never back.
///
/// * A tag is set before its slot gets an entry and cleared after the slot has lost it. A chunk's count is raised before
///   an entry that found it full is put further on, and lowered after that entry is gone. So a reader that follows tags
///   and counts misses no entry that is there all the while; entries never move.
/// * A reader loads the first word, the value, and the first word again. If both are equal, the value was the key's.
///   If not, the entry was removed meanwhile: at that moment the key was not there, which is the answer.
/// * The value of a new entry is stored when nobody finds it, before the first word; that of an old one is swapped.
/// * Writers of a key hold its lock, so a key is there once at most. Tags and counts are changed by compare-and-swap: a
///   claimed slot has one owner until its tag is cleared.
#[derive(Clone, Copy, Debug)]
pub struct Table<W> {
    layout: Layout,
    words: W,
    /// Where the tags and the slots begin.
    tags: usize,
    slots: usize,
}

impl<W: Words + Copy> Table<W> {
    /// The table in `words`, of which there must be as many as the layout says.
    #[inline]
    pub fn new(layout: Layout, words: W) -> Self {
        Self {
            layout,
            words,
            tags: layout.tags(),
            slots: layout.slots(),
        }
    }

    /// Its layout.
    #[inline]
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Its words.
    #[inline]
    pub fn words(&self) -> &W {
        &self.words
    }

    /// How many entries it has.
    pub fn len(&self) -> u64 {
        self.words.load(LEN)
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The value of `key`, if it is there.
    #[inline]
    pub fn get(&self, key: u32) -> Option<u64> {
        let hash = self.hash(key);
        let (word, entry) = self.look(hash.home, key, hash.tag);
        match entry {
            Some(entry) => entry.value,
            None if word < COUNT_ONE => None,
            None => self.get_further(key, hash),
        }
    }

    /// By value, so that the table need not stand in memory where nothing else wants it to.
    #[cold]
    fn get_further(self, key: u32, hash: Hash) -> Option<u64> {
        self.find(key, hash)?.value
    }

    /// Gives `key` this value; the one it had before.
    ///
    /// # Errors
    /// The key is new, and the table has as many entries as it may have.
    pub fn insert(&self, key: u32, value: u64) -> Result<Option<u64>, TableFull> {
        let hash = self.hash(key);
        self.locked(hash, || match self.find(key, hash) {
            Some(entry) => Ok(Some(self.words.swap(entry.slot + 1, value))),
            None => self.insert_new(key, hash, value).map(|()| None),
        })
    }

    /// Takes `key` out; the value it had.
    pub fn remove(&self, key: u32) -> Option<u64> {
        let hash = self.hash(key);
        self.locked(hash, || {
            let entry = self.find(key, hash)?;
            let gone = entry.identity.wrapping_add(FULL);
            self.words.store(entry.slot, gone);
            self.words.step();
            self.leave(entry);
            self.lower_counts(hash, Some(entry.chunk));
            self.update(LEN, |len| len.wrapping_sub(1));
            entry.value
        })
    }

    /// All entries, in no order that means anything: for a table that nobody changes meanwhile.
    pub fn entries(&self) -> impl Iterator<Item = (u32, u64)> {
        let first = self.slots;
        (0..self.layout.chunks * LANES).filter_map(move |slot| {
            let slot = first + slot * 2;
            let identity = self.words.load(slot);
            (identity & FULL != 0).then(|| (identity as u32, self.words.load(slot + 1)))
        })
    }

    /// How many chunks a lookup of `key` looks at.
    pub fn probes(&self, key: u32) -> u32 {
        let hash = self.hash(key);
        let last = self.find(key, hash).map(|entry| entry.chunk);
        let seen = self.path(hash).take_while(|&chunk| {
            let count = self.words.load(self.tags + chunk) >> COUNT_SHIFT;
            Some(chunk) != last && count != 0
        });
        (seen.count() as u32 + 1).min(self.layout.chunks as u32)
    }

    #[inline]
    fn hash(&self, key: u32) -> Hash {
        let product = u64::from(key).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        Hash {
            home: (product ^ (product >> 32)) as usize & (self.layout.chunks - 1),
            tag: (product >> (64 - TAG_BITS)).max(1),
        }
    }

    /// The chunks at which an entry can stand: all of them, each once.
    fn path(&self, hash: Hash) -> impl Iterator<Item = usize> + use<W> {
        let chunks = self.layout.chunks;
        let mut chunk = hash.home;
        (1..=chunks).map(move |step| {
            let this = chunk;
            chunk = (chunk + step) & (chunks - 1);
            this
        })
    }

    fn find(&self, key: u32, hash: Hash) -> Option<Entry> {
        for chunk in self.path(hash) {
            match self.look(chunk, key, hash.tag) {
                (word, None) if word >= COUNT_ONE => {}
                (_, entry) => return entry,
            }
        }
        None
    }

    /// Looks at one chunk: its word, and the entry of `key` if it is there.
    #[inline]
    fn look(&self, chunk: usize, key: u32, tag: u64) -> (u64, Option<Entry>) {
        let word = self.words.load(self.tags + chunk);
        let mut lanes = lanes_with(word, tag);
        while lanes != 0 {
            let lane = lane_of(lanes);
            let slot = self.slots + (chunk * LANES + lane as usize) * 2;
            let [identity, value, again] = self.words.load_slot(slot);
            if identity & IDENTITY == FULL | u64::from(key) {
                let value = (again == identity).then_some(value);
                let entry = Entry {
                    chunk,
                    lane,
                    slot,
                    identity,
                    value,
                };
                return (word, Some(entry));
            }
            lanes &= lanes - 1;
        }
        (word, None)
    }

    fn insert_new(&self, key: u32, hash: Hash, value: u64) -> Result<(), TableFull> {
        self.reserve()?;
        let slot = self.claim(hash);
        self.words.step();
        self.words.store(slot + 1, value);
        let changes = self.words.load(slot) & !u64::from(u32::MAX);
        self.words
            .store(slot, changes.wrapping_add(FULL) | u64::from(key));
        Ok(())
    }

    /// Counts an entry before there is one.
    fn reserve(&self) -> Result<(), TableFull> {
        let entries = self.layout.entries;
        let mut len = self.words.load(LEN);
        while len < entries {
            match self.words.compare_exchange(LEN, len, len + 1) {
                Ok(_) => return Ok(()),
                Err(now) => len = now,
            }
        }
        Err(TableFull { entries })
    }

    /// A slot for a new entry. There is one: slots are more than reserved entries.
    fn claim(&self, hash: Hash) -> usize {
        loop {
            for chunk in self.path(hash) {
                if let Some(lane) = self.enter(chunk, hash.tag) {
                    return self.slots + (chunk * LANES + lane as usize) * 2;
                }
            }
            // Each chunk was full when it was looked at, never all at once: others come and go.
            self.lower_counts(hash, None);
            self.words.pause();
        }
    }

    /// Claims a slot of this chunk, or counts that it was full.
    fn enter(&self, chunk: usize, tag: u64) -> Option<u32> {
        let before = self.update(self.tags + chunk, |word| match free_lane(word) {
            Some(lane) => word | tag << shift_of(lane),
            None => raised(word),
        });
        free_lane(before)
    }

    fn leave(&self, entry: Entry) {
        let tag = ((1 << TAG_BITS) - 1) << shift_of(entry.lane);
        self.update(self.tags + entry.chunk, |word| word & !tag);
    }

    /// An entry is gone that found all chunks before `last` full.
    fn lower_counts(&self, hash: Hash, last: Option<usize>) {
        for chunk in self.path(hash).take_while(|&chunk| Some(chunk) != last) {
            self.update(self.tags + chunk, lowered);
        }
    }

    /// Changes a word; what it was before.
    fn update(&self, at: usize, f: impl Fn(u64) -> u64) -> u64 {
        let mut seen = self.words.load(at);
        loop {
            match self.words.compare_exchange(at, seen, f(seen)) {
                Ok(before) => return before,
                Err(now) => seen = now,
            }
        }
    }

    /// Frees all locks. For a table that nobody else uses: a kernel that was stopped may have held one.
    pub fn free_locks(&self) {
        for lock in 0..self.layout.locks() {
            self.words.store(LOCKS + lock * LINE, 0);
        }
    }

    /// Does it with the lock of the key held.
    fn locked<R>(&self, hash: Hash, f: impl FnOnce() -> R) -> R {
        let lock = LOCKS + (hash.home & (self.layout.locks() - 1)) * LINE;
        while self.words.compare_exchange(lock, 0, 1).is_err() {
            self.words.pause();
        }
        self.words.step();
        let result = f();
        self.words.store(lock, 0);
        result
    }
}

/// The highest bit of each lane of `word` that has this tag; above the first, perhaps, of others.
#[inline]
const fn lanes_with(word: u64, tag: u64) -> u64 {
    let differs = word ^ (tag * ONES);
    // A lane of zeroes borrows from the next; below the first there is none.
    differs.wrapping_sub(ONES) & !differs & HIGH
}

/// The slot of the lowest lane that has its highest bit set. Lane n from below ends at bit 7n + 6, which leaves 6 - n when
/// divided by 8: so slots are numbered from above, and no lookup multiplies.
#[inline]
const fn lane_of(lanes: u64) -> u32 {
    lanes.trailing_zeros() & 7
}

/// Where a slot's tag begins in the chunk's word.
const fn shift_of(lane: u32) -> u32 {
    (LANES as u32 - 1 - lane) * TAG_BITS
}

const fn free_lane(word: u64) -> Option<u32> {
    match lanes_with(word, 0) {
        0 => None,
        lanes => Some(lane_of(lanes)),
    }
}

const fn raised(word: u64) -> u64 {
    if word >> COUNT_SHIFT == COUNT_MAX {
        word
    } else {
        word + COUNT_ONE
    }
}

/// A count that has reached its end no longer tells how many there are, and stays; so does none, where a kernel has written over it.
const fn lowered(word: u64) -> u64 {
    match word >> COUNT_SHIFT {
        0 | COUNT_MAX => word,
        _ => word - COUNT_ONE,
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
