//! The direct hand-over: the one launch that the end of another has opened, to run next on the same worker.
//!
//! Rules:
//! 1. One launch at most is handed over at a time. If the same update opens more, all of them go to the queue, where
//!    their numbers order them.
//! 2. At most [`STREAK`] hand-overs in a row; then the successor goes through the queue, so that others get their turn.
//! 3. It is offered only while nothing else is ready: then it is the head of its queue (SEMANTICS 2.2).
//! 4. What is kept is started already, in one step: it can no longer be cancelled.

use std::cell::Cell;

use sync_event::sync::Arc;

use crate::launch::Launch;

/// Hand-overs in a row.
pub const STREAK: u32 = 4096;

/// The place where a worker keeps the launch it runs next.
#[derive(Default)]
pub struct Handover {
    next: Cell<Option<Arc<Launch>>>,
    streak: Cell<u32>,
}

impl Handover {
    /// Offers a launch whose gate was opened. `direct`: whether nothing else is ready. What is kept here is started;
    /// what is not is given to `queue`, ready, unless it was cancelled; true if something was.
    pub fn offer(
        &self,
        launch: Arc<Launch>,
        direct: bool,
        mut queue: impl FnMut(Arc<Launch>),
    ) -> bool {
        let before = self.next.take();
        if before.is_none() && direct && self.streak.get() < STREAK {
            if launch.open_and_start() {
                self.streak.set(self.streak.get() + 1);
                self.next.set(Some(launch));
            }
            return false;
        }
        self.streak.set(0);
        let before = before.filter(|before| before.unstart());
        let launch = Some(launch).filter(|launch| launch.open());
        let queued = before.is_some() || launch.is_some();
        before.into_iter().chain(launch).for_each(&mut queue);
        queued
    }

    /// Whether what ran may go on once more without the queue: another run of the same (rule 2). It counts if `go_on` does.
    #[inline]
    pub fn go_on(&self, go_on: impl FnOnce() -> bool) -> bool {
        let may = self.is_free() && self.streak.get() < STREAK;
        let goes = may && go_on();
        if goes {
            self.streak.set(self.streak.get() + 1);
        }
        goes
    }

    /// Whether nothing is kept.
    pub fn is_free(&self) -> bool {
        let next = self.next.take();
        let free = next.is_none();
        self.next.set(next);
        free
    }

    /// Takes the launch that runs next; it is started.
    pub fn take(&self) -> Option<Arc<Launch>> {
        self.next.take()
    }

    /// The worker took something from the queue.
    pub fn end_streak(&self) {
        self.streak.set(0);
    }
}

#[cfg(all(test, not(dpa_loom)))]
mod tests;
