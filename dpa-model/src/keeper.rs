//! The thread that keeps the time of a device: timers, the run-time limit, deadlocks. It does nothing by itself that may take
//! long (see `errands.rs`).

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use crate::device::Device;
use crate::errands::Errands;
use crate::fairness::Shares;
use crate::fault::Fault;
use crate::process::{Process, Standstill};
use crate::slices::{SLICE, Slices};

/// After so many looks at workers that have done nothing, the keeper looks only when one of them does something again.
const QUIET: u32 = 10;

/// What the thread does. It ends with the device.
pub(crate) fn keep(device: &Device) {
    let status = std::fs::read_to_string("/proc/self/status");
    let traced = is_traced(&status.unwrap_or_default());
    if traced {
        device.fairness.be_calm();
    }
    let limit = limit(device.config.run_time_limit, traced);
    let tick = tick(device, limit);
    let mut slices = Slices::new(device.worker_count(), limit, !traced);
    let mut shares = Shares::default();
    let mut deadlocks = DeadlockWatch::default();
    let errands = Errands::default();
    let wake = |process| errands.post(process, Box::new(device.clock.waking(process)));
    let (mut last_look, mut last_slice) = (Instant::now(), Instant::now());
    let slice = SLICE.min(tick);
    let mut quiet = 0;
    loop {
        let dozes = quiet >= QUIET;
        if !device
            .clock
            .wait_due(if dozes { tick } else { slice }, dozes)
        {
            return;
        }
        if dozes {
            // It may be roused a moment behind a look: the next is no longer than a slice away.
            quiet = QUIET - 1;
        }
        device.run_timers_beside_tasks(wake);
        if last_slice.elapsed() >= slice {
            last_slice = Instant::now();
            // Before anybody is interrupted for what waits: that may be over in no time.
            shares.look(device);
            quiet = match slices.look(device) {
                true => 0,
                false => quiet.saturating_add(1),
            };
        }
        if last_look.elapsed() >= tick {
            last_look = Instant::now();
            deadlocks.look(device, &errands);
        }
    }
}

/// Often enough for the limit and the grace, and no oftener.
fn tick(device: &Device, limit: Option<Duration>) -> Duration {
    let grace = device.config.deadlock_grace / 4;
    let limit = limit.map_or(grace, |limit| limit / 8);
    grace
        .min(limit)
        .clamp(Duration::from_millis(1), Duration::from_millis(500))
}

/// Under a debugger kernels may take their time.
fn limit(configured: Option<Duration>, traced: bool) -> Option<Duration> {
    configured.filter(|_| !traced)
}

/// Whether a debugger watches the program with this status.
fn is_traced(status: &str) -> bool {
    let tracer = status
        .lines()
        .find_map(|line| line.strip_prefix("TracerPid:"));
    tracer.is_some_and(|pid| pid.trim() != "0")
}

/// CPU time that this thread has used, in nanoseconds. Safe in a signal handler.
pub(crate) fn own_cpu_time() -> u64 {
    read(libc::CLOCK_THREAD_CPUTIME_ID).map_or(0, |time| time.as_nanos() as u64)
}

/// CPU time that a thread has used.
pub(crate) fn cpu_time(pthread: u64) -> Option<Duration> {
    if pthread == 0 {
        return None;
    }
    let mut clock = 0;
    // SAFETY: the identity of a worker's thread is good as long as its device, which the keeper holds (`Shared::identity`).
    if unsafe { libc::pthread_getcpuclockid(pthread as libc::pthread_t, &mut clock) } != 0 {
        return None;
    }
    read(clock)
}

fn read(clock: libc::clockid_t) -> Option<Duration> {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: only writes the time.
    if unsafe { libc::clock_gettime(clock, &mut time) } != 0 {
        return None;
    }
    Some(Duration::new(time.tv_sec as u64, time.tv_nsec as u32))
}

/// Looks for processes of which every thread waits for its own device, and nothing moves for the whole grace.
#[derive(Default)]
struct DeadlockWatch {
    suspects: HashMap<u32, (Standstill, Instant)>,
    /// Processes whose end is an errand that is not done yet.
    ending: HashMap<u32, Weak<()>>,
}

impl DeadlockWatch {
    fn look(&mut self, device: &Device, errands: &Errands) {
        self.ending.retain(|_, errand| errand.strong_count() > 0);
        let mut suspects = HashMap::new();
        for process in device.sched.processes() {
            let Some(found) = process.deadlocked() else {
                continue;
            };
            let number = process.number();
            let mut since = match self.suspects.remove(&number) {
                Some((before, since)) if before == found => since,
                _ => Instant::now(),
            };
            if since.elapsed() >= device.config.deadlock_grace {
                let found = found.clone();
                self.end_soon(number, errands, move || end(&process, &found));
                // It is done soon.
                since = Instant::now();
            }
            suspects.insert(number, (found, since));
        }
        self.suspects = suspects;
    }

    /// Has a process ended, unless that is to be done already: an errand before it may take long.
    fn end_soon(&mut self, number: u32, errands: &Errands, end: impl FnOnce() + Send + 'static) {
        if let Entry::Vacant(not_yet) = self.ending.entry(number) {
            let errand = Arc::new(());
            not_yet.insert(Arc::downgrade(&errand));
            let end = move || {
                end();
                drop(errand);
            };
            errands.post(number, Box::new(end));
        }
    }
}

/// Ends a process that has stood still, if it does still.
fn end(process: &Arc<Process>, found: &Standstill) {
    if let Some(still) = process.deadlocked().filter(|still| still == found) {
        process.fail(Fault::deadlock(still.waiting));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rule_2_9_there_is_no_limit_under_a_debugger() {
        let status = |tracer| format!("Name:\tprogram\nTracerPid:\t{tracer}\nUid:\t0\t0\t0\t0\n");
        assert!(is_traced(&status(77)) && !is_traced(&status(0)));
        assert!(!is_traced(""), "where nobody can tell");
        let configured = Some(Duration::from_secs(12));
        assert_eq!(limit(configured, false), configured);
        assert_eq!(limit(configured, true), None);
    }
}
