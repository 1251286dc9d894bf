//! Streams that are closed and whose threads have not ended: their sinks have not returned.
//!
//! Each keeps its thread, its buffer and what its sink holds, so they count as if they were open.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use dpa_abi::message::MAX_STREAMS;

/// So many of all processes of a device, logs and traces of those that are over included, before there are no new ones.
const MOST_OF_DEVICE: usize = 1024;

/// How many there are, of a process or of a device.
#[derive(Debug, Default)]
pub(crate) struct Lingering {
    count: AtomicUsize,
    device: Option<Arc<Self>>,
}

impl Lingering {
    /// Those of a process, which are of its device, too.
    pub(crate) fn of_process(device: &Arc<Self>) -> Arc<Self> {
        Arc::new(Self {
            count: AtomicUsize::new(0),
            device: Some(device.clone()),
        })
    }

    /// One more: it is closed.
    pub(super) fn begin(&self) {
        self.count.fetch_add(1, Ordering::Relaxed);
        self.device.iter().for_each(|device| device.begin());
    }

    /// Its thread ends.
    pub(super) fn end(&self) {
        self.count.fetch_sub(1, Ordering::Relaxed);
        self.device.iter().for_each(|device| device.end());
    }

    fn count(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    /// How many streams are too many, if a process that has so many open ones gets no other.
    pub(super) fn limit(&self, open: usize) -> Option<usize> {
        let own = open + self.count() >= MAX_STREAMS;
        let of_all = self.device.as_ref().map_or(0, |device| device.count());
        match own {
            true => Some(MAX_STREAMS),
            false => (of_all >= MOST_OF_DEVICE).then_some(MOST_OF_DEVICE),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_of_a_process_count_for_it_and_all_for_the_device() {
        let device = Arc::<Lingering>::default();
        let own = Lingering::of_process(&device);
        assert_eq!(own.limit(MAX_STREAMS - 1), None);
        own.begin();
        assert_eq!(own.limit(MAX_STREAMS - 1), Some(MAX_STREAMS));
        assert_eq!(own.limit(MAX_STREAMS - 2), None);
        let others: Vec<_> = (0..8).map(|_| Lingering::of_process(&device)).collect();
        for other in &others {
            (0..MOST_OF_DEVICE / 8).for_each(|_| other.begin());
        }
        assert_eq!(own.limit(0), Some(MOST_OF_DEVICE));
        (0..2).for_each(|_| others[0].end());
        assert_eq!(own.limit(0), None);
    }
}
