//! Who waits for what: the state machine behind an event, without lock, thread or clock.
//!
//! Rules:
//!
//! 1. Every waiter stands in one slot of the slab and in at most one index, which its `Place` names. (A
//!    condition that nothing satisfies is in no index.)
//! 2. Thresholds (`gt`, `ge`) of the whole value stand in the queue if they continue it at either end, else in an
//!    ordered set. The queue never allocates per waiter; the set takes the rest.
//! 3. `eq` and `ne`, and all conditions under a mask, stand in ordered sets, one group of sets per mask. A group
//!    whose last waiter left is given to the next new mask.
//! 4. [`Waiters::low`] is the least threshold of rule 2, and [`EventWord::ALWAYS`] while rule 3 has anyone.
//! 5. A waiter that is settled is over, but keeps its slot until it is removed.
//! 6. A waiter carries the sequence number it was registered with; who takes waiters out sorts by it.
//!
//! Growth happens at registration and compaction at cancellation, never at an update.

mod group;
mod queue;
mod slab;

use dpa_abi::condition::Op;
use dpa_abi::{Condition, EventWord};

use group::Groups;
use queue::Queue;
pub use slab::WaiterId;
use slab::{Home, Place, Slab, Waiter};

/// A set of waiters of type `T`, each with the condition it waits for.
#[derive(Debug)]
pub struct Waiters<T> {
    slab: Slab<T>,
    queue: Queue,
    groups: Groups,
    /// Held slots but for the settled ones.
    waiting: usize,
}

impl<T> Default for Waiters<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> Waiters<T> {
    /// No waiters, and nothing allocated.
    pub const fn new() -> Self {
        Self {
            slab: Slab::new(),
            queue: Queue::new(),
            groups: Groups::new(),
            waiting: 0,
        }
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.waiting
    }

    /// Whether nobody waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Adds a waiter with its sequence number. `make` gets the identity the waiter will have.
    ///
    /// # Panics
    ///
    /// With 2^29 waiters or more.
    pub fn insert(
        &mut self,
        condition: Condition,
        seq: u64,
        make: impl FnOnce(WaiterId) -> T,
    ) -> WaiterId {
        let id = self.slab.next_id();
        let what = make(id);
        let place = self.place(condition, id.index());
        let operand = condition.threshold().unwrap_or(condition.operand());
        self.waiting += 1;
        self.slab.insert(
            id,
            Waiter {
                what,
                seq,
                operand,
                place,
                generation: id.generation(),
            },
        );
        id
    }

    /// Takes a waiter out, if it still waits or was settled.
    pub fn remove(&mut self, id: WaiterId) -> Option<T> {
        let waiter = self.slab.remove(id)?;
        self.unplace(waiter.place.home(), waiter.operand, id.index());
        Some(waiter.what)
    }

    /// A waiter that still waits or was settled.
    #[inline]
    pub fn get_mut(&mut self, id: WaiterId) -> Option<&mut T> {
        self.slab.get_mut(id)
    }

    /// Takes out everyone whose condition holds for `value`, in no particular order, and hands each with its
    /// sequence number to `met`.
    pub fn take_met(&mut self, value: u64, mut met: impl FnMut(u64, T)) {
        self.pop_met(value, |slab, slot| {
            let waiter = slab.take(slot);
            met(waiter.seq, waiter.what);
        });
    }

    /// As [`Waiters::take_met`], but those met keep their slots, settled, until they are removed.
    pub fn settle_met(&mut self, value: u64, mut met: impl FnMut(u64, &mut T)) {
        self.pop_met(value, |slab, slot| {
            let waiter = slab.waiter(slot);
            waiter.place = Place::new(Home::Settled);
            met(waiter.seq, &mut waiter.what);
        });
    }

    /// Settles everyone who still waits.
    pub fn settle_all(&mut self, mut settled: impl FnMut(u64, &mut T)) {
        self.queue = Queue::new();
        self.groups = Groups::new();
        self.waiting = 0;
        for waiter in self
            .slab
            .iter_mut()
            .filter(|w| w.place.home() != Home::Settled)
        {
            waiter.place = Place::new(Home::Settled);
            settled(waiter.seq, &mut waiter.what);
        }
    }

    /// Calls `f` for everyone, settled or not, in no particular order.
    pub fn each(&self, mut f: impl FnMut(&T)) {
        self.slab.iter().for_each(|waiter| f(&waiter.what));
    }

    /// Whether `f` holds for someone, settled or not; it is asked until it does, in no particular order.
    pub fn any(&self, mut f: impl FnMut(&T) -> bool) -> bool {
        self.slab.iter().any(|waiter| f(&waiter.what))
    }

    /// Everyone, settled or not, in no particular order, with their sequence numbers.
    pub fn into_all(self) -> impl Iterator<Item = (u64, T)> {
        self.slab.into_waiters().map(|w| (w.seq, w.what))
    }

    /// The least value that an update must produce to be looked at: see rule 4.
    pub fn low(&self) -> u64 {
        if self.is_empty() {
            return EventWord::NOBODY;
        }
        if self.groups.has_unordered() {
            return EventWord::ALWAYS;
        }
        let queued = self.queue.first().unwrap_or(EventWord::NOBODY);
        queued.min(self.groups.first_threshold().unwrap_or(EventWord::NOBODY))
    }

    /// Takes out the only one whose condition holds for `value`, if that can be told at once: while all wait for plain
    /// thresholds that were registered in order. `None` says nothing.
    #[inline]
    pub fn take_only(&mut self, value: u64) -> Option<T> {
        if self.waiting != self.queue.len() || !self.queue.reaches_only_first(value) {
            return None;
        }
        let slot = self.queue.pop_reached(value)?;
        self.waiting -= 1;
        Some(self.slab.take(slot).what)
    }

    fn pop_met(&mut self, value: u64, mut met: impl FnMut(&mut Slab<T>, u32)) {
        let Self {
            slab,
            queue,
            groups,
            waiting,
        } = self;
        while let Some(slot) = queue.pop_reached(value) {
            *waiting -= 1;
            met(slab, slot);
        }
        groups.pop_met(value, |slot| {
            *waiting -= 1;
            met(slab, slot);
        });
    }

    fn place(&mut self, condition: Condition, slot: u32) -> Place {
        let mask = condition.mask();
        let home = match (condition.op(), condition.threshold()) {
            (Op::Eq, _) => Home::Eq(self.groups.insert_eq(mask, condition.operand(), slot)),
            (Op::Ne, _) => Home::Ne(self.groups.insert_ne(mask, condition.operand(), slot)),
            (_, None) => Home::Nowhere,
            (_, Some(least)) if mask == u64::MAX && self.queue.continues_with(least) => {
                Home::Queue(self.queue.push(least, slot))
            }
            (_, Some(least)) => Home::Ge(self.groups.insert_ge(mask, least, slot)),
        };
        Place::new(home)
    }

    fn unplace(&mut self, home: Home, operand: u64, slot: u32) {
        if home == Home::Settled {
            return;
        }
        self.waiting -= 1;
        match home {
            Home::Nowhere | Home::Settled => {}
            Home::Queue(position) => {
                self.queue.remove(position);
                let slab = &mut self.slab;
                self.queue
                    .compact(|slot, at| slab.set_place(slot, Place::new(Home::Queue(at))));
            }
            Home::Ge(group) => self.groups.remove_ge(group, operand, slot),
            Home::Eq(group) => self.groups.remove_eq(group, operand, slot),
            Home::Ne(group) => self.groups.remove_ne(group, operand, slot),
        }
    }
}

/// The `low` of one who waits for this condition alone.
#[cfg(feature = "std")]
#[inline]
pub(crate) fn low_of(condition: Condition) -> u64 {
    match (condition.op(), condition.threshold()) {
        (Op::Eq | Op::Ne, _) => EventWord::ALWAYS,
        (_, None) => EventWord::NOBODY,
        (_, Some(least)) if condition.mask() == u64::MAX => least,
        _ => EventWord::ALWAYS,
    }
}
