//! A slot of the region table: the atomic word and the fields it guards. The protocol stands in `region.rs`.

use dpa_abi::sync::atomic::{AtomicU64, Ordering};
use dpa_abi::sync::spin_loop;

use super::{Domain, RegionKind, RegionSpec, Rights};
use crate::memory::{SpaceId, Target};

/// How many accesses are in progress.
const COUNT: u64 = (1 << 29) - 1;
/// Somebody registers, uses or deregisters the slot.
const CLAIMED: u64 = 1 << 29;
/// The remote key is valid, if the slot is live.
const REMOTE: u64 = 1 << 30;
/// The region is registered: accesses may begin.
const LIVE: u64 = 1 << 31;
const LOCAL_TAG: u32 = 32;
const REMOTE_TAG: u32 = 48;
const TAGS: u64 = u64::MAX << LOCAL_TAG;

/// What sets the keys of a region apart from those of the slot's earlier regions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Tags {
    pub(super) local: u16,
    pub(super) remote: u16,
}

impl Tags {
    const fn of(word: u64) -> Self {
        Self {
            local: (word >> LOCAL_TAG) as u16,
            remote: (word >> REMOTE_TAG) as u16,
        }
    }

    const fn bits(self) -> u64 {
        (self.local as u64) << LOCAL_TAG | (self.remote as u64) << REMOTE_TAG
    }

    /// Tags for the next region: both grow by a random step, at least 1.
    const fn step(self, random: u32) -> Self {
        Self {
            local: self.local.wrapping_add(1 + random as u16 % 255),
            remote: self.remote.wrapping_add(1 + (random >> 16) as u16 % 255),
        }
    }
}

#[derive(Debug)]
pub(super) struct Slot {
    word: AtomicU64,
    space: AtomicU64,
    offset: AtomicU64,
    len: AtomicU64,
    local_base: AtomicU64,
    remote_base: AtomicU64,
    /// Domain, rights, and whether it is an event.
    meta: AtomicU64,
}

impl Slot {
    pub(super) fn new(random: u64) -> Self {
        let zero = || AtomicU64::new(0);
        Self {
            word: AtomicU64::new(random & TAGS),
            space: zero(),
            offset: zero(),
            len: zero(),
            local_base: zero(),
            remote_base: zero(),
            meta: zero(),
        }
    }

    /// Rule 3. `None` if the slot is in use.
    pub(super) fn register(&self, spec: &RegionSpec, random: u32) -> Option<Tags> {
        let claim = |word: u64| (word & CLAIMED == 0).then_some(word | CLAIMED);
        let old = self
            .word
            .fetch_update(Ordering::Acquire, Ordering::Relaxed, claim)
            .ok()?;
        self.store(spec);
        let tags = match cfg!(dpa_mutant = "region_same_tags") {
            false => Tags::of(old).step(random),
            true => Tags::of(old),
        };
        let live = |word: u64| Some(word & !TAGS | tags.bits() | LIVE | REMOTE);
        let published = self
            .word
            .fetch_update(Ordering::Release, Ordering::Relaxed, live);
        published.ok().map(|_| tags)
    }

    /// Rule 4. False if the slot is not live with these tags.
    pub(super) fn deregister(&self, tags: Tags) -> bool {
        let dead = |word: u64| (word & LIVE != 0 && Tags::of(word) == tags).then_some(word & !LIVE);
        let done = self
            .word
            .fetch_update(Ordering::AcqRel, Ordering::Relaxed, dead)
            .is_ok();
        if done {
            self.wait_until_quiet();
            self.word.fetch_and(!CLAIMED, Ordering::Release);
        }
        done
    }

    /// Deregisters the slot if its region is of this domain.
    pub(super) fn deregister_if_of(&self, domain: Domain) -> bool {
        let word = self.word.load(Ordering::SeqCst);
        if word & LIVE == 0 {
            return false;
        }
        let tags = Tags::of(word);
        let entered = self.enter_local(tags.local);
        let ours = entered.is_some_and(|entered| entered.spec().domain == domain);
        ours && self.deregister(tags)
    }

    pub(super) fn enter_local(&self, tag: u16) -> Option<Entered<'_>> {
        self.enter(|word| word & LIVE != 0 && Tags::of(word).local == tag)
    }

    pub(super) fn enter_remote(&self, tag: u16) -> Option<Entered<'_>> {
        self.enter(|word| word & LIVE != 0 && word & REMOTE != 0 && Tags::of(word).remote == tag)
    }

    /// Takes the remote key back, if it is still this one.
    pub(super) fn revoke_remote(&self, tag: u16) {
        let revoked = |word: u64| (Tags::of(word).remote == tag).then_some(word & !REMOTE);
        // Another thread may have been faster: the key is gone either way.
        let _ = self
            .word
            .fetch_update(Ordering::AcqRel, Ordering::Relaxed, revoked);
    }

    /// Rule 2: first count, then look.
    fn enter(&self, allowed: impl Fn(u64) -> bool) -> Option<Entered<'_>> {
        #[cfg(not(dpa_mutant = "region_look_before_count"))]
        let found = self.word.fetch_add(1, Ordering::Acquire);
        #[cfg(dpa_mutant = "region_look_before_count")]
        let found = self.word.load(Ordering::Acquire);
        #[cfg(dpa_mutant = "region_look_before_count")]
        self.word.fetch_add(1, Ordering::Acquire);
        let entered = Entered { slot: self };
        allowed(found).then_some(entered)
    }

    fn leave(&self) {
        #[cfg(not(dpa_mutant = "region_relaxed_leave"))]
        self.word.fetch_sub(1, Ordering::Release);
        #[cfg(dpa_mutant = "region_relaxed_leave")]
        self.word.fetch_sub(1, Ordering::Relaxed);
    }

    fn wait_until_quiet(&self) {
        #[cfg(not(dpa_mutant = "region_no_quiescence"))]
        while self.word.load(Ordering::Acquire) & COUNT != 0 {
            spin_loop();
        }
        #[cfg(dpa_mutant = "region_no_quiescence")]
        spin_loop();
    }

    fn store(&self, spec: &RegionSpec) {
        let event = u64::from(spec.kind == RegionKind::Event);
        let meta = u64::from(spec.domain.0) << 32 | u64::from(spec.rights.bits()) << 1 | event;
        self.space.store(spec.target.space.0, Ordering::Relaxed);
        self.offset.store(spec.target.offset, Ordering::Relaxed);
        self.len.store(spec.len, Ordering::Relaxed);
        self.local_base.store(spec.local_base, Ordering::Relaxed);
        self.remote_base.store(spec.remote_base, Ordering::Relaxed);
        self.meta.store(meta, Ordering::Relaxed);
    }
}

/// A counted access: its slot's fields stay as they are until it is dropped.
#[derive(Debug)]
pub(super) struct Entered<'t> {
    slot: &'t Slot,
}

impl Entered<'_> {
    pub(super) fn spec(&self) -> RegionSpec {
        let load = |field: &AtomicU64| field.load(Ordering::Relaxed);
        let meta = load(&self.slot.meta);
        let space = SpaceId(load(&self.slot.space));
        RegionSpec {
            domain: Domain((meta >> 32) as u32),
            target: Target {
                space,
                offset: load(&self.slot.offset),
            },
            len: load(&self.slot.len),
            local_base: load(&self.slot.local_base),
            remote_base: load(&self.slot.remote_base),
            rights: Rights::from_bits_truncate(meta as u32 >> 1),
            kind: if meta & 1 == 1 {
                RegionKind::Event
            } else {
                RegionKind::Bytes
            },
        }
    }
}

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        self.slot.leave();
    }
}
