//! What a worker has finished and not booked yet.
//!
//! Booking the end of a plain launch (nobody watches it, no stream and no handler follows it) touches words that the host writes
//! for each submission. So a worker collects ends of one process and books them together: when it has [`MOST`], before it
//! goes on with another process, when it finds nothing to run, and at the first safe point of the kernel it runs next.
//!
//! What the launches kept is let go of then, too, and before: their counts are such words. That is foreign code, and so are the
//! tasks that wait for events and for idleness: it is the worker that runs it, on its own stack, and nothing of the tally is held then.

use std::sync::Arc;

use sync_event::sync::Arc as ModelArc;

use crate::fiber::Switch;
use crate::launch::Launch;
use crate::process::Process;

/// Ends that are booked together, at most.
const MOST: usize = 32;

/// From so many ends on a worker is in a burst, and launches' memory is worth keeping.
const BURST: usize = 4;

/// The ends that a worker has not booked yet.
#[derive(Debug, Default)]
pub struct Tally {
    process: Option<Arc<Process>>,
    finished: usize,
    event: Option<(u32, u32)>,
    empty: Vec<ModelArc<Launch>>,
    /// Launches that still keep something.
    keeping: Vec<ModelArc<Launch>>,
    /// The launch that ended last, which is about to be given to [`Tally::keep`], keeps something.
    last_keeps: bool,
}

impl Tally {
    /// Whether nothing is to be booked.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.finished == 0 && self.empty.is_empty()
    }

    /// One more end, of a launch that has been settled. If the launch `keeps` something still, [`Tally::keep`] is called for it
    /// next.
    #[inline]
    pub fn add(&mut self, process: &Arc<Process>, launch: &Launch, keeps: bool) -> Added {
        match &self.process {
            Some(held) if Arc::ptr_eq(held, process) && self.finished < MOST => {}
            None => self.process = Some(process.clone()),
            Some(_) => return Added::Full,
        }
        self.last_keeps = keeps;
        self.finished += 1;
        let Some((index, _)) = launch.then() else {
            return Added::Counted;
        };
        match &mut self.event {
            Some((held, count)) if *held == index => *count += 1,
            other => {
                if let Some((index, count)) = other.replace((index, 1)) {
                    return Added::OfAnotherEvent { index, count };
                }
            }
        }
        Added::Counted
    }

    /// Keeps the memory of a launch that is over, if nobody else holds it, until the next booking. Without an end to book
    /// there will be none: launches that are watched book their own.
    pub fn keep(&mut self, launch: ModelArc<Launch>) {
        if std::mem::take(&mut self.last_keeps) {
            self.keeping.push(launch);
        } else if self.process.is_some() {
            self.keep_memory(launch);
        }
    }

    fn keep_memory(&mut self, launch: ModelArc<Launch>) {
        if self.empty.len() < 2 * MOST && ModelArc::strong_count(&launch) == 1 {
            self.empty.push(launch);
        }
    }

    /// The launches that still keep something, for who books next to let go of that.
    pub fn take_keeping(&mut self) -> Vec<ModelArc<Launch>> {
        std::mem::take(&mut self.keeping)
    }

    /// Takes out everything, to be booked. `kept`: the launches that kept something, and do not any more.
    pub fn take(&mut self, mut kept: Vec<ModelArc<Launch>>) -> Option<Ends> {
        kept.drain(..).for_each(|launch| self.keep_memory(launch));
        debug_assert!(self.keeping.is_empty());
        self.keeping = kept;
        let process = self.process.take()?;
        if self.finished >= BURST {
            process.device().pool.take_in(&mut self.empty);
        } else {
            self.empty.clear();
        }
        Some(Ends {
            process,
            finished: std::mem::take(&mut self.finished),
            event: self.event.take(),
        })
    }
}

/// What became of an end.
#[derive(Debug, PartialEq, Eq)]
#[must_use]
pub enum Added {
    /// It is counted with the others.
    Counted,
    /// It is, but it updated another event than those before, which let go of theirs now: [`Process::let_go_of_event`].
    OfAnotherEvent {
        /// Their event.
        index: u32,
        /// How many they are.
        count: u32,
    },
    /// Those that there are must be booked before.
    Full,
}

/// Ends that have left the tally.
#[derive(Debug)]
#[must_use]
pub struct Ends {
    process: Arc<Process>,
    finished: usize,
    event: Option<(u32, u32)>,
}

impl Ends {
    /// Books them. `off`: the caller is on the stack of a kernel, which what waits for them does not run on.
    pub fn book(self, off: Option<&Switch>) {
        if let Some((index, count)) = self.event {
            self.process.let_go_of_event(index, count, off);
        }
        self.process.finished(self.finished, off);
    }
}

#[cfg(test)]
mod tests;
