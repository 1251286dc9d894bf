//! The device's clock, real or virtual, and its timers.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::Waker;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use crate::process::UnitTimeout;
use crate::urge::Urge;

/// What a timer does when its time has come.
#[derive(Debug)]
pub(crate) enum Action {
    /// Wakes a task of the host, for the process of this number.
    Wake(u32, Waker),
    /// Ends the wait of a kernel's thread.
    Unit(UnitTimeout),
    /// Interrupts what this worker does in the background, if it was called back and has not come.
    Recall(usize),
    /// Interrupts a kernel that is urged and has passed no safe point.
    Urge(Urge),
}

/// Identifies a timer: its time and a number.
pub type TimerKey = (u64, u64);

/// A time that does not come.
pub const NEVER: u64 = u64::MAX;

/// Nanoseconds since the device was opened, or its simulation began, and what is to happen when.
#[derive(Debug)]
pub struct Clock {
    origin: Instant,
    virtual_now: Option<Arc<AtomicU64>>,
    timers: Arc<Mutex<Timers>>,
    sooner: Condvar,
    /// Who waits for timers has seen nothing to do for a while, and sleeps until it is roused.
    dozes: AtomicBool,
}

#[derive(Debug, Default)]
struct Timers {
    due: BTreeMap<TimerKey, Action>,
    /// By process, tasks of the host whose time has come and who are not woken yet: whoever woke the one before takes long. A
    /// process stands here while somebody is at it.
    late: BTreeMap<u32, BTreeMap<TimerKey, Waker>>,
    last: u64,
    stopped: bool,
}

impl Clock {
    pub(crate) fn real() -> Self {
        Self {
            origin: Instant::now(),
            virtual_now: None,
            timers: Arc::default(),
            sooner: Condvar::new(),
            dozes: AtomicBool::new(false),
        }
    }

    /// It shows this, which is moved on elsewhere.
    pub(crate) fn simulated(now: Arc<AtomicU64>) -> Self {
        Self {
            virtual_now: Some(now),
            ..Self::real()
        }
    }

    /// Now, in nanoseconds since the device was opened, or its simulation began.
    #[inline]
    pub fn now(&self) -> u64 {
        match &self.virtual_now {
            None => self.origin.elapsed().as_nanos() as u64,
            Some(now) => now.load(Ordering::Relaxed),
        }
    }

    /// The time `delay` from now; `u64::MAX`, which never comes, if that is beyond what there is.
    pub fn after(&self, delay: Duration) -> u64 {
        self.now()
            .saturating_add(u64::try_from(delay.as_nanos()).unwrap_or(NEVER))
    }

    pub(crate) fn set(&self, at: u64, action: Action) -> TimerKey {
        let mut timers = self.timers.lock();
        timers.last += 1;
        let key = (at, timers.last);
        let first = timers.due.first_key_value().is_none_or(|(&k, _)| key < k);
        timers.due.insert(key, action);
        drop(timers);
        if first {
            self.sooner.notify_all();
        }
        key
    }

    pub(crate) fn set_wake(&self, at: u64, process: u32, waker: Waker) -> TimerKey {
        self.set(at, Action::Wake(process, waker))
    }

    /// Takes a timer back; nothing happens if its time has come and it was seen to already.
    pub fn clear(&self, key: TimerKey) {
        let mut timers = self.timers.lock();
        let taken = timers.due.remove(&key);
        let mut late = timers.late.values_mut();
        let late = match taken {
            None => late.find_map(|of| of.remove(&key)),
            Some(_) => None,
        };
        drop(timers);
        drop((taken, late));
    }

    /// The time of the first timer, if it ever comes.
    pub(crate) fn next(&self) -> Option<u64> {
        self.timers
            .lock()
            .due
            .first_key_value()
            .map(|(&(at, _), _)| at)
            .filter(|&at| at != NEVER)
    }

    /// Takes out what is due now.
    pub(crate) fn due(&self) -> Vec<Action> {
        let now = self.now();
        self.timers.lock().take_due(now).into_values().collect()
    }

    /// Takes out what is due now, but for tasks of the host: those are there for [`Clock::waking`], and can be taken back until
    /// their turn comes. Beside it the processes for which that is to be called.
    pub(crate) fn due_beside_tasks(&self) -> (Vec<Action>, Vec<u32>) {
        let now = self.now();
        let (mut actions, mut processes) = (Vec::new(), Vec::new());
        let mut timers = self.timers.lock();
        for (key, action) in timers.take_due(now) {
            let (process, waker) = match action {
                Action::Wake(process, waker) => (process, waker),
                action => {
                    actions.push(action);
                    continue;
                }
            };
            let late = match timers.late.entry(process) {
                Entry::Occupied(somebody_is_at_it) => somebody_is_at_it.into_mut(),
                Entry::Vacant(nobody) => {
                    processes.push(process);
                    nobody.insert(BTreeMap::new())
                }
            };
            late.insert(key, waker);
        }
        (actions, processes)
    }

    /// Wakes the tasks of a process whose time has come, as long as there are any. It may take long, as their wakers do.
    pub(crate) fn waking(&self, process: u32) -> impl FnOnce() + Send + use<> {
        let timers = self.timers.clone();
        move || {
            loop {
                let next = timers.lock().next_late(process);
                match next {
                    Some(waker) => sync_event::wake(waker),
                    None => return,
                }
            }
        }
    }

    /// Waits, on a thread of its own, until a timer is due or `most` has passed; if it may doze, at most until it is roused. False
    /// when stopped.
    pub(crate) fn wait_due(&self, most: Duration, may_doze: bool) -> bool {
        let mut timers = self.timers.lock();
        if timers.stopped {
            return false;
        }
        let now = self.now();
        let wait = match timers.due.first_key_value() {
            Some((&(at, _), _)) => Duration::from_nanos(at.saturating_sub(now)).min(most),
            None => most,
        };
        if !wait.is_zero() {
            self.dozes.store(may_doze, Ordering::Relaxed);
            self.sooner.wait_for(&mut timers, wait);
            self.dozes.store(false, Ordering::Relaxed);
        }
        !timers.stopped
    }

    /// There is something to do again. It costs nothing while nobody dozes. Who has just begun to may be missed, and then sleeps on.
    #[inline]
    pub(crate) fn rouse(&self) {
        if self.dozes.load(Ordering::Relaxed) {
            self.end_doze();
        }
    }

    #[cold]
    fn end_doze(&self) {
        // Under the lock: who says that it dozes lets go of it when it sleeps.
        drop(self.timers.lock());
        self.sooner.notify_all();
    }

    pub(crate) fn stop(&self) {
        self.timers.lock().stopped = true;
        self.sooner.notify_all();
    }
}

impl Timers {
    fn take_due(&mut self, now: u64) -> BTreeMap<TimerKey, Action> {
        let later = self.due.split_off(&(now.saturating_add(1), 0));
        std::mem::replace(&mut self.due, later)
    }

    /// The next task of this process to be woken. `None`: there is none, and nobody is at it any more.
    fn next_late(&mut self, process: u32) -> Option<Waker> {
        let next = self.late.get_mut(&process)?.pop_first();
        if next.is_none() {
            self.late.remove(&process);
        }
        next.map(|(_, waker)| waker)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rig::Wakes;

    #[test]
    fn a_task_whose_time_has_come_is_taken_back_until_its_turn() {
        let now = Arc::new(AtomicU64::new(0));
        let clock = Clock::simulated(now.clone());
        let wakes = Wakes::new();
        let set = |at, process| clock.set_wake(at, process, Waker::from(wakes.clone()));
        let [first, second, _] = [set(1, 7), set(2, 7), set(3, 8)];
        now.store(5, Ordering::Relaxed);
        assert_eq!(clock.due_beside_tasks().1, [7, 8]);
        let third = set(4, 7);
        assert!(clock.due_beside_tasks().1.is_empty(), "somebody is at it");
        let before = Arc::strong_count(&wakes);
        clock.clear(first);
        clock.clear(third);
        assert_eq!(before - Arc::strong_count(&wakes), 2, "they are let go of");
        clock.waking(7)();
        assert_eq!(wakes.count(), 1);
        clock.clear(second);
        let _ = set(5, 7);
        assert_eq!(clock.due_beside_tasks().1, [7]);
        clock.waking(7)();
        clock.waking(8)();
        assert_eq!(wakes.count(), 3);
        assert!(clock.timers.lock().late.is_empty());
    }
}
