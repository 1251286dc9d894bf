//! Copies and fills as steps of their own, in the order of launches.

use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use dpa_abi::Update;
use flexio::{Command, ProcessRef, Submitted};

use crate::buffer::BufferSlice;
use crate::error::{LaunchError, MemoryError};
use crate::event::{EventCondition, SyncEvent};
use crate::launch::{Order, TrySubmitError, Unusable};

type Outcome<R> = Arc<Mutex<Option<Result<R, MemoryError>>>>;

/// A copy or a fill to be submitted. It owns its data and keeps its buffer alive.
#[must_use = "a step does nothing until it is submitted"]
pub struct StepBuilder<R> {
    order: Order,
    outcome: Outcome<R>,
}

impl<R> fmt::Debug for StepBuilder<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StepBuilder")
            .field("step", &self.order.command.name())
            .finish_non_exhaustive()
    }
}

impl<R: Send + 'static> StepBuilder<R> {
    pub(crate) fn new<T: Send + 'static>(
        process: &ProcessRef,
        name: &'static str,
        slice: Result<BufferSlice<T>, MemoryError>,
        work: impl FnOnce(&BufferSlice<T>) -> Result<R, MemoryError> + Send + 'static,
    ) -> Self {
        let outcome: Outcome<R> = Arc::default();
        let unusable = Unusable::range(slice.as_ref().err().copied());
        let result = outcome.clone();
        let command = Command::step(name, move || {
            let done = slice.and_then(|slice| work(&slice));
            *result.lock().unwrap_or_else(PoisonError::into_inner) = Some(done);
        });
        Self {
            order: Order {
                process: process.clone(),
                command,
                unusable,
            },
            outcome,
        }
    }

    fn with(self, change: impl FnOnce(Order) -> Order) -> Self {
        Self {
            order: change(self.order),
            ..self
        }
    }

    /// Is done when the condition holds. The event is kept no more than by
    /// [`LaunchBuilder::wait_for`](crate::LaunchBuilder::wait_for).
    pub fn wait_for(self, condition: EventCondition) -> Self {
        self.with(|order| order.wait_for(&condition))
    }

    /// Adds to an event, once, when it is done.
    pub fn then_add(self, event: &SyncEvent, n: u64) -> Self {
        self.with(|order| order.then(event, Update::Add(n)))
    }

    /// Sets an event, once, when it is done.
    pub fn then_set(self, event: &SyncEvent, value: u64) -> Self {
        self.with(|order| order.then(event, Update::Set(value)))
    }

    pub(crate) fn in_stream(self, stream: Arc<flexio::Stream>) -> Self {
        self.with(|order| order.in_stream(stream))
    }

    /// Submits it. Dropping what it returns detaches.
    ///
    /// # Errors
    /// As [`LaunchBuilder::submit`](crate::LaunchBuilder::submit), or the range is not within the buffer; the step is back.
    pub fn submit(self) -> Result<Step<R>, TrySubmitError<Self>> {
        let Self { order, outcome } = self;
        match order.submit() {
            Ok(submitted) => Ok(Step { submitted, outcome }),
            Err((kind, order)) => Err(TrySubmitError::new(kind, Self { order, outcome })),
        }
    }
}

/// A step that was accepted: a future of its result, which is given once. Dropping it detaches.
pub struct Step<R> {
    submitted: Submitted,
    outcome: Outcome<R>,
}

impl<R> fmt::Debug for Step<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Step")
            .field("submitted", &self.submitted)
            .finish_non_exhaustive()
    }
}

impl<R> Step<R> {
    fn ended(&self, outcome: flexio::Outcome) -> Result<R, LaunchError> {
        if let Some(error) = LaunchError::of(outcome, &self.submitted) {
            return Err(error);
        }
        let done = self
            .outcome
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let done = done.ok_or(LaunchError::Taken)?;
        done.map_err(LaunchError::of_memory)
    }

    /// Takes it back if it was not done yet; whether it did.
    pub fn cancel(&self) -> bool {
        self.submitted.cancel()
    }

    /// Waits for its result by blocking this thread.
    ///
    /// # Errors
    /// As awaiting it; [`LaunchError::Stuck`] under a simulation in which nothing is left to run. The result is given once:
    /// who asks again gets [`LaunchError::Taken`].
    pub fn wait(&self) -> Result<R, LaunchError> {
        match self.submitted.wait() {
            Some(outcome) => self.ended(outcome),
            None => Err(LaunchError::Stuck),
        }
    }
}

impl<R> Future for Step<R> {
    type Output = Result<R, LaunchError>;
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.submitted.poll(cx).map(|outcome| self.ended(outcome))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Dpa, Error};

    #[test]
    fn a_copy_that_the_device_refuses_says_why() -> Result<(), Error> {
        let dpa = Dpa::builder().workers(1).open()?;
        let buffer = dpa.zeroed_blocking::<u8>(1)?;
        let refused = MemoryError::Range {
            first: 1,
            end: 2,
            len: 1,
        };
        for (error, said) in [
            (refused, refused.to_string()),
            (
                MemoryError::ContextClosed,
                LaunchError::ContextClosed.to_string(),
            ),
        ] {
            let slice = buffer.slice(..);
            let step =
                StepBuilder::new(dpa.process(), "fails", slice, move |_| Err::<(), _>(error));
            let ended = step.submit()?.wait().expect_err("it fails");
            assert_eq!(ended.to_string(), said);
        }
        Ok(())
    }
}
