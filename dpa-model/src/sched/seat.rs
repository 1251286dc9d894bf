//! A process's place in the scheduler: what of it is ready, and what has started.

use std::cell::Cell;

use sync_event::sync::Arc;

use super::{Release, Taking, Tenant};
use crate::launch::{Body, Launch};
use crate::ready::ReadyQueue;

/// What there is room for.
#[derive(Clone, Copy)]
pub(super) struct Room {
    units: u32,
    no_steps: bool,
}

impl Room {
    /// So many units are free for a worker that takes by these rules.
    pub(super) fn new(units: u32, taking: Taking) -> Self {
        let no_steps = taking.no_steps;
        Self { units, no_steps }
    }

    fn within(self, limit: u32) -> Self {
        let units = self.units.min(limit);
        Self { units, ..self }
    }

    fn takes(self, launch: &Launch) -> bool {
        let is_step = matches!(launch.body, Body::Step(_));
        launch.units() <= self.units && !(self.no_steps && is_step)
    }
}

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
    /// The most that may be started at a time.
    limit: u32,
    /// Steps that are under way (rule 5).
    pub(super) steps: u32,
    pub(super) gone: bool,
}

impl<P: Tenant> Seat<P> {
    pub(super) fn new(process: Arc<P>) -> Self {
        Self {
            limit: process.limit(),
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

    /// Units that it may have beside those that it has.
    fn left(&self) -> u32 {
        self.limit.saturating_sub(self.started)
    }

    /// Whether its own limit keeps its head back (rule 6).
    pub(super) fn is_kept_back(&self) -> bool {
        // Most have none, and nothing else is looked at for them.
        if self.limit == u32::MAX {
            return false;
        }
        let left = self.left();
        self.ready
            .first()
            .is_some_and(|(_, head)| head.units() > left)
    }

    /// Whether all its started threads wait.
    pub(super) fn is_stuck(&self) -> bool {
        self.started > 0 && self.process.blocked() >= self.started
    }

    /// Whether it takes part in who is next: by its head, or by what passes a head that is kept back.
    pub(super) fn takes_turns(&mut self, free: Room) -> bool {
        !self.is_kept_back() || self.is_stuck() && self.has_that_fits(free)
    }

    /// Whether [`Seat::take_that_fits`] finds something.
    fn has_that_fits(&mut self, free: Room) -> bool {
        let room = free.within(self.left());
        if self.least > room.units {
            return false;
        }
        let mut least = u32::MAX;
        let found = self.ready.any(|launch| {
            least = least.min(launch.units());
            room.takes(launch)
        });
        if !found {
            self.least = least;
        }
        found
    }

    /// Takes the first launch that takes no more units. A search in vain is not made again before one comes that takes fewer than
    /// all that it saw, or more are free: a million may be ready, and each worker that looks for work comes here.
    pub(super) fn take_that_fits(&mut self, free: Room) -> Option<(u64, Arc<Launch>)> {
        let room = free.within(self.left());
        if self.least > room.units {
            return None;
        }
        let (_, first) = self.ready.first()?;
        if room.takes(first) {
            return self.ready.pop();
        }
        let least = Cell::new(first.units());
        let found = self.ready.pop_behind(|launch| {
            least.set(least.get().min(launch.units()));
            room.takes(launch)
        });
        if found.is_none() {
            self.least = least.get();
        }
        found
    }

    /// Whether something ready may start once so many units are free (SEMANTICS 2.3): its head, or, while all its threads wait,
    /// whatever fits.
    pub(super) fn is_startable_within(&self, units: u32) -> bool {
        let units = units.min(self.left());
        let fits = |launch: &Arc<Launch>| launch.units() <= units && launch.outcome().is_none();
        self.ready.first().is_some_and(|(_, head)| fits(head))
            || self.started <= self.process.blocked() && self.least <= units && self.ready.any(fits)
    }
}
