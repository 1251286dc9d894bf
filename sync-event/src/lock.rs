//! The short lock around an event's waiters: one byte, one read-modify-write to take, one store to release.
//!
//! Rules:
//!
//! 1. `held` is true from a successful exchange (acquire) until the guard is dropped (release).
//! 2. Only the guard reaches the value.
//!
//! It is held for a few dozen nanoseconds and never while foreign code runs (wakers, gates, allocation aside), so
//! whoever finds it held spins a little and then yields the processor; nobody parks. A full mutex costs a second
//! read-modify-write at release, 3 ns of a wake's 50.
//!
//! Loom cannot follow a spinning thread: under it `lock` waits for a turn at a lock of loom's first, and the byte
//! itself is checked by the model `lock_hands_over`, through `try_lock`.

use core::fmt;
use core::marker::PhantomData;
use core::ops::{Deref, DerefMut};

use crate::mutant;
use crate::sync::atomic::{AtomicBool, Ordering};
use crate::sync::{cell::UnsafeCell, spin_loop, thread};

/// A value that one thread at a time reaches.
pub struct Lock<T> {
    #[cfg(dpa_loom)]
    turn: crate::sync::Mutex<()>,
    held: AtomicBool,
    value: UnsafeCell<T>,
}

/// Holds the lock until dropped.
///
/// It is shared between threads only if what it reaches may be:
///
/// ```compile_fail,E0277
/// fn shared<T: Sync>(_: &T) {}
/// let lock = sync_event::lock::Lock::new(std::cell::Cell::new(0));
/// shared(&lock.lock());
/// ```
pub struct Guard<'a, T> {
    lock: &'a Lock<T>,
    /// It gives `&mut T`: shared with another thread only if `T` may be.
    value: PhantomData<&'a mut T>,
    #[cfg(dpa_loom)]
    _turn: Option<crate::sync::MutexGuard<'a, ()>>,
}

// SAFETY: rule 1 lets one guard exist at a time, and only a guard gives references to the value; so sharing the
// lock hands the value from thread to thread, which `T: Send` allows.
unsafe impl<T: Send> Sync for Lock<T> {}

/// Looks at a held lock before the processor is yielded.
const SPINS: u32 = 32;

impl<T> Lock<T> {
    /// An open lock around `value`.
    pub fn new(value: T) -> Self {
        Self {
            #[cfg(dpa_loom)]
            turn: crate::sync::Mutex::new(()),
            held: AtomicBool::new(false),
            value: UnsafeCell::new(value),
        }
    }

    /// Waits for the lock.
    #[inline]
    pub fn lock(&self) -> Guard<'_, T> {
        #[cfg(dpa_loom)]
        let _turn = Some(self.turn.lock());
        if !self.take() {
            self.contend();
        }
        Guard {
            lock: self,
            value: PhantomData,
            #[cfg(dpa_loom)]
            _turn,
        }
    }

    /// Takes the lock if it is open.
    #[cfg(dpa_loom)]
    pub fn try_lock(&self) -> Option<Guard<'_, T>> {
        self.take().then(|| Guard {
            lock: self,
            value: PhantomData,
            _turn: None,
        })
    }

    #[inline]
    fn take(&self) -> bool {
        self.held
            .compare_exchange(false, true, Ordering::Acquire, Ordering::Relaxed)
            .is_ok()
    }

    #[cold]
    fn contend(&self) {
        let mut spins = 0;
        while self.held.load(Ordering::Relaxed) || !self.take() {
            if spins < SPINS {
                spins += 1;
                spin_loop();
            } else {
                thread::yield_now();
            }
        }
    }
}

impl<T> Drop for Guard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        let order = if mutant::UNLOCK_RELAXED {
            Ordering::Relaxed
        } else {
            Ordering::Release
        };
        self.lock.held.store(false, order);
    }
}

impl<T> Deref for Guard<'_, T> {
    type Target = T;
    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: rule 2: this guard is the only one, and gives a shared reference for a shared borrow of itself.
        self.lock.value.with(|value| unsafe { &*value })
    }
}

impl<T> DerefMut for Guard<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: rule 2: this guard is the only one, and is mutably borrowed for as long as the reference lives.
        self.lock.value.with_mut(|value| unsafe { &mut *value })
    }
}

impl<T> fmt::Debug for Lock<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Lock")
    }
}
