//! Waking tasks, whatever their wakers do.

use core::task::Waker;

/// Wakes a task. Its waker is foreign code, and runs on the thread of whoever made the update, a worker's perhaps, between others
/// that wait for their turn: if it panics, the panic hook has said so, and nobody but its own task misses anything.
///
/// Under loom a panic is a model that fails, and goes on.
pub fn wake(waker: Waker) {
    #[cfg(dpa_loom)]
    waker.wake();
    #[cfg(not(dpa_loom))]
    caught::wake(waker);
}

#[cfg(not(dpa_loom))]
pub use caught::discard;

#[cfg(not(dpa_loom))]
mod caught {
    use core::task::Waker;
    use std::panic::{AssertUnwindSafe, catch_unwind};

    #[inline]
    pub(super) fn wake(waker: Waker) {
        if let Err(payload) = catch_unwind(AssertUnwindSafe(|| waker.wake())) {
            discard(payload);
        }
    }

    /// So often what a panic carries may panic in its turn when it is dropped.
    const ROUNDS: u32 = 8;

    /// Drops what a panic of foreign code carries: foreign as well, and it may panic, too, some times over. What still does so
    /// then is leaked.
    #[cold]
    pub fn discard(mut payload: std::boxed::Box<dyn core::any::Any + Send>) {
        for _ in 0..ROUNDS {
            match catch_unwind(AssertUnwindSafe(|| drop(payload))) {
                Ok(()) => return,
                Err(again) => payload = again,
            }
        }
        // Perhaps it panics each time.
        std::boxed::Box::leak(payload);
    }
}

#[cfg(all(test, not(dpa_loom)))]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    /// Counts its wakes and panics at each, with what panics when it is dropped.
    struct Spiteful(AtomicUsize);

    struct Bomb;

    impl Drop for Bomb {
        fn drop(&mut self) {
            std::panic::panic_any(1);
        }
    }

    impl Wake for Spiteful {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
            std::panic::panic_any(Bomb);
        }
    }

    #[test]
    fn a_waker_that_panics_harms_nobody_else() {
        let waker = Arc::new(Spiteful(AtomicUsize::new(0)));
        for _ in 0..2 {
            wake(waker.clone().into());
        }
        assert_eq!(waker.0.load(Ordering::Relaxed), 2);
    }
}
