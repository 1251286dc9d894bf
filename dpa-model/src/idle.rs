//! Idle workers: who looks for work, who is parked, whom to wake.
//!
//! One word counts the workers that are looking (spinning) and those that are parked. Rules:
//!
//! 1. Whoever makes work available publishes it with a sequentially consistent read-modify-write and then calls
//!    [`Idle::notify`]. If a worker is looking, it will find the work; else one parked worker is woken.
//! 2. A worker that parks first moves itself from looking (or running) to parked in one read-modify-write and then
//!    checks for work once more. So either it sees the work, or the notifier sees it parked.
//! 3. A worker that finds work while looking and was the last to look notifies once more, so that while there is work
//!    someone looks for it.
//! 4. A worker that is woken counts as looking from the moment it is taken off the list, so a burst of notifications
//!    wakes one worker, not all.
//! 5. At most `max_looking` workers look at a time; the others park at once. Cross-core wakes cost tens of
//!    microseconds, and idle spinning takes the cores from the host program.
//! 6. Who takes a worker off the list gives it one wake-up, a moment later, and the worker takes one for each time it was
//!    taken off: also when it has found work itself meanwhile, and then it waits for it. A wake-up that came after the worker
//!    had stopped to expect it would end its next sleep, with the worker still on the list: the counts would be wrong for good,
//!    and in the end nobody would be woken any more.
//! 7. A worker that ends something and looks right after it says so in a word of its own ([`Soon`]), which costs less than the
//!    shared one. Who would wake a parked worker leaves the work to it. When it has found something it takes its word back by
//!    a sequentially consistent read-modify-write, and then looks whether there is more: so either it sees what was
//!    published meanwhile, or who published that did not see its word.

use dpa_abi::sync::publish;
use sync_event::sync::Mutex;
use sync_event::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

const LOOKING: u32 = 1;
const PARKED: u32 = 1 << 16;

fn looking(word: u32) -> u32 {
    word & (PARKED - 1)
}

fn parked(word: u32) -> u32 {
    word >> 16
}

/// A worker's word that it looks for work soon (rule 7).
#[derive(Debug, Default)]
pub struct Soon(AtomicBool);

impl Soon {
    /// Gives it. Only by its worker.
    #[inline]
    pub fn say(&self) {
        if !self.is_said() {
            self.0.store(true, Ordering::Relaxed);
        }
    }

    /// Whether it stands.
    #[inline]
    pub fn is_said(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }

    /// Takes it back, if it stands; whether somebody is to be notified: there is `more` than this worker has found.
    #[inline]
    pub fn take_back(&self, more: impl FnOnce() -> bool) -> bool {
        if !self.0.load(Ordering::Relaxed) {
            return false;
        }
        publish(|| self.0.swap(false, Ordering::SeqCst));
        cfg!(not(dpa_mutant = "idle_soon_no_look")) && more()
    }
}

/// What a worker found when it was about to park.
#[derive(Debug)]
pub struct Found<W> {
    /// The work.
    pub work: W,
    /// A notifier took this worker off the list meanwhile: it has had its wake-up, and counts as looking.
    pub was_woken: bool,
}

/// Who looks without the lock whether a worker may be on the list looks for its bit. Others may have the same.
fn bit(worker: usize) -> u64 {
    1 << (worker % 64)
}

/// The idle workers of a device.
#[derive(Debug)]
pub struct Idle {
    word: AtomicU32,
    sleepers: Mutex<Vec<usize>>,
    /// Of the workers on the list, as [`bit`] says: written under the lock, read without.
    listed: AtomicU64,
    max_looking: u32,
}

impl Idle {
    /// For a device of which at most `max_looking` workers look for work at a time.
    pub fn new(max_looking: u32) -> Self {
        Self {
            word: AtomicU32::new(0),
            sleepers: Mutex::new(Vec::new()),
            listed: AtomicU64::new(0),
            max_looking: max_looking.max(1),
        }
    }

    /// Begins to look for work; false if enough others do.
    pub fn start_looking(&self) -> bool {
        let mut word = self.word.load(Ordering::Relaxed);
        while looking(word) < self.max_looking {
            let next = word + LOOKING;
            match self
                .word
                .compare_exchange_weak(word, next, Ordering::SeqCst, Ordering::Relaxed)
            {
                Ok(_) => return true,
                Err(now) => word = now,
            }
        }
        false
    }

    /// Counts one more worker as looking, whatever the limit: one that is about to look.
    pub fn mark_looking(&self) {
        self.word.fetch_add(LOOKING, Ordering::SeqCst);
    }

    /// Stops looking because work was found; true if nobody looks any more.
    pub fn stop_looking(&self) -> bool {
        looking(self.word.fetch_sub(LOOKING, Ordering::SeqCst)) == 1
    }

    /// Parks a worker, unless `work` finds something (rule 2). What it found, and whether this worker looks now; if
    /// nothing, the caller parks until it is woken. `wake_up` waits for a wake-up and takes it (rule 6).
    pub fn park_unless<W>(
        &self,
        worker: usize,
        was_looking: bool,
        work: impl FnOnce() -> Option<W>,
        wake_up: impl FnOnce(),
    ) -> Option<Found<W>> {
        self.enter(worker, was_looking);
        #[cfg(not(dpa_mutant = "idle_no_recheck"))]
        let work = work()?;
        #[cfg(dpa_mutant = "idle_no_recheck")]
        let work = None.or_else(|| false.then(work).flatten())?;
        let was_woken = !self.leave(worker);
        if was_woken && cfg!(not(dpa_mutant = "idle_leaves_wake_up")) {
            wake_up();
        }
        Some(Found { work, was_woken })
    }

    /// Under the lock: the list has changed. A worker that parks is in `listed` before it publishes that it does.
    fn list(&self, sleepers: &[usize]) {
        let bits = sleepers.iter().fold(0, |bits, &worker| bits | bit(worker));
        self.listed.store(bits, Ordering::SeqCst);
    }

    fn enter(&self, worker: usize, was_looking: bool) {
        let mut sleepers = self.sleepers.lock();
        sleepers.push(worker);
        self.list(&sleepers);
        drop(sleepers);
        let change = if was_looking {
            PARKED - LOOKING
        } else {
            PARKED
        };
        #[cfg(not(dpa_mutant = "idle_park_without_publish"))]
        publish(|| self.word.fetch_add(change, Ordering::SeqCst));
        #[cfg(dpa_mutant = "idle_park_without_publish")]
        self.word.fetch_add(change, Ordering::Relaxed);
    }

    /// Leaves the list. False if a notifier has taken this worker off already.
    fn leave(&self, worker: usize) -> bool {
        let mut sleepers = self.sleepers.lock();
        let Some(at) = sleepers.iter().position(|&w| w == worker) else {
            return false;
        };
        sleepers.swap_remove(at);
        self.list(&sleepers);
        self.word.fetch_sub(PARKED, Ordering::SeqCst);
        true
    }

    /// After work was published: the worker to wake, if one must be. `soon`: whether another has given its word to look.
    #[inline]
    pub fn notify(&self, soon: impl FnOnce() -> bool) -> Option<usize> {
        let word = self.word.load(Ordering::SeqCst);
        if looking(word) > 0 || parked(word) == 0 || soon() {
            None
        } else {
            self.take_sleeper()
        }
    }

    /// After work was published, while not every worker may do everything: the workers to wake, one of each `home` of which
    /// a parked one `wants` what there is. Who looks may look for something else.
    pub fn notify_each<H: PartialEq>(
        &self,
        workers: usize,
        home: impl Fn(usize) -> H,
        wants: impl Fn(usize) -> bool,
    ) -> Vec<usize> {
        let mut woken: Vec<usize> = Vec::new();
        if parked(self.word.load(Ordering::SeqCst)) == 0 {
            return woken;
        }
        #[cfg(dpa_mutant = "idle_homes_trust_lookers")]
        if self.someone_looks() {
            return woken;
        }
        let listed = self.listed.load(Ordering::SeqCst);
        for worker in (0..workers).filter(|&worker| listed & bit(worker) != 0) {
            let has_one = |&other: &usize| home(other) == home(worker);
            if !woken.iter().any(has_one) && wants(worker) && self.take(worker) {
                woken.push(worker);
            }
        }
        woken
    }

    /// A parked worker, whoever looks. It counts as looking from now on.
    #[cold]
    fn take_sleeper(&self) -> Option<usize> {
        let mut sleepers = self.sleepers.lock();
        let worker = sleepers.pop()?;
        self.list(&sleepers);
        drop(sleepers);
        self.word.fetch_sub(PARKED - LOOKING, Ordering::SeqCst);
        Some(worker)
    }

    /// All parked workers, to stop them.
    pub fn take_all(&self) -> Vec<usize> {
        std::iter::from_fn(|| self.take_sleeper()).collect()
    }

    /// Takes one given worker off the list, to hand it work that only it may run. False if it is not parked.
    pub fn take(&self, worker: usize) -> bool {
        let mut sleepers = self.sleepers.lock();
        let Some(at) = sleepers.iter().position(|&w| w == worker) else {
            return false;
        };
        sleepers.swap_remove(at);
        self.list(&sleepers);
        self.word.fetch_sub(PARKED - LOOKING, Ordering::SeqCst);
        true
    }

    /// How many workers look for work, and how many are parked.
    pub fn counts(&self) -> (u32, u32) {
        let word = self.word.load(Ordering::SeqCst);
        (looking(word), parked(word))
    }

    /// Whether a worker looks for work at the moment.
    pub fn someone_looks(&self) -> bool {
        looking(self.word.load(Ordering::SeqCst)) > 0
    }
}

#[cfg(all(test, not(dpa_loom)))]
mod tests;
