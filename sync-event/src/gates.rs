//! Gates of one event: launches and threads that wait inside a device.
//!
//! Most events have one gate at a time. It stands in place; only a second one needs the table with its slots and
//! indices, which is made then and kept.

use alloc::boxed::Box;
use core::num::NonZeroU32;

use crate::waiters::{Waiters, low_of};
use crate::{Condition, EventWord, WaiterId};

/// The one gate most events have.
#[derive(Debug)]
struct Single<G> {
    gate: G,
    condition: Condition,
    seq: u64,
}

#[derive(Debug)]
pub(crate) struct Gates<G> {
    single: Option<Single<G>>,
    /// Of the single gate, or of the next one.
    generation: NonZeroU32,
    others: Option<Box<Waiters<G>>>,
}

impl<G> Gates<G> {
    pub(crate) const fn new() -> Self {
        Self {
            single: None,
            generation: NonZeroU32::MIN,
            others: None,
        }
    }

    /// How many wait.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        usize::from(self.single.is_some()) + self.others.as_ref().map_or(0, |others| others.len())
    }

    #[inline]
    pub(crate) fn low(&self) -> u64 {
        let single = self.single.as_ref();
        let single = single.map_or(EventWord::NOBODY, |s| low_of(s.condition));
        self.others
            .as_ref()
            .map_or(single, |others| single.min(others.low()))
    }

    pub(crate) fn insert(
        &mut self,
        condition: Condition,
        seq: u64,
        make: impl FnOnce(WaiterId) -> G,
    ) -> WaiterId {
        if self.single.is_some() {
            let others = self.others.get_or_insert_with(|| Box::new(Waiters::new()));
            return others.insert(condition, seq, make);
        }
        let id = WaiterId::single(self.generation);
        let gate = make(id);
        self.single = Some(Single {
            gate,
            condition,
            seq,
        });
        id
    }

    pub(crate) fn remove(&mut self, id: WaiterId) -> Option<G> {
        if !id.is_single() {
            return self.others.as_mut()?.remove(id);
        }
        if id != WaiterId::single(self.generation) {
            return None;
        }
        self.take_single().map(|single| single.gate)
    }

    #[inline]
    fn take_single(&mut self) -> Option<Single<G>> {
        let single = self.single.take()?;
        self.generation = self.generation.checked_add(1).unwrap_or(NonZeroU32::MIN);
        Some(single)
    }

    /// Takes the only gate that `value` satisfies, if that can be told at once: the single one while no other waits, or
    /// the first of a plain queue of thresholds.
    #[inline]
    pub(crate) fn take_only(&mut self, value: u64) -> Option<G> {
        let single = self
            .single
            .as_ref()
            .is_some_and(|s| s.condition.holds(value));
        match &mut self.others {
            Some(others) if !single && !others.is_empty() => others.take_only(value),
            Some(others) if single && others.low() <= value => None,
            _ if single => self.take_single().map(|single| single.gate),
            _ => None,
        }
    }

    /// Takes out everyone whose condition holds for `value`.
    #[inline]
    pub(crate) fn take_met(&mut self, value: u64, mut met: impl FnMut(u64, G)) {
        if self
            .single
            .as_ref()
            .is_some_and(|s| s.condition.holds(value))
            && let Some(single) = self.take_single()
        {
            met(single.seq, single.gate);
        }
        if let Some(others) = &mut self.others
            && !others.is_empty()
        {
            others.take_met(value, met);
        }
    }

    /// Takes out everyone.
    pub(crate) fn take_all(&mut self, mut each: impl FnMut(u64, G)) {
        if let Some(single) = self.take_single() {
            each(single.seq, single.gate);
        }
        if let Some(others) = self.others.take() {
            for (seq, gate) in others.into_all() {
                each(seq, gate);
            }
        }
    }

    /// Whether `f` holds for someone; it is asked until it does, in no particular order.
    pub(crate) fn any(&self, mut f: impl FnMut(&G) -> bool) -> bool {
        let single = self.single.as_ref().is_some_and(|single| f(&single.gate));
        single || self.others.as_ref().is_some_and(|others| others.any(f))
    }

    /// Calls `f` for everyone, in no particular order.
    pub(crate) fn each(&self, mut f: impl FnMut(&G)) {
        if let Some(single) = &self.single {
            f(&single.gate);
        }
        if let Some(others) = &self.others {
            others.each(f);
        }
    }
}
