//! The device's clock, real or virtual, and its timers.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Waker;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use crate::process::UnitTimeout;

/// What a timer does when its time has come.
#[derive(Debug)]
pub(crate) enum Action {
    /// Wakes a task of the host, for the process of this number.
    Wake(u32, Waker),
    /// Ends the wait of a kernel's thread.
    Unit(UnitTimeout),
    /// Interrupts what this worker does in the background, if it was called back and has not come.
    Recall(usize),
}

/// Identifies a timer: its time and a number.
pub type TimerKey = (u64, u64);

/// A time that does not come.
pub const NEVER: u64 = u64::MAX;

/// Nanoseconds since the device was opened, and what is to happen when.
#[derive(Debug)]
pub struct Clock {
    origin: Instant,
    virtual_now: Option<AtomicU64>,
    timers: Mutex<Timers>,
    sooner: Condvar,
}

#[derive(Debug, Default)]
struct Timers {
    due: BTreeMap<TimerKey, Action>,
    last: u64,
    stopped: bool,
}

impl Clock {
    pub(crate) fn real() -> Self {
        Self {
            origin: Instant::now(),
            virtual_now: None,
            timers: Mutex::default(),
            sooner: Condvar::new(),
        }
    }

    pub(crate) fn simulated() -> Self {
        Self {
            virtual_now: Some(AtomicU64::new(0)),
            ..Self::real()
        }
    }

    /// Now, in nanoseconds since the device was opened.
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

    /// Moves virtual time on; no effect on a real clock.
    pub(crate) fn advance_to(&self, nanos: u64) {
        if let Some(now) = &self.virtual_now {
            now.fetch_max(nanos, Ordering::Relaxed);
        }
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

    /// Takes a timer back; nothing happens if its time has come already.
    pub fn clear(&self, key: TimerKey) {
        let taken = self.timers.lock().due.remove(&key);
        drop(taken);
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
        let mut timers = self.timers.lock();
        let later = timers.due.split_off(&(now.saturating_add(1), 0));
        std::mem::replace(&mut timers.due, later)
            .into_values()
            .collect()
    }

    /// Waits, on a thread of its own, until a timer is due or `most` has passed. False when stopped.
    pub(crate) fn wait_due(&self, most: Duration) -> bool {
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
            self.sooner.wait_for(&mut timers, wait);
        }
        !timers.stopped
    }

    pub(crate) fn stop(&self) {
        self.timers.lock().stopped = true;
        self.sooner.notify_all();
    }
}
