//! Shares: processes that have work at the same time get the same time of the workers.
//!
//! Rules:
//! 1. While at least two processes have work, workers book the time that each uses. While one has, nothing is measured.
//! 2. A process is over its share when it has used [`ALLOWANCE`] more than the one that has used least. What it has ready waits
//!    for that of others, and its threads rest when they let others run (see `slices.rs`). It gets what nobody else wants.
//! 3. Who begins to have work begins with what the least has used: nobody saves up time by doing nothing.
//!
//! The keeper looks after every slice.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use crate::device::Device;
use crate::process::Process;

/// How much more than the least a process may have used.
const ALLOWANCE: Duration = Duration::from_millis(2);
/// A process has work until it has had none for so many looks.
const LOOKS: u32 = 10;

/// What workers know of it.
#[derive(Debug, Default)]
pub(crate) struct Fairness {
    contended: AtomicBool,
    /// The least that a process with work has used, in nanoseconds.
    least: AtomicU64,
}

impl Fairness {
    /// Whether several processes have work.
    #[inline]
    pub(crate) fn is_contended(&self) -> bool {
        self.contended.load(Ordering::Relaxed)
    }

    /// Whether a process that has used so much is over its share.
    #[inline]
    pub(crate) fn is_over(&self, used: u64) -> bool {
        self.is_contended()
            && used > self.least.load(Ordering::Relaxed) + ALLOWANCE.as_nanos() as u64
    }

    /// What a new process begins with.
    pub(crate) fn least(&self) -> u64 {
        self.least.load(Ordering::Relaxed)
    }
}

/// Who has work, as the keeper sees it.
#[derive(Default)]
pub(crate) struct Shares {
    /// For how many looks yet each process counts as one with work, and how far it had come.
    active: HashMap<u32, (u32, u64)>,
}

impl Shares {
    /// Looks who has work, and who has used least.
    pub(crate) fn look(&mut self, device: &Device) {
        let fairness = &device.fairness;
        let mut active = HashMap::new();
        let mut with_work: Vec<Arc<Process>> = Vec::new();
        for (process, busy) in device.sched.occupied() {
            let number = process.number();
            let progress = process.progress.load(Ordering::Relaxed);
            let before = self.active.get(&number).copied();
            let came_on = before.is_some_and(|(_, then)| then != progress);
            let left = match busy || came_on {
                true => LOOKS,
                false => before.map_or(0, |(left, _)| left.saturating_sub(1)),
            };
            if left > 0 && before.is_none_or(|(left, _)| left == 0) {
                process.used.fetch_max(fairness.least(), Ordering::Relaxed);
            }
            active.insert(number, (left, progress));
            if left > 0 {
                with_work.push(process);
            }
        }
        self.active = active;
        let used = |process: &Arc<Process>| process.used.load(Ordering::Relaxed);
        if let Some(least) = with_work.iter().map(used).min() {
            fairness.least.store(least, Ordering::Relaxed);
        }
        fairness
            .contended
            .store(with_work.len() > 1, Ordering::Relaxed);
    }
}
