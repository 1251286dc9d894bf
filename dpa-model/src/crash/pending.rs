//! Reports on their way, and the end of the program.
//!
//! A program learns of a fault before its report is written, and often ends at once. So its end waits for what is on
//! its way, a bounded time. A program that is killed or aborts does not wait.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};
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
    all: usize,
    /// By the name of the function.
    each: BTreeMap<String, usize>,
}

struct Pending {
    /// Of which program: a child of `fork` has the counts but not the threads, and may find the lock taken for good.
    program: AtomicU32,
    count: Mutex<Count>,
    none: Condvar,
}

static PENDING: Pending = Pending::new();

impl Pending {
    const fn new() -> Self {
        let count = Count {
            all: 0,
            each: BTreeMap::new(),
        };
        Self {
            program: AtomicU32::new(0),
            count: Mutex::new(count),
            none: Condvar::new(),
        }
    }

    /// One more, or how many there may be.
    fn add(&self, function: &str) -> Result<(), usize> {
        let mut count = self.count.lock().unwrap_or_else(PoisonError::into_inner);
        let program = std::process::id();
        if self.program.swap(program, Ordering::Relaxed) != program {
            count.all = 0;
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
        if self.program.load(Ordering::Relaxed) != std::process::id() {
            return;
        }
        let count = self.count.lock().unwrap_or_else(PoisonError::into_inner);
        let still = |count: &mut Count| count.all > 0;
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
    use std::sync::Arc;
    use std::time::Instant;

    use crate::crash::{CrashFiles, CrashSpec};
    use crate::fault::Fault;
    use crate::process::ProcessSpec;
    use crate::rig::Still;
    use dpa_abi::FaultKind;
    use tracing::{Event, Metadata, Subscriber, span};

    /// Of those who count all reports of the program, one at a time.
    static ALONE: Mutex<()> = Mutex::new(());

    #[test]
    fn rule_5_2_the_end_waits_also_while_another_report_is_counted() {
        let pending = Pending::new();
        let began = Instant::now();
        pending.wait();
        assert!(began.elapsed() < PATIENCE, "there is none");
        pending.add("pf0").expect("the first");
        let ended = AtomicU32::new(0);
        std::thread::scope(|scope| {
            let count = pending.count.lock().expect("nobody panics");
            let end = scope.spawn(|| {
                pending.wait();
                ended.load(Ordering::Relaxed)
            });
            std::thread::sleep(Duration::from_millis(20));
            drop(count);
            std::thread::sleep(Duration::from_millis(20));
            ended.store(1, Ordering::Relaxed);
            pending.remove("pf0");
            assert_eq!(end.join().expect("no panic"), 1, "it has waited");
        });
    }

    #[test]
    fn rule_5_2_the_reports_written_at_a_time_are_bounded() {
        let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
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

    /// Notes, whenever it is told of something, whether there is room for one more report.
    struct Room(Arc<Mutex<Vec<bool>>>);

    impl Subscriber for Room {
        fn enabled(&self, _: &Metadata<'_>) -> bool {
            true
        }
        fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
            span::Id::from_u64(1)
        }
        fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
        fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
        fn event(&self, _: &Event<'_>) {
            let room = Writing::begin("vf9").is_ok();
            self.0.lock().expect("nobody panics").push(room);
        }
        fn enter(&self, _: &span::Id) {}
        fn exit(&self, _: &span::Id) {}
    }

    #[test]
    fn rule_5_2_a_failure_behind_the_first_takes_no_place_of_a_report() {
        let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        let [still] = Still::on_functions(["vf9"]);
        let spec = ProcessSpec {
            crash: CrashSpec {
                files: CrashFiles::At("/dev/null/nowhere".into()),
                ..CrashSpec::default()
            },
            ..ProcessSpec::default()
        };
        let process = still.device.process_with(&spec).expect("a process");
        let fail = || process.fail(Fault::of(FaultKind::Panic, "nothing", 0, 0));
        fail();
        // Its own report is over.
        PENDING.wait();
        let begin = || Writing::begin("vf9").ok();
        let others: Vec<Writing> = std::iter::from_fn(begin).take(MOST_OF_ONE - 1).collect();
        let seen = Arc::default();
        tracing::subscriber::with_default(Room(Arc::clone(&seen)), fail);
        assert_eq!(*seen.lock().expect("nobody panics"), [true]);
        drop(others);
        process.shut_down();
    }
}
