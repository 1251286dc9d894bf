//! The inbox of the scheduler: launches that became ready, from any thread, taken by a worker, many at a time.
//!
//! They lie side by side in a ring (`inbox/ring.rs`): a worker that takes what another core has put in gets eight of them with
//! each line of memory. What does not fit goes to a list behind a lock, and so does what comes behind it. Mostly all come in the
//! order they were put in; the ready queues order them by their numbers.
//!
//! Rules:
//! 1. A launch is in at most one inbox, and only between its opening (waiting to ready) and its taking.
//! 2. The ring owns one count of the `Arc` of each launch in it.
//! 3. One thread at a time takes: it holds the lock of the scheduler.
//! 4. `crowded` counts what is in the list. It is raised by a sequentially consistent read-modify-write, behind the launch, for who
//!    puts one in looks then whether a worker sleeps.

pub mod ring;

use core::ptr;

use crossbeam::utils::CachePadded;
use sync_event::sync::atomic::{AtomicUsize, Ordering};
use sync_event::sync::{Arc, Mutex};

use crate::launch::Launch;
use crate::prefetch;
use ring::{PUSH_ORDER, Ring, SLOTS};

/// Launches that are taken out of the ring at a time.
const AT_ONCE: usize = 16;

/// Launches on their way to the ready queues.
#[derive(Debug)]
pub struct Inbox {
    ring: Ring<Launch>,
    crowded: CachePadded<AtomicUsize>,
    /// The launches for which there was no room.
    rest: Mutex<Vec<Arc<Launch>>>,
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
            crowded: CachePadded::new(AtomicUsize::new(0)),
            rest: Mutex::new(Vec::new()),
        }
    }

    /// Puts a launch in. The caller then tells the workers (`Idle::notify`), which checks behind this publication.
    pub fn push(&self, launch: Arc<Launch>) {
        // Behind those that did not fit: so what one thread puts in mostly comes in order.
        if self.crowded.load(Ordering::Relaxed) > 0 {
            return self.push_rest(launch);
        }
        let node = Arc::into_raw(launch).cast_mut();
        if !self.ring.push(node) {
            // SAFETY: rule 2: the count comes from `into_raw` above, and the ring has not taken it.
            self.push_rest(unsafe { Arc::from_raw(node.cast_const()) });
        }
    }

    #[cold]
    fn push_rest(&self, launch: Arc<Launch>) {
        let mut rest = self.rest.lock();
        rest.push(launch);
        dpa_abi::sync::publish(|| self.crowded.fetch_add(1, PUSH_ORDER));
    }

    /// Whether there is nothing in it at the moment.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.ring.is_empty() && self.crowded.load(Ordering::SeqCst) == 0
    }

    /// Takes everything that was there (rule 3). The list first: what is in it came behind what is in the ring then, so nothing is
    /// taken without what was put in before it.
    pub fn take_all(&self, mut each: impl FnMut(Arc<Launch>)) {
        let rest = match self.crowded.load(Ordering::SeqCst) {
            0 => Vec::new(),
            _ => self.take_rest(),
        };
        let mut taken = [ptr::null_mut(); AT_ONCE];
        for _ in 0..SLOTS.div_ceil(AT_ONCE) {
            let count = self.ring.take(&mut taken);
            // All of them at once: who has submitted them wrote them last, perhaps on another core.
            taken[..count]
                .iter()
                .for_each(|&node| prefetch::launch(node));
            for &node in &taken[..count] {
                // SAFETY: rule 2: each node carries one count, which is given to `each` here, once: the ring gives it once.
                each(unsafe { Arc::from_raw(node.cast_const()) });
            }
            if count < AT_ONCE {
                break;
            }
        }
        rest.into_iter().for_each(each);
    }

    #[cold]
    fn take_rest(&self) -> Vec<Arc<Launch>> {
        let mut rest = self.rest.lock();
        let taken = std::mem::take(&mut *rest);
        self.crowded.store(0, Ordering::SeqCst);
        taken
    }
}

impl Drop for Inbox {
    fn drop(&mut self) {
        self.take_all(drop);
    }
}

#[cfg(all(test, not(dpa_loom)))]
mod tests;
