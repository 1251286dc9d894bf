//! Who gets the processors: what each thread of this program has run.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Instant;

use crate::Outcome;

/// What the attacker's thread of the host is called.
pub const ATTACKER: &str = "attacker";

/// What has been run by the threads of each name, in seconds, and when that was.
pub struct Had {
    at: Instant,
    threads: BTreeMap<String, f64>,
}

/// What each thread has run so far.
pub fn had() -> Outcome<Had> {
    let mut threads = BTreeMap::new();
    for task in std::fs::read_dir("/proc/self/task")? {
        let task = task?.path();
        let read = |name: &str| std::fs::read_to_string(task.join(name));
        // A thread may end meanwhile.
        let (Ok(name), Ok(figures)) = (read("comm"), read("schedstat")) else {
            continue;
        };
        let nanos = figures.split(' ').next().and_then(|text| text.parse().ok());
        *threads.entry(name.trim().to_owned()).or_default() += nanos.unwrap_or(0.0) / 1e9;
    }
    let at = Instant::now();
    Ok(Had { at, threads })
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
        self.seconds += after.at.duration_since(before.at).as_secs_f64();
        for (name, had) in &after.threads {
            let ran = had - before.threads.get(name).unwrap_or(&0.0);
            *self.threads.entry(name.clone()).or_default() += ran;
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
