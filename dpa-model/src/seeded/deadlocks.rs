//! When the seeded driver looks for deadlocks.

use std::sync::atomic::Ordering;

use crate::device::Device;
use crate::fault::Fault;

impl Device {
    /// Now and then, while others can go on: reports the deadlocks that have stood for long enough.
    pub(super) fn watch_deadlocks(&self) {
        let Some(choices) = &self.choices else {
            return;
        };
        let now = self.clock.now();
        if choices.next_look.load(Ordering::Relaxed) <= now {
            let grace = self.deadlock_grace();
            let next = now.saturating_add(grace / 4);
            choices.next_look.store(next, Ordering::Relaxed);
            self.report_deadlocks(grace);
        }
    }

    /// In nanoseconds.
    pub(super) fn deadlock_grace(&self) -> u64 {
        u64::try_from(self.config.deadlock_grace.as_nanos()).unwrap_or(u64::MAX)
    }

    /// When the next deadlock has stood for long enough to be reported.
    pub(super) fn next_deadlock(&self, grace: u64) -> Option<u64> {
        let now = self.clock.now();
        let processes = self.sched.processes();
        let since = processes.iter().filter_map(|p| p.deadlocked_since(now));
        since.min().map(|since| since.saturating_add(grace))
    }

    /// Reports the deadlocks that have stood for so long.
    pub(super) fn report_deadlocks(&self, grace: u64) -> bool {
        let now = self.clock.now();
        let mut found = false;
        for process in self.sched.processes() {
            let long = |since: u64| since.saturating_add(grace) <= now;
            if process.deadlocked_since(now).is_some_and(long)
                && let Some(still) = process.deadlocked()
            {
                process.fail(Fault::deadlock(still.waiting));
                found = true;
            }
        }
        found
    }
}
