//! Streams: launches, calls and steps that start one after the other, without hand-numbered events.

use std::collections::VecDeque;

use sync_event::sync::{Arc, Mutex};

use crate::launch::Launch;
#[cfg(not(dpa_loom))]
use crate::streams::Place;

/// What a stream holds back. The launch at its front is on its way; the others wait for it.
#[derive(Debug, Default)]
pub struct Stream {
    state: Mutex<State>,
    /// Among those of its process.
    #[cfg(not(dpa_loom))]
    _place: Option<Place>,
}

#[derive(Debug, Default)]
struct State {
    /// The number of the launch at the front, which is on its way.
    front: Option<u64>,
    broken: bool,
    waiting: VecDeque<Arc<Launch>>,
    /// What waited, and will never run: taken out by whoever ends it, one at a time.
    lost: VecDeque<Arc<Launch>>,
}

/// What to do with a launch that joins a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Joined {
    /// It is the first: it may go on its way now.
    Go,
    /// It waits for those before it.
    Waits,
    /// A launch before it was cancelled or faulted, so it can never be its turn.
    Broken,
}

impl Stream {
    /// A stream at this place.
    #[cfg(not(dpa_loom))]
    pub(crate) fn at(place: Place) -> Self {
        Self {
            _place: Some(place),
            ..Self::default()
        }
    }

    /// A launch joins at the end.
    pub fn join(&self, launch: &Arc<Launch>) -> Joined {
        let mut state = self.state.lock();
        if state.broken {
            return Joined::Broken;
        }
        if state.front.is_some() {
            state.waiting.push_back(launch.clone());
            return Joined::Waits;
        }
        state.front = Some(launch.seq);
        Joined::Go
    }

    /// The front one has completed; the next, which may go on its way.
    pub fn advance(&self) -> Option<Arc<Launch>> {
        let mut state = self.state.lock();
        let next = state.waiting.pop_front();
        state.front = next.as_ref().map(|next| next.seq);
        next
    }

    /// Nothing that waits will complete: it is lost.
    pub fn break_off(&self) {
        self.state.lock().lose_from(0);
    }

    /// One did not complete: nothing behind it will run, what is before it goes on. Whether the caller is to end what is lost; not if
    /// it has left the stream before, with another that it was behind.
    pub fn fail(&self, launch: &Arc<Launch>) -> bool {
        let mut state = self.state.lock();
        if state.front == Some(launch.seq) {
            state.lose_from(0);
            return true;
        }
        // From behind: who cancels many may begin with the last.
        let found = state.waiting.iter().rposition(|l| Arc::ptr_eq(l, launch));
        let Some(at) = found else {
            return false;
        };
        state.waiting.remove(at);
        state.lose_from(at);
        true
    }

    /// The next that is lost. To end it may take long: who asks meanwhile gets those behind it.
    pub fn next_lost(&self) -> Option<Arc<Launch>> {
        self.state.lock().lost.pop_front()
    }

    /// Whether a launch of it was cancelled or faulted.
    pub fn is_broken(&self) -> bool {
        self.state.lock().broken
    }
}

impl State {
    /// It is broken: what waits behind so many others is lost.
    fn lose_from(&mut self, at: usize) {
        self.broken = true;
        self.lost.append(&mut self.waiting.split_off(at));
    }
}
