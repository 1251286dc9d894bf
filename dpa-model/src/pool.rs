//! Launches that are over and that nobody holds any more, kept to be filled again: the allocator is asked once for a
//! launch's memory, not once for a launch.
//!
//! They come and go in batches, as a worker books them. Within a batch the first is used first: what one program submits
//! in a row mostly ends in a row, so launches that follow each other go on lying side by side, and the processor fetches
//! the next while one runs. (Scattered, a chain of 100,000 takes 170 ns a link instead of 50.) Of the batches the last is
//! used first: it is still in some cache. What is not used for long goes back to the allocator.

use std::vec::IntoIter;

use crossbeam::utils::CachePadded;
use parking_lot::Mutex;
use sync_event::sync::Arc;

use crate::launch::Launch;
use crate::prefetch;

/// Launches kept at most.
const KEPT: usize = 1 << 17;

/// Launches that are taken to be used up at a time, at most.
const AT_ONCE: usize = 1 << 9;

/// So many launches before it is filled the memory of one is fetched: a worker wrote it last.
const AHEAD: usize = 4;

/// After so many launches were taken in together, it is seen which are not needed.
const LOOK: u32 = 1 << 12;

/// Launches in a batch at most: together they fill a good part of a core's own cache.
const BATCH: usize = 1 << 12;

/// The pool of a device. Those who submit and those who book meet only once for a batch.
#[derive(Debug, Default)]
pub struct Pool {
    /// The batch that is being used up.
    in_use: CachePadded<Mutex<IntoIter<Arc<Launch>>>>,
    kept: CachePadded<Mutex<Kept>>,
}

#[derive(Debug, Default)]
struct Kept {
    batches: Vec<Vec<Arc<Launch>>>,
    /// Launches in them.
    count: usize,
    /// The fewest there were since the last look.
    fewest: usize,
    /// Batches that were taken in since then.
    taken_in: u32,
}

impl Kept {
    fn take_batch(&mut self) -> Option<Vec<Arc<Launch>>> {
        let last = self.batches.last_mut()?;
        let batch = match last.len() > AT_ONCE {
            true => last.split_off(last.len() - AT_ONCE),
            false => self.batches.pop()?,
        };
        self.count -= batch.len();
        self.fewest = self.fewest.min(self.count);
        Some(batch)
    }

    /// From time to time: half of what nobody has needed since the last time, of those that were used last the longest ago.
    fn take_unneeded(&mut self) -> Vec<Arc<Launch>> {
        self.taken_in += 1;
        if self.taken_in < LOOK {
            return Vec::new();
        }
        let surplus = self.fewest / 2;
        let mut unneeded = Vec::new();
        if let Some(oldest) = self.batches.first_mut() {
            unneeded = oldest.split_off(oldest.len().saturating_sub(surplus));
        }
        if self.batches.first().is_some_and(Vec::is_empty) {
            self.batches.remove(0);
        }
        self.count -= unneeded.len();
        (self.fewest, self.taken_in) = (self.count, 0);
        unneeded
    }

    /// The last batch, if so many fit into it, else a new one.
    fn batch_with_room(&mut self, more: usize) -> &mut Vec<Arc<Launch>> {
        if self
            .batches
            .last()
            .is_none_or(|batch| batch.len() + more > BATCH)
        {
            self.batches.push(Vec::with_capacity(BATCH));
        }
        let last = self.batches.len() - 1;
        &mut self.batches[last]
    }
}

impl Pool {
    fn next(&self) -> Option<Arc<Launch>> {
        let mut in_use = self.in_use.lock();
        if let Some(later) = in_use.as_slice().get(AHEAD) {
            prefetch::launch(Arc::as_ptr(later));
        }
        in_use.next().or_else(|| {
            *in_use = self.kept.lock().take_batch()?.into_iter();
            in_use.next()
        })
    }

    /// A launch of these contents, in memory of one that is over if there is one.
    pub fn fill(&self, contents: Launch) -> Arc<Launch> {
        let Some(mut launch) = self.next() else {
            return Arc::new(contents);
        };
        match Arc::get_mut(&mut launch) {
            Some(place) => {
                *place = contents;
                launch
            }
            None => Arc::new(contents),
        }
    }

    /// Takes in launches that nobody else holds.
    pub fn take_in(&self, empty: &mut Vec<Arc<Launch>>) {
        let mut kept = self.kept.lock();
        if kept.count + empty.len() <= KEPT {
            kept.count += empty.len();
            kept.batch_with_room(empty.len()).append(empty);
        }
        let unneeded = kept.take_unneeded();
        drop(kept);
        drop(unneeded);
        empty.clear();
    }
}

#[cfg(all(test, not(dpa_loom)))]
mod tests {
    use super::*;
    use crate::rig;

    fn fill(pool: &Pool, count: u64) -> Vec<Arc<Launch>> {
        let contents = |seq| Launch::new(rig::parts(0, seq, 1), None);
        (0..count).map(|seq| pool.fill(contents(seq))).collect()
    }

    fn kept(pool: &Pool) -> usize {
        pool.kept.lock().count + pool.in_use.lock().as_slice().len()
    }

    #[test]
    fn what_is_taken_in_is_filled_again() {
        let pool = Pool::default();
        let mut launches = fill(&pool, 3);
        let first = Arc::as_ptr(&launches[0]);
        pool.take_in(&mut launches);
        assert!(launches.is_empty());
        assert_eq!(Arc::as_ptr(&fill(&pool, 1)[0]), first);
        assert_eq!(kept(&pool), 2);
    }

    #[test]
    fn a_launch_that_somebody_holds_is_not_filled_again() {
        let pool = Pool::default();
        let mut launches = fill(&pool, 1);
        let held = launches[0].clone();
        pool.take_in(&mut launches);
        assert!(!Arc::ptr_eq(&fill(&pool, 1)[0], &held));
    }

    /// After a burst, one that needs ten at a time keeps little more than is taken at a time.
    #[test]
    fn what_nobody_needs_goes_back() {
        let pool = Pool::default();
        let mut burst = fill(&pool, 10_000);
        pool.take_in(&mut burst);
        assert_eq!(kept(&pool), 10_000);
        for _ in 0..40 * LOOK {
            let mut few = fill(&pool, 10);
            pool.take_in(&mut few);
        }
        assert!(kept(&pool) < 2 * AT_ONCE, "{}", kept(&pool));
    }
}
