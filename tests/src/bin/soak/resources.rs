//! What this process has of the system, as Linux counts it.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::Outcome;

/// How often it is looked.
const EVERY: Duration = Duration::from_millis(250);

/// Threads and descriptors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resources {
    threads: usize,
    descriptors: usize,
}

impl fmt::Display for Resources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} threads, {} descriptors",
            self.threads, self.descriptors
        )
    }
}

fn entries(directory: &str) -> Outcome<usize> {
    let all = std::fs::read_dir(directory).map_err(|e| format!("{directory}: {e}"))?;
    Ok(all.count())
}

impl Resources {
    fn now() -> Outcome<Self> {
        Ok(Self {
            threads: entries("/proc/self/task")?,
            descriptors: entries("/proc/self/fd")?,
        })
    }

    /// What it has once it has as much as `before`; without that, once it stays the same.
    ///
    /// # Errors
    /// It has not within the limit.
    pub fn settled(before: Option<Self>, limit: Duration) -> Outcome<Self> {
        let until = Instant::now() + limit;
        let mut last = Self::now()?;
        loop {
            std::thread::sleep(Duration::from_millis(50));
            let now = Self::now()?;
            match before {
                Some(before) if now == before => return Ok(now),
                None if now == last && Instant::now() >= until => return Ok(now),
                Some(before) if Instant::now() >= until => {
                    return Err(format!(
                        "before there were {before}; {limit:?} after the end there are {now}"
                    )
                    .into());
                }
                _ => last = now,
            }
        }
    }
}

/// Resident memory in KiB, now and then.
pub struct Samples {
    over: Arc<AtomicBool>,
    thread: JoinHandle<Vec<u64>>,
}

impl Samples {
    pub fn begin() -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let seen = over.clone();
        let thread = std::thread::spawn(move || {
            let mut samples = Vec::new();
            while !seen.load(Ordering::Relaxed) {
                samples.extend(resident());
                std::thread::sleep(EVERY);
            }
            samples
        });
        Self { over, thread }
    }

    pub fn end(self) -> Vec<u64> {
        self.over.store(true, Ordering::Relaxed);
        self.thread.join().unwrap_or_default()
    }
}

fn resident() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix(" kB")?.trim().parse().ok()
}
