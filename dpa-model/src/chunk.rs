//! How the threads of one launch are shared out among the workers.
//!
//! A worker claims ranks in chunks and runs them one after the other. It begins with one rank and doubles the chunk
//! while chunks are over quickly, so that a launch of many short threads costs little agreement, and a launch of long
//! ones is spread evenly. Ends of threads are counted in the chunk and reported with it.

use std::sync::Arc;

use sync_event::sync::Arc as ModelArc;

use crate::launch::Launch;
use crate::process::Process;

/// Ranks claimed at once, at most.
const MOST: u32 = 16;
/// A chunk that took less than this, in nanoseconds, is followed by a larger one.
const QUICK: u64 = 4_000;
/// One that took longer is worth waking another worker for the rest.
const LONG: u64 = 20_000;

/// The ranks of one launch that a worker has claimed.
#[derive(Debug)]
pub struct Chunk {
    /// The launch.
    pub launch: ModelArc<Launch>,
    /// Its process.
    pub process: Arc<Process>,
    next: u32,
    end: u32,
    size: u32,
    ended: u32,
    began: u64,
}

impl Chunk {
    /// The first chunk of a launch for this worker: one rank. `None` if all are claimed.
    pub fn first(launch: &ModelArc<Launch>, process: &Arc<Process>, now: u64) -> Option<Self> {
        let (next, end) = launch.gang()?.claim(1, launch.threads)?;
        let (launch, process) = (launch.clone(), process.clone());
        Some(Self {
            launch,
            process,
            next,
            end,
            size: 1,
            ended: 0,
            began: now,
        })
    }

    /// The next rank of this chunk.
    pub fn next(&mut self) -> Option<u32> {
        let rank = self.next;
        (rank < self.end).then(|| {
            self.next += 1;
            rank
        })
    }

    /// Whether ranks are left in it.
    pub fn has_next(&self) -> bool {
        self.next < self.end
    }

    /// The rank that would come next.
    pub fn next_rank(&self) -> u32 {
        self.next
    }

    /// Its ranks that are left, and all that nobody has claimed, are never run: they count as ended. How many.
    pub fn lose_rest(&mut self) -> u32 {
        let left = self.end - self.next;
        self.next = self.end;
        let threads = self.launch.threads;
        let rest = self.launch.gang().and_then(|g| g.claim(threads, threads));
        let lost = left + rest.map_or(0, |(first, end)| end - first);
        self.ended += lost;
        lost
    }

    /// Counts the end of a thread, if it is one of this launch.
    pub fn count_end(&mut self, launch: &ModelArc<Launch>) -> bool {
        let ours = ModelArc::ptr_eq(&self.launch, launch);
        self.ended += u32::from(ours);
        ours
    }

    /// Reports the ends, if there are any: whether they were the last of the launch.
    pub fn report(&mut self) -> Option<bool> {
        let ended = std::mem::take(&mut self.ended);
        let gang = self.launch.gang().filter(|_| ended > 0)?;
        Some(gang.returned(ended))
    }

    /// Claims the next chunk, larger if this one was quick. Whether there is one, and whether another worker is worth
    /// waking for the rest.
    pub fn claim_more(&mut self, now: u64, workers: u32) -> (bool, bool) {
        let Some(gang) = self.launch.gang() else {
            return (false, false);
        };
        let took = now.saturating_sub(self.began);
        let fair = (gang.unclaimed(self.launch.threads) / (2 * workers)).max(1);
        self.size = if took < QUICK {
            (self.size * 2).min(MOST)
        } else {
            1
        };
        let Some((next, end)) = gang.claim(self.size.min(fair), self.launch.threads) else {
            return (false, false);
        };
        (self.next, self.end, self.began) = (next, end, now);
        (true, took > LONG)
    }
}

#[cfg(all(test, not(dpa_loom)))]
mod tests;
