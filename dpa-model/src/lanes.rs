//! The schedulers of a device: one for each partition, so that processes of different partitions share neither a lock nor a
//! queue.
//!
//! Rules:
//! 1. The number of a process, modulo the number of lanes, is the lane of its partition. Numbers are never used again.
//! 2. A worker takes from the lanes in a circle, beginning behind the one it was served from last: no lane waits for
//!    another, however much work that has. A worker with a home takes from that lane only (see `fairness.rs`).
//! 3. It passes lanes that look empty first, but asks each of them before it says that there is nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crossbeam::utils::CachePadded;
use sync_event::sync::Arc as ModelArc;

use crate::launch::Launch;
use crate::sched::{After, Release, Sched, Standing, Taking, Tenant, Work};

/// From which lanes a worker takes work, and in which order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum From {
    /// From this one only.
    Only(usize),
    /// From this one first, then from those behind it, in a circle.
    Each(usize),
}

#[derive(Debug)]
struct Lane<P> {
    sched: Sched<P>,
    /// Launches taken from it, and ranks of launches.
    served: AtomicU64,
}

/// The schedulers of a device.
#[derive(Debug)]
pub struct Lanes<P> {
    lanes: Vec<CachePadded<Lane<P>>>,
}

impl<P: Tenant> Lanes<P> {
    /// For partitions of so many units; there is at least one.
    pub(crate) fn new(units: Vec<u32>) -> Self {
        let step = units.len() as u32;
        let lane = |(first, units): (usize, u32)| Lane {
            sched: Sched::numbered(units, first as u32, step),
            served: AtomicU64::new(0),
        };
        let lanes = units.into_iter().enumerate().map(lane);
        Self {
            lanes: lanes.map(CachePadded::new).collect(),
        }
    }

    /// How many there are.
    #[inline]
    pub(crate) fn count(&self) -> usize {
        self.lanes.len()
    }

    /// The lane of a process of this number (rule 1).
    pub(crate) fn of(&self, proc: u32) -> usize {
        proc as usize % self.lanes.len()
    }

    fn sched_of(&self, proc: u32) -> &Sched<P> {
        match self.lanes.as_slice() {
            [only] => &only.sched,
            lanes => &lanes[self.of(proc)].sched,
        }
    }

    fn each(&self) -> impl Iterator<Item = &Sched<P>> {
        self.lanes.iter().map(|lane| &lane.sched)
    }

    /// See [`Sched::admit`].
    pub(crate) fn admit(
        &self,
        partition: usize,
        make: impl FnOnce(u32) -> Arc<P>,
    ) -> Option<Arc<P>> {
        self.lanes[partition].sched.admit(make)
    }

    /// See [`Sched::dismiss`].
    pub(crate) fn dismiss(&self, proc: u32) {
        self.sched_of(proc).dismiss(proc);
    }

    /// See [`Sched::push`].
    pub(crate) fn push(&self, launch: ModelArc<Launch>) {
        self.sched_of(launch.proc).push(launch);
    }

    /// See [`Sched::release`].
    pub(crate) fn release(&self, release: Release) -> After<P> {
        self.sched_of(release.proc).release(release)
    }

    /// See [`Sched::set_apart`].
    pub(crate) fn set_apart(&self, proc: u32) {
        self.sched_of(proc).set_apart(proc);
    }

    /// See [`Sched::take_ready`].
    pub(crate) fn take_ready(&self, proc: u32, each: impl FnMut(ModelArc<Launch>)) {
        self.sched_of(proc).take_ready(proc, each);
    }

    /// See [`Sched::standing`].
    pub(crate) fn standing(&self, proc: u32) -> Standing {
        self.sched_of(proc).standing(proc)
    }

    /// See [`Sched::look_at`].
    pub(crate) fn look_at(&self, proc: u32) -> Standing {
        self.sched_of(proc).look_at(proc)
    }

    /// See [`Sched::occupied`].
    pub(crate) fn occupied(&self) -> Vec<(Arc<P>, bool)> {
        self.each().flat_map(Sched::occupied).collect()
    }

    /// See [`Sched::processes`].
    pub fn processes(&self) -> Vec<Arc<P>> {
        self.each().flat_map(Sched::processes).collect()
    }

    /// Units of a partition that are free.
    pub(crate) fn free(&self, partition: usize) -> u32 {
        self.lanes[partition].sched.free()
    }

    /// See [`Sched::resize`].
    pub(crate) fn resize(&self, partition: usize, units: u32) {
        self.lanes[partition].sched.resize(units);
    }

    /// How often a lane has served a worker. Not counted where there is only one.
    pub(crate) fn served(&self, lane: usize) -> u64 {
        self.lanes[lane].served.load(Ordering::Relaxed)
    }

    /// Whether nothing waits to be started or claimed, as far as can be seen without the locks.
    #[inline]
    pub(crate) fn looks_empty(&self) -> bool {
        self.each().all(Sched::looks_empty)
    }

    /// The same of one lane.
    #[inline]
    pub(crate) fn lane_looks_empty(&self, lane: usize) -> bool {
        self.lanes[lane].sched.looks_empty()
    }

    /// Whether no launch waits to be started, as far as can be seen without the locks.
    #[inline]
    pub(crate) fn has_no_launches(&self) -> bool {
        self.each().all(Sched::has_no_launches)
    }

    /// Gives back units, then takes the next work. `taking`: what of a lane. `held`: the process that the caller holds already. The
    /// caller does what is to be done `after` it.
    #[inline]
    pub(crate) fn next(
        &self,
        from: From,
        taking: impl Fn(usize) -> Taking,
        release: Option<Release>,
        held: Option<&Arc<P>>,
        after: &mut Vec<After<P>>,
    ) -> Option<Work<P>> {
        match self.lanes.as_slice() {
            [only] => only.sched.next_by(taking(0), release, held, after),
            _ => self.next_of_several(from, taking, release, held, after),
        }
    }

    fn next_of_several(
        &self,
        from: From,
        taking: impl Fn(usize) -> Taking,
        mut release: Option<Release>,
        held: Option<&Arc<P>>,
        after: &mut Vec<After<P>>,
    ) -> Option<Work<P>> {
        let (first, many) = match from {
            From::Only(lane) => (lane, 1),
            From::Each(first) => (first, self.lanes.len()),
        };
        let circle = || (first..first + many).map(|lane| lane % self.lanes.len());
        let mut ask = |lane: usize| {
            let own = release.filter(|release| self.of(release.proc) == lane);
            release = if own.is_some() { None } else { release };
            let work = self.lanes[lane]
                .sched
                .next_by(taking(lane), own, held, after)?;
            self.lanes[lane].served.fetch_add(1, Ordering::Relaxed);
            Some(work)
        };
        let busy = circle().filter(|&lane| !self.lane_looks_empty(lane));
        let work = busy.into_iter().find_map(&mut ask);
        let work = work.or_else(|| circle().find_map(&mut ask));
        if let Some(release) = release {
            after.push(self.release(release));
        }
        work
    }
}

#[cfg(test)]
mod tests;
