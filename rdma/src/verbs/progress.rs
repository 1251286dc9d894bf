//! What a device has to say: completions, and silence.

use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use super::pool::RECEIVE;
use super::queues::{BATCH, Batch, Polled};
use super::status::work_error;
use super::{ASK, NEVER, VerbsNic, pair};
use crate::psn::Qpn;
use crate::queue_pair::{Cause, State};
use crate::region::RemoteKey;
use crate::soft::Host;
use crate::work::{Completion, Received, ReceivedKind, WorkError};

impl VerbsNic {
    /// Does what there is to do; whether there was anything. It never blocks.
    pub fn progress(&mut self, now: Duration, host: &mut dyn Host) -> bool {
        self.now = now;
        if now >= self.look_at {
            self.look_at_failed(host);
        }
        let keys = &self.keys;
        let given = !self.pools.is_empty()
            && self
                .pools
                .fill(keys, |member| host.io(Some(member)).receives.take());
        let polled = self.poll_queues(host);
        if now >= self.look_at {
            if self.pairs.iter().any(|(_, pair)| pair.lacks_cause()) {
                // It may have been said already. If the device is gone, all of them have failed.
                self.take_events();
                self.look_at_failed(host);
            }
            self.look(now, host);
        }
        let drained = std::mem::take(&mut self.drained);
        if drained {
            // What it said would be lost on who sleeps now.
            self.look_at = now;
        }
        self.reports.tell(host) | given | polled | drained
    }

    /// Takes what the completion queues have.
    pub(super) fn poll_queues(&mut self, host: &mut dyn Host) -> bool {
        let mut any = false;
        let mut batch = Batch::new();
        for at in 0..self.queues.len() {
            // A batch that is not full was all there was.
            while let Some(polled) = self.queues[at].poll(&mut batch) {
                let Some(count) = polled else {
                    self.lose_completions(at);
                    break;
                };
                any |= count > 0;
                for n in 0..count {
                    self.completed(batch.get(n), host);
                }
                if count < BATCH {
                    break;
                }
            }
        }
        any
    }

    #[inline]
    fn completed(&mut self, polled: Polled<'_>, host: &mut dyn Host) {
        if polled.id() & RECEIVE != 0 {
            self.received(polled);
            return;
        }
        let slot = pair::slot_of(polled.id());
        let Some(pair) = self.pairs.get_mut(slot) else {
            return;
        };
        if pair.number.value() != polled.queue_pair() {
            return;
        }
        let number = pair.number;
        let done = pair.completed(self.now, polled, host);
        if pair.takes_again() {
            self.reports.roomy.push_back(number);
        }
        if matches!(pair.state, State::Error(_)) {
            self.look_at = self.now;
        }
        if let Some(completion) = done {
            self.reports.told = true;
            match self.reports.completions.is_empty() {
                true => host.completed(number, completion),
                false => self.reports.completions.push_back((number, completion)),
            }
        }
    }

    fn received(&mut self, polled: Polled<'_>) {
        let number = Qpn::new(polled.queue_pair());
        let slot = number.and_then(|number| self.index.get(&number).copied());
        let (Some(number), Some(slot)) = (number, slot) else {
            // Its queue pair is gone: it is as if that had not taken it.
            self.pools.give_again(polled.id(), &self.keys);
            return;
        };
        let Some(id) = self.pools.completed(polled.id()) else {
            return;
        };
        let pair = &mut self.pairs[slot];
        let error = work_error(polled.status(), pair.retries);
        let received = Received {
            id,
            kind: match error {
                None => received_kind(polled),
                Some(_) => ReceivedKind::Send,
            },
            len: if error.is_none() { polled.len() } else { 0 },
            solicited: false,
            outcome: error.map_or(Ok(()), Err),
        };
        if let Some(error) = error {
            match error {
                // It failed of something else, which is told by that.
                WorkError::Flushed => pair.fail_by_consequence(Cause::Closed),
                error => pair.fail(Cause::Work(error)),
            }
            self.look_at = self.now;
        }
        let completion = Completion::Received(received);
        self.reports.completions.push_back((number, completion));
    }

    /// Looks at all queue pairs: those in ERR, those whose peer has been silent, and those that a device has put into ERR
    /// without a word.
    fn look(&mut self, now: Duration, host: &mut dyn Host) {
        // What is found from here on, and by polling below, may ask for another look.
        self.look_at = NEVER;
        let mut next = NEVER;
        let asks = !self.port.limits.tells_failures && now >= self.ask_at;
        if asks {
            self.ask_at = now + ASK;
        }
        for (_, pair) in &mut self.pairs {
            if asks && pair.is_connected() && pair.is_idle() {
                pair.ask();
            }
            next = next.min(pair.look(now, &mut self.reports));
            if pair.is_tried_again(now) {
                self.reports.roomy.push_back(pair.number);
            }
            next = next.min(pair.again_at);
            if !self.port.limits.tells_failures && pair.is_connected() {
                next = next.min(self.ask_at);
            }
        }
        next = next.min(self.look_at_endings(now, host));
        next = next.min(self.look_at_leaving(now, host));
        self.look_at = self.look_at.min(next);
    }

    /// When [`VerbsNic::progress`] wants to be called, if its descriptor says nothing before.
    pub fn poll_timeout(&self) -> Option<Duration> {
        (self.look_at != NEVER).then_some(self.look_at)
    }

    /// The next completion will make its descriptor readable. Who sleeps on that must first make progress once more: what
    /// came before this call is not said.
    pub fn request_notification(&mut self) {
        self.channel.drain();
        for queue in self.queues.iter().filter_map(|s| s.queue.as_ref()) {
            queue.request_notification();
        }
    }

    /// Readable when something happened that is no completion: then call [`VerbsNic::take_events`].
    pub fn event_fd(&self) -> BorrowedFd<'_> {
        self.port.device.async_fd()
    }
}

/// Readable when a completion has come, after [`VerbsNic::request_notification`].
impl AsFd for VerbsNic {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.channel.as_fd()
    }
}

fn received_kind(polled: Polled<'_>) -> ReceivedKind {
    /// `IBV_WC_RECV_RDMA_WITH_IMM`.
    const WRITE: u32 = 129;
    match (polled.immediate(), polled.invalidated()) {
        (Some(value), _) if polled.opcode() == WRITE => ReceivedKind::WriteImmediate(value),
        (Some(value), _) => ReceivedKind::SendImmediate(value),
        (_, Some(key)) => ReceivedKind::SendInvalidate(RemoteKey(key)),
        _ => ReceivedKind::Send,
    }
}
