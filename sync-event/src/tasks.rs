//! Host waits of one event: futures, and threads that block on one.
//!
//! A task keeps its slot when its wait is over: an update replaces the waker in it by the outcome, and the future
//! takes the outcome out when it is polled, cancelled or dropped. So an outcome has a home without an allocation
//! per wait, and an update that came first wins over a cancellation.

use alloc::boxed::Box;
use core::task::Waker;

use crate::mutant;
use crate::waiters::{Waiters, low_of};
use crate::{Condition, EventWord, Outcome, WaiterId};

/// Names a task of one event. Owned by one future, which gives it back by [`Tasks::remove`] or
/// [`Tasks::take_outcome`].
#[derive(Debug)]
pub struct TaskId(WaiterId);

#[derive(Debug)]
enum Task {
    Waiting(Waker),
    Done(Outcome),
}

/// The one task most events have, in no slab and no index. Its identity is [`WaiterId::NOBODY`].
#[derive(Debug)]
struct Single {
    condition: Condition,
    seq: u64,
    task: Task,
}

#[derive(Debug)]
pub(crate) struct Tasks {
    single: Option<Single>,
    others: Option<Box<Waiters<Task>>>,
}

impl Tasks {
    pub(crate) const fn new() -> Self {
        Self {
            single: None,
            others: None,
        }
    }

    /// How many still wait.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        usize::from(self.waiting_single().is_some())
            + self.others.as_ref().map_or(0, |others| others.len())
    }

    #[inline]
    pub(crate) fn low(&self) -> u64 {
        let single = self
            .waiting_single()
            .map_or(EventWord::NOBODY, |s| low_of(s.condition));
        self.others
            .as_ref()
            .map_or(single, |others| single.min(others.low()))
    }

    #[inline]
    pub(crate) fn insert(&mut self, condition: Condition, seq: u64, waker: Waker) -> TaskId {
        let task = Task::Waiting(waker);
        if self.single.is_some() {
            let others = self.others.get_or_insert_with(|| Box::new(Waiters::new()));
            return TaskId(others.insert(condition, seq, |_| task));
        }
        self.single = Some(Single {
            condition,
            seq,
            task,
        });
        TaskId(WaiterId::NOBODY)
    }

    /// Ends the task if it has its outcome.
    #[inline]
    pub(crate) fn take_outcome(&mut self, id: TaskId) -> Result<Outcome, TaskId> {
        let Some(&mut Task::Done(outcome)) = self.get_mut(&id) else {
            return Err(id);
        };
        self.take(id);
        Ok(outcome)
    }

    /// Whether waking this task wakes `waker`.
    pub(crate) fn wakes(&mut self, id: &TaskId, waker: &Waker) -> bool {
        match self.get_mut(id) {
            Some(Task::Waiting(kept)) => mutant::WAKER_KEPT || kept.will_wake(waker),
            _ => false,
        }
    }

    /// Replaces the waker of a task that waits; gives back the one to drop.
    pub(crate) fn set_waker(&mut self, id: &TaskId, new: Waker) -> Waker {
        match self.get_mut(id) {
            Some(Task::Waiting(waker)) => core::mem::replace(waker, new),
            _ => new,
        }
    }

    /// Ends the task: its outcome, or else its waker to drop.
    pub(crate) fn remove(&mut self, id: TaskId) -> Result<Outcome, Option<Waker>> {
        match self.take(id) {
            Some(Task::Done(outcome)) => Ok(outcome),
            Some(Task::Waiting(waker)) => Err(Some(waker)),
            None => Err(None),
        }
    }

    /// Ends the single task's wait if `value` satisfies it and no other task waits.
    #[inline]
    pub(crate) fn take_only(&mut self, value: u64) -> Option<Waker> {
        let alone = self.others.as_ref().is_none_or(|others| others.is_empty());
        let single = self
            .single
            .as_mut()
            .filter(|s| alone && s.condition.holds(value))?;
        let mut woken = None;
        finish(&mut single.task, Ok(value), |waker| woken = Some(waker));
        woken
    }

    /// Ends the waits that `value` satisfies.
    #[inline]
    pub(crate) fn take_met(&mut self, value: u64, mut woken: impl FnMut(u64, Waker)) {
        if let Some(single) = self.single.as_mut().filter(|s| s.condition.holds(value)) {
            finish(&mut single.task, Ok(value), |waker| {
                woken(single.seq, waker);
            });
        }
        if let Some(others) = self.others.as_mut().filter(|others| !others.is_empty()) {
            others.settle_met(value, |seq, task| {
                finish(task, Ok(value), |waker| woken(seq, waker));
            });
        }
    }

    /// Ends all waits.
    pub(crate) fn take_all(&mut self, outcome: Outcome, mut woken: impl FnMut(u64, Waker)) {
        if let Some(single) = &mut self.single {
            finish(&mut single.task, outcome, |waker| woken(single.seq, waker));
        }
        if let Some(others) = &mut self.others {
            others.settle_all(|seq, task| finish(task, outcome, |waker| woken(seq, waker)));
        }
    }

    #[inline]
    fn waiting_single(&self) -> Option<&Single> {
        self.single
            .as_ref()
            .filter(|s| matches!(s.task, Task::Waiting(_)))
    }

    #[inline]
    fn get_mut(&mut self, id: &TaskId) -> Option<&mut Task> {
        match id.0 {
            WaiterId::NOBODY => self.single.as_mut().map(|s| &mut s.task),
            other => self.others.as_mut()?.get_mut(other),
        }
    }

    #[inline]
    fn take(&mut self, id: TaskId) -> Option<Task> {
        match id.0 {
            WaiterId::NOBODY => self.single.take().map(|s| s.task),
            other => self.others.as_mut()?.remove(other),
        }
    }
}

/// Gives the task its outcome, unless it has one.
#[inline]
fn finish(task: &mut Task, outcome: Outcome, woken: impl FnOnce(Waker)) {
    if let Task::Waiting(_) = task
        && let Task::Waiting(waker) = core::mem::replace(task, Task::Done(outcome))
    {
        woken(waker);
    }
}
