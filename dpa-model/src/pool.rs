//! Launches that are over and that nobody holds any more, kept to be filled again: the allocator is asked once for a
//! launch's memory, not once for a launch.
//!
//! They come and go in batches, as a worker books them. Within a batch the first is used first: what one program submits
//! in a row mostly ends in a row, so launches that follow each other go on lying side by side, and the processor fetches
//! the next while one runs. (Scattered, a chain of 100,000 takes 170 ns a link instead of 50.) Of the batches the last is
//! used first: it is still in some cache.

use std::vec::IntoIter;

use crossbeam::utils::CachePadded;
use parking_lot::Mutex;
use sync_event::sync::Arc;

use crate::launch::Launch;

/// Launches kept at most.
const KEPT: usize = 1 << 17;

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
}

impl Kept {
    fn take_batch(&mut self) -> Option<Vec<Arc<Launch>>> {
        let batch = self.batches.pop()?;
        self.count -= batch.len();
        Some(batch)
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
        drop(kept);
        empty.clear();
    }
}
