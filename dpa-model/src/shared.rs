//! What others see of a worker: its queue of threads that can go on, and what the keeper watches.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use crossbeam::utils::CachePadded;
use parking_lot::Mutex;

use crate::fairness::Place;
use crate::idle::Soon;
use crate::unit::Suspended;

/// A time, in nanoseconds, and the count of safe points for which it is true.
#[derive(Debug)]
pub struct Since {
    time: AtomicU64,
    at: AtomicU64,
}

impl Default for Since {
    fn default() -> Self {
        Self {
            time: AtomicU64::new(0),
            at: AtomicU64::new(u64::MAX),
        }
    }
}

impl Since {
    /// Only by one thread.
    pub(crate) fn note(&self, time: u64, at: u64) {
        self.time.store(time, Ordering::Relaxed);
        self.at.store(at, Ordering::Release);
    }

    /// The time, if it is true for this count.
    pub(crate) fn of(&self, count: u64) -> Option<u64> {
        let is_true = self.at.load(Ordering::Acquire) == count;
        is_true.then(|| self.time.load(Ordering::Relaxed))
    }
}

/// What others see of a worker.
#[derive(Debug, Default)]
pub struct Shared {
    /// Suspended threads that can go on, in order.
    pub runnable: Mutex<VecDeque<Suspended>>,
    /// How many they are.
    pub waiting: AtomicUsize,
    /// A wake-up: set by whoever has taken this worker off the list of parked ones, taken by the worker.
    pub woken: AtomicBool,
    /// Counts safe points.
    pub safe_points: AtomicU64,
    /// The count at which the kernel is to be stopped by the run-time limit; `u64::MAX`: none.
    pub stop_at: AtomicU64,
    /// Threads that were interrupted, or let others run when their process was over its share: they go on when nothing
    /// else is to be done here, or when it is their turn again.
    pub resting: Mutex<VecDeque<Suspended>>,
    /// How many they are.
    pub rests: AtomicUsize,
    /// What runs here is a thread that rests: the worker is on the list of parked ones, and leaves it when it is woken.
    pub background: AtomicBool,
    /// What runs in the background has begun there.
    fresh: AtomicBool,
    /// The count of safe points at which the kernel is to be interrupted; `u64::MAX`: none.
    pub preempt_at: AtomicU64,
    /// The partition of what runs here, plus 1, if its process is over its share (see `urge.rs`); else 0.
    over: AtomicUsize,
    /// The count of safe points of the kernel that was urged last; `u64::MAX`: none.
    pub urged_at: AtomicU64,
    /// That of the last that did not hear; `u64::MAX`: none.
    pub deaf_at: AtomicU64,
    /// Since when, by the worker's CPU time, the kernel runs that was looked at last, or as if it had never been interrupted. Written
    /// by the keeper.
    pub stretch: Since,
    /// The same of one that was interrupted and went on. Written by the worker.
    pub carried: Since,
    /// When that went on.
    pub went_on: Since,
    /// Whether it runs a kernel.
    pub busy: AtomicBool,
    /// The partition that is its home, plus 1; 0: it has none (see `fairness.rs`).
    home: AtomicUsize,
    /// The partition that it served last.
    served: AtomicUsize,
    /// Its word that it looks for work soon. By itself: who submits reads it each time, and it changes rarely.
    pub soon: CachePadded<Soon>,
    /// Its OS thread, to unpark.
    pub thread: std::sync::OnceLock<std::thread::Thread>,
    /// Its OS thread, to interrupt and to ask for CPU time; 0: it has not begun, or has ended.
    pub pthread: AtomicU64,
    /// Never joined: while this is here, which is as long as the device is, the system gives the thread's identity to no other, also
    /// behind its end. Who has read it just before that may still use it.
    pub identity: std::sync::OnceLock<std::thread::JoinHandle<()>>,
}

impl Shared {
    pub(crate) fn new() -> Self {
        Self {
            stop_at: AtomicU64::new(u64::MAX),
            preempt_at: AtomicU64::new(u64::MAX),
            urged_at: AtomicU64::new(u64::MAX),
            deaf_at: AtomicU64::new(u64::MAX),
            ..Self::default()
        }
    }

    /// The partition that is its home, if it has one.
    #[inline]
    pub(crate) fn home(&self) -> Option<usize> {
        self.home.load(Ordering::SeqCst).checked_sub(1)
    }

    pub(crate) fn set_home(&self, home: Option<usize>) {
        self.home
            .store(home.map_or(0, |home| home + 1), Ordering::SeqCst);
    }

    /// The partition that it served last.
    pub(crate) fn served(&self) -> usize {
        self.served.load(Ordering::Relaxed)
    }

    pub(crate) fn note_served(&self, partition: usize) {
        if self.served() != partition {
            self.served.store(partition, Ordering::Relaxed);
        }
    }

    /// What runs here is of a process of this partition that is over its share; `None`: of one that is not.
    #[inline]
    pub(crate) fn note_over(&self, partition: Option<usize>) {
        let over = partition.map_or(0, |partition| partition + 1);
        if self.over.load(Ordering::Relaxed) != over {
            self.over.store(over, Ordering::Relaxed);
        }
    }

    /// Whether what runs here is of a process of this partition that is over its share.
    pub(crate) fn is_over_in(&self, partition: usize) -> bool {
        self.over.load(Ordering::Relaxed) == partition + 1
    }

    pub(crate) fn place(&self) -> Place {
        Place {
            home: self.home(),
            served: self.served(),
        }
    }

    /// Whether a thread of this partition can go on that another worker may run.
    pub(crate) fn has_movable_of(&self, partition: usize) -> bool {
        self.waiting.load(Ordering::SeqCst) > 0
            && self
                .runnable
                .lock()
                .iter()
                .any(|unit| unit.pinned_to().is_none() && unit.partition() == partition)
    }

    /// Puts a thread at the end of the queue.
    pub(crate) fn push(&self, unit: Suspended) {
        let mut runnable = self.runnable.lock();
        runnable.push_back(unit);
        dpa_abi::sync::publish(|| self.waiting.swap(runnable.len(), Ordering::SeqCst));
    }

    /// Puts an interrupted thread aside.
    pub(crate) fn rest(&self, unit: Suspended) {
        let mut resting = self.resting.lock();
        resting.push_back(unit);
        self.rests.store(resting.len(), Ordering::SeqCst);
    }

    /// Whether interrupted threads are put aside here.
    pub(crate) fn has_resting(&self) -> bool {
        self.rests.load(Ordering::SeqCst) > 0
    }

    /// Puts one that was just taken back to the front.
    pub(crate) fn rest_first(&self, unit: Suspended) {
        let mut resting = self.resting.lock();
        resting.push_front(unit);
        self.rests.store(resting.len(), Ordering::SeqCst);
    }

    /// Takes the first resting thread for which `wanted` holds.
    pub(crate) fn take_rested_if(&self, wanted: impl Fn(&Suspended) -> bool) -> Option<Suspended> {
        if !self.has_resting() {
            return None;
        }
        let mut resting = self.resting.lock();
        let at = resting.iter().position(wanted)?;
        let unit = resting.remove(at);
        self.rests.store(resting.len(), Ordering::SeqCst);
        unit
    }

    pub(crate) fn set_fresh(&self, fresh: bool) {
        self.fresh.store(fresh, Ordering::SeqCst);
    }

    /// Whether what runs in the background has begun there, and was not interrupted before.
    pub(crate) fn is_fresh(&self) -> bool {
        self.fresh.load(Ordering::SeqCst)
    }

    /// Whether the thread that runs in the background is to make room.
    #[inline]
    pub(crate) fn is_recalled(&self) -> bool {
        self.background.load(Ordering::Relaxed) && self.woken.load(Ordering::Relaxed)
    }

    /// Takes the first thread.
    pub(crate) fn pop(&self) -> Option<Suspended> {
        self.take_by(|runnable| if runnable.is_empty() { None } else { Some(0) })
    }

    /// Takes the first thread that another worker may run, of those that `wanted` holds for.
    pub(crate) fn take_movable(&self, wanted: impl Fn(&Suspended) -> bool) -> Option<Suspended> {
        let movable = |unit: &Suspended| unit.pinned_to().is_none() && wanted(unit);
        self.take_by(|runnable| runnable.iter().position(movable))
    }

    /// Takes the thread that `choose` names.
    pub(crate) fn take_by(
        &self,
        choose: impl FnOnce(&VecDeque<Suspended>) -> Option<usize>,
    ) -> Option<Suspended> {
        if self.waiting.load(Ordering::SeqCst) == 0 {
            return None;
        }
        let mut runnable = self.runnable.lock();
        let at = choose(&runnable)?;
        let unit = runnable.remove(at);
        self.waiting.store(runnable.len(), Ordering::SeqCst);
        unit
    }
}
