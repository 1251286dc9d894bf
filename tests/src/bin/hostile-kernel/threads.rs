//! Who gets the processors: what each thread of this program has run.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fmt;
use std::io;
use std::time::Instant;

/// What the attacker's thread of the host is called.
pub const ATTACKER: &str = "attacker";

/// What each thread has run, in seconds, by its number, and when that was.
pub struct Had {
    at: Instant,
    threads: BTreeMap<OsString, Thread>,
}

struct Thread {
    name: String,
    ran: f64,
}

/// What each thread has run so far.
///
/// # Errors
/// The system does not say.
pub fn had() -> io::Result<Had> {
    let mut threads = BTreeMap::new();
    for task in std::fs::read_dir("/proc/self/task")? {
        let task = task?;
        let (number, task) = (task.file_name(), task.path());
        let read = |name: &str| std::fs::read_to_string(task.join(name));
        // A thread may end meanwhile.
        let (Ok(name), Ok(figures)) = (read("comm"), read("schedstat")) else {
            continue;
        };
        let nanos: Option<f64> = figures.split(' ').next().and_then(|text| text.parse().ok());
        let thread = Thread {
            name: name.trim().to_owned(),
            ran: nanos.unwrap_or(0.0) / 1e9,
        };
        threads.insert(number, thread);
    }
    let at = Instant::now();
    Ok(Had { at, threads })
}

impl Had {
    /// Since when this is, in seconds.
    pub fn seconds_since(&self, before: &Self) -> f64 {
        self.at.duration_since(before.at).as_secs_f64()
    }

    /// What the threads of this name have run since then, in seconds. Those that have ended meanwhile do not count.
    pub fn ran_since(&self, before: &Self, name: &str) -> f64 {
        let named = self
            .threads
            .iter()
            .filter(|(_, thread)| thread.name == name);
        let had = |number| before.threads.get(number).map_or(0.0, |thread| thread.ran);
        named.map(|(number, thread)| thread.ran - had(number)).sum()
    }

    fn names(&self) -> BTreeSet<&str> {
        self.threads.values().map(|thread| &*thread.name).collect()
    }
}

/// Shares of a processor, over several slices.
#[derive(Default)]
pub struct Shares {
    seconds: f64,
    threads: BTreeMap<String, f64>,
}

impl Shares {
    /// Takes a slice from one look to another.
    pub fn add(&mut self, before: &Had, after: &Had) {
        self.seconds += after.seconds_since(before);
        for name in after.names() {
            *self.threads.entry(name.into()).or_default() += after.ran_since(before, name);
        }
    }
}

impl fmt::Display for Shares {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let percent = |ran: &f64| 100.0 * ran / self.seconds;
        let shares = self
            .threads
            .iter()
            .map(|(name, ran)| (name, percent(ran)))
            .filter(|(_, share)| *share >= 0.5)
            .map(|(name, share)| format!("{name} {share:.0}"));
        f.write_str(&shares.collect::<Vec<_>>().join(", "))
    }
}
