//! Futures that wait for a condition.
//!
//! States of a wait: `Start` (nothing registered) -> `Waiting` (a task of the event) -> `Over`. A wait that is
//! cancelled without an outcome is back at `Start`.

use core::fmt;
use core::future::Future;
use core::ops::Deref;
use core::pin::Pin;
use core::task::{Context, Poll, Waker};

use crate::mutant;
use crate::tasks::TaskId;
use crate::{Condition, Event, Gate, Outcome};

/// A wait for a condition on a borrowed event; made by [`Event::wait`].
pub type Wait<'a, G> = WaitOwned<&'a Event<G>>;

/// A wait for a condition on an event that it holds, for example by an `Arc`.
///
/// A future of the [`Outcome`]. It registers at its first poll that finds the condition not to hold.
///
/// # Cancel safety
///
/// Dropping it unlinks the wait and loses only the outcome: the value stays in the event. Who must not lose an
/// outcome that was there already calls [`WaitOwned::cancel`] first.
///
/// # Panics
///
/// When polled again after it was ready. With more than 2^29 tasks that wait at the event.
#[must_use = "futures do nothing unless awaited"]
pub struct WaitOwned<A>
where
    A: Deref<Target: sealed::Waits>,
{
    event: A,
    condition: Condition,
    state: State,
}

enum State {
    Start,
    Waiting(TaskId),
    Over,
}

impl<A: Deref<Target: sealed::Waits>> WaitOwned<A> {
    /// A wait for `condition` on the event that `event` refers to.
    pub fn new(event: A, condition: Condition) -> Self {
        Self {
            event,
            condition,
            state: State::Start,
        }
    }

    /// The event it waits at.
    pub fn event(&self) -> &A::Target {
        &self.event
    }

    /// What it waits for.
    pub fn condition(&self) -> Condition {
        self.condition
    }

    /// Unlinks the wait. An outcome that came before the unlinking is returned, so that it wins over whatever
    /// ends the wait here. Without one the wait may be polled again, and then registers anew.
    pub fn cancel(&mut self) -> Option<Outcome> {
        use sealed::Waits;
        let State::Waiting(task) = core::mem::replace(&mut self.state, State::Start) else {
            return None;
        };
        let outcome = self.event.unlink(task);
        if outcome.is_some() {
            self.state = State::Over;
        }
        outcome
    }
}

impl<A: Deref<Target: sealed::Waits> + Unpin> Future for WaitOwned<A> {
    type Output = Outcome;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Outcome> {
        use sealed::Waits;
        let this = self.get_mut();
        let polled = match core::mem::replace(&mut this.state, State::Over) {
            State::Start => this.event.link(this.condition, cx.waker()),
            State::Waiting(task) => this.event.poll_again(task, cx.waker()),
            State::Over => panic!("a wait was polled after it was ready"),
        };
        match polled {
            Ok(outcome) => Poll::Ready(outcome),
            Err(task) => {
                this.state = State::Waiting(task);
                Poll::Pending
            }
        }
    }
}

impl<A: Deref<Target: sealed::Waits>> Drop for WaitOwned<A> {
    fn drop(&mut self) {
        self.cancel();
    }
}

impl<A: Deref<Target: sealed::Waits>> fmt::Debug for WaitOwned<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Wait({})", self.condition)
    }
}

impl<G: Gate> Event<G> {
    /// A future that is ready once `condition` is met, or the event is closed before.
    ///
    /// # Cancel safety
    ///
    /// See [`WaitOwned`].
    pub fn wait(&self, condition: Condition) -> Wait<'_, G> {
        Wait::new(self, condition)
    }
}

impl<G: Gate> sealed::Waits for Event<G> {
    fn link(&self, condition: Condition, waker: &Waker) -> Result<Outcome, TaskId> {
        if let Some(value) = self.holds_now(condition) {
            return Ok(Ok(value));
        }
        // Wakers are foreign code: cloned before the lock is taken, dropped after it is released.
        let waker = waker.clone();
        let _unused;
        let mut guard = self.lock();
        let table = guard.get_or_insert_default();
        if let Some(outcome) = self.closed_for(table, condition) {
            _unused = Err(Some(waker));
            return Ok(outcome);
        }
        let seq = table.take_seq();
        let task = table.tasks.insert(condition, seq, waker);
        let Some(value) = self.publish_and_check(table, condition) else {
            return Err(task);
        };
        _unused = table.tasks.remove(task);
        Ok(Ok(value))
    }

    fn poll_again(&self, task: TaskId, waker: &Waker) -> Result<Outcome, TaskId> {
        let mut guard = self.lock();
        let tasks = &mut guard.get_or_insert_default().tasks;
        let task = match tasks.take_outcome(task) {
            Ok(outcome) => return Ok(outcome),
            Err(task) => task,
        };
        if tasks.wakes(&task, waker) {
            return Err(task);
        }
        drop(guard);
        self.replace_waker(task, waker.clone())
    }

    fn unlink(&self, task: TaskId) -> Option<Outcome> {
        let mut guard = self.lock();
        let removed = guard.get_or_insert_default().tasks.remove(task);
        drop(guard);
        removed.ok().filter(|_| !mutant::CANCEL_NO_CHECK)
    }
}

impl<G: Gate> Event<G> {
    /// The lock was released to clone the waker, so the outcome may have come meanwhile.
    fn replace_waker(&self, task: TaskId, new: Waker) -> Result<Outcome, TaskId> {
        let mut guard = self.lock();
        let tasks = &mut guard.get_or_insert_default().tasks;
        let task = match tasks.take_outcome(task) {
            Ok(outcome) => return Ok(outcome),
            Err(task) => task,
        };
        let old = tasks.set_waker(&task, new);
        drop(guard);
        drop(old);
        Err(task)
    }
}

pub(crate) mod sealed {
    use super::{Condition, Outcome, TaskId, Waker};

    /// What a future asks of an event. `Err`: it waits on, as this task.
    pub trait Waits {
        /// The first poll: registers unless the wait is over at once.
        fn link(&self, condition: Condition, waker: &Waker) -> Result<Outcome, TaskId>;
        /// Later polls: the outcome, or the waker to call for it.
        fn poll_again(&self, task: TaskId, waker: &Waker) -> Result<Outcome, TaskId>;
        /// Ends the task; an outcome that came before is returned.
        fn unlink(&self, task: TaskId) -> Option<Outcome>;
    }
}
