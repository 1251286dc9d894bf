//! Host waits of one event: futures, and threads that block on one.
//!
//! A task's slot outlives its place among the waiters: an update moves the slot from `Waiting` to `Done`, and the
//! future takes the outcome out when it is polled, cancelled or dropped. So an outcome has a home without an
//! allocation per wait, and an update that came first wins over a cancellation.

use alloc::vec::Vec;
use core::task::Waker;

use crate::mutant;
use crate::waiters::Waiters;
use crate::{Condition, Outcome, WaiterId};

/// Names a task of one event. Owned by one future, which gives it back by [`Tasks::remove`].
#[derive(Debug)]
pub struct TaskId(u32);

#[derive(Debug)]
enum Task {
    Free { next: u32 },
    Waiting { waiter: WaiterId, waker: Waker },
    Done(Outcome),
}

/// The end of the list of free slots.
const END: u32 = u32::MAX;

#[derive(Debug)]
pub(crate) struct Tasks {
    waiters: Waiters<u32>,
    slots: Vec<Task>,
    first_free: u32,
}

impl Tasks {
    pub(crate) const fn new() -> Self {
        Self {
            waiters: Waiters::new(),
            slots: Vec::new(),
            first_free: END,
        }
    }

    /// How many still wait.
    pub(crate) fn len(&self) -> usize {
        self.waiters.len()
    }

    pub(crate) fn low(&self) -> u64 {
        self.waiters.low()
    }

    pub(crate) fn insert(&mut self, condition: Condition, seq: u64, waker: Waker) -> TaskId {
        let index = self.next_index();
        let waiter = self.waiters.insert(condition, seq, |_| index);
        let task = Task::Waiting { waiter, waker };
        match self.slots.get_mut(index as usize) {
            Some(slot) => {
                if let Task::Free { next } = *slot {
                    self.first_free = next;
                }
                *slot = task;
            }
            None => self.slots.push(task),
        }
        TaskId(index)
    }

    /// Ends the task if it has its outcome.
    pub(crate) fn take_outcome(&mut self, id: TaskId) -> Result<Outcome, TaskId> {
        let Task::Done(outcome) = self.slots[id.0 as usize] else {
            return Err(id);
        };
        self.free(id);
        Ok(outcome)
    }

    /// Whether waking this task wakes `waker`.
    pub(crate) fn wakes(&self, id: &TaskId, waker: &Waker) -> bool {
        match &self.slots[id.0 as usize] {
            Task::Waiting { waker: kept, .. } => mutant::WAKER_KEPT || kept.will_wake(waker),
            _ => false,
        }
    }

    /// Replaces the waker of a task that waits; gives back the one to drop.
    pub(crate) fn set_waker(&mut self, id: &TaskId, new: Waker) -> Waker {
        match &mut self.slots[id.0 as usize] {
            Task::Waiting { waker, .. } => core::mem::replace(waker, new),
            _ => new,
        }
    }

    /// Ends the task: its outcome, or else its waker to drop.
    pub(crate) fn remove(&mut self, id: TaskId) -> Result<Outcome, Waker> {
        match self.free(id) {
            Task::Done(outcome) => Ok(outcome),
            Task::Waiting { waiter, waker } => {
                self.waiters.remove(waiter);
                Err(waker)
            }
            Task::Free { .. } => unreachable!("a future owns its task"),
        }
    }

    /// Ends the waits that `value` satisfies.
    pub(crate) fn take_met(&mut self, value: u64, mut woken: impl FnMut(u64, Waker)) {
        let slots = &mut self.slots;
        self.waiters.take_met(value, |seq, index| {
            if let Some(waker) = finish(slots, index, Ok(value)) {
                woken(seq, waker);
            }
        });
    }

    /// Ends all waits.
    pub(crate) fn take_all(&mut self, outcome: Outcome, mut woken: impl FnMut(u64, Waker)) {
        for (seq, index) in core::mem::take(&mut self.waiters).into_all() {
            if let Some(waker) = finish(&mut self.slots, index, outcome) {
                woken(seq, waker);
            }
        }
    }

    fn free(&mut self, id: TaskId) -> Task {
        let freed = Task::Free {
            next: self.first_free,
        };
        self.first_free = id.0;
        core::mem::replace(&mut self.slots[id.0 as usize], freed)
    }

    fn next_index(&self) -> u32 {
        if self.first_free == END {
            self.slots.len() as u32
        } else {
            self.first_free
        }
    }
}

fn finish(slots: &mut [Task], index: u32, outcome: Outcome) -> Option<Waker> {
    match core::mem::replace(&mut slots[index as usize], Task::Done(outcome)) {
        Task::Waiting { waker, .. } => Some(waker),
        _ => None,
    }
}
