//! How long processors stood still, how long this program's threads waited for one, and how often for a page of their code: so that
//! a peer given up can be told from one that did not run.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// How long the threads that look sleep at a time.
const STEP: Duration = Duration::from_millis(5);

/// The longest times so far.
#[derive(Clone, Debug, Default)]
struct Longest {
    /// That a thread on this processor, which sleeps briefly again and again, was late.
    processors: BTreeMap<usize, Duration>,
    /// That a thread of this name was ready and did not run.
    threads: BTreeMap<String, Duration>,
    /// How often it waited for a page to be read from a disk. How long is not known.
    faults: BTreeMap<String, u64>,
}

/// Looks until it is dropped.
pub struct Stalls(Arc<Mutex<Longest>>);

impl Stalls {
    /// Looks from now on.
    pub fn watch() -> Self {
        let longest = Arc::new(Mutex::default());
        let looks: Weak<_> = Arc::downgrade(&longest);
        let processors = sched_getaffinity(None).unwrap_or_default();
        for processor in (0..CpuSet::MAX_CPU).filter(|&number| processors.is_set(number)) {
            let looks = looks.clone();
            std::thread::spawn(move || watch_processor(processor, &looks));
        }
        std::thread::spawn(move || watch_threads(&looks));
        Self(longest)
    }
}

impl fmt::Display for Stalls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let longest = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Longest {
            processors,
            threads,
            faults,
        } = &*longest;
        write!(
            f,
            "processors stood still for at most {processors:?}; threads waited for one for at most {threads:?}, and for pages {faults:?} times"
        )
    }
}

/// Keeps the longer time.
fn note<K: Ord>(longest: &mut BTreeMap<K, Duration>, whose: K, time: Duration) {
    let before = longest.entry(whose).or_default();
    *before = (*before).max(time);
}

fn watch_processor(processor: usize, looks: &Weak<Mutex<Longest>>) {
    let mut only = CpuSet::new();
    only.set(processor);
    if sched_setaffinity(None, &only).is_err() {
        return;
    }
    let mut last = Instant::now();
    while let Some(longest) = looks.upgrade() {
        std::thread::sleep(STEP);
        let now = Instant::now();
        let late = (now - last).saturating_sub(STEP);
        if let Ok(mut longest) = longest.lock() {
            note(&mut longest.processors, processor, late);
        }
        last = now;
    }
}

fn watch_threads(looks: &Weak<Mutex<Longest>>) {
    let mut before = BTreeMap::new();
    while let Some(longest) = looks.upgrade() {
        std::thread::sleep(4 * STEP);
        let waited = waited();
        if let Ok(mut longest) = longest.lock() {
            for (number, thread) in &waited {
                let last = before.get(number).unwrap_or(thread);
                let waited = thread.waited.saturating_sub(last.waited);
                note(&mut longest.threads, thread.name.clone(), waited);
                longest.faults.insert(thread.name.clone(), thread.faults);
            }
        }
        before = waited;
    }
}

/// What a thread has waited for so far.
#[derive(Clone, Debug)]
struct Thread {
    name: String,
    waited: Duration,
    faults: u64,
}

/// The threads of this program, by their numbers.
fn waited() -> BTreeMap<String, Thread> {
    let tasks = std::fs::read_dir("/proc/self/task")
        .into_iter()
        .flatten()
        .flatten();
    let one = |task: std::fs::DirEntry| {
        let read = |name: &str| std::fs::read_to_string(task.path().join(name)).ok();
        let nanos = read("schedstat")?.split(' ').nth(1)?.parse().ok()?;
        // Behind the name, which may have spaces, major faults are the tenth field.
        let faults = read("stat")?
            .rsplit_once(')')?
            .1
            .split_whitespace()
            .nth(9)?
            .parse()
            .ok()?;
        let thread = Thread {
            name: read("comm")?.trim().to_owned(),
            waited: Duration::from_nanos(nanos),
            faults,
        };
        Some((task.file_name().to_string_lossy().into_owned(), thread))
    };
    tasks.filter_map(one).collect()
}
