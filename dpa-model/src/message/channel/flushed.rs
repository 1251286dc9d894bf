//! A flush that is awaited.

use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use super::{Channel, FlushError, Item, State};
use crate::wakers::Awaited;

/// Everything below a number is settled.
pub(crate) struct Flushed<T> {
    pub(super) channel: Arc<Channel<T>>,
    pub(super) number: u64,
    /// Whether this is told of an error, which nobody else is told of then.
    pub(super) tells: bool,
}

impl<T: Item> Awaited for Flushed<T> {
    type Output = Result<(), FlushError>;

    fn look(&self) -> Option<Result<(), FlushError>> {
        let mut state = self.channel.state.lock();
        match state.is_settled(self.number) {
            over if !self.tells => (over || state.lacks_thread).then_some(Ok(())),
            true => Some(flushed(&mut state)),
            false => state.lacks_thread.then(|| unserved(&mut state)),
        }
    }

    fn wait(&self, number: &mut Option<u64>, waker: Waker) -> Option<Waker> {
        self.channel.state.lock().wakers.wait(number, waker)
    }

    fn leave(&self, number: u64) -> Option<Waker> {
        self.channel.state.lock().wakers.leave(number)
    }
}

/// What a flush ends with when everything is settled: the first error since the last one.
pub(super) fn flushed<T>(state: &mut State<T>) -> Result<(), FlushError> {
    state.error.take().map_or(Ok(()), |error| Err(error.into()))
}

/// There is no thread that would ever settle anything.
pub(super) fn unserved<T>(state: &mut State<T>) -> Result<(), FlushError> {
    let left = state.queue.len();
    // Another flush may have been told why.
    let none = FlushError::TimedOut {
        waited: Duration::ZERO,
        left,
    };
    Err(state.error.take().map_or(none, FlushError::from))
}
