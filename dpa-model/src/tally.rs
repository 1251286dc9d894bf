//! What a worker has finished and not booked yet.
//!
//! Booking the end of a plain launch (nobody watches it, no stream and no handler follows it) touches words that the host writes
//! for each submission. So a worker collects ends of one process and books them together: when it has [`MOST`], before it
//! goes on with another process, when it finds nothing to run, and at the first safe point of the kernel it runs next.
//!
//! What the launches kept is let go of then, too, and before: their counts are such words. That is foreign code, so it is the
//! worker that does it, on its own stack.

use std::sync::Arc;

use sync_event::sync::Arc as ModelArc;

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

    /// One more end, of a launch that has been settled; false if what there is must be booked before. If the launch `keeps`
    /// something still, [`Tally::keep`] is called for it next.
    #[inline]
    #[must_use]
    pub fn add(&mut self, process: &Arc<Process>, launch: &Launch, keeps: bool) -> bool {
        match &self.process {
            Some(held) if Arc::ptr_eq(held, process) && self.finished < MOST => {}
            None => self.process = Some(process.clone()),
            Some(_) => return false,
        }
        self.last_keeps = keeps;
        self.finished += 1;
        if let Some((index, _)) = launch.then() {
            match &mut self.event {
                Some((held, count)) if *held == index => *count += 1,
                other => {
                    if let Some((held, count)) = other.replace((index, 1)) {
                        process.let_go_of_event(held, count);
                    }
                }
            }
        }
        true
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

    /// Books everything. `kept`: the launches that kept something, and do not any more.
    pub fn book(&mut self, mut kept: Vec<ModelArc<Launch>>) {
        kept.drain(..).for_each(|launch| self.keep_memory(launch));
        debug_assert!(self.keeping.is_empty());
        self.keeping = kept;
        let Some(process) = self.process.take() else {
            return;
        };
        if let Some((index, count)) = self.event.take() {
            process.let_go_of_event(index, count);
        }
        if self.finished >= BURST {
            process.device().pool.take_in(&mut self.empty);
        } else {
            self.empty.clear();
        }
        process.finished(std::mem::take(&mut self.finished));
    }
}

#[cfg(test)]
mod tests;
