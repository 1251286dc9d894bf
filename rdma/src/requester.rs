//! The requester: work requests become packets, answers become completions.
//!
//! Rules. Numbers are packet sequence numbers; "sent" is one past the last packet ever sent.
//!
//! 1. `oldest <= cursor <= sent`. All before `oldest` is acknowledged; `cursor` is sent next. It stands before
//!    `sent` only while packets are sent again (go-back-N).
//! 2. A work request gets its numbers when it is *started*: in the order posted, a fenced one only when no
//!    read or atomic before it is unanswered. A read takes as many numbers as its answer has packets.
//! 3. At most min(budget, window) numbers are between `oldest` and `cursor`. A long read is sent as several
//!    requests, so that its answers fit the own receive budget; the bounds of a request never change, a read
//!    sent again asks from its first missing packet to its old end.
//! 4. AckReq: on the last packet of a signaled message, on every 16th, on the one that fills the window, on the last before
//!    a read or an atomic that has to wait until there is room behind it. If the last packet sent asked for nothing and nothing
//!    more was sent for a quarter of the timeout, for whatever reason, it is sent again with AckReq.
//! 5. Answers count only from `oldest` to before `sent`. One for a number behind an unanswered read or atomic
//!    acknowledges what lies before that and is an implied NAK of it: sent again once.
//! 6. The timer runs from the last progress. Only progress (`oldest` moves) resets it and the counts of
//!    retries; NAKs do not, so that the time to an error is bounded whatever the peer sends.
//! 7. A failure ends the request it hit with its reason, flushes all others, in order, and moves the queue pair to ERR.

use std::collections::VecDeque;
use std::time::Duration;

use crate::config::{Config, Peer};
use crate::flow::{MAX_WINDOW, Window};
use crate::mtu::PathMtu;
use crate::psn::Psn;
use crate::queue_pair::{Cause, Context, Shared};
use crate::transmit::Batch;
use crate::work::{
    Completion, Flags, MAX_MESSAGE, Operation, PostReason, WorkDone, WorkError, WorkFailure,
    WorkRequest,
};

mod answers;
mod plan;
mod timers;

use timers::Timers;

/// An AckReq goes out with every such packet at the latest.
const ACK_STRIDE: u32 = 16;
/// A request gets its numbers when all before it have been sent: with a window of them on their way, the longest takes
/// fewer than half the space, so all that are not acknowledged can be ordered.
const _: () = assert!(MAX_MESSAGE / 256 + MAX_WINDOW < 1 << 23);

#[derive(Debug)]
pub(super) struct Requester {
    /// Not yet over, the oldest first.
    posted: VecDeque<Entry>,
    /// How many have been posted, from the first on.
    count: u64,
    /// How many of `posted` have numbers.
    started: usize,
    /// The index in `posted` of the one `cursor` stands in; `started` behind the last.
    at: usize,
    oldest: Psn,
    cursor: Psn,
    sent: Psn,
    /// The number the next started request begins with.
    assigned: Psn,
    /// Reads and atomics sent and not fully answered, the oldest first.
    exchanges: VecDeque<Exchange>,
    /// One past the last number whose answer was asked for.
    asked: Psn,
    /// Packets sent since one asked for an answer.
    since_asked: u32,
    /// The last packet shall be sent again with AckReq.
    tail_due: bool,
    /// The number for which an implied NAK has been acted on, until there is progress.
    implied_at: Option<Psn>,
    window: Window,
    timers: Timers,
    limits: Limits,
}

/// What does not change while connected.
#[derive(Debug)]
struct Limits {
    queue: usize,
    exchanges: u32,
    receive_budget: u32,
    mtu: PathMtu,
    peer: u32,
}

/// A work request on its way.
#[derive(Debug)]
struct Entry {
    request: WorkRequest,
    first: Psn,
    packets: u32,
    /// Whether any packet of it has left.
    sent: bool,
    /// What an atomic found.
    original: u64,
    /// A keep-alive: nobody gets a completion.
    internal: bool,
}

/// The part of a read that one request asked for, or an atomic.
#[derive(Debug)]
struct Exchange {
    /// The first number without an answer.
    missing: Psn,
    end: Psn,
}

impl Requester {
    pub(super) fn new(config: &Config) -> Self {
        let first = config.first_psn;
        Self {
            posted: VecDeque::new(),
            count: 0,
            started: 0,
            at: 0,
            oldest: first,
            cursor: first,
            sent: first,
            assigned: first,
            exchanges: VecDeque::new(),
            asked: first,
            since_asked: 0,
            tail_due: false,
            implied_at: None,
            window: Window::new(1),
            timers: Timers::new(config),
            limits: Limits {
                queue: config.send_queue,
                exchanges: config.initiator_depth,
                receive_budget: config.receive_budget.max(1),
                mtu: PathMtu::B256,
                peer: 0,
            },
        }
    }

    pub(super) fn connect(&mut self, peer: &Peer) {
        self.window = Window::new(peer.budget);
        self.limits.exchanges = self.limits.exchanges.min(peer.responder_resources);
        self.limits.mtu = peer.mtu;
        self.limits.peer = peer.number.value();
    }

    pub(super) fn touch(&mut self, now: Duration) {
        self.timers.heard(now);
    }

    pub(super) const fn window(&self) -> u32 {
        self.window.size()
    }

    pub(super) fn outstanding(&self) -> usize {
        self.posted.len()
    }

    /// How many requests have been posted, keep-alives with them.
    pub(super) const fn count(&self) -> u64 {
        self.count
    }

    pub(super) fn post(&mut self, now: Duration, request: WorkRequest) -> Result<(), PostReason> {
        self.check(&request.operation)?;
        self.timers.heard_if_idle(now, self.posted.is_empty());
        self.push(Entry::new(request));
        Ok(())
    }

    fn push(&mut self, entry: Entry) {
        self.posted.push_back(entry);
        self.count += 1;
    }

    fn check(&self, operation: &Operation) -> Result<(), PostReason> {
        let len = operation.len();
        match *operation {
            _ if self.posted.len() >= self.limits.queue && self.of_owner() >= self.limits.queue => {
                Err(PostReason::Full {
                    limit: self.limits.queue,
                })
            }
            _ if len > MAX_MESSAGE => Err(PostReason::TooLong { len }),
            _ if operation.is_exchange() && self.limits.exchanges == 0 => {
                Err(PostReason::NoExchanges)
            }
            Operation::Atomic {
                result: Some(slot), ..
            } if slot.len != 8 => Err(PostReason::ResultSize { len: slot.len }),
            _ => Ok(()),
        }
    }

    /// How much of what is posted is its owner's: a keep-alive, which is posted when nothing else is, is not.
    fn of_owner(&self) -> usize {
        let ours = self.posted.front().is_some_and(|entry| entry.internal);
        self.posted.len() - usize::from(ours)
    }

    /// The next request, if nothing of this queue pair is on its way.
    pub(super) fn first_of_idle(&self) -> Option<&WorkRequest> {
        let idle = self.started == 0;
        self.posted
            .front()
            .filter(|_| idle)
            .map(|entry| &entry.request)
    }

    /// The next request was carried out without packets.
    pub(super) fn carried_out(&mut self, now: Duration, original: u64, shared: &mut Shared) {
        let Some(mut entry) = self.posted.pop_front() else {
            return;
        };
        self.timers.heard(now);
        entry.original = original;
        if entry.request.flags.contains(Flags::SIGNALED) && !entry.internal {
            let done = Completion::Work(entry.succeeded());
            shared.completions.push_back(done);
        }
    }

    /// The peer saw congestion on the way.
    pub(super) fn congested(&mut self, context: &mut Context<'_, '_>) {
        context.shared.counters.congestion_notifications += 1;
        self.window.congested(self.sent);
    }

    /// Sends what may be sent and fits.
    pub(super) fn transmit(&mut self, batch: &mut Batch<'_>, context: &mut Context<'_, '_>) {
        if !self.timers.may_send(context.now) {
            return;
        }
        while let Some(plan) = self.plan() {
            if !batch.has_room(plan.len()) {
                return;
            }
            if self.emit(&plan, batch, context).is_err() {
                let index = plan.index;
                return self.fail(index, WorkError::LocalProtection, context.shared);
            }
            self.commit(&plan, context);
        }
    }

    /// Ends everything as flushed.
    pub(super) fn flush(&mut self, shared: &mut Shared) {
        let flushed = self.posted.drain(..).filter(|entry| !entry.internal);
        let done = flushed.map(|entry| Completion::Work(entry.failed(WorkError::Flushed)));
        shared.completions.extend(done);
        self.forget();
    }

    /// The completion of a request posted in ERR.
    pub(super) fn flushed(request: &WorkRequest) -> Completion {
        Completion::Work(Entry::new(*request).failed(WorkError::Flushed))
    }

    /// Rule 7: the request at `index` failed.
    fn fail(&mut self, index: usize, error: WorkError, shared: &mut Shared) {
        let internal = self.posted.get(index).is_some_and(|entry| entry.internal);
        for (position, entry) in self.posted.drain(..).enumerate() {
            let cause = if position == index {
                error
            } else {
                WorkError::Flushed
            };
            if !entry.internal {
                shared
                    .completions
                    .push_back(Completion::Work(entry.failed(cause)));
            }
        }
        self.forget();
        let cause = if internal {
            Cause::PeerGone
        } else {
            Cause::Work(error)
        };
        shared.failed.get_or_insert(cause);
    }

    fn forget(&mut self) {
        self.exchanges.clear();
        self.started = 0;
        self.at = 0;
        self.timers.stop();
    }

    /// All before `upto` is acknowledged.
    fn acknowledge(&mut self, upto: Psn, context: &mut Context<'_, '_>) {
        let count = upto.since(self.oldest);
        if count == 0 {
            return;
        }
        self.oldest = upto;
        self.implied_at = None;
        self.window.acknowledged(count, upto);
        self.complete(context.shared);
        if self.cursor.is_before(upto) {
            self.cursor = upto;
            self.at = self.index_of(upto);
        }
        if self.asked.is_before(upto) {
            self.asked = upto;
        }
        self.tail_due &= upto != self.cursor;
        self.timers.progress(context.now, upto == self.sent);
    }

    /// Takes what lies before `oldest` off the queue.
    fn complete(&mut self, shared: &mut Shared) {
        while self.started > 0 && !self.oldest.is_before(self.posted[0].end()) {
            let Some(entry) = self.posted.pop_front() else {
                return;
            };
            self.started -= 1;
            self.at = self.at.saturating_sub(1);
            if entry.request.flags.contains(Flags::SIGNALED) && !entry.internal {
                shared
                    .completions
                    .push_back(Completion::Work(entry.succeeded()));
            }
        }
    }

    /// Sends again from `psn` on.
    fn rewind(&mut self, psn: Psn) {
        self.cursor = psn;
        self.at = self.index_of(psn);
        if psn.is_before(self.asked) {
            self.asked = psn;
        }
        self.tail_due = false;
        self.timers.cancel_tail();
    }

    /// The index of the started request that has this number; `started` if none has.
    fn index_of(&self, psn: Psn) -> usize {
        let has = |entry: &Entry| psn.is_within(entry.first, entry.packets);
        let started = self.posted.iter().take(self.started);
        started.take_while(|entry| !has(entry)).count()
    }
}

impl Entry {
    fn new(request: WorkRequest) -> Self {
        Self {
            request,
            first: Psn::default(),
            packets: 0,
            sent: false,
            original: 0,
            internal: false,
        }
    }

    const fn end(&self) -> Psn {
        self.first.plus(self.packets)
    }

    fn failed(&self, cause: WorkError) -> WorkDone {
        self.done(
            0,
            Err(WorkFailure {
                cause,
                sent: self.sent,
            }),
        )
    }

    fn succeeded(&self) -> WorkDone {
        self.done(self.original, Ok(()))
    }

    fn done(&self, original: u64, outcome: Result<(), WorkFailure>) -> WorkDone {
        WorkDone {
            id: self.request.id,
            kind: self.request.operation.kind(),
            len: self.request.operation.len(),
            original,
            outcome,
        }
    }
}
