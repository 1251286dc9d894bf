//! Reports on their way, and the end of the program.
//!
//! A program learns of a fault before its report is written, and often ends at once. So its end waits for what is on
//! its way, a bounded time. A program that is killed or aborts does not wait.

use std::sync::{Condvar, Mutex, Once, PoisonError};
use std::time::Duration;

/// Reports that are written at the same time at most, each by a thread of its own.
pub(crate) const MOST: usize = 32;

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
    fn add(&self) -> bool {
        let mut count = self.count.lock().unwrap_or_else(PoisonError::into_inner);
        let program = std::process::id();
        let now = if count.1 == program { count.0 } else { 0 };
        if now < MOST {
            *count = (now + 1, program);
        }
        now < MOST
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
    /// `None`: there are [`MOST`] already.
    pub(crate) fn begin() -> Option<Self> {
        static INSTALLED: Once = Once::new();
        INSTALLED.call_once(|| {
            // SAFETY: the function is part of the program, and neither unwinds nor uses thread-locals.
            unsafe { libc::atexit(at_exit) };
        });
        PENDING.add().then(|| Self(()))
    }
}

impl Drop for Writing {
    fn drop(&mut self) {
        PENDING.remove();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rule_5_2_the_reports_written_at_a_time_are_bounded() {
        let all: Vec<Writing> = std::iter::from_fn(Writing::begin).take(2 * MOST).collect();
        assert!(all.len() <= MOST && Writing::begin().is_none());
        drop(all);
        assert!(Writing::begin().is_some());
    }
}
