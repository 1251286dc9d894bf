//! The completion queues that trigger a handler, as that knows them.

use std::sync::{Arc, Weak};

use super::DeviceNic;
use crate::handler::Handler;

/// A completion queue that triggers a handler. It may be gone, and another have its key.
#[derive(Debug)]
pub(crate) struct QueueOf {
    pub(crate) nic: Weak<DeviceNic>,
    pub(super) key: usize,
}

impl PartialEq for QueueOf {
    fn eq(&self, other: &Self) -> bool {
        self.key == other.key && Weak::ptr_eq(&self.nic, &other.nic)
    }
}

impl QueueOf {
    /// This handler takes no trigger any more: it is detached if it is attached, and tasks that wait at the queue are woken. Their
    /// question may have been taken with its own.
    pub(crate) fn leave(&self, handler: &Handler) {
        let Some(nic) = self.nic.upgrade() else {
            return;
        };
        let detached = nic.with(|engine| {
            let world = &mut engine.world;
            let ring = world.queues.get_mut(self.key)?;
            let detached =
                ring.detach_if(|attached| std::ptr::eq(Arc::as_ptr(attached), handler))?;
            let woken = ring.wake_readers();
            woken.into_iter().for_each(|after| world.later(after));
            Some(detached)
        });
        drop(detached);
    }
}
