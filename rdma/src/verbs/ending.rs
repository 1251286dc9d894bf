//! Pools that give nothing any more, while the device has receives of them.
//!
//! What has arrived in some of them may not be reported yet, so they are not over before the device has said that the queue
//! pairs have nothing more, or had its time.

use std::time::Duration;

use super::{FLUSH, NEVER, VerbsNic};
use crate::psn::Qpn;
use crate::soft::Host;
use crate::work::{Completion, Received, ReceivedKind, WorkError};

/// How the receives of such a pool end.
#[derive(Debug)]
pub(super) struct Ending {
    /// For which queue pair they are reported as flushed, if for any.
    pub(super) reporter: Option<Qpn>,
    /// Those that the device was not given.
    rest: Vec<u64>,
    pub(super) until: Duration,
}

impl VerbsNic {
    /// A pool gives nothing any more, and its queue pairs are in ERR. When those have reported what arrived, the receives that
    /// the device still has, and behind these `rest`, are reported as flushed for this queue pair.
    pub fn end_receives(
        &mut self,
        now: Duration,
        pool: usize,
        rest: Vec<u64>,
        reporter: Option<Qpn>,
    ) {
        let ending = Ending {
            reporter,
            rest,
            until: now + FLUSH,
        };
        self.pools.begin_to_end(pool, ending);
        self.look_at = self.look_at.min(now);
    }

    /// Ends the pools whose time it is; when to look at the others.
    pub(super) fn look_at_endings(&mut self, now: Duration, host: &mut dyn Host) -> Duration {
        let drained = |number: &Qpn| match self.index.get(number) {
            Some(slot) => self.pairs[*slot].is_drained(),
            None => true,
        };
        let due = self.pools.due_to_end(now, drained);
        if !due.is_empty() {
            // What came last.
            self.poll_queues(host);
        }
        due.into_iter().for_each(|at| self.end_at(at));
        self.pools.next_end().unwrap_or(NEVER)
    }

    /// This queue pair will report nothing any more: what it was to report of a pool that ends is due.
    pub(super) fn end_receives_of(&mut self, number: Qpn) {
        let of = self.pools.ends_for(number);
        of.into_iter().for_each(|at| self.end_at(at));
    }

    fn end_at(&mut self, at: usize) {
        let Some((ending, held)) = self.pools.take_ending(at) else {
            return;
        };
        let Some(number) = ending.reporter else {
            return;
        };
        for id in held.into_iter().chain(ending.rest) {
            let unused = unused(id, WorkError::Flushed);
            self.reports.completions.push_back((number, unused));
        }
    }
}

/// Nothing came in a receive.
pub(super) const fn unused(id: u64, error: WorkError) -> Completion {
    Completion::Received(Received {
        id,
        kind: ReceivedKind::Send,
        len: 0,
        solicited: false,
        outcome: Err(error),
    })
}
