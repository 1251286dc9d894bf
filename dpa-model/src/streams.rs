//! The streams of a process, which are broken off with it.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

use crate::stream::Stream;

/// Those that somebody holds, by number. One that is dropped is not here any more: there are as many as the program has.
#[derive(Clone, Debug, Default)]
pub(crate) struct Streams(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    all: BTreeMap<u64, Weak<Stream>>,
    last: u64,
}

/// A stream's place among those of its process.
#[derive(Debug)]
pub(crate) struct Place {
    streams: Streams,
    number: u64,
}

impl Streams {
    /// A new one.
    pub(crate) fn add(&self) -> Arc<Stream> {
        let mut state = self.0.lock();
        state.last += 1;
        let number = state.last;
        let streams = self.clone();
        let stream = Arc::new(Stream::at(Place { streams, number }));
        state.all.insert(number, Arc::downgrade(&stream));
        stream
    }

    /// Takes out all of them, in the order they were made.
    pub(crate) fn take(&self) -> impl Iterator<Item = Arc<Stream>> + use<> {
        let all = std::mem::take(&mut self.0.lock().all);
        all.into_values().filter_map(|stream| stream.upgrade())
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.0.lock().all.len()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let gone = self.streams.0.lock().all.remove(&self.number);
        drop(gone);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_of_a_stream_that_is_dropped_is_left() {
        let streams = Streams::default();
        let first = streams.add();
        let others: Vec<_> = (0..1000).map(|_| streams.add()).collect();
        let last = streams.add();
        drop(others);
        assert_eq!(streams.len(), 2);
        let taken: Vec<_> = streams.take().collect();
        assert!(Arc::ptr_eq(&taken[0], &first) && Arc::ptr_eq(&taken[1], &last));
        assert_eq!((taken.len(), streams.len()), (2, 0));
    }
}
