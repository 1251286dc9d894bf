//! The state of a connection, for whoever waits for it to change.

use std::task::Waker;

use parking_lot::Mutex;
use rdma::queue_pair::Cause;

use crate::wakers::{Awaited, Until, Wakers};

/// How far a connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectionState {
    /// Exported; the peer's data are not known yet.
    Exported,
    /// Connected.
    Connected,
    /// Over.
    Failed(Cause),
}

/// The state of a connection. The NIC writes it, the host waits for it.
#[derive(Debug)]
pub struct Watch {
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    state: ConnectionState,
    wakers: Wakers,
}

impl Default for Watch {
    fn default() -> Self {
        Self {
            inner: Mutex::new(Inner {
                state: ConnectionState::Exported,
                wakers: Wakers::default(),
            }),
        }
    }
}

impl Watch {
    /// The state now.
    pub fn state(&self) -> ConnectionState {
        self.inner.lock().state
    }

    /// Until the connection is over: why it is.
    pub fn failed(&self) -> Until<&Self> {
        Until::new(self)
    }

    /// A new state. What waits is woken by [`Watch::wake`], later.
    pub(crate) fn set(&self, state: ConnectionState) {
        let mut inner = self.inner.lock();
        if !matches!(inner.state, ConnectionState::Failed(_)) {
            inner.state = state;
        }
    }

    pub(crate) fn wake(&self) {
        let woken = self.inner.lock().wakers.take();
        woken.wake();
    }
}

impl Awaited for &Watch {
    type Output = Cause;

    fn look(&self) -> Option<Cause> {
        match self.state() {
            ConnectionState::Failed(cause) => Some(cause),
            _ => None,
        }
    }

    fn wait(&self, number: &mut Option<u64>, waker: Waker) -> Option<Waker> {
        self.inner.lock().wakers.wait(number, waker)
    }

    fn leave(&self, number: u64) -> Option<Waker> {
        self.inner.lock().wakers.leave(number)
    }
}
