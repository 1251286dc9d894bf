//! How a queue pair comes to be in ERR, and what the device has of it then.

use super::super::NEVER;
use super::super::raw_pair::{RawQueuePair, Step};
use super::Pair;
use crate::queue_pair::{Cause, State};
use crate::work::WorkError;

impl Pair {
    /// Whether the reason of its failure is not known, and wanted.
    pub(in crate::verbs) fn lacks_cause(&self) -> bool {
        self.by_consequence && !self.told
    }

    /// To ERR, by a sign that does not say what it failed of: that may be said later.
    pub(in crate::verbs) fn fail_by_consequence(&mut self, cause: Cause) {
        if !matches!(self.state, State::Error(_)) {
            self.fail(cause);
            self.by_consequence = true;
        }
    }

    /// To ERR; in ERR already: nothing, unless this is what it failed of and nobody was told of another cause.
    pub(in crate::verbs) fn fail(&mut self, cause: Cause) {
        if matches!(self.state, State::Error(_)) {
            if self.lacks_cause() && cause != Cause::Closed {
                self.state = State::Error(cause);
                self.by_consequence = false;
            }
            return;
        }
        self.state = State::Error(cause);
        self.since = NEVER;
        if self.modify("failing a queue pair", &Step::Error).is_err() {
            // There is no surer way to make it stop.
            self.raw = None;
        }
    }

    /// Gives it up: nothing of it is under way in the device any more. Without that its work ends here. Why it is in ERR.
    pub(in crate::verbs) fn give_up(&mut self, cause: Cause) -> Cause {
        self.raw = None;
        if let State::Error(before) = self.state {
            return before;
        }
        self.state = State::Error(cause);
        cause
    }

    /// Its owner wants no more of it; why it is in ERR. Work that is under way is given up.
    pub(in crate::verbs) fn end(&mut self, cause: Cause) -> Cause {
        if !self.is_flushed() {
            return self.give_up(cause);
        }
        self.fail(cause);
        match self.state {
            State::Error(before) => before,
            _ => cause,
        }
    }

    /// Whether the device has no receive of it that it has not reported.
    pub(in crate::verbs) fn is_drained(&self) -> bool {
        self.drained || !self.connected || self.raw.is_none()
    }

    /// What the device has of it, if that may be a receive that it has not reported.
    pub(in crate::verbs) fn take_undrained(&mut self) -> Option<RawQueuePair> {
        let drains = self.pool.is_some() && !self.is_drained();
        self.raw.take_if(|_| drains)
    }

    /// Asks the device whether it has put it into ERR.
    pub(in crate::verbs) fn ask(&mut self) {
        if self.raw.as_ref().is_some_and(RawQueuePair::has_failed) {
            // Nothing of ours has failed, so it was the peer's.
            self.fail(Cause::Peer(WorkError::RemoteAccess));
        }
    }
}
