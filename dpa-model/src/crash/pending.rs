//! Reports on their way, and the end of the program.
//!
//! A program learns of a fault before its report is written, and often ends at once. So its end waits for what is on
//! its way, a bounded time. A program that is killed or aborts does not wait.

use std::collections::BTreeMap;
use std::sync::{Condvar, Mutex, Once, PoisonError};
use std::time::Duration;

/// Reports that are written at the same time at most, each by a thread of its own.
pub(crate) const MOST: usize = 64;

/// Of them, those of processes on functions of one name: who faults all the time leaves some to others.
pub(crate) const MOST_OF_ONE: usize = 32;

/// How long the end of the program waits at most, for all reports together.
const PATIENCE: Duration = Duration::from_secs(2);

#[derive(Debug)]
struct Count {
    /// In which program: a child of `fork` has the counts but not the threads.
    program: u32,
    all: usize,
    /// By the name of the function.
    each: BTreeMap<String, usize>,
}

struct Pending {
    count: Mutex<Count>,
    none: Condvar,
}

static PENDING: Pending = Pending {
    count: Mutex::new(Count {
        program: 0,
        all: 0,
        each: BTreeMap::new(),
    }),
    none: Condvar::new(),
};

impl Pending {
    /// One more, or how many there may be.
    fn add(&self, function: &str) -> Result<(), usize> {
        let mut count = self.count.lock().unwrap_or_else(PoisonError::into_inner);
        let program = std::process::id();
        if count.program != program {
            (count.program, count.all) = (program, 0);
            count.each.clear();
        }
        if count.all >= MOST {
            return Err(MOST);
        }
        let of_it = count.each.entry(function.into()).or_default();
        if *of_it >= MOST_OF_ONE {
            return Err(MOST_OF_ONE);
        }
        *of_it += 1;
        count.all += 1;
        Ok(())
    }

    fn remove(&self, function: &str) {
        let mut count = self.count.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(of_it) = count.each.get_mut(function) {
            *of_it -= 1;
            if *of_it == 0 {
                count.each.remove(function);
            }
        }
        count.all = count.all.saturating_sub(1);
        if count.all == 0 {
            self.none.notify_all();
        }
    }

    fn wait(&self) {
        // A child of `fork` may find the lock taken for good.
        let Ok(count) = self.count.try_lock() else {
            return;
        };
        let program = std::process::id();
        let still = |count: &mut Count| count.all > 0 && count.program == program;
        drop(self.none.wait_timeout_while(count, PATIENCE, still));
    }
}

extern "C" fn at_exit() {
    PENDING.wait();
}

/// A report is being written as long as this lives.
#[derive(Debug)]
pub(crate) struct Writing {
    function: String,
}

impl Writing {
    /// Of a process on this function; or how many there are already, if no more may be.
    pub(crate) fn begin(function: &str) -> Result<Self, usize> {
        static INSTALLED: Once = Once::new();
        INSTALLED.call_once(|| {
            // SAFETY: the function is part of the program, and neither unwinds nor uses thread-locals.
            unsafe { libc::atexit(at_exit) };
        });
        PENDING.add(function)?;
        Ok(Self {
            function: function.into(),
        })
    }
}

impl Drop for Writing {
    fn drop(&mut self) {
        PENDING.remove(&self.function);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rule_5_2_the_reports_written_at_a_time_are_bounded() {
        let some = |function: &'static str| {
            let begin = move || Writing::begin(function).ok();
            let some: Vec<Writing> = std::iter::from_fn(begin).take(2 * MOST).collect();
            some
        };
        let one = some("pf0");
        assert_eq!(one.len(), MOST_OF_ONE);
        assert_eq!(Writing::begin("pf0").expect_err("enough"), MOST_OF_ONE);
        let other = some("vf0");
        assert!(!other.is_empty(), "another function has a share of its own");
        assert!(one.len() + other.len() <= MOST);
        assert_eq!(Writing::begin("vf1").expect_err("enough"), MOST);
        drop((one, other));
        assert!(["pf0", "vf1"].map(Writing::begin).iter().all(Result::is_ok));
    }
}
