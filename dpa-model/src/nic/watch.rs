//! The state of a connection, for whoever waits for it to change.

use std::task::{Context, Poll, Waker};

use parking_lot::Mutex;
use rdma::queue_pair::Cause;

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
    wakers: Vec<Waker>,
}

impl Default for Watch {
    fn default() -> Self {
        Self {
            inner: Mutex::new(Inner {
                state: ConnectionState::Exported,
                wakers: Vec::new(),
            }),
        }
    }
}

impl Watch {
    /// The state now.
    pub fn state(&self) -> ConnectionState {
        self.inner.lock().state
    }

    /// Polls until the connection is over.
    pub fn poll_failed(&self, cx: &Context<'_>) -> Poll<Cause> {
        let mut inner = self.inner.lock();
        if let ConnectionState::Failed(cause) = inner.state {
            return Poll::Ready(cause);
        }
        if !inner.wakers.iter().any(|waker| waker.will_wake(cx.waker())) {
            inner.wakers.push(cx.waker().clone());
        }
        Poll::Pending
    }

    /// A new state. What waits is woken by [`Watch::wake`], later.
    pub(crate) fn set(&self, state: ConnectionState) {
        let mut inner = self.inner.lock();
        if !matches!(inner.state, ConnectionState::Failed(_)) {
            inner.state = state;
        }
    }

    pub(crate) fn wake(&self) {
        let wakers = std::mem::take(&mut self.inner.lock().wakers);
        wakers.into_iter().for_each(sync_event::wake);
    }
}
