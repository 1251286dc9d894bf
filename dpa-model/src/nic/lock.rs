//! The lock of a NIC: who works it takes it again and again, and lets others have it in between.
//!
//! Who waits is often a thread of the host that posts one piece of work, for as long as somebody else works on what was posted
//! before: some microseconds, at most some dozens. On a machine with more threads than processors, who gives its processor away
//! meanwhile gets it back much later than that, and who takes the lock again at once is always the first. Rules:
//!
//! 1. Who waits looks for a while without giving its processor away, and only then as any other lock does.
//! 2. Who has just let go of the lock, and wants it again, lets those that wait have it before ([`NicLock::let_others`]), for a short
//!    while.

use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::{Mutex, MutexGuard};

/// How often who waits looks, with a pause of the processor (some 40 ns) before each look.
const LOOKS: u32 = 600;
/// How often who lets others have the lock looks whether one has it.
const PATIENCE: u32 = 50;

/// The lock.
#[derive(Debug)]
pub(crate) struct NicLock<T> {
    of: Mutex<T>,
    waiting: AtomicUsize,
}

impl<T> NicLock<T> {
    pub(crate) const fn new(of: T) -> Self {
        Self {
            of: Mutex::new(of),
            waiting: AtomicUsize::new(0),
        }
    }

    /// Waits for it.
    #[inline]
    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        match self.of.try_lock() {
            Some(guard) => guard,
            None => self.wait(),
        }
    }

    #[cold]
    fn wait(&self) -> MutexGuard<'_, T> {
        self.waiting.fetch_add(1, Ordering::Relaxed);
        let soon = || {
            std::hint::spin_loop();
            self.of.try_lock()
        };
        let guard = (0..LOOKS).find_map(|_| soon());
        let guard = guard.unwrap_or_else(|| self.of.lock());
        self.waiting.fetch_sub(1, Ordering::Relaxed);
        guard
    }

    /// Waits, for a short while, until somebody else has it that waits.
    #[inline]
    pub(crate) fn let_others(&self) {
        let mut patience = PATIENCE;
        while self.waiting.load(Ordering::Relaxed) > 0 && patience > 0 {
            std::hint::spin_loop();
            patience -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::mpsc;
    use std::thread;

    use super::*;

    #[test]
    fn nobody_waits_for_others_that_do_not_wait() {
        let lock = NicLock::new(());
        lock.let_others();
        assert_eq!(lock.waiting.load(Ordering::Relaxed), 0);
        drop(lock.lock());
        assert_eq!(lock.waiting.load(Ordering::Relaxed), 0);
    }

    /// Also behind all of its looks.
    #[test]
    fn who_waits_gets_it_when_it_is_let_go_of_and_who_lets_others_goes_on_anyway() {
        let lock = Arc::new(NicLock::new(0));
        let mut guard = lock.lock();
        let (got, gets) = mpsc::channel();
        let waits = lock.clone();
        let waiting = thread::spawn(move || got.send(*waits.lock()));
        while lock.waiting.load(Ordering::Relaxed) == 0 {
            thread::yield_now();
        }
        // It is kept meanwhile: nobody else can have it.
        lock.let_others();
        thread::sleep(std::time::Duration::from_millis(20));
        *guard = 7;
        assert!(gets.try_recv().is_err(), "one at a time");
        drop(guard);
        assert_eq!(gets.recv(), Ok(7));
        let sent = waiting.join().expect("it ends");
        assert!(sent.is_ok() && lock.waiting.load(Ordering::Relaxed) == 0);
    }
}
