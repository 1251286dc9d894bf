//! The scheduler of a partition: which launch starts next, and on how many of its units.
//!
//! A state machine without I/O behind one short lock. Rules (SEMANTICS 2.2, 2.3):
//!
//! 1. Each process has one ready queue in order of submission. Processes take turns by the age of their heads, or by the time
//!    they have used while that is measured. Partitions have a scheduler each (`lanes.rs`).
//! 2. The n threads of a launch start together: all its units are taken at once, or none.
//! 3. A head that does not fit reserves units as they become free: nothing younger takes them, except launches of a
//!    process of which every started thread is blocked (else they could never go on).
//! 4. A started launch with more than one thread is handed to every worker that asks until all its ranks are claimed.
//! 5. A step takes no unit, but it is under way from when it is taken, under the lock, until its worker gives it back: behind its
//!    completion update, which may make more of its process ready. As long as something is under way a process that is dismissed
//!    keeps its seat, and is not at rest.
//! 6. A process may have a limit of units of its own. A head that this keeps back reserves nothing and is passed by; while every
//!    started thread of its process is blocked, what fits within the limit starts in its turn.

mod after;
mod release;
mod seat;

use std::collections::{BTreeMap, VecDeque};

use sync_event::sync::atomic::{AtomicUsize, Ordering};
use sync_event::sync::{Arc, Mutex};

use crate::inbox::Inbox;
use crate::launch::{Body, Launch};

pub use after::After;
use after::{Stray, Strays};
pub use release::Release;
use seat::{Room, Seat};

/// What the scheduler needs to know of a process.
pub trait Tenant {
    /// Started threads that wait.
    fn blocked(&self) -> u32;

    /// The time it has used: while `next` is told to be fair, who has used less comes first.
    fn used(&self) -> u64 {
        0
    }

    /// The most units that it may have at a time, if those are fewer than there are.
    fn limit(&self) -> u32 {
        u32::MAX
    }

    /// Whether it is to be told when units of it are given back.
    fn is_closing(&self) -> bool {
        false
    }

    /// Units of it have been given back, or a step is over.
    fn units_back(&self) {}

    /// It was dismissed, and nothing of it is under way any more.
    fn gone(&self) {}

    /// It was dismissed, and this launch of it has not started and never will.
    fn never_starts(_process: &Arc<Self>, _launch: &Arc<Launch>)
    where
        Self: Sized,
    {
    }
}

/// A piece of work for a worker: a launch whose units are taken.
#[derive(Debug)]
pub struct Work<P> {
    /// The process, unless it is the one the worker said it holds already.
    pub process: Option<Arc<P>>,
    /// The launch. With more than one thread, ranks of it are to be claimed.
    pub launch: Arc<Launch>,
}

/// What a worker takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Taking {
    /// The process that has used least comes first.
    pub fair: bool,
    /// A step is left to others: nobody can interrupt it.
    pub no_steps: bool,
}

/// The scheduler of a partition.
#[derive(Debug)]
pub struct Sched<P> {
    inbox: Inbox,
    queued: AtomicUsize,
    claimable: AtomicUsize,
    state: Mutex<State<P>>,
}

#[derive(Debug)]
struct State<P> {
    /// Units that are free.
    free: u32,
    /// By number. Numbers are never used again.
    tenants: BTreeMap<u32, Seat<P>>,
    /// The numbers of those of which something may be ready, in order: many may be idle, and each launch comes by here.
    waiting: Vec<u32>,
    /// `None`: they are used up.
    next_number: Option<u32>,
    /// From one number to the next.
    step: u32,
    claims: VecDeque<Arc<Launch>>,
    /// Launches of processes that are dismissed, for whoever comes by next: what ends them is foreign code.
    strays: Vec<Stray<P>>,
}

impl<P: Tenant> Sched<P> {
    /// For so many units.
    pub fn new(units: u32) -> Self {
        Self::numbered(units, 0, 1)
    }

    /// As [`Sched::new`]; its processes have the numbers `first`, `first + step`, and so on.
    pub fn numbered(units: u32, first: u32, step: u32) -> Self {
        let state = State {
            free: units,
            tenants: BTreeMap::new(),
            waiting: Vec::new(),
            next_number: Some(first),
            step,
            claims: VecDeque::new(),
            strays: Vec::new(),
        };
        Self {
            inbox: Inbox::new(),
            queued: AtomicUsize::new(0),
            claimable: AtomicUsize::new(0),
            state: Mutex::new(state),
        }
    }

    /// Takes a process in. `make` gets its number; without one left it is not called, and nothing is taken in.
    pub fn admit(&self, make: impl FnOnce(u32) -> Arc<P>) -> Option<Arc<P>> {
        let mut state = self.state.lock();
        let number = state.next_number?;
        state.next_number = number.checked_add(state.step);
        let process = make(number);
        let seat = Seat::new(process.clone());
        state.tenants.insert(number, seat);
        Some(process)
    }

    /// Lets a process go once nothing of it is under way. What is ready of it ends; so do launches of it that arrive until then, and
    /// those that arrive later are dropped.
    pub fn dismiss(&self, proc: u32) {
        // Also where this returns early it is dropped behind the lock, as it is declared before.
        let mut strays;
        let mut state = self.state.lock();
        strays = state.drain(&self.inbox);
        let Some(seat) = state.tenants.get_mut(&proc) else {
            return;
        };
        seat.gone = true;
        seat.set_apart();
        while let Some((_, launch)) = seat.apart.pop() {
            strays.0.push((Some(seat.process.clone()), launch));
        }
        let vacant = seat.is_vacant();
        state.has_nothing_ready(proc);
        if vacant {
            let seat = state.tenants.remove(&proc);
            drop(state);
            seat.iter().for_each(|seat| seat.process.gone());
            drop(seat);
        } else {
            drop(state);
        }
        drop(strays);
        self.recount();
    }

    /// Tells those who look without the lock. They are written under it, and each store costs as much as a lock.
    fn count(&self, state: &State<P>) {
        let tell = |told: &AtomicUsize, count| {
            if told.load(Ordering::Relaxed) != count {
                told.store(count, Ordering::SeqCst);
            }
        };
        tell(&self.queued, state.queued());
        tell(&self.claimable, state.claims.len());
    }

    fn recount(&self) {
        let state = self.state.lock();
        self.count(&state);
    }

    /// Puts in a launch that has become ready. The caller notifies the idle workers.
    pub fn push(&self, launch: Arc<Launch>) {
        self.inbox.push(launch);
    }

    /// Whether nothing waits to be started or claimed, as far as can be seen without the lock.
    #[inline]
    pub fn looks_empty(&self) -> bool {
        self.claimable.load(Ordering::Relaxed) == 0 && self.has_no_launches()
    }

    /// Whether no launch waits to be started, as far as can be seen without the lock.
    #[inline]
    pub fn has_no_launches(&self) -> bool {
        self.queued.load(Ordering::Relaxed) == 0 && self.inbox.is_empty()
    }

    /// Gives back units, then takes the next work. `held`: the process that the caller holds already.
    pub fn next(&self, release: Option<Release>, held: Option<&Arc<P>>) -> Option<Work<P>> {
        let mut after = Vec::new();
        let work = self.next_by(Taking::default(), release, held, &mut after);
        after.into_iter().for_each(After::follow);
        work
    }

    /// As [`Sched::next`], by these rules. The caller does what is to be done `after` it.
    pub fn next_by(
        &self,
        taking: Taking,
        release: Option<Release>,
        held: Option<&Arc<P>>,
        after: &mut Vec<After<P>>,
    ) -> Option<Work<P>> {
        let mut state = self.state.lock();
        // First: with the last unit that comes back, a process that is dismissed is not known any more.
        let strays = state.drain(&self.inbox);
        let told = release.map_or_else(After::nothing, |release| state.release(release));
        let told = After { strays, ..told };
        let launch = state.next(taking);
        let process = launch
            .as_ref()
            .and_then(|launch| state.tenants.get(&launch.proc))
            .filter(|seat| !held.is_some_and(|held| Arc::ptr_eq(held, &seat.process)))
            .map(|seat| seat.process.clone());
        self.count(&state);
        drop(state);
        after.extend(Some(told).filter(|told| !told.is_nothing()));
        launch.map(|launch| Work { process, launch })
    }

    /// Gives back units without taking work.
    pub fn release(&self, release: Release) -> After<P> {
        let mut state = self.state.lock();
        let strays = state.drain(&self.inbox);
        let told = state.release(release);
        self.count(&state);
        After { strays, ..told }
    }

    /// What is ready of a process starts no more.
    pub fn set_apart(&self, proc: u32) {
        let mut state = self.state.lock();
        let strays = state.drain(&self.inbox);
        if let Some(seat) = state.tenants.get_mut(&proc) {
            seat.set_apart();
        }
        state.has_nothing_ready(proc);
        self.count(&state);
        drop(state);
        drop(strays);
    }

    /// Takes everything of a process that has not started, in order. `each` may take long: who does the same meanwhile takes what it
    /// has not come to.
    pub fn take_ready(&self, proc: u32, each: impl FnMut(Arc<Launch>)) {
        self.set_apart(proc);
        let one = || Some(self.state.lock().tenants.get_mut(&proc)?.apart.pop()?.1);
        std::iter::from_fn(one).for_each(each);
    }

    /// Started threads of a process, and whether something of it is ready that could be given units now.
    pub fn standing(&self, proc: u32) -> Standing {
        // Dropped behind the lock, as it is declared before.
        let _strays;
        let mut state = self.state.lock();
        _strays = state.drain(&self.inbox);
        let standing = state.standing(proc);
        self.count(&state);
        standing
    }

    /// The same for who ends nothing: stray launches are left for who comes by.
    pub fn look_at(&self, proc: u32) -> Standing {
        let mut state = self.state.lock();
        state.take_in(&self.inbox);
        let standing = state.standing(proc);
        self.count(&state);
        standing
    }

    /// All processes, and whether each has something ready, or started and not waiting.
    pub fn occupied(&self) -> Vec<(Arc<P>, bool)> {
        let mut state = self.state.lock();
        // Where a kernel has every worker nobody else takes it in, and it is the others' that count.
        state.take_in(&self.inbox);
        self.count(&state);
        let seats = state.tenants.values();
        let busy = |seat: &Seat<P>| seat.started > seat.process.blocked() || !seat.ready.is_empty();
        seats
            .map(|seat| (seat.process.clone(), busy(seat)))
            .collect()
    }

    /// All processes, for what must look at each of them.
    pub fn processes(&self) -> Vec<Arc<P>> {
        self.state
            .lock()
            .tenants
            .values()
            .map(|seat| seat.process.clone())
            .collect()
    }

    /// Units that are free.
    pub fn free(&self) -> u32 {
        self.state.lock().free
    }

    /// There are so many units from now on, all of them free: nothing is started.
    pub fn resize(&self, units: u32) {
        self.state.lock().free = units;
    }
}

/// How a process stands with the scheduler.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// Threads that have units.
    pub started: u32,
    /// Steps that are under way.
    pub steps: u32,
    /// Launches that are ready.
    pub ready: usize,
    /// Whether one of them, or a rank of a started launch, could be run now, or when others give their units back.
    pub startable: bool,
}

impl<P: Tenant> State<P> {
    /// Launches for which somebody is to come by.
    fn queued(&self) -> usize {
        let seats = self.waiting.iter().filter_map(|n| self.tenants.get(n));
        seats.map(|seat| seat.ready.len()).sum::<usize>() + self.strays.len()
    }

    /// What was ready of this process is taken out.
    fn has_nothing_ready(&mut self, proc: u32) {
        if let Ok(at) = self.waiting.binary_search(&proc) {
            self.waiting.remove(at);
        }
    }

    /// Takes in what has come; gives back launches of processes that are dismissed.
    #[must_use]
    fn drain(&mut self, inbox: &Inbox) -> Strays<P> {
        let mut strays = Strays(std::mem::take(&mut self.strays));
        let Self {
            tenants, waiting, ..
        } = self;
        inbox.take_all(|launch| match tenants.get_mut(&launch.proc) {
            Some(seat) if !seat.gone => {
                if seat.ready.first().is_none()
                    && let Err(at) = waiting.binary_search(&launch.proc)
                {
                    waiting.insert(at, launch.proc);
                }
                seat.least = seat.least.min(launch.units());
                seat.ready.push(launch.seq, launch);
            }
            seat => strays
                .0
                .push((seat.map(|seat| seat.process.clone()), launch)),
        });
        strays
    }

    /// Takes in what has come, and keeps launches of processes that are dismissed.
    fn take_in(&mut self, inbox: &Inbox) {
        self.strays = std::mem::take(&mut self.drain(inbox).0);
    }

    fn standing(&mut self, proc: u32) -> Standing {
        // No worker may come by to see that it was taken back, and who waits for rest is told of that no second time.
        self.forget_what_is_over();
        // Units that others have come back some day.
        let others = self.tenants.iter().filter(|&(&number, _)| number != proc);
        let reachable = self.free + others.map(|(_, seat)| seat.started).sum::<u32>();
        let seat = self.tenants.get(&proc);
        seat.map_or(Standing::default(), |seat| Standing {
            started: seat.started,
            steps: seat.steps,
            ready: seat.ready.len(),
            startable: self.claims.iter().any(|l| l.proc == proc)
                || seat.is_startable_within(reachable),
        })
    }

    fn release(&mut self, release: Release) -> After<P> {
        let mut closing = None;
        let mut empty = false;
        // A seat stays as long as something of it is under way.
        if let Some(seat) = self.tenants.get_mut(&release.proc) {
            self.free += release.units;
            seat.give_back(release);
            empty = seat.gone && seat.is_vacant();
            closing = seat.process.is_closing().then(|| seat.process.clone());
        }
        After {
            gone: if empty {
                self.tenants.remove(&release.proc)
            } else {
                None
            },
            closing,
            ..After::nothing()
        }
    }

    fn next(&mut self, taking: Taking) -> Option<Arc<Launch>> {
        while let Some(launch) = self.claims.front() {
            if launch
                .gang()
                .is_some_and(|gang| !gang.all_claimed(launch.threads))
            {
                return Some(launch.clone());
            }
            self.claims.pop_front();
        }
        loop {
            let launch = self.admit_one(taking)?;
            if launch.start() {
                if launch.gang().is_some() {
                    self.claims.push_back(launch.clone());
                }
                return Some(launch);
            }
            // Taken back while it was in the queue: its units are free again.
            if let Some(seat) = self.tenants.get_mut(&launch.proc) {
                let release = Release::all_of(&launch);
                self.free += release.units;
                seat.give_back(release);
            }
        }
    }

    /// Takes the launch that may start next out of its queue, and its units.
    fn admit_one(&mut self, taking: Taking) -> Option<Arc<Launch>> {
        self.forget_what_is_over();
        let Self {
            tenants,
            waiting,
            free,
            ..
        } = self;
        let room = Room::new(*free, taking);
        let heads = waiting.iter().filter_map(|&number| {
            let seat = tenants.get_mut(&number)?;
            let (seq, _) = seat.takes_turns(room).then(|| seat.ready.first())??;
            let used = if taking.fair { seat.process.used() } else { 0 };
            Some((used, seq, number))
        });
        let (_, _, number) = heads.min()?;
        let seat = tenants.get_mut(&number)?;
        if seat.is_kept_back() {
            let (_, launch) = seat.take_that_fits(room)?;
            return Some(self.take_units(launch));
        }
        let (_, head) = seat.ready.first()?;
        if taking.no_steps && matches!(head.body, Body::Step(_)) {
            return None;
        }
        if head.units() <= *free {
            let (_, launch) = seat.ready.pop()?;
            return Some(self.take_units(launch));
        }
        self.admit_for_a_blocked_process(room)
    }

    /// One that was taken back while it was ready keeps no units from others. Who has nothing ready is not looked at any more.
    fn forget_what_is_over(&mut self) {
        let Self {
            tenants, waiting, ..
        } = self;
        waiting.retain(|number| {
            let Some(seat) = tenants.get_mut(number) else {
                return false;
            };
            let is_over = |(_, launch): (u64, &Arc<Launch>)| launch.outcome().is_some();
            while seat.ready.first().is_some_and(is_over) {
                seat.ready.pop();
            }
            seat.ready.first().is_some()
        });
    }

    /// Rule 3: the oldest head does not fit. Only processes whose started threads all wait may pass it.
    fn admit_for_a_blocked_process(&mut self, room: Room) -> Option<Arc<Launch>> {
        let Self {
            tenants, waiting, ..
        } = self;
        let (_, launch) = waiting.iter().find_map(|number| {
            let seat = tenants.get_mut(number)?;
            seat.is_stuck().then(|| seat.take_that_fits(room))?
        })?;
        Some(self.take_units(launch))
    }

    fn take_units(&mut self, launch: Arc<Launch>) -> Arc<Launch> {
        let units = launch.units();
        if let Some(seat) = self.tenants.get_mut(&launch.proc) {
            self.free -= units;
            seat.take(units);
        }
        launch
    }
}

#[cfg(all(test, not(dpa_loom)))]
mod tests;
