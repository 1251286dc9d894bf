//! Reports on their way, and the end of the program.
//!
//! A program learns of a fault before its report is written, and often ends at once. So its end waits for what is on
//! its way, a bounded time. A program that is killed or aborts does not wait.

use std::sync::{Condvar, Mutex, Once, PoisonError};
use std::time::Duration;

/// How long the end of the program waits at most, for all reports together.
const PATIENCE: Duration = Duration::from_secs(2);

struct Pending {
    /// How many, and in which program: a child of `fork` has the count but not the threads.
    count: Mutex<(usize, u32)>,
    none: Condvar,
}

static PENDING: Pending = Pending {
    count: Mutex::new((0, 0)),
    none: Condvar::new(),
};

impl Pending {
    fn add(&self) {
        let mut count = self.count.lock().unwrap_or_else(PoisonError::into_inner);
        *count = (count.0 + 1, std::process::id());
    }

    fn remove(&self) {
        let mut count = self.count.lock().unwrap_or_else(PoisonError::into_inner);
        count.0 = count.0.saturating_sub(1);
        if count.0 == 0 {
            self.none.notify_all();
        }
    }

    fn wait(&self) {
        // A child of `fork` may find the lock taken for good.
        let Ok(count) = self.count.try_lock() else {
            return;
        };
        let program = std::process::id();
        let still = |count: &mut (usize, u32)| count.0 > 0 && count.1 == program;
        drop(self.none.wait_timeout_while(count, PATIENCE, still));
    }
}

extern "C" fn at_exit() {
    PENDING.wait();
}

/// A report is being written as long as this lives.
#[derive(Debug)]
pub(crate) struct Writing(());

impl Writing {
    pub(crate) fn begin() -> Self {
        static INSTALLED: Once = Once::new();
        INSTALLED.call_once(|| {
            // SAFETY: the function is part of the program, and neither unwinds nor uses thread-locals.
            unsafe { libc::atexit(at_exit) };
        });
        PENDING.add();
        Self(())
    }
}

impl Drop for Writing {
    fn drop(&mut self) {
        PENDING.remove();
    }
}
