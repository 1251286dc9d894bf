//! The responder: requests become effects on memory, and replies.
//!
//! Rules.
//!
//! 1. Only the packet with the `expected` number is executed, and only it can be refused. It moves `expected` on
//!    by the numbers it takes: one, or for a read as many as its answer has packets.
//! 2. A number before `expected` is a duplicate: sends and writes are acknowledged again, up to what has been
//!    executed, but never past a read or an atomic behind them: only its answer says that it is done, and a peer may
//!    take an acknowledgement of its number for that. Reads are executed again; an atomic gets its saved result.
//!    Nothing else happens.
//! 3. A number behind `expected` is a gap, reported once by a sequence NAK. Until the expected packet comes
//!    everything else behind it is dropped. The same after "receiver not ready".
//! 4. A refusal (invalid request, access, operation) moves the queue pair to ERR. Nothing of the refused packet
//!    has been written. A receive that it has taken ends with its own error (it is too short, or its memory is not
//!    ours), else it is flushed: what the peer did wrong is told to the peer, and by the cause of ERR. A refusal may be
//!    lost, and a peer may retry without end: the refused packet is answered with the same refusal as often as it
//!    comes. So is what was executed before it: of a peer with a small window nothing else may come. What lies behind
//!    it is not answered.
//! 5. Replies leave in the order of their requests. An acknowledgement that is still waiting is replaced by a
//!    later one. The queue of replies is bounded: what does not fit is left to the peer's retry.
//! 6. The last `limit` reads and atomics are remembered: no requester has more outstanding.

use std::collections::VecDeque;

use crate::config::{Config, Peer};
use crate::mtu::PathMtu;
use crate::psn::Psn;
use crate::queue_pair::{Cause, Context, Shared};
use crate::wire::{AtomicEth, Body, NakCode, Packet, Reth, RnrTimer, Syndrome};
use crate::work::{Completion, Receive, Received, ReceivedKind, WorkError};

mod execute;
mod replies;

use replies::{ReadJob, Reply};

#[derive(Debug)]
pub(super) struct Responder {
    expected: Psn,
    /// Messages completed, 24 bits.
    msn: u32,
    /// A NAK has been sent for the packet that is expected (rule 3).
    silenced: bool,
    /// The message that has begun and not ended.
    message: Option<Message>,
    /// The receive that the packet in hand has taken.
    held: Option<Receive>,
    resources: VecDeque<Resource>,
    replies: VecDeque<Reply>,
    /// The refusal that moved the queue pair to ERR.
    refusal: Option<Refused>,
    limit: usize,
    rnr_timer: RnrTimer,
    mtu: PathMtu,
    peer: u32,
    /// The first number of the connection.
    first: Psn,
}

/// A message of several packets, between two of them.
#[derive(Debug)]
enum Message {
    Send { receive: Receive, done: u32 },
    Write { reth: Reth, done: u32 },
}

/// A read or atomic that the peer may ask for again.
#[derive(Debug)]
enum Resource {
    Read {
        first: Psn,
        count: u32,
        reth: Reth,
    },
    Atomic {
        psn: Psn,
        request: Body,
        original: u64,
    },
}

/// A NAK that moved the queue pair to ERR (rule 4).
#[derive(Clone, Copy, Debug)]
struct Refused {
    /// The number that is refused: of a read whose region went meanwhile, one of its answers.
    psn: Psn,
    msn: u32,
    code: NakCode,
}

impl Refused {
    /// Whether it is the answer to this number too: the refused one, or one before it. Numbers come round: there may be fewer
    /// from the connection's `first` on than there were.
    const fn answers(&self, psn: Psn, first: Psn) -> bool {
        !self.psn.is_before(psn) && psn.is_within(first, self.psn.since(first) + 1)
    }
}

/// Why a packet with the expected number is not executed.
#[derive(Debug)]
enum Refusal {
    /// There is no receive.
    NotReady,
    /// The peer, or this side, did something wrong.
    Fatal(NakCode, WorkError),
}

impl Refusal {
    const INVALID: Self = Self::Fatal(NakCode::InvalidRequest, WorkError::RemoteInvalidRequest);
    const ACCESS: Self = Self::Fatal(NakCode::RemoteAccessError, WorkError::RemoteAccess);
    const TOO_LONG: Self = Self::Fatal(NakCode::InvalidRequest, WorkError::LocalLength);
    const PROTECTION: Self =
        Self::Fatal(NakCode::RemoteOperationalError, WorkError::LocalProtection);
}

impl Responder {
    pub(super) fn new(config: &Config) -> Self {
        Self {
            expected: Psn::default(),
            msn: 0,
            silenced: false,
            message: None,
            held: None,
            resources: VecDeque::new(),
            replies: VecDeque::new(),
            refusal: None,
            limit: config.responder_resources as usize,
            rnr_timer: config.rnr_timer,
            mtu: PathMtu::B256,
            peer: 0,
            first: Psn::default(),
        }
    }

    pub(super) fn connect(&mut self, peer: &Peer) {
        self.expected = peer.first_psn;
        self.first = peer.first_psn;
        self.mtu = peer.mtu;
        self.peer = peer.number.value();
    }

    /// Takes a packet with a request opcode.
    pub(super) fn request(&mut self, packet: &Packet<'_>, context: &mut Context<'_, '_>) {
        let psn = packet.header.bth.psn;
        if psn == self.expected {
            self.expected_request(packet, context);
        } else if psn.is_before(self.expected) {
            self.duplicate(packet, context);
        } else {
            self.gap(context);
        }
    }

    /// Goes to ERR: the receive in hand is flushed; replies stay only if a refusal is to follow them.
    pub(super) fn flush(&mut self, shared: &mut Shared) {
        self.release(WorkError::Flushed, shared);
        self.resources.clear();
        if !self.replies.back().is_some_and(Reply::is_fatal) {
            self.replies.clear();
        }
    }

    /// Rule 1.
    fn expected_request(&mut self, packet: &Packet<'_>, context: &mut Context<'_, '_>) {
        self.silenced = false;
        match self.execute(packet, context) {
            Ok(()) => {}
            Err(Refusal::NotReady) => self.not_ready(context.shared),
            Err(Refusal::Fatal(code, error)) => self.refuse(code, error, context.shared),
        }
    }

    fn not_ready(&mut self, shared: &mut Shared) {
        shared.counters.rnr_naks_sent += 1;
        self.silenced = true;
        let syndrome = Syndrome::RnrNak(self.rnr_timer);
        let (psn, msn) = (self.expected, self.msn);
        self.reply(Reply::Nak { psn, msn, syndrome }, shared);
    }

    /// Rule 4.
    fn refuse(&mut self, code: NakCode, error: WorkError, shared: &mut Shared) {
        let (receive, cause) = match error {
            WorkError::LocalProtection => (error, Cause::Work(error)),
            WorkError::LocalLength => (error, Cause::Peer(error)),
            _ => (WorkError::Flushed, Cause::Peer(error)),
        };
        self.release(receive, shared);
        let (psn, msn) = (self.expected, self.msn);
        self.send_refusal(Refused { psn, msn, code }, shared);
        shared.failed.get_or_insert(cause);
    }

    fn send_refusal(&mut self, refused: Refused, shared: &mut Shared) {
        shared.counters.fatal_naks_sent += 1;
        self.refusal = Some(refused);
        let Refused { psn, msn, code, .. } = refused;
        let syndrome = Syndrome::Nak(code);
        self.replies.push_back(Reply::Nak { psn, msn, syndrome });
    }

    /// Whether ERR is the end of a request that was refused, which may come again.
    pub(super) const fn has_refused(&self) -> bool {
        self.refusal.is_some()
    }

    /// Takes a request in ERR (rule 4).
    pub(super) fn refuse_again(&mut self, packet: &Packet<'_>, context: &mut Context<'_, '_>) {
        let psn = packet.header.bth.psn;
        let first = self.first;
        match self.refusal.filter(|refused| refused.answers(psn, first)) {
            Some(refused) if self.replies.is_empty() => {
                self.send_refusal(refused, context.shared);
            }
            Some(_) => {}
            None => context.shared.counters.wrong_state += 1,
        }
    }

    /// Ends the receive that a message has taken.
    fn release(&mut self, error: WorkError, shared: &mut Shared) {
        let begun = match self.message.take() {
            Some(Message::Send { receive, .. }) => Some(receive),
            _ => None,
        };
        for receive in begun.into_iter().chain(self.held.take()) {
            shared.completions.push_back(Completion::Received(Received {
                id: receive.id,
                kind: ReceivedKind::Send,
                len: 0,
                solicited: false,
                outcome: Err(error),
            }));
        }
    }

    /// Rule 3.
    fn gap(&mut self, context: &mut Context<'_, '_>) {
        if self.silenced {
            context.shared.counters.behind_gap += 1;
            return;
        }
        self.silenced = true;
        context.shared.counters.sequence_naks_sent += 1;
        let syndrome = Syndrome::Nak(NakCode::PsnSequenceError);
        let (psn, msn) = (self.expected, self.msn);
        self.reply(Reply::Nak { psn, msn, syndrome }, context.shared);
    }

    /// Rule 2.
    fn duplicate(&mut self, packet: &Packet<'_>, context: &mut Context<'_, '_>) {
        let psn = packet.header.bth.psn;
        context.shared.counters.duplicates += 1;
        let known = match packet.header.body {
            Body::ReadRequest(reth) => self.read_again(psn, reth, context.shared),
            request @ (Body::FetchAdd(_) | Body::CompareSwap(_)) => {
                self.atomic_again(psn, request, context.shared)
            }
            _ => {
                self.acknowledge(self.answered_after(psn), context.shared);
                true
            }
        };
        context.shared.counters.lost_duplicates += u64::from(!known);
    }

    /// The last number before the first read or atomic behind `psn`, or before what is expected. One that is not remembered
    /// any more has been answered; one from a round of the numbers ago does not lie between the two.
    fn answered_after(&self, psn: Psn) -> Psn {
        let between = |at: &Psn| psn.is_before(*at) && at.is_before(self.expected);
        let exchange = self.resources.iter().map(Resource::first).find(between);
        exchange.unwrap_or(self.expected).previous()
    }

    /// Answers a remembered read again, from `psn` on; false if it is not remembered or not the same.
    fn read_again(&mut self, psn: Psn, again: Reth, shared: &mut Shared) -> bool {
        let mtu = self.mtu;
        let same = |resource: &&Resource| resource.covers(psn, again, mtu);
        let Some(&Resource::Read { first, .. }) = self.resources.iter().rev().find(same) else {
            return false;
        };
        let job = ReadJob::new(first, psn, again, self.msn, true);
        let waiting = self
            .replies
            .iter_mut()
            .find_map(|reply| reply.read_of(first));
        match waiting {
            // What is asked for is still to be sent.
            Some(waiting) if !psn.is_before(waiting.next()) => {}
            Some(waiting) => waiting.begin_again(job),
            None => self.reply(Reply::Read(job), shared),
        }
        true
    }

    /// Gives the saved result of a remembered atomic; false if it is not remembered or not the same.
    fn atomic_again(&mut self, at: Psn, again: Body, shared: &mut Shared) -> bool {
        let saved = self
            .resources
            .iter()
            .rev()
            .find_map(|resource| match *resource {
                Resource::Atomic {
                    psn,
                    request,
                    original,
                } if psn == at && request == again => Some(original),
                _ => None,
            });
        let Some(original) = saved else { return false };
        if !self.replies.iter().any(|reply| reply.is_atomic(at)) {
            self.reply(
                Reply::Atomic {
                    psn: at,
                    msn: self.msn,
                    original,
                },
                shared,
            );
        }
        true
    }

    /// Rule 6.
    fn remember(&mut self, resource: Resource) {
        if self.resources.len() >= self.limit {
            self.resources.pop_front();
        }
        self.resources.push_back(resource);
    }
}

impl Resource {
    const fn first(&self) -> Psn {
        match *self {
            Self::Read { first, .. } => first,
            Self::Atomic { psn, .. } => psn,
        }
    }

    /// Whether it is a read of which `again`, from `psn` on, is a part.
    fn covers(&self, psn: Psn, again: Reth, mtu: PathMtu) -> bool {
        let &Self::Read { first, count, reth } = self else {
            return false;
        };
        let skipped = psn.since(first);
        if skipped >= count {
            return false;
        }
        let offset = skipped * mtu.bytes() as u32;
        again.r_key == reth.r_key
            && again.virtual_address == reth.virtual_address.wrapping_add(u64::from(offset))
            && again.dma_length <= reth.dma_length.saturating_sub(offset)
    }
}

/// The eight bytes an atomic is about.
const fn atomic_of(request: &Body) -> Option<AtomicEth> {
    match request {
        Body::FetchAdd(atomic) | Body::CompareSwap(atomic) => Some(*atomic),
        _ => None,
    }
}
