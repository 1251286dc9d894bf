//! Work that the host has posted and awaits.

use std::any::Any;
use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use parking_lot::Mutex;
use rdma::region::Domain;
use rdma::work::{Received, WorkDone};

use super::after::After;
use super::pairs::Pool;
use super::world::{HOST, World};
use crate::foreign;

/// How work of the host ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// A send, write, read or atomic.
    Work(WorkDone),
    /// A receive, and from which connection.
    Received(Received, u32),
    /// Never: its context is gone.
    Gone,
}

/// What must stay alive while work is on its way: buffers and their registrations.
pub type KeptWork = Box<dyn Any + Send + Sync>;

/// Work of the host on its way. The NIC holds one end, the host the other. What it works on is kept until it is over,
/// whether or not the host still waits.
pub struct Pending {
    state: Mutex<State>,
    kept: Mutex<Option<KeptWork>>,
}

#[derive(Debug, Default)]
struct State {
    ended: Option<Ended>,
    waker: Option<Waker>,
}

impl fmt::Debug for Pending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pending")
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}

impl Pending {
    pub(crate) fn new(kept: KeptWork) -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::default(),
            kept: Mutex::new(Some(kept)),
        })
    }

    /// How it ended, if it has.
    pub fn ended(&self) -> Option<Ended> {
        self.state.lock().ended
    }

    /// Polls for its end.
    pub fn poll(&self, cx: &Context<'_>) -> Poll<Ended> {
        // Dropped behind the lock, as it is declared before: what its task owned may be dropped with it.
        let _before;
        let mut state = self.state.lock();
        if let Some(ended) = state.ended {
            return Poll::Ready(ended);
        }
        if !state
            .waker
            .as_ref()
            .is_some_and(|w| w.will_wake(cx.waker()))
        {
            _before = state.waker.replace(cx.waker().clone());
        }
        Poll::Pending
    }

    /// Nobody waits any more.
    pub fn forget(&self) {
        let left = self.state.lock().waker.take();
        drop(left);
    }

    pub(crate) fn end(&self, ended: Ended) {
        // First: whoever sees that it is over finds that nothing of it is registered or held any more.
        let kept = self.kept.lock().take();
        foreign::let_go("a connection", || drop(kept));
        let mut state = self.state.lock();
        state.ended.get_or_insert(ended);
        let waker = state.waker.take();
        drop(state);
        waker.into_iter().for_each(sync_event::wake);
    }
}

impl World {
    /// The pools of the contexts of this domain.
    pub(crate) fn pools_of(&self, domain: Domain) -> Vec<usize> {
        let all = self.contexts.iter().map(|(_, context)| context);
        let ours = all.filter(|context| context.domain == domain);
        ours.map(|context| context.pool).collect()
    }

    /// Receives of the host in this pool that no device has been given: nothing will come.
    pub(crate) fn end_receives(&mut self, pool: usize) {
        if let Some(Pool::Host(receives)) = self.pairs.pools.get_mut(pool) {
            let ended = std::mem::take(receives);
            ended.iter().for_each(|receive| self.end_work(receive.id));
        }
    }

    /// Work of the host that nobody will ever do: its context is gone.
    pub(crate) fn end_work(&mut self, id: u64) {
        if id & HOST != 0 {
            self.work_of_host(id, Ended::Gone);
        }
    }

    pub(crate) fn work_of_host(&mut self, id: u64, ended: Ended) {
        if let Some(pending) = self.work.try_remove((id & !HOST) as usize) {
            self.later(After::Ended(pending, ended));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Weak;

    use super::*;

    /// Says when it is dropped whether its work was over for whoever looked then.
    struct Looks(Arc<Mutex<Vec<Option<Ended>>>>, Arc<Mutex<Weak<Pending>>>);

    impl Drop for Looks {
        fn drop(&mut self) {
            let pending = self.1.lock().upgrade().expect("it ends just now");
            self.0.lock().push(pending.ended());
        }
    }

    #[test]
    fn what_is_over_holds_nothing() {
        let (seen, itself): (Arc<Mutex<_>>, Arc<Mutex<_>>) = Default::default();
        let pending = Pending::new(Box::new(Looks(seen.clone(), itself.clone())));
        *itself.lock() = Arc::downgrade(&pending);
        pending.end(Ended::Gone);
        assert_eq!(*seen.lock(), [None], "it was let go of before");
        assert_eq!(pending.ended(), Some(Ended::Gone));
    }
}
