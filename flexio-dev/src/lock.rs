//! A lock in device memory.
//!
//! Two words: the next ticket, and the ticket that is served. Who locks takes a ticket and waits until it is served; who
//! unlocks serves the next. So threads get it in the order in which they asked for it.
//!
//! A thread that waits for it holds its execution unit and lets others run at every look. A thread that ends while it holds
//! the lock, by a fault or in any other way, gives it back as its stack is unwound.

use dpa_abi::port::{Ops, Space};

use crate::context::ThreadContext;
use crate::view::AtomicSlice;

/// Words that one lock takes.
const WORDS: usize = 2;
const NEXT: usize = 0;
const SERVED: usize = 1;

/// A lock in device memory: two words, zero while nobody has ever locked it.
///
/// What a thread stores to the heap while it holds the lock is seen by whoever locks it next.
///
/// ```
/// use flexio_dev::{AtomicSlice, DevSliceMut, SpinLock, ThreadContext};
///
/// /// Many threads, one counter that is no atomic.
/// fn count<'t>(
///     thread: &'t ThreadContext<'t>,
///     words: AtomicSlice<'t, u32>,
///     total: DevSliceMut<'t, u64>,
/// ) {
///     let lock = SpinLock::new(thread, words, 0);
///     let held = lock.lock();
///     total.write(0, total.read_volatile(0) + 1);
///     drop(held);
/// }
/// ```
#[doc(alias = "spinlock_s")]
#[doc(alias = "spin_init")]
#[derive(Clone, Copy, Debug)]
pub struct SpinLock<'t> {
    thread: &'t ThreadContext<'t>,
    words: AtomicSlice<'t, u32>,
}

impl<'t> SpinLock<'t> {
    /// Lock number `index` of those that stand in `words`, two words each; a fault if there are not so many.
    #[track_caller]
    pub fn new(thread: &'t ThreadContext<'t>, words: AtomicSlice<'t, u32>, index: usize) -> Self {
        let words = words.part(index.saturating_mul(WORDS), WORDS);
        Self { thread, words }
    }

    /// Waits until it is this thread's turn. A thread that locks it twice waits for itself: its kernel never ends.
    #[doc(alias = "spin_lock")]
    pub fn lock(&self) -> SpinGuard<'t> {
        let ticket = self.words.at(NEXT).add(1);
        while self.words.at(SERVED).load() != ticket {
            core::hint::spin_loop();
            self.thread.yield_now();
        }
        self.held(ticket)
    }

    /// Locks it if nobody holds it or waits for it.
    #[doc(alias = "spin_trylock")]
    pub fn try_lock(&self) -> Option<SpinGuard<'t>> {
        let served = self.words.at(SERVED).load();
        let taken = self
            .words
            .at(NEXT)
            .compare_exchange(served, served.wrapping_add(1));
        taken.ok().map(|ticket| self.held(ticket))
    }

    /// Whether somebody holds it now.
    pub fn is_locked(&self) -> bool {
        self.words.at(NEXT).load() != self.words.at(SERVED).load()
    }

    fn held(&self, ticket: u32) -> SpinGuard<'t> {
        self.thread.fence(Space::Heap, Ops::R, Ops::Rw);
        SpinGuard {
            lock: *self,
            ticket,
        }
    }
}

/// A lock that is held. Dropping it lets the next thread have it.
#[must_use = "the lock is given back when this is dropped"]
#[derive(Debug)]
pub struct SpinGuard<'t> {
    lock: SpinLock<'t>,
    ticket: u32,
}

impl SpinGuard<'_> {
    /// How often the lock had been taken before, modulo 2^32.
    pub fn ticket(&self) -> u32 {
        self.ticket
    }
}

impl Drop for SpinGuard<'_> {
    #[doc(alias = "spin_unlock")]
    fn drop(&mut self) {
        self.lock.thread.fence(Space::Heap, Ops::Rw, Ops::W);
        let next = self.ticket.wrapping_add(1);
        self.lock.words.at(SERVED).store(next);
    }
}
