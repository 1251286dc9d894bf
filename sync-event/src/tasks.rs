//! Host waits of one event: futures, and threads that block on one.
//!
//! A task keeps its slot when its wait is over: an update replaces the waker in it by the outcome, and the future
//! takes the outcome out when it is polled, cancelled or dropped. So an outcome has a home without an allocation
//! per wait, and an update that came first wins over a cancellation.

use core::task::Waker;

use crate::mutant;
use crate::waiters::Waiters;
use crate::{Condition, Outcome, WaiterId};

/// Names a task of one event. Owned by one future, which gives it back by [`Tasks::remove`] or
/// [`Tasks::take_outcome`].
#[derive(Debug)]
pub struct TaskId(WaiterId);

#[derive(Debug)]
enum Task {
    Waiting(Waker),
    Done(Outcome),
}

#[derive(Debug)]
pub(crate) struct Tasks(Waiters<Task>);

impl Tasks {
    pub(crate) const fn new() -> Self {
        Self(Waiters::new())
    }

    /// How many still wait.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn low(&self) -> u64 {
        self.0.low()
    }

    pub(crate) fn insert(&mut self, condition: Condition, seq: u64, waker: Waker) -> TaskId {
        TaskId(self.0.insert(condition, seq, |_| Task::Waiting(waker)))
    }

    /// Ends the task if it has its outcome.
    pub(crate) fn take_outcome(&mut self, id: TaskId) -> Result<Outcome, TaskId> {
        let Some(&mut Task::Done(outcome)) = self.0.get_mut(id.0) else {
            return Err(id);
        };
        self.0.remove(id.0);
        Ok(outcome)
    }

    /// Whether waking this task wakes `waker`.
    pub(crate) fn wakes(&mut self, id: &TaskId, waker: &Waker) -> bool {
        match self.0.get_mut(id.0) {
            Some(Task::Waiting(kept)) => mutant::WAKER_KEPT || kept.will_wake(waker),
            _ => false,
        }
    }

    /// Replaces the waker of a task that waits; gives back the one to drop.
    pub(crate) fn set_waker(&mut self, id: &TaskId, new: Waker) -> Waker {
        match self.0.get_mut(id.0) {
            Some(Task::Waiting(waker)) => core::mem::replace(waker, new),
            _ => new,
        }
    }

    /// Ends the task: its outcome, or else its waker to drop.
    pub(crate) fn remove(&mut self, id: TaskId) -> Result<Outcome, Option<Waker>> {
        match self.0.remove(id.0) {
            Some(Task::Done(outcome)) => Ok(outcome),
            Some(Task::Waiting(waker)) => Err(Some(waker)),
            None => Err(None),
        }
    }

    /// Ends the waits that `value` satisfies.
    #[inline]
    pub(crate) fn take_met(&mut self, value: u64, mut woken: impl FnMut(u64, Waker)) {
        self.0.settle_met(value, |seq, task| {
            finish(task, Ok(value), |waker| woken(seq, waker));
        });
    }

    /// Ends all waits.
    pub(crate) fn take_all(&mut self, outcome: Outcome, mut woken: impl FnMut(u64, Waker)) {
        self.0
            .settle_all(|seq, task| finish(task, outcome, |waker| woken(seq, waker)));
    }
}

#[inline]
fn finish(task: &mut Task, outcome: Outcome, woken: impl FnOnce(Waker)) {
    if let Task::Waiting(waker) = core::mem::replace(task, Task::Done(outcome)) {
        woken(waker);
    }
}
