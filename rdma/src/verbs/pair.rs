//! A queue pair and the work it has under way.
//!
//! 1. Every work request asks the device for a completion, so they come one for one and in order, and the oldest that is
//!    outstanding is always the one a completion is about.
//! 2. In ERR the device flushes what it has. What is posted then is not given to it any more; it is over, as flushed and
//!    never sent, when all before it is.
//! 3. The queue pair is said to have failed when nothing is outstanding any more.

mod asking;
mod failing;

use std::sync::Arc;
use std::time::Duration;

use bitflags::bitflags;
use rdma_sys as sys;

use super::keys::Keys;
use super::objects::{MemoryRegion, Pages, ProtectionDomain};
use super::queues::Polled;
use super::raw_pair::{Asked, RawQueuePair, Step};
use super::reports::Reports;
use super::status::{Retries, work_error};
use super::under_way::UnderWay;
use super::{AGAIN, FLUSH, NEVER};
use crate::config::Config;
use crate::provider::SystemError;
use crate::psn::Qpn;
use crate::queue_pair::{Cause, Io, State};
use crate::region::{Intent, Range, Rights};
use crate::reports::Awaited;
use crate::soft::Host;
use crate::work::{
    Completion, Flags, Operation, PostReason, Segment, WorkDone, WorkError, WorkFailure, WorkKind,
    WorkRequest,
};

use asking::flags;

/// Bits of a completion's id that count the work of one queue pair.
const COUNT_BITS: u32 = 40;
const COUNT: u64 = (1 << COUNT_BITS) - 1;
/// Bytes that hold the word before an atomic.
const WORD: usize = 8;

/// Which slot a completion of a send queue is about.
pub(super) fn slot_of(id: u64) -> usize {
    (id >> COUNT_BITS) as usize
}

#[derive(Debug)]
pub(super) struct Pair {
    pub(super) config: Config,
    /// How often the device sends again, once it was told.
    pub(super) retries: Retries,
    pub(super) number: Qpn,
    pub(super) state: State,
    /// Which completion queue it uses.
    pub(super) queue: usize,
    /// What it takes of that.
    pub(super) reserved: u32,
    pub(super) pool: Option<usize>,
    /// Whether it has been said that it failed.
    pub(super) told: bool,
    awaited: Awaited,
    /// When it is to be said because the device refused work without any under way.
    pub(super) again_at: Duration,
    /// When it last did something, or since when it is in ERR: [`NEVER`] until somebody looks then.
    pub(super) since: Duration,
    /// The device has reported the last receive that it had taken for it.
    pub(super) drained: bool,
    /// It has had a peer.
    connected: bool,
    /// All that is known of its failure is a consequence: that something was flushed.
    by_consequence: bool,
    /// Gone if it did not flush.
    raw: Option<RawQueuePair>,
    /// Where the device leaves the words before atomics.
    originals: MemoryRegion,
    pages: Arc<Pages>,
    slot: usize,
    outstanding: UnderWay<Work>,
    /// The count of the oldest that is outstanding.
    first: u64,
    depth: u32,
}

/// Work that is not over.
#[derive(Clone, Copy, Debug)]
struct Work {
    id: u64,
    kind: WorkKind,
    len: u32,
    about: About,
    /// Only of an atomic: where the word before it goes.
    result: Option<Segment>,
}

bitflags! {
    /// What is to be known of work when it ends.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    struct About: u8 {
        /// Its end is reported.
        const SIGNALED = 1;
        /// The device does not have it.
        const WITHHELD = 2;
        /// Of this NIC's own, to see whether the peer is there.
        const KEEP_ALIVE = 4;
        /// It has a word to be taken.
        const ATOMIC = 8;
    }
}

impl Pair {
    pub(super) fn new(
        config: Config,
        raw: RawQueuePair,
        domain: &Arc<ProtectionDomain>,
        number: Qpn,
        (slot, first): (usize, u64),
    ) -> Result<Self, SystemError> {
        let room = config.send_queue + 1;
        let bytes = room * WORD;
        let pages = Pages::new(bytes)?;
        let originals = MemoryRegion::new(domain, pages.clone(), (0, bytes), Rights::LOCAL_WRITE)?;
        Ok(Self {
            retries: Retries::of(&config, u8::MAX),
            config,
            number,
            state: State::Init,
            queue: 0,
            reserved: 0,
            pool: None,
            told: false,
            awaited: Awaited::NOTHING,
            again_at: NEVER,
            since: Duration::ZERO,
            drained: false,
            connected: false,
            by_consequence: false,
            raw: Some(raw),
            originals,
            pages,
            slot,
            outstanding: UnderWay::new(room, Work::NOTHING),
            first,
            depth: 0,
        })
    }

    /// What comes behind all that this one has counted.
    pub(super) fn next_count(&self) -> u64 {
        self.first + self.outstanding.len() as u64
    }

    pub(super) fn is_idle(&self) -> bool {
        self.outstanding.is_empty()
    }

    /// Whether nothing of it is under way in the device.
    pub(super) fn is_flushed(&self) -> bool {
        let withheld = |work: &Work| work.about.contains(About::WITHHELD);
        self.raw.is_none() || self.outstanding.front().is_none_or(withheld)
    }

    pub(super) fn is_connected(&self) -> bool {
        matches!(self.state, State::ReadyToReceive | State::ReadyToSend)
    }

    /// Does what time asks for; when it wants to be looked at again.
    pub(super) fn look(&mut self, now: Duration, reports: &mut Reports) -> Duration {
        match (self.state, self.config.keep_alive) {
            (State::Error(cause), _) => {
                if self.since == NEVER {
                    self.since = now;
                }
                if now.saturating_sub(self.since) >= FLUSH {
                    self.give_up(cause);
                }
                reports.settle(self, cause);
                match self.is_idle() {
                    true => NEVER,
                    false => self.since + FLUSH,
                }
            }
            (State::ReadyToSend, Some(interval)) => {
                if now.saturating_sub(self.since) >= interval {
                    self.keep_alive(now);
                }
                self.since.saturating_add(interval)
            }
            _ => NEVER,
        }
    }

    /// INIT to RTR, with this step; reads and atomics outstanding are limited by the peer.
    pub(super) fn connect(&mut self, step: &Step, depth: u32) -> Result<(), SystemError> {
        self.modify("connecting a queue pair", step)?;
        self.depth = depth;
        self.connected = true;
        self.state = State::ReadyToReceive;
        Ok(())
    }

    /// RTR to RTS.
    pub(super) fn activate(&mut self, now: Duration, most: u8) -> Result<(), SystemError> {
        self.retries = Retries::of(&self.config, most);
        let step = Step::ReadyToSend {
            psn: self.config.first_psn.value(),
            timeout: self.config.timeout.code(),
            retries: self.retries.unanswered,
            rnr_retries: self.retries.not_ready,
            initiator_depth: self.depth.min(128) as u8,
        };
        self.modify("activating a queue pair", &step)?;
        self.state = State::ReadyToSend;
        self.since = now;
        Ok(())
    }

    fn modify(&mut self, what: &'static str, step: &Step) -> Result<(), SystemError> {
        match &mut self.raw {
            Some(raw) => raw.modify(what, step),
            None => Ok(()),
        }
    }

    /// Takes a work request.
    #[inline]
    pub(super) fn post(
        &mut self,
        now: Duration,
        request: &WorkRequest,
        keys: &Keys,
    ) -> Result<(), PostReason> {
        let failed = matches!(self.state, State::Error(_));
        if !failed && self.state != State::ReadyToSend {
            return Err(PostReason::NotReady);
        }
        let limit = self.config.send_queue;
        if self.outstanding.len() >= limit && self.of_owner() >= limit {
            self.awaited.below(limit);
            return Err(PostReason::Full { limit });
        }
        if failed {
            let mut work = Work::of(request);
            work.about |= About::WITHHELD;
            self.outstanding.push_back(work);
            return Ok(());
        }
        let count = self.next_count();
        let id = (self.slot as u64) << COUNT_BITS | (count & COUNT);
        let mut asked = Asked::new(id, flags(request.flags));
        let work = self.fill(&mut asked, request, count, keys)?;
        let raw = self.raw.as_mut().ok_or(PostReason::NotReady)?;
        match raw.post(&mut asked) {
            Ok(()) => {
                self.outstanding.push_back(work);
                self.since = now;
                Ok(())
            }
            Err(libc::ENOMEM) => {
                let limit = self.outstanding.len();
                self.awaited.below(limit);
                if limit == 0 {
                    self.again_at = now + AGAIN;
                }
                Err(PostReason::Full { limit })
            }
            Err(errno) => Err(PostReason::Device { errno }),
        }
    }

    /// Whether all before this count is over.
    pub(super) fn is_over(&self, count: u64) -> bool {
        self.first >= count
    }

    /// It is to be said when all before this count is over.
    pub(super) fn tell_when_over(&mut self, count: u64) {
        self.awaited.over(count);
    }

    /// Whether so much is over that something was to be said of it. True once.
    #[inline]
    pub(super) fn takes_again(&mut self) -> bool {
        self.awaited.is_due(self.outstanding.len(), self.first)
    }

    /// Whether it is time to try what the device refused without any work under way. True once.
    pub(super) fn is_tried_again(&mut self, now: Duration) -> bool {
        let due = now >= self.again_at;
        if due {
            self.again_at = NEVER;
        }
        due
    }

    /// How much of what is under way is its owner's: a keep-alive, which is posted when nothing else is, is not. The device has
    /// room for it besides.
    #[cold]
    fn of_owner(&self) -> usize {
        let keeps_alive = |work: &Work| work.about.contains(About::KEEP_ALIVE);
        self.outstanding.len() - usize::from(self.outstanding.front().is_some_and(keeps_alive))
    }

    /// Where the word before an atomic is left that has this count.
    fn word_of(&self, count: u64) -> usize {
        count as usize % (self.config.send_queue + 1) * WORD
    }

    /// Asks whether the peer is there, if nothing else does.
    pub(super) fn keep_alive(&mut self, now: Duration) {
        let id = (self.slot as u64) << COUNT_BITS | (self.next_count() & COUNT);
        self.since = now;
        let Some(raw) = self.raw.as_mut().filter(|_| self.outstanding.is_empty()) else {
            return;
        };
        let mut asked = Asked::new(id, 0);
        asked.write((0, 0), None);
        if raw.post(&mut asked).is_ok() {
            self.outstanding.push_back(Work {
                about: About::KEEP_ALIVE,
                ..Work::NOTHING
            });
        }
    }

    /// A completion of its send queue has come; what is to be reported of it. Sets the state if it is the first failure.
    #[inline]
    pub(super) fn completed(
        &mut self,
        now: Duration,
        polled: Polled<'_>,
        host: &mut dyn Host,
    ) -> Option<Completion> {
        let behind = polled.id().wrapping_sub(self.first) & COUNT;
        if behind >= self.outstanding.len() as u64 {
            // Of a queue pair that was here before.
            return None;
        }
        self.since = now;
        let succeeded = polled.status() == sys::ibv_wc_status::IBV_WC_SUCCESS;
        let work = self.outstanding.front()?;
        if !succeeded || work.about.intersects(About::ATOMIC | About::KEEP_ALIVE) {
            return self.ended(polled, host);
        }
        let signaled = work.about.contains(About::SIGNALED);
        let done = signaled.then(|| work.done(Ok(()), 0));
        self.outstanding.drop_front();
        self.first += 1;
        done
    }

    /// As [`Pair::completed`]: of work that failed, or that has a word to be taken.
    #[inline(never)]
    fn ended(&mut self, polled: Polled<'_>, host: &mut dyn Host) -> Option<Completion> {
        let work = self.outstanding.pop_front()?;
        let count = self.first;
        self.first += 1;
        let keep_alive = work.about.contains(About::KEEP_ALIVE);
        let error = work_error(polled.status(), self.retries);
        if let Some(error) = error {
            match error {
                WorkError::Flushed => self.fail_by_consequence(Cause::Work(error)),
                _ if keep_alive => self.fail(Cause::PeerGone),
                _ => self.fail(Cause::Work(error)),
            }
        }
        if keep_alive {
            return None;
        }
        let (outcome, original) = match error {
            Some(cause) => (Err(WorkFailure { cause, sent: true }), 0),
            None if !work.about.contains(About::ATOMIC) => (Ok(()), 0),
            None => {
                let answered = self.answered(&work, count, &host.io(None));
                if let Err(failure) = &answered.0 {
                    self.fail(Cause::Work(failure.cause));
                }
                answered
            }
        };
        (work.about.contains(About::SIGNALED) || outcome.is_err())
            .then(|| work.done(outcome, original))
    }

    /// The word before an atomic goes to where it was asked for.
    fn answered(&self, work: &Work, count: u64, io: &Io<'_>) -> (Result<(), WorkFailure>, u64) {
        let original = self.pages.word(self.word_of(count));
        let Some(result) = work.result else {
            return (Ok(()), original);
        };
        let range = Range {
            address: result.address,
            len: result.len.into(),
        };
        match io
            .regions
            .local(self.config.domain, result.key, range, Intent::Write)
        {
            Ok(access) => {
                io.memory.write(access.target(), &original.to_ne_bytes());
                (Ok(()), original)
            }
            Err(_) => {
                let cause = WorkError::LocalProtection;
                (Err(WorkFailure { cause, sent: true }), 0)
            }
        }
    }

    /// What is over without the device: what it was never given, or all if it is given up.
    pub(super) fn flushed(&mut self) -> Option<Completion> {
        loop {
            let front = self.outstanding.front()?;
            if !front.about.contains(About::WITHHELD) && self.raw.is_some() {
                return None;
            }
            let work = self.outstanding.pop_front()?;
            self.first += 1;
            if !work.about.contains(About::KEEP_ALIVE) {
                let failure = WorkFailure {
                    cause: WorkError::Flushed,
                    sent: !work.about.contains(About::WITHHELD),
                };
                return Some(work.done(Err(failure), 0));
            }
        }
    }
}

impl About {
    #[inline]
    const fn asked(flags: Flags) -> Self {
        match flags.contains(Flags::SIGNALED) {
            true => Self::SIGNALED,
            false => Self::empty(),
        }
    }
}

impl Work {
    /// A write of nothing.
    const NOTHING: Self = Self {
        id: 0,
        kind: WorkKind::Write,
        len: 0,
        about: About::empty(),
        result: None,
    };

    #[inline]
    fn of(request: &WorkRequest) -> Self {
        let (atomic, result) = match request.operation {
            Operation::Atomic { result, .. } => (About::ATOMIC, result),
            _ => (About::empty(), None),
        };
        Self {
            id: request.id,
            kind: request.operation.kind(),
            len: request.operation.len(),
            about: About::asked(request.flags) | atomic,
            result,
        }
    }

    #[inline]
    fn done(&self, outcome: Result<(), WorkFailure>, original: u64) -> Completion {
        Completion::Work(WorkDone {
            id: self.id,
            kind: self.kind,
            len: self.len,
            original,
            outcome,
        })
    }
}
