//! What follows behind the lock of the scheduler.

use sync_event::sync::Arc;

use super::{Seat, Tenant};
use crate::launch::Launch;

/// What follows when units were given back or work was looked for, once the lock is released. Whoever is told is foreign code.
#[must_use = "who waits for the units must be told"]
pub struct After<P: Tenant> {
    /// The seat of a dismissed process that has no threads any more: it is dropped.
    pub(super) gone: Option<Seat<P>>,
    /// A closing process, to be told.
    pub(super) closing: Option<Arc<P>>,
    pub(super) strays: Strays<P>,
}

/// Launches that came for processes that are dismissed. They end when this is dropped, or are dropped if their process is gone: without
/// the lock, for what that runs is foreign code, which may come back here.
pub(super) struct Strays<P: Tenant>(pub(super) Vec<Stray<P>>);

/// One of them, and its process, if that is there.
pub(super) type Stray<P> = (Option<Arc<P>>, Arc<Launch>);

impl<P: Tenant> Drop for Strays<P> {
    fn drop(&mut self) {
        for (process, launch) in self.0.drain(..) {
            if let Some(process) = process {
                P::never_starts(&process, &launch);
            }
        }
    }
}

impl<P: Tenant> After<P> {
    pub(super) fn nothing() -> Self {
        Self {
            gone: None,
            closing: None,
            strays: Strays(Vec::new()),
        }
    }

    /// Whether there is nothing to be done.
    pub(crate) fn is_nothing(&self) -> bool {
        self.gone.is_none() && self.closing.is_none() && self.strays.0.is_empty()
    }

    pub(crate) fn follow(self) {
        if let Some(process) = &self.closing {
            process.units_back();
        }
        drop(self.strays);
        if let Some(seat) = &self.gone {
            seat.process.gone();
        }
    }
}
