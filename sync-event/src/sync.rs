//! The standard library's half of the façade: locks, parking, `Arc`.
//!
//! The atomics and the one mention of `loom` are in [`dpa_abi::sync`]; code between threads imports both halves
//! from here, so that `--cfg dpa_loom` checks what ships. Loom knows no time: under it a wait with a timeout
//! yields once and has timed out.

pub use dpa_abi::sync::{atomic, publish, spin_loop};

#[cfg(not(dpa_loom))]
pub use parking_lot::{Condvar, Mutex, MutexGuard, WaitTimeoutResult};
#[cfg(not(dpa_loom))]
pub use std::sync::Arc;

/// Threads and parking.
#[cfg(not(dpa_loom))]
pub mod thread {
    pub use std::thread::{JoinHandle, Thread, current, park, park_timeout, spawn, yield_now};
}

/// A cell whose accesses loom checks.
pub(crate) mod cell {
    #[cfg(dpa_loom)]
    pub(crate) use dpa_abi::sync::loom::cell::UnsafeCell;

    /// The standard cell with loom's calls.
    #[cfg(not(dpa_loom))]
    pub(crate) struct UnsafeCell<T>(core::cell::UnsafeCell<T>);

    #[cfg(not(dpa_loom))]
    impl<T> UnsafeCell<T> {
        pub(crate) fn new(value: T) -> Self {
            Self(core::cell::UnsafeCell::new(value))
        }

        #[inline(always)]
        pub(crate) fn with<R>(&self, f: impl FnOnce(*const T) -> R) -> R {
            f(self.0.get())
        }

        #[inline(always)]
        pub(crate) fn with_mut<R>(&self, f: impl FnOnce(*mut T) -> R) -> R {
            f(self.0.get())
        }
    }
}

#[cfg(dpa_loom)]
pub use checked::{Condvar, Mutex, MutexGuard, WaitTimeoutResult};
#[cfg(dpa_loom)]
pub use dpa_abi::sync::loom::sync::Arc;

/// Threads and parking.
#[cfg(dpa_loom)]
pub mod thread {
    pub use dpa_abi::sync::loom::thread::{JoinHandle, Thread, current, park, spawn, yield_now};

    /// Yields: loom knows no time.
    pub fn park_timeout(_: core::time::Duration) {
        yield_now();
    }
}

/// loom's lock and condition variable with the calls of parking_lot.
#[cfg(dpa_loom)]
mod checked {
    use core::ops::{Deref, DerefMut};
    use core::time::Duration;
    use dpa_abi::sync::loom::{sync, thread};

    /// A lock that loom checks.
    #[derive(Debug, Default)]
    pub struct Mutex<T>(sync::Mutex<T>);

    /// Holds the lock until dropped.
    #[derive(Debug)]
    pub struct MutexGuard<'a, T>(&'a sync::Mutex<T>, Option<sync::MutexGuard<'a, T>>);

    impl<T> Mutex<T> {
        /// An open lock around `value`.
        pub fn new(value: T) -> Self {
            Self(sync::Mutex::new(value))
        }

        /// Waits for the lock.
        pub fn lock(&self) -> MutexGuard<'_, T> {
            MutexGuard(&self.0, self.0.lock().ok())
        }

        /// Takes the lock if it is open.
        pub fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
            self.0
                .try_lock()
                .ok()
                .map(|guard| MutexGuard(&self.0, Some(guard)))
        }

        /// The value, without locking.
        pub fn get_mut(&mut self) -> &mut T {
            self.0.get_mut().expect("loom locks are not poisoned")
        }

        /// The value, for good.
        pub fn into_inner(self) -> T {
            self.0.into_inner().expect("loom locks are not poisoned")
        }
    }

    impl<T> Deref for MutexGuard<'_, T> {
        type Target = T;
        fn deref(&self) -> &T {
            self.1.as_deref().expect("the lock is held")
        }
    }

    impl<T> DerefMut for MutexGuard<'_, T> {
        fn deref_mut(&mut self) -> &mut T {
            self.1.as_deref_mut().expect("the lock is held")
        }
    }

    /// A condition variable that loom checks.
    #[derive(Debug, Default)]
    pub struct Condvar(sync::Condvar);

    /// Whether a wait ended by its timeout.
    #[derive(Clone, Copy, Debug)]
    pub struct WaitTimeoutResult(());

    impl WaitTimeoutResult {
        /// Always: loom knows no time.
        pub fn timed_out(self) -> bool {
            true
        }
    }

    impl Condvar {
        /// Nobody waits.
        pub fn new() -> Self {
            Self(sync::Condvar::new())
        }

        /// Releases the lock, waits, and takes it again.
        pub fn wait<T>(&self, guard: &mut MutexGuard<'_, T>) {
            guard.1 = guard.1.take().and_then(|held| self.0.wait(held).ok());
        }

        /// Releases the lock, yields once, and takes it again.
        pub fn wait_for<T>(&self, guard: &mut MutexGuard<'_, T>, _: Duration) -> WaitTimeoutResult {
            guard.1 = None;
            thread::yield_now();
            guard.1 = guard.0.lock().ok();
            WaitTimeoutResult(())
        }

        /// Wakes one who waits.
        pub fn notify_one(&self) {
            self.0.notify_one();
        }

        /// Wakes everyone who waits.
        pub fn notify_all(&self) {
            self.0.notify_all();
        }
    }
}
