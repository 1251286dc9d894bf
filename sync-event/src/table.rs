//! What stands behind an event's lock: gates, tasks, and how the event was closed.

use crate::gates::Gates;
use crate::mutant;
use crate::observer::Observer;
use crate::tasks::Tasks;
use crate::woken::{Woken, WokenList};
use crate::{Closed, Condition, Outcome, WaiterId};

/// Everyone who waits for one event, gates and tasks in one order of registration.
#[derive(Debug)]
pub(crate) struct Table<G> {
    pub(crate) gates: Gates<G>,
    pub(crate) tasks: Tasks,
    pub(crate) closed: Option<Closed>,
    /// Who is told when somebody begins to wait.
    pub(crate) observer: Option<Observer>,
    next_seq: u64,
}

impl<G> Default for Table<G> {
    fn default() -> Self {
        Self {
            gates: Gates::new(),
            tasks: Tasks::new(),
            closed: None,
            observer: None,
            next_seq: 0,
        }
    }
}

impl<G> Table<G> {
    /// How many wait.
    pub(crate) fn len(&self) -> usize {
        self.gates.len() + self.tasks.len()
    }

    /// The least value an update must produce to be looked at.
    pub(crate) fn low(&self) -> u64 {
        self.gates.low().min(self.tasks.low())
    }

    pub(crate) fn insert_gate(
        &mut self,
        condition: Condition,
        make: impl FnOnce(WaiterId) -> G,
    ) -> WaiterId {
        let seq = self.take_seq();
        self.gates.insert(condition, seq, make)
    }

    pub(crate) fn take_seq(&mut self) -> u64 {
        self.next_seq += 1;
        self.next_seq
    }

    /// Ends the only wait that `value` satisfies, if that can be told at once: while either no gate or no task is
    /// reached.
    #[inline]
    pub(crate) fn take_only(&mut self, value: u64) -> Option<Woken<G>> {
        if self.gates.low() > value {
            return self.tasks.take_only(value).map(Woken::Task);
        }
        self.take_gate(value).map(Woken::Gate)
    }

    /// Takes out the only gate that `value` satisfies, if no task is reached.
    #[inline]
    pub(crate) fn take_gate(&mut self, value: u64) -> Option<G> {
        if self.tasks.low() <= value {
            return None;
        }
        self.gates.take_only(value)
    }

    /// Ends the waits that `value` satisfies, and adds them to `list`.
    #[inline]
    pub(crate) fn take_met(&mut self, value: u64, list: &mut WokenList<G>) {
        self.gates
            .take_met(value, |seq, gate| list.push(seq, Woken::Gate(gate)));
        if self.tasks.len() != 0 {
            self.tasks
                .take_met(value, |seq, waker| list.push(seq, Woken::Task(waker)));
        }
    }

    /// Ends all waits. Whose condition holds for the last value is satisfied.
    pub(crate) fn close(&mut self, closed: Closed) -> WokenList<(G, Outcome)> {
        self.closed = Some(closed);
        let mut list = WokenList::new();
        if !mutant::CLOSE_FAILS_GATES {
            let met = |seq, gate| list.push(seq, Woken::Gate((gate, Ok(closed.last))));
            self.gates.take_met(closed.last, met);
        }
        self.gates
            .take_all(|seq, gate| list.push(seq, Woken::Gate((gate, Err(closed)))));
        if !mutant::CLOSE_KEEPS_TASKS {
            let mut woken = |seq, waker| list.push(seq, Woken::Task(waker));
            self.tasks.take_met(closed.last, &mut woken);
            self.tasks.take_all(Err(closed), &mut woken);
        }
        list
    }
}
