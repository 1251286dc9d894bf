//! Shares: who has work at the same time gets the same of the workers, partition by partition, and process by process within
//! each.
//!
//! Rules:
//! 1. A partition has work until none of its processes has had any for [`LOOKS`] looks, and likewise a process. The keeper
//!    looks after every slice. What a process has used is also its partition's: who comes again in another process, or in
//!    many, gains nothing by it.
//! 2. While several partitions have work and there are workers enough, each partition is the *home* of as many workers as
//!    every other. A worker takes what its home has ready, in the same way as if it were alone. Workers that are left over have
//!    no home.
//! 3. A worker whose home has had nothing for [`PATIENCE`] takes what others have, in the background: it is called back at
//!    once when its home has something (a kernel that began there may end within 100 us, and is interrupted then). From a step
//!    (the host's copies, fills, closures) nobody is called back: it leaves those to workers that are at home there.
//! 4. A worker without a home takes that of the partition which has used least.
//! 5. Within a partition, while several processes have work, that of the process which has used least goes first. Without
//!    homes the same holds between partitions.
//! 6. Who has used [`ALLOWANCE`] more than the least by rule 5 is over its share: its threads rest when they let others run (see
//!    `slices.rs`). It gets what nobody else wants.
//! 7. Who begins to have work begins with what the least has used: nobody saves up time by doing nothing.
//! 8. Time is booked only where rules 4 and 5 need it.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use crate::device::Device;
use crate::process::Process;

/// How much more than the least somebody may have used.
const ALLOWANCE: u64 = 2_000_000;
/// Somebody has work until there was none for so many looks.
const LOOKS: u32 = 10;
/// How long a worker waits for its home before it does what others have.
pub(crate) const PATIENCE: Duration = Duration::from_millis(1);

/// What is known of a partition.
#[derive(Debug, Default)]
struct Share {
    /// Several of its processes have work.
    contended: AtomicBool,
    /// The least that one of them has used, in nanoseconds.
    least: AtomicU64,
    /// What all of them have used.
    used: AtomicU64,
}

/// What workers know of it.
#[derive(Debug)]
pub(crate) struct Fairness {
    /// Workers have homes.
    divided: AtomicBool,
    /// Workers without a home book time.
    measured: AtomicBool,
    /// Several partitions have work, and there are no homes.
    mixed: AtomicBool,
    /// Nobody is urged (`urge.rs`).
    calm: AtomicBool,
    /// The least that a partition with work has used, in nanoseconds.
    least: AtomicU64,
    partitions: Vec<Share>,
}

impl Fairness {
    /// For so many partitions.
    pub(crate) fn new(partitions: usize) -> Self {
        Self {
            divided: AtomicBool::new(false),
            measured: AtomicBool::new(false),
            mixed: AtomicBool::new(false),
            calm: AtomicBool::new(false),
            least: AtomicU64::new(0),
            partitions: (0..partitions).map(|_| Share::default()).collect(),
        }
    }

    /// Whether workers have homes.
    #[inline]
    pub(crate) fn is_divided(&self) -> bool {
        self.divided.load(Ordering::SeqCst)
    }

    /// From now on nobody is urged.
    pub(crate) fn be_calm(&self) {
        self.calm.store(true, Ordering::Relaxed);
    }

    /// Whether kernels are urged.
    pub(crate) fn urges(&self) -> bool {
        !self.is_divided() && !self.calm.load(Ordering::Relaxed)
    }

    /// Whether several processes of a partition have work.
    #[inline]
    pub(crate) fn is_contended(&self, partition: usize) -> bool {
        self.partitions[partition].contended.load(Ordering::Relaxed)
    }

    /// Whether a worker with this home books time (rule 8).
    #[inline]
    pub(crate) fn is_measured(&self, home: Option<usize>) -> bool {
        match home {
            Some(home) => self.is_contended(home),
            None => self.measured.load(Ordering::Relaxed),
        }
    }

    /// Books time of a worker.
    pub(crate) fn book(&self, process: &Process, nanos: u64) {
        let share = &self.partitions[process.tenancy.partition.index];
        process.used.fetch_add(nanos, Ordering::Relaxed);
        share.used.fetch_add(nanos, Ordering::Relaxed);
    }

    /// The partition to take from first, of those that may have something (rule 4); `None`: they are not told apart.
    pub(crate) fn first(&self, has: impl Fn(usize) -> bool) -> Option<usize> {
        if !self.measured.load(Ordering::Relaxed) {
            return None;
        }
        let busy = (0..self.partitions.len()).filter(|&partition| has(partition));
        busy.min_by_key(|&partition| self.partitions[partition].used.load(Ordering::Relaxed))
    }

    /// Whether a process of this partition that has used so much is over its share (rule 6).
    #[inline]
    pub(crate) fn is_over(&self, partition: usize, used: u64) -> bool {
        let share = &self.partitions[partition];
        let over = |used: u64, least: &AtomicU64| used > least.load(Ordering::Relaxed) + ALLOWANCE;
        self.is_contended(partition) && over(used, &share.least)
            || self.mixed.load(Ordering::Relaxed)
                && over(share.used.load(Ordering::Relaxed), &self.least)
    }

    /// What a new process begins with.
    pub(crate) fn least(&self, partition: usize) -> u64 {
        self.partitions[partition].least.load(Ordering::Relaxed)
    }
}

/// Who has work: for how many looks yet each counts as one that has, and how far it had come.
#[derive(Debug, Default)]
struct Active<K>(HashMap<K, (u32, u64)>);

/// What a look has found of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Found {
    Idle,
    /// It begins to have work.
    Begins,
    Works,
}

impl<K: std::hash::Hash + Eq + Copy> Active<K> {
    /// Looks at everybody: who it is, whether there is something to do at the moment, and how far it has come.
    fn look<'a, T>(
        &mut self,
        all: impl Iterator<Item = (K, bool, u64, T)> + 'a,
    ) -> Vec<(T, Found)> {
        let before = std::mem::take(&mut self.0);
        let mut one = |(who, busy, progress, of): (K, bool, u64, T)| {
            let (left, then) = before.get(&who).copied().unwrap_or_default();
            let now = match busy || then != progress {
                true => LOOKS,
                false => left.saturating_sub(1),
            };
            self.0.insert(who, (now, progress));
            let found = match (left, now) {
                (_, 0) => Found::Idle,
                (0, _) => Found::Begins,
                _ => Found::Works,
            };
            (of, found)
        };
        all.map(&mut one).collect()
    }
}

/// Who has work, as the keeper sees it.
#[derive(Default)]
pub(crate) struct Shares {
    processes: Active<u32>,
    partitions: Active<usize>,
}

impl Shares {
    /// Looks who has work and who has used least, and gives the workers homes.
    pub(crate) fn look(&mut self, device: &Device) {
        let occupied = device.sched.occupied();
        // Who looked just while something was taken in saw nothing of it.
        if device.sees_work() {
            device.notify();
        }
        let count = device.sched.count();
        let mut busy = vec![false; count];
        for (process, works) in &occupied {
            busy[process.tenancy.partition.index] |= works;
        }
        let all = occupied.into_iter().map(|(process, busy)| {
            let progress = process.progress.load(Ordering::Relaxed);
            (process.number(), busy, progress, process)
        });
        let mut processes: Vec<Vec<_>> = (0..count).map(|_| Vec::new()).collect();
        for (process, found) in self.processes.look(all) {
            let partition = process.tenancy.partition.index;
            processes[partition].push((process, found));
        }
        for (partition, of_it) in processes.iter().enumerate() {
            level_processes(&device.fairness, partition, of_it.iter());
        }
        let all = (0..count).map(|n| (n, busy[n], device.sched.served(n), n));
        let found = self.partitions.look(all);
        let working = level_partitions(&device.fairness, &found);
        divide(device, &working);
    }
}

fn level_processes<'a>(
    fairness: &Fairness,
    partition: usize,
    found: impl Iterator<Item = &'a (Arc<Process>, Found)>,
) {
    let share = &fairness.partitions[partition];
    let before = share.least.load(Ordering::Relaxed);
    let mut working = 0;
    let mut least = u64::MAX;
    for (process, found) in found.filter(|(_, found)| *found != Found::Idle) {
        if *found == Found::Begins {
            process.used.fetch_max(before, Ordering::Relaxed);
        }
        working += 1;
        least = least.min(process.used.load(Ordering::Relaxed));
    }
    if working > 0 {
        share.least.store(least, Ordering::Relaxed);
    }
    share.contended.store(working > 1, Ordering::Relaxed);
}

/// The partitions that have work.
fn level_partitions(fairness: &Fairness, found: &[(usize, Found)]) -> Vec<usize> {
    let before = fairness.least.load(Ordering::Relaxed);
    let used = |partition: usize| &fairness.partitions[partition].used;
    for &(partition, found) in found {
        if found == Found::Begins {
            used(partition).fetch_max(before, Ordering::Relaxed);
        }
    }
    let working = found.iter().filter(|(_, found)| *found != Found::Idle);
    let working: Vec<usize> = working.map(|&(partition, _)| partition).collect();
    let least = working.iter().map(|&n| used(n).load(Ordering::Relaxed));
    if let Some(least) = least.min() {
        fairness.least.store(least, Ordering::Relaxed);
    }
    working
}

/// Gives the workers homes, or takes them away.
fn divide(device: &Device, working: &[usize]) {
    let fairness = &device.fairness;
    let now: Vec<Place> = device.workers.iter().map(|w| w.place()).collect();
    let homes = deal(&now, working);
    let divided = homes.iter().any(Option::is_some);
    let several = working.len() > 1;
    let contended = |n: usize| fairness.is_contended(n);
    let measured = (0..fairness.partitions.len()).any(contended)
        || several && homes.iter().any(Option::is_none);
    fairness.measured.store(measured, Ordering::Relaxed);
    fairness.mixed.store(several && !divided, Ordering::Relaxed);
    if now.iter().zip(&homes).all(|(now, then)| now.home == *then) {
        return;
    }
    for (worker, home) in device.workers.iter().zip(homes) {
        worker.set_home(home);
    }
    fairness.divided.store(divided, Ordering::SeqCst);
    // Whoever waits looks at what it is to do now.
    device.wake_all();
}

/// Where a worker is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Place {
    /// The partition that is its home.
    pub(crate) home: Option<usize>,
    /// The partition that it served last.
    pub(crate) served: usize,
}

/// The homes of workers (rule 2). Who has one that still is one keeps it; else a worker stays with what it does.
fn deal(workers: &[Place], working: &[usize]) -> Vec<Option<usize>> {
    let mut homes = vec![None; workers.len()];
    let each = workers.len() / working.len().max(1);
    if working.len() < 2 || each == 0 {
        return homes;
    }
    let mut room: HashMap<usize, usize> = working.iter().map(|&n| (n, each)).collect();
    let mut settle = |homes: &mut Vec<Option<usize>>, wish: &dyn Fn(&Place) -> Option<usize>| {
        for (home, worker) in homes.iter_mut().zip(workers) {
            let wished = wish(worker).filter(|_| home.is_none());
            if let Some(room) = wished.and_then(|n| room.get_mut(&n)).filter(|n| **n > 0) {
                *room -= 1;
                *home = wished;
            }
        }
    };
    settle(&mut homes, &|worker| worker.home);
    settle(&mut homes, &|worker| Some(worker.served));
    for &partition in working {
        settle(&mut homes, &|_| Some(partition));
    }
    homes
}

#[cfg(test)]
mod tests;
