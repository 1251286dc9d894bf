//! The event: the word, and behind a short lock those who wait for it.
//!
//! Rules:
//!
//! 1. `word.low` is written under the lock and is never above `Table::low`; once the event is closed it is
//!    [`EventWord::ALWAYS`] for good. Whoever leaves the table does not raise it: the first update that reaches it
//!    and finds nobody does. So an event that is waited for again and again writes `low` rarely.
//! 2. **Register**: under the lock, insert, lower `low` if it is above the new threshold, then read the value. If
//!    the condition holds for it, the waiter is taken out again and never waited. Reading before publishing would
//!    lose an update between the two.
//! 3. **Update**: read-modify-write, then read `low`. If the produced value reaches it: under the lock, take out
//!    whose condition holds *for the value this update produced*, whatever the word says by now. Open and wake
//!    them after the lock is released.
//! 4. **Close**: under the lock, set `closed`, publish `low = ALWAYS`, then read the last value. An update that
//!    did not see `ALWAYS` is part of the last value and succeeds; every other enters the wake path, finds the
//!    event closed and fails. Whose condition holds for the last value is satisfied, though the update that produced
//!    it may come too late to do so itself. What such updates do to the word, nobody sees: after `closed`, `get` answers with
//!    the last value.

use alloc::boxed::Box;
use core::task::Waker;

use crate::lock::{Guard, Lock};
use crate::mutant;
use crate::observer::Observer;
use crate::sync::atomic::{AtomicBool, Ordering};
use crate::table::Table;
use crate::waking::wake;
use crate::woken::{Only, Woken, WokenList};
use crate::{
    CloseReason, Closed, Condition, EventWord, Gate, NoGate, Outcome, Registered, Update, WaiterId,
};

/// A 64-bit counter with waiters. `G` is what a registration opens.
///
/// Any thread may call any method at any time. An event on which nobody has waited yet owns no memory beside
/// itself; after the most waiters it ever had, waiting allocates nothing.
#[doc(alias = "doca_sync_event")]
#[derive(Debug)]
pub struct Event<G: Gate = NoGate> {
    word: EventWord,
    closed: AtomicBool,
    table: Lock<Option<Box<Table<G>>>>,
}

/// An update that may have satisfied someone: [`Event::finish_update`] is still to be called.
#[derive(Debug)]
#[must_use = "without finish_update those whom this update satisfies wait on"]
pub struct Reached {
    previous: u64,
    value: u64,
}

impl Reached {
    /// The value before the update.
    pub fn previous(&self) -> u64 {
        self.previous
    }

    /// The value the update produced.
    pub fn value(&self) -> u64 {
        self.value
    }
}

impl<G: Gate> Event<G> {
    /// An open event with this value.
    pub fn new(initial: u64) -> Self {
        Self {
            word: EventWord::new(initial),
            closed: AtomicBool::new(false),
            table: Lock::new(None),
        }
    }

    /// The value now; after a close, the last value. Happens after every update it includes.
    #[doc(alias = "doca_sync_event_get")]
    #[inline]
    pub fn get(&self) -> u64 {
        let value = self.word.get();
        self.frozen().map_or(value, |closed| closed.last)
    }

    /// How the event was closed, if it was.
    #[inline]
    pub fn closed(&self) -> Option<Closed> {
        if !self.closed.load(Ordering::SeqCst) {
            return None;
        }
        self.table.lock().as_ref().and_then(|table| table.closed)
    }

    /// Stores `v` and returns the previous value. Opens the gates whose conditions hold for `v`.
    ///
    /// # Errors
    ///
    /// As for [`Event::update`].
    #[doc(alias = "doca_sync_event_update_set")]
    #[inline]
    pub fn set(&self, v: u64) -> Result<u64, Closed> {
        self.update(Update::Set(v))
    }

    /// Adds `n`, wrapping, and returns the previous value. Opens the gates whose conditions hold for the sum.
    ///
    /// # Errors
    ///
    /// As for [`Event::update`].
    #[doc(alias = "doca_sync_event_update_add")]
    #[inline]
    pub fn add(&self, n: u64) -> Result<u64, Closed> {
        self.update(Update::Add(n))
    }

    /// Updates the value and returns the previous one. Wakes the tasks, and opens by [`Gate::open`] the gates,
    /// whose conditions hold for the value it produced, in order of registration, on this thread.
    ///
    /// # Errors
    ///
    /// The event is closed. An update that overlaps the close may be answered so although the last value includes
    /// it; one that is answered `Ok` is included.
    #[inline]
    pub fn update(&self, update: Update) -> Result<u64, Closed> {
        self.update_with(update, |gate, value| gate.open(Ok(value)))
    }

    /// As [`Event::update`], but gives the gates, with the value that opened them, to `open`.
    ///
    /// # Errors
    ///
    /// As for [`Event::update`].
    #[inline]
    pub fn update_with(&self, update: Update, open: impl FnMut(G, u64)) -> Result<u64, Closed> {
        match self.try_update_fast(update) {
            Ok(previous) => Ok(previous),
            Err(reached) => self.finish_update(reached, open),
        }
    }

    /// The first half of an update: one read-modify-write and one load. It takes no lock and calls nothing, so it
    /// may run on a small stack.
    ///
    /// # Errors
    ///
    /// [`Reached`]: the value reaches someone's threshold, or the event is closed. The update is done, but
    /// [`Event::finish_update`] must follow.
    #[inline]
    pub fn try_update_fast(&self, update: Update) -> Result<u64, Reached> {
        let previous = self.word.update(update);
        let value = update.apply(previous);
        if self.word.reached(value) {
            Err(Reached { previous, value })
        } else {
            Ok(previous)
        }
    }

    /// The first half of a compare-and-swap, as a remote node does it: stores `swap` if the value is `compare`; the
    /// previous value.
    ///
    /// # Errors
    ///
    /// As for [`Event::try_update_fast`].
    pub fn try_compare_swap(&self, compare: u64, swap: u64) -> Result<u64, Reached> {
        let previous = self.word.compare_swap(compare, swap);
        let value = if previous == compare { swap } else { previous };
        if previous == compare && self.word.reached(value) {
            Err(Reached { previous, value })
        } else {
            Ok(previous)
        }
    }

    /// The second half of an update: takes out whom it satisfies, wakes the tasks and gives the gates to `open`,
    /// in order of registration, after the lock is released.
    ///
    /// # Errors
    ///
    /// As for [`Event::update`].
    pub fn finish_update(&self, reached: Reached, open: impl FnMut(G, u64)) -> Result<u64, Closed> {
        self.finish_update_by(reached, open, wake)
    }

    /// As [`Event::finish_update`], but gives the tasks to `tell`, which wakes them by [`wake`](fn@crate::wake), at once or later.
    ///
    /// # Errors
    ///
    /// As for [`Event::update`].
    pub fn finish_update_by(
        &self,
        reached: Reached,
        mut open: impl FnMut(G, u64),
        mut tell: impl FnMut(Waker),
    ) -> Result<u64, Closed> {
        let Reached { previous, value } = reached;
        match self.take_only(value)? {
            Only::Nobody => {}
            Only::One(Woken::Gate(gate)) => open(gate, value),
            Only::One(Woken::Task(waker)) => tell(waker),
            Only::Several(list) => list.in_order(|woken| match woken {
                Woken::Gate(gate) => open(gate, value),
                Woken::Task(waker) => tell(waker),
            }),
        }
        Ok(previous)
    }

    /// The second half of an update that opens one gate and satisfies nobody else: the gate, to be opened by the caller.
    /// It calls nothing and neither takes nor frees memory, so it may run on a small stack.
    ///
    /// # Errors
    ///
    /// [`Reached`], back: [`Event::finish_update`] must follow. The event is closed, or the update satisfies nobody, or a
    /// task, or several.
    #[inline]
    pub fn take_gate(&self, reached: Reached) -> Result<G, Reached> {
        if mutant::EVAL_CURRENT_VALUE {
            return Err(reached);
        }
        let mut guard = self.table.lock();
        let table = guard.as_deref_mut().filter(|table| table.closed.is_none());
        match table.and_then(|table| table.take_gate(reached.value)) {
            Some(gate) => Ok(gate),
            None => Err(reached),
        }
    }

    /// Registers a gate that is opened once when `condition` is met.
    ///
    /// `make` makes the gate, and is told the identity by which it can be cancelled: under the event's lock, before
    /// any update can open it, so it must not use the event. If the gate never waits, the identity is
    /// [`WaiterId::NOBODY`] or already stale. A condition that holds for the value now (or for the last value of a
    /// closed event) is answered with [`Registered::Holds`] and the gate.
    ///
    /// # Panics
    ///
    /// With more than 2^29 gates that wait.
    pub fn register(
        &self,
        condition: Condition,
        make: impl FnOnce(WaiterId) -> G,
    ) -> Registered<G> {
        if let Some(value) = self.holds_now(condition) {
            return Registered::Holds(make(WaiterId::NOBODY), value);
        }
        self.register_waiting(&mut self.table.lock(), condition, make)
    }

    /// As [`Event::register`], for those who keep events in a table and use a place again ([`Event::reopen`]): `is_it` says whether
    /// the place still has the event that is meant. It is asked behind the first look at the value, and under the event's lock.
    /// `None`: it has not, and nothing is registered or made.
    ///
    /// # Panics
    ///
    /// As [`Event::register`].
    pub fn register_if(
        &self,
        condition: Condition,
        is_it: impl Fn() -> bool,
        make: impl FnOnce(WaiterId) -> G,
    ) -> Option<Registered<G>> {
        if let Some(value) = self.holds_now(condition) {
            return is_it().then(|| Registered::Holds(make(WaiterId::NOBODY), value));
        }
        let mut guard = self.table.lock();
        is_it().then(|| self.register_waiting(&mut guard, condition, make))
    }

    #[inline]
    fn register_waiting(
        &self,
        guard: &mut Guard<'_, Option<Box<Table<G>>>>,
        condition: Condition,
        make: impl FnOnce(WaiterId) -> G,
    ) -> Registered<G> {
        let table = guard.get_or_insert_default();
        match self.closed_for(table, condition) {
            Some(Ok(value)) => return Registered::Holds(make(WaiterId::NOBODY), value),
            Some(Err(closed)) => return Registered::Closed(make(WaiterId::NOBODY), closed),
            None => {}
        }
        let id = table.insert_gate(condition, make);
        if let Some(value) = self.publish_and_check(table, condition)
            && let Some(gate) = table.gates.remove(id)
        {
            return Registered::Holds(gate, value);
        }
        Registered::Waiting(id)
    }

    /// Takes back a gate that still waits. `None`: it was opened, is being opened, or was cancelled before.
    pub fn cancel(&self, id: WaiterId) -> Option<G> {
        let mut guard = self.table.lock();
        guard.as_deref_mut()?.gates.remove(id)
    }

    /// Closes the event; false if it was closed before. Every waiter resolves, in order of registration, on this thread: with
    /// [`Closed`] unless its condition holds for the last value. That stays readable.
    pub fn close(&self, reason: CloseReason) -> bool {
        self.close_with(reason, Gate::open)
    }

    /// As [`Event::close`], but gives the gates to `f`, with how their waits end: an update that overlaps the close may
    /// have produced a last value for which a condition holds.
    pub fn close_with(&self, reason: CloseReason, mut f: impl FnMut(G, Outcome)) -> bool {
        let Some(list) = self.take_all(reason) else {
            return false;
        };
        list.in_order(|woken| match woken {
            Woken::Gate((gate, outcome)) => f(gate, outcome),
            Woken::Task(waker) => wake(waker),
        });
        true
    }

    /// From now on `observer` is told when somebody begins to wait; `None`: nobody is.
    pub fn observe(&self, observer: Option<Observer>) {
        let mut guard = self.table.lock();
        match guard.as_deref_mut() {
            Some(table) => table.observer = observer,
            None if observer.is_some() => guard.get_or_insert_default().observer = observer,
            None => {}
        }
    }

    /// How many gates and tasks wait.
    pub fn waiters(&self) -> usize {
        self.table.lock().as_ref().map_or(0, |table| table.len())
    }

    /// Calls `f` for every gate that waits, in no particular order, under the event's lock: `f` must not use the
    /// event.
    pub fn each_gate(&self, f: impl FnMut(&G)) {
        if let Some(table) = self.table.lock().as_deref() {
            table.gates.each(f);
        }
    }

    /// Whether `f` holds for a gate that waits. It is asked until it does, in no particular order, under the event's lock: `f` must
    /// not use the event.
    pub fn any_gate(&self, f: impl FnMut(&G) -> bool) -> bool {
        let table = self.table.lock();
        table.as_deref().is_some_and(|table| table.gates.any(f))
    }

    /// Makes a closed event, or one that nobody has used, an open one with this value. For those who keep events in
    /// a table and use a place again: the caller knows that nobody uses the event any more.
    pub fn reopen(&self, initial: u64) {
        let mut guard = self.table.lock();
        if let Some(table) = guard.as_deref_mut() {
            table.closed = None;
            table.observer = None;
        }
        self.word.update(Update::Set(initial));
        self.word.publish_low(EventWord::NOBODY);
        self.closed.store(false, Ordering::SeqCst);
    }

    /// The first look of a registration, which publishes nothing.
    pub(crate) fn holds_now(&self, condition: Condition) -> Option<u64> {
        let value = self.get();
        condition.holds(value).then_some(value)
    }

    pub(crate) fn lock(&self) -> Guard<'_, Option<Box<Table<G>>>> {
        self.table.lock()
    }

    /// How a registration ends if the event is closed.
    pub(crate) fn closed_for(
        &self,
        table: &Table<G>,
        condition: Condition,
    ) -> Option<Result<u64, Closed>> {
        let closed = table.closed.filter(|_| !mutant::REGISTER_AFTER_CLOSE)?;
        Some(if condition.holds(closed.last) {
            Ok(closed.last)
        } else {
            Err(closed)
        })
    }

    /// Publishes a new waiter, then takes its decisive look at the value (rule 2).
    pub(crate) fn publish_and_check(&self, table: &Table<G>, condition: Condition) -> Option<u64> {
        let early = mutant::LOW_AFTER_CHECK.then(|| self.word.get());
        let low = table.low();
        if low < self.word.low() {
            self.word.publish_low(low);
        }
        table.observer.iter().for_each(Observer::tell);
        if mutant::NO_RECHECK {
            return None;
        }
        let value = early.unwrap_or_else(|| self.word.get());
        condition.holds(value).then_some(value)
    }

    /// Takes out those whom an update that produced `value` satisfies (rule 3). Where one waits, as for most events, no
    /// list is made.
    #[inline]
    fn take_only(&self, value: u64) -> Result<Only<G>, Closed> {
        let mut guard = self.table.lock();
        let Some(table) = guard.as_deref_mut() else {
            return Ok(Only::Nobody);
        };
        if let Some(closed) = table.closed {
            return Err(closed);
        }
        let value = if mutant::EVAL_CURRENT_VALUE {
            self.word.get()
        } else {
            value
        };
        if let Some(only) = table.take_only(value) {
            return Ok(Only::One(only));
        }
        let mut list = Box::new(WokenList::new());
        table.take_met(value, &mut list);
        if list.is_empty() {
            self.raise(table.low(), guard);
            return Ok(Only::Nobody);
        }
        Ok(Only::Several(list))
    }

    /// Raises `low` to what it should be (rule 1).
    fn raise(&self, low: u64, guard: Guard<'_, Option<Box<Table<G>>>>) {
        if mutant::LOW_UNLOCKED {
            drop(guard);
        }
        if low != self.word.low() {
            self.word.publish_low(low);
        }
    }

    /// Closes (rule 4); `None` if that was done before.
    fn take_all(&self, reason: CloseReason) -> Option<WokenList<(G, Outcome)>> {
        let mut guard = self.table.lock();
        let table = guard.get_or_insert_default();
        if table.closed.is_some() {
            return None;
        }
        let early = mutant::LAST_BEFORE_LOW.then(|| self.word.get());
        self.closed.store(true, Ordering::SeqCst);
        if !mutant::CLOSE_WITHOUT_LOW {
            self.word.publish_low(EventWord::ALWAYS);
        }
        let last = early.unwrap_or_else(|| self.word.get());
        Some(table.close(Closed { last, reason }))
    }

    #[inline]
    fn frozen(&self) -> Option<Closed> {
        if mutant::CLOSE_NOT_FROZEN {
            None
        } else {
            self.closed()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rule_1_10_an_event_that_nobody_waited_for_owns_nothing() {
        let event: Event = Event::new(3);
        event.add(1).unwrap();
        event.set(7).unwrap();
        event.observe(None);
        assert_eq!((event.get(), event.waiters()), (7, 0));
        event.reopen(0);
        assert!(event.lock().is_none());
    }
}
