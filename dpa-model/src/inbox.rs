//! The inbox of the scheduler: launches that became ready, from any thread, taken by a worker, many at a time.
//!
//! They lie side by side in a ring (`inbox/ring.rs`): a worker that takes what another core has put in gets eight of them with
//! each line of memory, and fetches the launches themselves all at once. What does not fit goes to an intrusive stack, and
//! so does what comes behind it: pushing links the launch in front of the last one, taking swaps the whole chain out and reverses
//! it, so nothing is ever popped singly and no node can come back while someone looks at it. Mostly all come in the order they were
//! put in; the ready queues order them by their numbers.
//!
//! Rules:
//! 1. A launch is in at most one inbox, and only between its opening (waiting to ready) and its taking.
//! 2. The inbox owns one count of the `Arc` of each launch in it.
//! 3. `link` of a launch is written only by the thread that pushes it, before the push, and read only by the thread
//!    that has taken it.
//! 4. One thread at a time takes: it holds the lock of the scheduler.

pub mod ring;

use core::ptr;

use crossbeam::utils::CachePadded;
use sync_event::sync::Arc;
use sync_event::sync::atomic::{AtomicPtr, Ordering};

use crate::launch::Launch;
use ring::{Ring, SLOTS};

/// Launches that are fetched at a time.
const AT_ONCE: usize = 16;

/// Launches on their way to the ready queues.
#[derive(Debug)]
pub struct Inbox {
    ring: Ring<Launch>,
    /// The launches for which there was no room.
    rest: CachePadded<AtomicPtr<Launch>>,
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
            ring: Ring::new(),
            rest: CachePadded::new(AtomicPtr::new(ptr::null_mut())),
        }
    }

    /// Puts a launch in. The caller then tells the workers (`Idle::notify`), which checks behind this publication.
    pub fn push(&self, launch: Arc<Launch>) {
        let node = Arc::into_raw(launch).cast_mut();
        // Behind those that did not fit: so what one thread puts in mostly comes in order.
        let room = self.rest.load(Ordering::Relaxed).is_null();
        if !(room && self.ring.push(node)) {
            self.push_rest(node);
        }
    }

    #[cold]
    fn push_rest(&self, node: *mut Launch) {
        let mut head = self.rest.load(Ordering::Relaxed);
        loop {
            // SAFETY: rule 2: the count taken by `into_raw` keeps the launch alive; rule 3: nobody else writes `link`.
            unsafe { &*node }.link.store(head, Ordering::Relaxed);
            let pushed = dpa_abi::sync::publish(|| {
                self.rest
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
        self.ring.is_empty() && self.rest.load(Ordering::SeqCst).is_null()
    }

    /// Takes everything that was there (rule 4).
    pub fn take_all(&self, mut each: impl FnMut(Arc<Launch>)) {
        let mut taken = [ptr::null_mut(); AT_ONCE];
        for _ in 0..SLOTS.div_ceil(AT_ONCE) {
            let count = self.ring.take(&mut taken);
            for &node in &taken[..count] {
                // SAFETY: rule 2: each node carries one count, which is given to `each` here, once: the ring gives it once.
                each(unsafe { Arc::from_raw(node.cast_const()) });
            }
            if count < AT_ONCE {
                break;
            }
        }
        if !self.rest.load(Ordering::SeqCst).is_null() {
            self.take_rest(each);
        }
    }

    #[cold]
    fn take_rest(&self, mut each: impl FnMut(Arc<Launch>)) {
        let mut node = self.rest.swap(ptr::null_mut(), Ordering::Acquire);
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
