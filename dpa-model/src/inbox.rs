//! The inbox of the scheduler: launches that became ready, from any thread, taken all at once by a worker.
//!
//! An intrusive stack: pushing links the launch in front of the last one, taking swaps the whole chain out and
//! reverses it, so nothing is ever popped singly and no node can come back while someone looks at it.
//!
//! Rules:
//! 1. A launch is in at most one inbox, and only between its opening (waiting to ready) and its taking.
//! 2. The inbox owns one count of the `Arc` of each launch in it.
//! 3. `link` of a launch is written only by the thread that pushes it, before the push, and read only by the thread
//!    that has taken it.

use core::ptr;

use sync_event::sync::Arc;
use sync_event::sync::atomic::{AtomicPtr, Ordering};

use crate::launch::Launch;

/// Launches on their way to the ready queues.
#[derive(Debug)]
pub struct Inbox {
    head: AtomicPtr<Launch>,
}

impl Default for Inbox {
    fn default() -> Self {
        Self::new()
    }
}

impl Inbox {
    /// An empty inbox.
    pub fn new() -> Self {
        Self {
            head: AtomicPtr::new(ptr::null_mut()),
        }
    }

    /// Puts a launch in. The caller then tells the workers (`Idle::notify`), which checks behind this publication.
    pub fn push(&self, launch: Arc<Launch>) {
        let node = Arc::into_raw(launch).cast_mut();
        let mut head = self.head.load(Ordering::Relaxed);
        loop {
            // SAFETY: rule 2: the count taken by `into_raw` keeps the launch alive; rule 3: nobody else writes `link`.
            unsafe { &*node }.link.store(head, Ordering::Relaxed);
            let pushed = dpa_abi::sync::publish(|| {
                self.head
                    .compare_exchange_weak(head, node, Self::PUSH_ORDER, Ordering::Relaxed)
            });
            match pushed {
                Ok(_) => return,
                Err(now) => head = now,
            }
        }
    }

    #[cfg(not(dpa_mutant = "inbox_push_relaxed"))]
    const PUSH_ORDER: Ordering = Ordering::SeqCst;
    #[cfg(dpa_mutant = "inbox_push_relaxed")]
    const PUSH_ORDER: Ordering = Ordering::Relaxed;

    /// Whether there is nothing in it at the moment.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.head.load(Ordering::SeqCst).is_null()
    }

    /// Takes everything, in the order it was put in.
    pub fn take_all(&self, mut each: impl FnMut(Arc<Launch>)) {
        if self.head.load(Ordering::Relaxed).is_null() {
            return;
        }
        let mut node = self.head.swap(ptr::null_mut(), Ordering::Acquire);
        let mut reversed: *mut Launch = ptr::null_mut();
        while !node.is_null() {
            // SAFETY: rules 2 and 3: this thread has taken the chain, the launches in it are alive and its own.
            let link = &unsafe { &*node }.link;
            let next = link.load(Ordering::Relaxed);
            link.store(reversed, Ordering::Relaxed);
            reversed = node;
            node = next;
        }
        while !reversed.is_null() {
            // SAFETY: rule 2: each node carries one count, which is given to `each` here, once.
            let launch = unsafe { Arc::from_raw(reversed.cast_const()) };
            reversed = launch.link.load(Ordering::Relaxed);
            each(launch);
        }
    }
}

impl Drop for Inbox {
    fn drop(&mut self) {
        self.take_all(drop);
    }
}

#[cfg(all(test, not(dpa_loom)))]
mod tests;
