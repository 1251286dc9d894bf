//! Memory regions: what a key gives access to.
//!
//! A region is a range of some memory with two keys, one for the local queue pairs and one for remote peers,
//! rights, and bounds. Deregistration is by quiescence: it returns when no access is in progress, and none
//! can begin afterwards.
//!
//! # The protocol of a slot (`slot.rs`)
//!
//! 1. One 64-bit word holds the tags of both keys, the bits CLAIMED, LIVE and REMOTE, and the number of accesses
//!    in progress. All transitions are read-modify-writes of this word, so they have one order.
//! 2. An access adds 1 and looks at the word it found: only with LIVE and its own tag may it read the slot's
//!    fields and touch memory. It subtracts 1 when it is over (release), or at once if it may not.
//! 3. Registration claims a slot (CLAIMED), writes the fields, then publishes tags and LIVE (release).
//! 4. Deregistration clears LIVE, waits until the count is 0 (acquire), then clears CLAIMED. An access counted
//!    before LIVE went is waited for; one counted after sees that it is gone.
//! 5. Tags grow by a random step at each registration of a slot, so that a stale key is an error and not
//!    another region.
//! 6. A block of slots counts its registrations: before one is tried, and until after it is taken back. So a block that counts
//!    none has no region, and who takes all regions of a domain back need not look at its slots.
//! 7. A block is made when the first registration is tried in it, and stays: a table costs what is used of it.

use std::sync::OnceLock;

use bitflags::bitflags;
use dpa_abi::sync::atomic::{AtomicUsize, Ordering, fence};

use crate::memory::Target;

mod error;
mod slot;

pub use error::{AccessError, RegisterError, StaleRegion};
use slot::{Slot, Tags};

/// Whose a region or a queue pair is: a process, usually. A queue pair reaches only regions of its own domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[doc(alias = "ibv_pd")]
pub struct Domain(pub u32);

/// The key under which local work requests name a region. Plain bits that may lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[doc(alias = "lkey")]
pub struct LocalKey(pub u32);

/// The key under which remote peers name a region. Plain bits that may lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[doc(alias = "rkey")]
pub struct RemoteKey(pub u32);

bitflags! {
    /// What may be done to a region. Local reads are always allowed.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    #[doc(alias = "ibv_access_flags")]
    pub struct Rights: u32 {
        /// Receives, read responses and atomic results may be written into it.
        const LOCAL_WRITE = 1;
        /// Remote peers may read it.
        const REMOTE_READ = 2;
        /// Remote peers may write it.
        const REMOTE_WRITE = 4;
        /// Remote peers may do atomic operations on it.
        const REMOTE_ATOMIC = 8;
        /// A remote peer may take its remote key back with a "send with invalidate".
        const REMOTE_INVALIDATE = 16;
    }
}

/// What lies behind a region.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RegionKind {
    /// Bytes.
    Bytes,
    /// A sync event's counter: only aligned writes of eight bytes and atomics, both by remote peers.
    Event,
}

/// A region to be registered.
#[derive(Clone, Copy, Debug)]
pub struct RegionSpec {
    /// Whose it is.
    pub domain: Domain,
    /// Where it lies.
    pub target: Target,
    /// Bytes.
    pub len: u64,
    /// The address of its first byte in local work requests.
    pub local_base: u64,
    /// The address of its first byte for remote peers: 0 for exported regions, so that no pointer leaves the machine.
    pub remote_base: u64,
    /// What may be done to it.
    pub rights: Rights,
    /// What lies behind it.
    pub kind: RegionKind,
}

/// A registered region: proof for its owner, who can deregister it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[doc(alias = "ibv_mr")]
pub struct Region {
    index: u16,
    tags: Tags,
}

impl Region {
    /// Its key for local work requests.
    pub const fn local_key(self) -> LocalKey {
        LocalKey((self.index as u32) << 16 | self.tags.local as u32)
    }

    /// Its key for remote peers.
    pub const fn remote_key(self) -> RemoteKey {
        RemoteKey((self.index as u32) << 16 | self.tags.remote as u32)
    }
}

/// What an access wants to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Intent {
    /// Read bytes.
    Read,
    /// Write bytes.
    Write,
    /// A read-modify-write of eight aligned bytes.
    Atomic,
}

/// Slots of a block.
const BLOCK: usize = 256;

/// The regions of a NIC. All methods take `&self` and may be called by any thread.
#[derive(Debug)]
pub struct RegionTable {
    blocks: Box<[Block]>,
    capacity: usize,
    /// Seeds the keys.
    random: u64,
    /// Where the search for a free slot begins: far from the ones freed last.
    cursor: AtomicUsize,
}

impl RegionTable {
    /// A table for at most `capacity` regions; `random` seeds their keys.
    ///
    /// # Panics
    ///
    /// If `capacity` is above 65,536, which keys cannot tell apart.
    pub fn new(capacity: usize, random: u64) -> Self {
        assert!(capacity <= 1 << 16, "a key has 16 bits for the index");
        let blocks = 0..capacity.div_ceil(BLOCK);
        Self {
            blocks: blocks.map(|_| Block::default()).collect(),
            capacity,
            random,
            cursor: AtomicUsize::new(0),
        }
    }

    /// Registers a region; `random` sets its keys apart from those of the slot's last region.
    ///
    /// # Errors
    ///
    /// [`RegisterError`] if the table is full or the region impossible.
    #[doc(alias = "ibv_reg_mr")]
    pub fn register(&self, spec: RegionSpec, random: u32) -> Result<Region, RegisterError> {
        check(&spec)?;
        let start = self.cursor.fetch_add(1, Ordering::Relaxed);
        let indices = (0..self.capacity).map(|step| (start.wrapping_add(step)) % self.capacity);
        for index in indices {
            if let Some(tags) = self.register_at(index, &spec, random) {
                // What was in use on the way is not looked at again by each that comes.
                self.cursor.store(index + 1, Ordering::Relaxed);
                return Ok(Region {
                    index: index as u16,
                    tags,
                });
            }
        }
        Err(RegisterError::Full {
            capacity: self.capacity,
        })
    }

    fn register_at(&self, index: usize, spec: &RegionSpec, random: u32) -> Option<Tags> {
        let block = &self.blocks[index / BLOCK];
        block.count.fetch_add(1, Ordering::SeqCst);
        let slots = block.slots.get_or_init(|| self.make(index / BLOCK));
        let tags = slots[index % BLOCK].register(spec, random);
        if tags.is_none() {
            block.count.fetch_sub(1, Ordering::SeqCst);
        }
        // Whoever registers and then looks whether its domain is over, and whoever ends the domain and then looks for its
        // regions: one of them sees the other.
        fence(Ordering::SeqCst);
        tags
    }

    /// The slots of a block.
    fn make(&self, block: usize) -> Box<[Slot]> {
        let first = block * BLOCK;
        let slots = first..(first + BLOCK).min(self.capacity);
        let slot = |index: usize| Slot::new(scramble(self.random.wrapping_add(index as u64)));
        slots.map(slot).collect()
    }

    /// Takes a region back. Returns when no access to it is in progress; none begins afterwards.
    ///
    /// Waits at most as long as the copy of one packet takes.
    ///
    /// # Errors
    ///
    /// [`StaleRegion`] if it has been deregistered before.
    #[doc(alias = "ibv_dereg_mr")]
    pub fn deregister(&self, region: Region) -> Result<(), StaleRegion> {
        let index = usize::from(region.index);
        let slot = self.slot_at(index).ok_or(StaleRegion)?;
        if !slot.deregister(region.tags) {
            return Err(StaleRegion);
        }
        self.blocks[index / BLOCK].uncount();
        Ok(())
    }

    /// Takes all regions of a domain back, as when its process becomes fatal; says how many. Returns when no
    /// access to any of them is in progress.
    pub fn deregister_domain(&self, domain: Domain) -> usize {
        fence(Ordering::SeqCst);
        let blocks = self.blocks.iter();
        blocks.map(|block| block.deregister_domain(domain)).sum()
    }

    /// Takes the remote key of a region back, as a "send with invalidate" does.
    ///
    /// # Errors
    ///
    /// [`AccessError`] if there is no such region of this domain, or if it does not allow it.
    pub fn invalidate(&self, domain: Domain, key: RemoteKey) -> Result<(), AccessError> {
        let unknown = AccessError::UnknownKey { key: key.0 };
        let slot = self.slot(key.0).ok_or(unknown)?;
        let entered = slot.enter_remote(tag(key.0)).ok_or(unknown)?;
        let spec = entered.spec();
        if spec.domain != domain {
            return Err(AccessError::ForeignDomain { key: key.0 });
        }
        if !spec.rights.contains(Rights::REMOTE_INVALIDATE) {
            return Err(AccessError::NoRight {
                key: key.0,
                intent: Intent::Write,
            });
        }
        slot.revoke_remote(tag(key.0));
        Ok(())
    }

    /// Begins a local access of `len` bytes at `address`; it lasts until the [`Access`] is dropped.
    ///
    /// # Errors
    ///
    /// [`AccessError`] if the key, the range or the rights are wrong.
    pub fn local(
        &self,
        who: Domain,
        key: LocalKey,
        range: Range,
        intent: Intent,
    ) -> Result<Access<'_>, AccessError> {
        let unknown = AccessError::UnknownKey { key: key.0 };
        let slot = self.slot(key.0).ok_or(unknown)?;
        let entered = slot.enter_local(tag(key.0)).ok_or(unknown)?;
        let spec = entered.spec();
        let allowed = spec.kind == RegionKind::Bytes
            && (intent == Intent::Read || spec.rights.contains(Rights::LOCAL_WRITE));
        let rule = Rule {
            key: key.0,
            base: spec.local_base,
            allowed,
        };
        let target = rule.check(who, &spec, range, intent)?;
        Ok(Access {
            target,
            kind: spec.kind,
            _entered: entered,
        })
    }

    /// Begins a remote access of `len` bytes at `address`; it lasts until the [`Access`] is dropped.
    ///
    /// # Errors
    ///
    /// [`AccessError`] if the key, the range or the rights are wrong.
    pub fn remote(
        &self,
        who: Domain,
        key: RemoteKey,
        range: Range,
        intent: Intent,
    ) -> Result<Access<'_>, AccessError> {
        let unknown = AccessError::UnknownKey { key: key.0 };
        let slot = self.slot(key.0).ok_or(unknown)?;
        let entered = slot.enter_remote(tag(key.0)).ok_or(unknown)?;
        let spec = entered.spec();
        let allowed = spec.rights.contains(remote_right(intent))
            && (spec.kind == RegionKind::Bytes || intent != Intent::Read);
        let rule = Rule {
            key: key.0,
            base: spec.remote_base,
            allowed,
        };
        let target = rule.check(who, &spec, range, intent)?;
        Ok(Access {
            target,
            kind: spec.kind,
            _entered: entered,
        })
    }

    #[inline]
    fn slot(&self, key: u32) -> Option<&Slot> {
        self.slot_at((key >> 16) as usize)
    }

    #[inline]
    fn slot_at(&self, index: usize) -> Option<&Slot> {
        let slots = self.blocks.get(index / BLOCK)?.slots.get()?;
        slots.get(index % BLOCK)
    }
}

/// So many slots as one: what a table makes at a time.
#[derive(Debug, Default)]
struct Block {
    /// What it counts (rule 6).
    count: AtomicUsize,
    /// None until one of them is tried (rule 7).
    slots: OnceLock<Box<[Slot]>>,
}

impl Block {
    fn uncount(&self) {
        self.count.fetch_sub(1, Ordering::SeqCst);
    }

    fn deregister_domain(&self, domain: Domain) -> usize {
        if self.count.load(Ordering::SeqCst) == 0 {
            return 0;
        }
        let slots = self.slots.get().into_iter().flatten();
        let taken = slots.filter(|slot| slot.deregister_if_of(domain));
        taken.inspect(|_| self.uncount()).count()
    }
}

/// A range of addresses of a region.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// The first byte.
    pub address: u64,
    /// Bytes.
    pub len: u64,
}

/// An access in progress. Having one proves that the range lies in a registered region that gives the right, and
/// that its deregistration waits.
#[derive(Debug)]
pub struct Access<'t> {
    target: Target,
    kind: RegionKind,
    _entered: slot::Entered<'t>,
}

impl Access<'_> {
    /// Where the range begins.
    pub const fn target(&self) -> Target {
        self.target
    }

    /// What lies there.
    pub const fn kind(&self) -> RegionKind {
        self.kind
    }
}

/// What an access is checked against, whichever key it came by.
struct Rule {
    key: u32,
    base: u64,
    allowed: bool,
}

impl Rule {
    fn check(
        &self,
        who: Domain,
        spec: &RegionSpec,
        range: Range,
        intent: Intent,
    ) -> Result<Target, AccessError> {
        let Range { address, len } = range;
        if spec.domain != who {
            return Err(AccessError::ForeignDomain { key: self.key });
        }
        if !self.allowed {
            return Err(AccessError::NoRight {
                key: self.key,
                intent,
            });
        }
        let whole_word = len == 8
            && address
                .wrapping_sub(self.base)
                .wrapping_add(spec.target.offset)
                % 8
                == 0;
        if (intent == Intent::Atomic || spec.kind == RegionKind::Event) && !whole_word {
            return Err(AccessError::Misaligned { address, len });
        }
        let outside = AccessError::OutOfBounds { address, len };
        let start = address.checked_sub(self.base).ok_or(outside)?;
        let end = start.checked_add(len).ok_or(outside)?;
        match end <= spec.len {
            true => Ok(spec.target.plus(start)),
            false => Err(outside),
        }
    }
}

const fn remote_right(intent: Intent) -> Rights {
    match intent {
        Intent::Read => Rights::REMOTE_READ,
        Intent::Write => Rights::REMOTE_WRITE,
        Intent::Atomic => Rights::REMOTE_ATOMIC,
    }
}

fn check(spec: &RegionSpec) -> Result<(), RegisterError> {
    let len = spec.len;
    let offset = spec.target.offset;
    for base in [offset, spec.local_base, spec.remote_base] {
        base.checked_add(len)
            .ok_or(RegisterError::Overflow { base, len })?;
    }
    match spec.kind {
        RegionKind::Event if len != 8 || !offset.is_multiple_of(8) => {
            Err(RegisterError::Event { offset, len })
        }
        _ => Ok(()),
    }
}

const fn tag(key: u32) -> u16 {
    key as u16
}

/// Spreads a number over 64 bits (the finalizer of splitmix64).
const fn scramble(value: u64) -> u64 {
    let mixed = value.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ mixed >> 31
}
