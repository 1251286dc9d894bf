//! Conditions under the same mask: three ordered sets, found by operand.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

/// An operand and a slot, in an order by operand. Three words of 32 bits, because a tree of them is a third
/// smaller than one of `(u64, u32)`.
type Key = [u32; 3];

fn key(operand: u64, slot: u32) -> Key {
    [(operand >> 32) as u32, operand as u32, slot]
}

fn operand([high, low, _]: Key) -> u64 {
    u64::from(high) << 32 | u64::from(low)
}

fn slot([_, _, slot]: Key) -> u32 {
    slot
}

/// Conditions under one mask.
#[derive(Debug, Default)]
struct Group {
    mask: u64,
    /// `gt` and `ge`, by threshold.
    ge: BTreeSet<Key>,
    eq: BTreeSet<Key>,
    ne: BTreeSet<Key>,
}

impl Group {
    const fn new(mask: u64) -> Self {
        Self {
            mask,
            ge: BTreeSet::new(),
            eq: BTreeSet::new(),
            ne: BTreeSet::new(),
        }
    }

    fn is_empty(&self) -> bool {
        self.ge.is_empty() && self.has_only_thresholds()
    }

    fn has_only_thresholds(&self) -> bool {
        self.eq.is_empty() && self.ne.is_empty()
    }

    fn pop_met(&mut self, value: u64, mut open: impl FnMut(u32)) {
        let value = value & self.mask;
        while let Some(slot) = self.pop_ge(value) {
            open(slot);
        }
        while let Some(slot) = self.pop_eq(value) {
            open(slot);
        }
        while let Some(slot) = self.pop_ne(value) {
            open(slot);
        }
    }

    fn pop_ge(&mut self, value: u64) -> Option<u32> {
        self.ge.first().filter(|&&k| operand(k) <= value)?;
        self.ge.pop_first().map(slot)
    }

    fn pop_eq(&mut self, value: u64) -> Option<u32> {
        if self.eq.is_empty() {
            return None;
        }
        let found = *self.eq.range(key(value, 0)..=key(value, u32::MAX)).next()?;
        self.eq.remove(&found);
        Some(slot(found))
    }

    /// The operands that differ from `value` stand before and behind those that equal it.
    fn pop_ne(&mut self, value: u64) -> Option<u32> {
        if self.ne.first().is_some_and(|&k| operand(k) != value) {
            return self.ne.pop_first().map(slot);
        }
        self.ne.last().filter(|&&k| operand(k) != value)?;
        self.ne.pop_last().map(slot)
    }
}

/// All groups; number 0 is that of the whole value.
#[derive(Debug)]
pub(super) struct Groups {
    whole: Group,
    /// Group `n` stands at `n - 1`.
    masked: Vec<Group>,
    by_mask: BTreeMap<u64, u32>,
    free: Vec<u32>,
}

impl Groups {
    pub(super) const fn new() -> Self {
        Self {
            whole: Group::new(u64::MAX),
            masked: Vec::new(),
            by_mask: BTreeMap::new(),
            free: Vec::new(),
        }
    }

    /// Whether someone waits for anything but a threshold of the whole value.
    pub(super) fn has_unordered(&self) -> bool {
        !self.by_mask.is_empty() || !self.whole.has_only_thresholds()
    }

    /// The least threshold of the whole value.
    pub(super) fn first_threshold(&self) -> Option<u64> {
        self.whole.ge.first().map(|&k| operand(k))
    }

    pub(super) fn insert_ge(&mut self, mask: u64, least: u64, slot: u32) -> u32 {
        self.insert(mask, |g| &mut g.ge, key(least, slot))
    }

    pub(super) fn insert_eq(&mut self, mask: u64, operand: u64, slot: u32) -> u32 {
        self.insert(mask, |g| &mut g.eq, key(operand, slot))
    }

    pub(super) fn insert_ne(&mut self, mask: u64, operand: u64, slot: u32) -> u32 {
        self.insert(mask, |g| &mut g.ne, key(operand, slot))
    }

    pub(super) fn remove_ge(&mut self, number: u32, least: u64, slot: u32) {
        self.remove(number, |g| &mut g.ge, key(least, slot));
    }

    pub(super) fn remove_eq(&mut self, number: u32, operand: u64, slot: u32) {
        self.remove(number, |g| &mut g.eq, key(operand, slot));
    }

    pub(super) fn remove_ne(&mut self, number: u32, operand: u64, slot: u32) {
        self.remove(number, |g| &mut g.ne, key(operand, slot));
    }

    /// Takes out every slot whose condition holds for `value`.
    pub(super) fn pop_met(&mut self, value: u64, mut open: impl FnMut(u32)) {
        if !self.whole.is_empty() {
            self.whole.pop_met(value, &mut open);
        }
        if !self.by_mask.is_empty() {
            self.pop_masked(value, open);
        }
    }

    fn pop_masked(&mut self, value: u64, mut open: impl FnMut(u32)) {
        let Self {
            masked,
            by_mask,
            free,
            ..
        } = self;
        by_mask.retain(|_, &mut number| {
            let group = &mut masked[number as usize - 1];
            group.pop_met(value, &mut open);
            let empty = group.is_empty();
            if empty {
                free.push(number);
            }
            !empty
        });
    }

    fn insert(
        &mut self,
        mask: u64,
        set: impl Fn(&mut Group) -> &mut BTreeSet<Key>,
        key: Key,
    ) -> u32 {
        let number = self.number(mask);
        set(self.group(number)).insert(key);
        number
    }

    fn remove(&mut self, number: u32, set: impl Fn(&mut Group) -> &mut BTreeSet<Key>, key: Key) {
        let group = self.group(number);
        set(group).remove(&key);
        if number != 0 && group.is_empty() {
            let mask = group.mask;
            self.by_mask.remove(&mask);
            self.free.push(number);
        }
    }

    fn group(&mut self, number: u32) -> &mut Group {
        match number {
            0 => &mut self.whole,
            n => &mut self.masked[n as usize - 1],
        }
    }

    /// The number of this mask's group, made if there is none.
    fn number(&mut self, mask: u64) -> u32 {
        if mask == u64::MAX {
            return 0;
        }
        let Self {
            masked,
            by_mask,
            free,
            ..
        } = self;
        *by_mask.entry(mask).or_insert_with(|| match free.pop() {
            Some(number) => {
                masked[number as usize - 1].mask = mask;
                number
            }
            None => {
                masked.push(Group::new(mask));
                // The update that empties groups must not grow the list of free ones.
                free.reserve(masked.len());
                masked.len() as u32
            }
        })
    }
}
