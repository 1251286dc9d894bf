//! The direct hand-over: the one launch that the end of another has opened, to run next on the same worker.
//!
//! Rules:
//! 1. One launch at most is handed over at a time. If the same update opens more, all of them go to the queue, where
//!    their numbers order them.
//! 2. At most [`STREAK`] hand-overs in a row; then the successor goes through the queue, so that others get their turn.
//! 3. It is offered only while nothing else is ready: then it is the head of its queue (SEMANTICS 2.2).

use std::cell::Cell;

use sync_event::sync::Arc;

use crate::launch::Launch;

/// Hand-overs in a row.
pub const STREAK: u32 = 64;

/// The place where a worker keeps the launch it runs next.
#[derive(Default)]
pub struct Handover {
    next: Cell<Option<Arc<Launch>>>,
    streak: Cell<u32>,
}

impl Handover {
    /// Offers an opened launch. `direct`: whether nothing else is ready. What does not stay here is given to `queue`;
    /// true if something was.
    pub fn offer(
        &self,
        launch: Arc<Launch>,
        direct: bool,
        mut queue: impl FnMut(Arc<Launch>),
    ) -> bool {
        let before = self.next.take();
        if before.is_none() && direct && self.streak.get() < STREAK {
            self.streak.set(self.streak.get() + 1);
            self.next.set(Some(launch));
            return false;
        }
        self.streak.set(0);
        before.into_iter().for_each(&mut queue);
        queue(launch);
        true
    }

    /// Takes the launch that runs next.
    pub fn take(&self) -> Option<Arc<Launch>> {
        self.next.take()
    }

    /// The worker took something from the queue.
    pub fn end_streak(&self) {
        self.streak.set(0);
    }
}
