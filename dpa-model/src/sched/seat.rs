//! A process's place in the scheduler: what of it is ready, and what has started.

use std::cell::Cell;

use sync_event::sync::Arc;

use super::{Release, Tenant};
use crate::launch::Launch;
use crate::ready::ReadyQueue;

/// A process among others.
#[derive(Debug)]
pub(super) struct Seat<P> {
    pub(super) process: Arc<P>,
    pub(super) ready: ReadyQueue<Arc<Launch>>,
    /// What was ready, and is taken out by whoever ends it, one at a time: it does not start.
    pub(super) apart: ReadyQueue<Arc<Launch>>,
    /// None of what is ready takes fewer units than this.
    pub(super) least: u32,
    pub(super) started: u32,
    /// Steps that are under way (rule 5).
    pub(super) steps: u32,
    pub(super) gone: bool,
}

impl<P> Seat<P> {
    pub(super) fn new(process: Arc<P>) -> Self {
        Self {
            process,
            ready: ReadyQueue::default(),
            apart: ReadyQueue::default(),
            least: u32::MAX,
            started: 0,
            steps: 0,
            gone: false,
        }
    }

    /// Nothing that is ready starts any more.
    pub(super) fn set_apart(&mut self) {
        if self.apart.is_empty() {
            std::mem::swap(&mut self.ready, &mut self.apart);
        }
        while let Some((seq, launch)) = self.ready.pop() {
            self.apart.push(seq, launch);
        }
    }

    /// A launch that takes so many units is under way.
    pub(super) fn take(&mut self, units: u32) {
        self.started += units;
        self.steps += u32::from(units == 0);
    }

    /// So much of it is not any more.
    pub(super) fn give_back(&mut self, Release { units, steps, .. }: Release) {
        self.started -= units;
        self.steps -= steps;
    }

    /// Whether nothing of it is under way.
    pub(super) fn is_vacant(&self) -> bool {
        self.started == 0 && self.steps == 0
    }

    /// Takes the first launch that takes no more units. A search in vain is not made again before one comes that takes fewer than
    /// all that it saw, or more are free: a million may be ready, and each worker that looks for work comes here.
    pub(super) fn take_that_fits(&mut self, free: u32) -> Option<(u64, Arc<Launch>)> {
        if self.least > free {
            return None;
        }
        let (_, first) = self.ready.first()?;
        if first.units() <= free {
            return self.ready.pop();
        }
        let least = Cell::new(first.units());
        let found = self.ready.pop_behind(|launch| {
            least.set(least.get().min(launch.units()));
            launch.units() <= free
        });
        if found.is_none() {
            self.least = least.get();
        }
        found
    }
}

impl<P: Tenant> Seat<P> {
    /// Whether something ready may start once so many units are free (SEMANTICS 2.3): its head, or, while all its threads wait,
    /// whatever fits.
    pub(super) fn is_startable_within(&self, units: u32) -> bool {
        let fits = |launch: &Arc<Launch>| launch.units() <= units && launch.outcome().is_none();
        self.ready.first().is_some_and(|(_, head)| fits(head))
            || self.started <= self.process.blocked() && self.least <= units && self.ready.any(fits)
    }
}
