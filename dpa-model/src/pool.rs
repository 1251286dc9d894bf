//! Launches that are over and that nobody holds any more, kept to be filled again: the allocator is asked once for a
//! launch's memory, not once for a launch.

use parking_lot::Mutex;
use sync_event::sync::Arc;

use crate::launch::Launch;

/// Launches kept at most.
const KEPT: usize = 1 << 17;

/// The pool of a device.
#[derive(Debug, Default)]
pub struct Pool {
    empty: Mutex<Vec<Arc<Launch>>>,
}

impl Pool {
    /// A launch of these contents, in memory of one that is over if there is one.
    pub fn fill(&self, contents: Launch) -> Arc<Launch> {
        let Some(mut launch) = self.empty.lock().pop() else {
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
        let mut kept = self.empty.lock();
        let room = KEPT.saturating_sub(kept.len()).min(empty.len());
        kept.extend(empty.drain(..room));
        drop(kept);
        empty.clear();
    }
}
