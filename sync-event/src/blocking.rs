//! Waits of a whole thread: spin a bounded time, then park.

use alloc::sync::Arc;
use alloc::task::Wake;
use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll, Waker};
use std::time::Instant;

use crate::sync::{spin_loop, thread};
use crate::{Condition, Event, Gate, Outcome, Wait, mutant};

/// A wait's deadline passed first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[error("timed out at value {value}")]
pub struct TimedOut {
    /// The value then.
    pub value: u64,
}

/// Looks at the value with a pause between them: about 2 us. Loom's threads do not spin.
const PAUSES: u32 = if cfg!(dpa_loom) { 0 } else { 64 };
/// Looks with a yield between them, for the publisher may need this very core: 10 to 30 us.
const YIELDS: u32 = if cfg!(dpa_loom) { 0 } else { 32 };

impl<G: Gate> Event<G> {
    /// Blocks this thread until `condition` is met or the event is closed. Spins a bounded time, then parks. Not
    /// for threads that run futures or kernels.
    ///
    /// # Errors
    ///
    /// The event was closed before, and its last value does not satisfy the condition.
    ///
    /// # Panics
    ///
    /// With more than 2^29 tasks that wait at the event, threads among them.
    #[doc(alias = "doca_sync_event_wait_gt")]
    pub fn wait_blocking(&self, condition: Condition) -> Outcome {
        if let Some(value) = self.spin(condition) {
            return Ok(value);
        }
        let mut wait = self.wait(condition);
        let waker = thread_waker();
        loop {
            if let Some(outcome) = poll(&mut wait, &waker) {
                return outcome;
            }
            thread::park();
        }
    }

    /// As [`Event::wait_blocking`], until `deadline`. An update that came before the wait was unlinked wins over
    /// the deadline, and a condition that holds is met whatever the deadline.
    ///
    /// # Errors
    ///
    /// [`TimedOut`] with the value then. The inner result is that of [`Event::wait_blocking`].
    ///
    /// # Panics
    ///
    /// As [`Event::wait_blocking`].
    pub fn wait_deadline(
        &self,
        condition: Condition,
        deadline: Instant,
    ) -> Result<Outcome, TimedOut> {
        if let Some(value) = self.spin(condition) {
            return Ok(Ok(value));
        }
        let mut wait = self.wait(condition);
        let waker = thread_waker();
        loop {
            if let Some(outcome) = poll(&mut wait, &waker) {
                return Ok(outcome);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                let outcome = wait.cancel().filter(|_| !mutant::DEADLINE_WINS);
                return outcome.ok_or_else(|| TimedOut { value: self.get() });
            }
            thread::park_timeout(left);
        }
    }

    fn spin(&self, condition: Condition) -> Option<u64> {
        let pauses = (0..PAUSES).find_map(|_| {
            let value = self.holds_now(condition);
            spin_loop();
            value
        });
        pauses.or_else(|| {
            (0..YIELDS).find_map(|_| {
                thread::yield_now();
                self.holds_now(condition)
            })
        })
    }
}

struct Unpark(thread::Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

fn thread_waker() -> Waker {
    Waker::from(Arc::new(Unpark(thread::current())))
}

fn poll<G: Gate>(wait: &mut Wait<'_, G>, waker: &Waker) -> Option<Outcome> {
    match Pin::new(wait).poll(&mut Context::from_waker(waker)) {
        Poll::Ready(outcome) => Some(outcome),
        Poll::Pending => None,
    }
}
