//! The streams of a process, which are broken off with it.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use sync_event::sync::Arc as ModelArc;

use crate::launch::Launch;
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

    /// Breaks all of them off, in the order they were made, with what is lost in them. `each` may take long: who does the same meanwhile
    /// does what it has not come to.
    pub(crate) fn break_off(&self, mut each: impl FnMut(ModelArc<Launch>)) {
        let last = self.0.lock().last;
        while let Some((number, stream)) = self.first(last) {
            if let Some(stream) = stream.upgrade() {
                stream.break_off();
                while let Some(launch) = stream.next_lost() {
                    each(launch);
                }
            }
            self.0.lock().all.remove(&number);
        }
    }

    /// The first, if it is none of those behind `last`.
    fn first(&self, last: u64) -> Option<(u64, Weak<Stream>)> {
        let state = self.0.lock();
        let (&number, stream) = state.all.range(..=last).next()?;
        Some((number, stream.clone()))
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
        streams.break_off(|_| unreachable!("nothing waits"));
        assert!(first.is_broken() && last.is_broken());
        assert_eq!(streams.len(), 0);
    }
}
