//! What a device says that is no completion, and what it will say nothing of any more.

use std::ffi::c_int;
use std::sync::Arc;

use super::ending::unused;
use super::objects::Subject;
use super::queues::CompletionQueue;
use super::{VerbsNic, pair_in};
use crate::psn::Qpn;
use crate::queue_pair::Cause;
use crate::soft::Host;
use crate::work::{Lost, WorkError};

impl VerbsNic {
    /// Takes what happened that is no completion: queue pairs that the device has put into ERR, and queues that have failed. False:
    /// the device is gone, and with it all of them; there is nothing more to be told of.
    pub fn take_events(&mut self) -> bool {
        const DEVICE_FATAL: c_int = 8;
        loop {
            let (kind, subject) = match self.port.device.async_event() {
                Ok(Some((DEVICE_FATAL, _))) | Err(_) => {
                    self.lose_all();
                    return false;
                }
                Ok(Some(event)) => event,
                Ok(None) => return true,
            };
            match subject {
                Subject::QueuePair(number) => self.has_put_into_error(kind, number),
                Subject::Completions(place) => {
                    let is = |queue: &Arc<CompletionQueue>| queue.place() == place;
                    let mut all = self.queues.iter();
                    let at = all.position(|shared| shared.queue.as_ref().is_some_and(is));
                    at.into_iter().for_each(|at| self.lose_completions(at));
                }
                Subject::Receives(place) => {
                    self.pools.has_failed(place);
                    self.look_at = self.now;
                }
                Subject::Device => {}
            }
        }
    }

    /// It may be gone by now.
    fn has_put_into_error(&mut self, kind: c_int, number: u32) {
        /// The peer's request was invalid; it was not allowed.
        const REQUEST: c_int = 2;
        const ACCESS: c_int = 3;
        const LAST_RECEIVE: c_int = 16;
        let Some(number) = Qpn::new(number) else {
            return;
        };
        let cause = match kind {
            REQUEST => Cause::Peer(WorkError::RemoteInvalidRequest),
            ACCESS => Cause::Peer(WorkError::RemoteAccess),
            LAST_RECEIVE if self.has_left(number) => return,
            LAST_RECEIVE => Cause::Closed,
            kind => failed(Lost::QueuePair { event: kind as u32 }),
        };
        let Ok(pair) = pair_in(&mut self.pairs, &self.index, number) else {
            return;
        };
        if kind == LAST_RECEIVE {
            pair.drained = true;
            pair.fail_by_consequence(cause);
        } else {
            pair.fail(cause);
        }
        self.look_at = self.now;
    }

    /// The device is gone: it will report nothing any more.
    fn lose_all(&mut self) {
        for (_, pair) in &mut self.pairs {
            pair.give_up(failed(Lost::Device));
        }
        self.have_left(|_| true);
        self.look_at = self.now;
    }

    /// A completion queue has failed: nothing of its queue pairs will be reported any more.
    #[cold]
    pub(super) fn lose_completions(&mut self, at: usize) {
        self.queues[at].failed = true;
        let of = self.pairs.iter_mut().filter(|(_, pair)| pair.queue == at);
        for (_, pair) in of {
            pair.give_up(failed(Lost::Completions));
        }
        self.have_left(|one| one.reports_to(at));
        self.give_back(at);
        self.look_at = self.now;
    }

    /// Ends what has receive queues that have failed, when all is polled that those have reported.
    pub(super) fn look_at_failed(&mut self, host: &mut dyn Host) {
        while let Some(at) = self.pools.next_failed() {
            self.lose_receives(at, host);
        }
    }

    /// A receive queue has failed: its queue pairs get nothing any more, and nothing comes in the receives that it had.
    fn lose_receives(&mut self, at: usize, host: &mut dyn Host) {
        // Some devices drop what is not polled with its queue pair.
        self.poll_queues(host);
        let members = self.pools.members(at);
        for number in &members {
            if let Ok(pair) = pair_in(&mut self.pairs, &self.index, *number) {
                pair.give_up(failed(Lost::Receives));
            }
        }
        // Nothing comes any more: what has come by now was received.
        self.poll_queues(host);
        let receives = self.pools.lose(at, &self.keys);
        let of = members.first().into_iter();
        for (number, id) in of.flat_map(|number| receives.iter().map(|id| (*number, *id))) {
            let unused = unused(id, WorkError::Lost(Lost::Receives));
            self.reports.completions.push_back((number, unused));
        }
        self.look_at = self.now;
    }
}

/// It failed because this is lost.
const fn failed(what: Lost) -> Cause {
    Cause::Work(WorkError::Lost(what))
}
