//! Who is told that somebody begins to wait.

use alloc::sync::Arc;
use core::fmt;

/// Called whenever somebody begins to wait for an event, under the event's lock, after the waiter is published and before
/// its decisive look at the value: it must be short and must not use the event. For those who carry updates to an event
/// from where they have to look for them, and look only while somebody waits.
#[derive(Clone)]
pub struct Observer(Arc<dyn Fn() + Send + Sync>);

impl Observer {
    /// One that calls `told`.
    pub fn new(told: impl Fn() + Send + Sync + 'static) -> Self {
        Self(Arc::new(told))
    }

    pub(crate) fn tell(&self) {
        (self.0)();
    }
}

impl fmt::Debug for Observer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Observer")
    }
}
