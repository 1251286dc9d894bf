//! The requester's timers: acknowledgement, "receiver not ready", unacknowledged tail, keep-alive.

use std::time::Duration;

use super::{Entry, Requester};
use crate::config::{Config, RetryLimit};
use crate::queue_pair::Shared;
use crate::region::RemoteKey;
use crate::work::{Data, Flags, Inline, Operation, RemoteAddress, WorkError, WorkRequest};

/// How long a tail waits when there is no timeout to take a quarter of.
const TAIL_WITHOUT_TIMEOUT: Duration = Duration::from_millis(16);

#[derive(Debug)]
pub(super) struct Timers {
    timeout: Option<Duration>,
    retries: RetryLimit,
    rnr_retries: RetryLimit,
    keep_alive: Option<Duration>,
    /// When the acknowledgement is overdue. Runs from the last progress.
    retry_at: Option<Duration>,
    /// Until when the receiver asked to be left alone.
    rnr_until: Option<Duration>,
    /// When the last packet is sent again with AckReq. Runs only while that packet is on its way and nothing asked for an answer
    /// to it: until the next one leaves.
    tail_at: Option<Duration>,
    /// When the peer last showed that it is there.
    heard_at: Duration,
    /// Timeouts without progress, and without an answer that the receiver is not ready.
    failures: u32,
    /// "Receiver not ready" without progress.
    rnr_failures: u32,
}

impl Timers {
    pub(super) fn new(config: &Config) -> Self {
        Self {
            timeout: config.timeout.duration(),
            retries: config.retries,
            rnr_retries: config.rnr_retries,
            keep_alive: config.keep_alive,
            retry_at: None,
            rnr_until: None,
            tail_at: None,
            heard_at: Duration::ZERO,
            failures: 0,
            rnr_failures: 0,
        }
    }

    pub(super) fn heard(&mut self, now: Duration) {
        self.heard_at = self.heard_at.max(now);
    }

    /// Work after idle time: the keep-alive counts from its end.
    pub(super) fn heard_if_idle(&mut self, now: Duration, idle: bool) {
        if idle {
            self.heard(now);
        }
    }

    pub(super) fn may_send(&mut self, now: Duration) -> bool {
        self.rnr_until = self.rnr_until.filter(|until| now < *until);
        self.rnr_until.is_none()
    }

    /// A packet left; `unasked`: nothing on its way asks for an answer to it.
    pub(super) fn packet_sent(&mut self, now: Duration, unasked: bool) {
        self.retry_at = self.retry_at.or_else(|| self.deadline(now));
        self.tail_at = unasked.then(|| now + self.tail());
    }

    /// The oldest unacknowledged number moved; `all`: nothing is unacknowledged.
    pub(super) fn progress(&mut self, now: Duration, all: bool) {
        self.failures = 0;
        self.rnr_failures = 0;
        self.rnr_until = None;
        self.retry_at = if all { None } else { self.deadline(now) };
        if all {
            self.tail_at = None;
        }
    }

    /// The receiver asked to wait: it has answered, so that only what it goes on refusing is counted. Otherwise the few
    /// packets that are lost while it is not ready would add up to a peer that is not there.
    pub(super) fn not_ready(&mut self, now: Duration, wait: Duration) -> Result<(), WorkError> {
        self.failures = 0;
        self.rnr_failures += 1;
        if !self.rnr_retries.allows(self.rnr_failures) {
            return Err(WorkError::RnrRetriesExceeded {
                attempts: self.rnr_failures,
            });
        }
        self.rnr_until = Some(now + wait);
        self.retry_at = None;
        Ok(())
    }

    pub(super) fn cancel_tail(&mut self) {
        self.tail_at = None;
    }

    pub(super) fn stop(&mut self) {
        self.retry_at = None;
        self.rnr_until = None;
        self.tail_at = None;
    }

    fn deadline(&self, now: Duration) -> Option<Duration> {
        self.timeout.map(|timeout| now + timeout)
    }

    fn tail(&self) -> Duration {
        self.timeout
            .map_or(TAIL_WITHOUT_TIMEOUT, |timeout| timeout / 4)
    }

    fn keep_alive_at(&self) -> Option<Duration> {
        self.keep_alive
            .map(|interval| self.heard_at.saturating_add(interval))
    }

    /// The acknowledgement is overdue: tries again, or gives up.
    fn overdue(&mut self, now: Duration) -> Result<(), WorkError> {
        self.failures += 1;
        self.retry_at = self.deadline(now);
        match self.retries.allows(self.failures) {
            true => Ok(()),
            false => Err(WorkError::RetriesExceeded {
                attempts: self.failures,
            }),
        }
    }
}

fn due(at: Option<Duration>, now: Duration) -> bool {
    at.is_some_and(|at| at <= now)
}

impl Requester {
    /// When something is to be done.
    pub(crate) fn next_timeout(&self) -> Option<Duration> {
        let timers = &self.timers;
        let keep_alive = timers.keep_alive_at().filter(|_| self.posted.is_empty());
        let all = [
            timers.retry_at,
            timers.rnr_until,
            timers.tail_at,
            keep_alive,
        ];
        all.into_iter().flatten().min()
    }

    /// Does what is due.
    pub(crate) fn handle_timeout(&mut self, now: Duration, shared: &mut Shared) {
        self.timers.may_send(now);
        if due(self.timers.tail_at, now) {
            self.timers.tail_at = None;
            self.tail_due = true;
        }
        if due(self.timers.retry_at, now) {
            self.retry(now, shared);
        }
        if self.posted.is_empty()
            && due(self.timers.keep_alive_at(), now)
            && shared.failed.is_none()
        {
            self.keep_alive(now);
        }
    }

    fn retry(&mut self, now: Duration, shared: &mut Shared) {
        shared.counters.timeouts += 1;
        let lag = self.timers.retry_at.map_or(Duration::ZERO, |at| now - at);
        let lag = lag.as_micros().try_into().unwrap_or(u64::MAX);
        shared.counters.timer_lag_us = shared.counters.timer_lag_us.max(lag);
        if let Err(error) = self.timers.overdue(now) {
            return self.fail(0, error, shared);
        }
        self.window.timed_out(self.sent);
        self.implied_at = None;
        self.rewind(self.oldest);
    }

    /// A zero-length write, which any responder acknowledges, whatever the key.
    fn keep_alive(&mut self, now: Duration) {
        let Some(nothing) = Inline::new(&[]) else {
            return;
        };
        let to = RemoteAddress {
            address: 0,
            key: RemoteKey(0),
        };
        let operation = Operation::Write {
            data: Data::Inline(nothing),
            to,
            immediate: None,
        };
        let request = WorkRequest {
            id: 0,
            operation,
            flags: Flags::SIGNALED,
        };
        self.timers.heard(now);
        self.push(Entry {
            internal: true,
            ..Entry::new(request)
        });
    }
}
