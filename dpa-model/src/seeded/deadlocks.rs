//! When the seeded driver looks for deadlocks.

use std::sync::atomic::Ordering;

use super::driver::Driver;
use super::ends::Stuck;
use crate::device::Device;
use crate::fault::{Fault, Waiting};
use crate::process::Process;

impl Device {
    /// How long a deadlock on it must stand before it is reported, in nanoseconds.
    fn deadlock_grace(&self) -> u64 {
        let grace = self.config.deadlock_grace.as_nanos();
        u64::try_from(grace).unwrap_or(u64::MAX)
    }
}

impl Process {
    /// As [`Device::deadlock_grace`].
    pub(super) fn deadlock_grace(&self) -> u64 {
        self.device().deadlock_grace()
    }
}

impl Driver {
    /// The threads that wait, of all devices.
    pub(super) fn all_waiting(&self) -> Vec<Waiting> {
        let processes = self.processes();
        processes.iter().flat_map(|p| p.waiting()).collect()
    }

    /// How it stands, with nothing that could go on.
    pub(super) fn stuck(&self, woken_from_outside: bool) -> Stuck {
        Stuck {
            seed: self.simulation.choices.seed,
            waiting: self.all_waiting(),
            woken_from_outside,
        }
    }

    /// Now and then, while others can go on: reports the deadlocks that have stood for long enough.
    pub(super) fn watch_deadlocks(&self) {
        let next_look = &self.simulation.choices.next_look;
        let now = self.simulation.now();
        if next_look.load(Ordering::Relaxed) <= now {
            let grace = self.earliest(|device| Some(device.deadlock_grace()));
            let next = now.saturating_add(grace.unwrap_or(0) / 4);
            next_look.store(next, Ordering::Relaxed);
            self.report_deadlocks(Process::deadlock_grace);
        }
    }

    /// When the next deadlock has stood for long enough to be reported.
    pub(super) fn next_deadlock(&self) -> Option<u64> {
        let now = self.simulation.now();
        let stands =
            |p: &Process| Some(p.deadlocked_since(now)?.saturating_add(p.deadlock_grace()));
        self.processes().iter().filter_map(|p| stands(p)).min()
    }

    /// Reports the deadlocks that have stood for so long; whether there were any.
    pub(super) fn report_deadlocks(&self, grace: impl Fn(&Process) -> u64) -> bool {
        let now = self.simulation.now();
        let mut found = false;
        for process in self.processes() {
            let long = |since: u64| since.saturating_add(grace(&process)) <= now;
            if process.deadlocked_since(now).is_some_and(long)
                && let Some(still) = process.deadlocked()
            {
                process.fail(Fault::deadlock(process.on_its_device(still.waiting)));
                found = true;
            }
        }
        found
    }
}
