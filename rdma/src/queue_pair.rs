//! The queue pair: a requester, a responder, and the state both share.
//!
//! ```text
//!            init            connect             activate
//!   RESET ----------> INIT -----------> RTR ----------------> RTS
//!                       \                |  fail, or an error  |
//!                        `---------------`----------+----------'
//!                                                   v
//!                                                  ERR    (outstanding work is flushed, in order)
//! ```
//!
//! 1. In RESET and INIT nothing is received or sent. Work cannot be posted.
//! 2. In RTR the responder works: both sides go to RTR, agree (a barrier), and only then to RTS.
//! 3. In RTS both halves work.
//! 4. In ERR nothing is received. A NAK that was due still leaves. What is posted is flushed at once.
//! 5. There is no way back from ERR: a new connection needs a new queue pair, with new numbers.
//!
//! A queue pair does no I/O and has no clock: packets, time and work requests go in, packets, completions and
//! calls of [`Memory`] come out. Time is a `Duration` since any fixed start.

use std::collections::VecDeque;
use std::time::Duration;

use thiserror::Error;

use crate::config::{Config, Peer};
use crate::counters::Counters;
use crate::loopback::{self, Ends};
use crate::memory::Memory;
use crate::psn::Qpn;
use crate::region::{Domain, RegionTable};
use crate::requester::Requester;
use crate::responder::Responder;
use crate::transmit::{Batch, Transmit};
use crate::wire::{Body, Packet, Path};
use crate::work::{Completion, PostError, PostReason, Receives, WorkError, WorkRequest};

/// Bytes that a piece of work without packets counts for, beside those it copies.
const LEAST_COST: usize = 256;

/// What a queue pair works on, lent for the time of one call.
pub struct Io<'a> {
    /// Where bytes are.
    pub memory: &'a dyn Memory,
    /// Which of them may be touched.
    pub regions: &'a RegionTable,
    /// Where receives come from.
    pub receives: &'a mut dyn Receives,
}

/// The state of a queue pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[doc(alias = "ibv_qp_state")]
pub enum State {
    /// RESET: made, nothing else.
    Reset,
    /// INIT: may be connected.
    Init,
    /// RTR: knows its peer, answers requests.
    ReadyToReceive,
    /// RTS: sends requests too.
    ReadyToSend,
    /// ERR: over.
    Error(Cause),
}

/// Why a queue pair is in ERR.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Error)]
#[non_exhaustive]
pub enum Cause {
    /// The owner closed it, or its process is over.
    #[error("its owner closed it, or its process is over")]
    Closed,
    /// A work request or a receive failed.
    #[error("{0}")]
    Work(WorkError),
    /// The peer asked for something that is refused.
    #[error("the peer broke a rule: {0}")]
    Peer(WorkError),
    /// More completed than its completion queue had room for.
    #[error("its completion queue overran")]
    Overrun,
    /// A work-queue entry asked for something that no NIC can do.
    #[error("a work-queue entry asked for something impossible")]
    ImpossibleWork,
    /// The peer did not answer a keep-alive.
    #[error("the peer is gone")]
    PeerGone,
}

/// A step that the state does not allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the queue pair is in state {state:?}")]
pub struct StateError {
    /// The state it is in.
    pub state: State,
}

/// One end of a reliable connection.
#[derive(Debug)]
#[doc(alias = "ibv_qp")]
pub struct QueuePair {
    state: State,
    config: Config,
    peer: Option<Peer>,
    requester: Requester,
    responder: Responder,
    shared: Shared,
}

/// What both halves write into.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    pub(crate) completions: VecDeque<Completion>,
    pub(crate) counters: Counters,
    /// Set by the half that found a reason for ERR.
    pub(crate) failed: Option<Cause>,
}

/// What one half sees of the connection during a call.
pub(crate) struct Context<'a, 'io> {
    pub(crate) now: Duration,
    pub(crate) domain: Domain,
    pub(crate) shared: &'a mut Shared,
    pub(crate) io: &'a mut Io<'io>,
}

impl QueuePair {
    /// A queue pair in RESET.
    pub fn new(config: Config) -> Self {
        Self {
            state: State::Reset,
            requester: Requester::new(&config),
            responder: Responder::new(&config),
            config,
            peer: None,
            shared: Shared::default(),
        }
    }

    /// RESET to INIT.
    ///
    /// # Errors
    ///
    /// [`StateError`] in any other state.
    pub fn init(&mut self) -> Result<(), StateError> {
        self.expect(State::Reset)?;
        self.state = State::Init;
        Ok(())
    }

    /// INIT to RTR: requests of the peer are answered from now on.
    ///
    /// # Errors
    ///
    /// [`StateError`] in any other state.
    pub fn connect(&mut self, peer: Peer) -> Result<(), StateError> {
        self.expect(State::Init)?;
        self.requester.connect(&peer);
        self.responder.connect(&peer);
        self.peer = Some(peer);
        self.state = State::ReadyToReceive;
        Ok(())
    }

    /// RTR to RTS: work may be posted from now on. Both sides should be in RTR first.
    ///
    /// # Errors
    ///
    /// [`StateError`] in any other state.
    pub fn activate(&mut self, now: Duration) -> Result<(), StateError> {
        self.expect(State::ReadyToReceive)?;
        self.state = State::ReadyToSend;
        self.requester.touch(now);
        Ok(())
    }

    /// Any state to ERR: outstanding work is flushed, in order. In ERR already: nothing.
    pub fn fail(&mut self, cause: Cause) {
        self.shared.failed.get_or_insert(cause);
        self.settle();
    }

    /// The state.
    pub const fn state(&self) -> State {
        self.state
    }

    /// Its number.
    pub const fn number(&self) -> Qpn {
        self.config.number
    }

    /// What it was made with.
    pub const fn config(&self) -> &Config {
        &self.config
    }

    /// Its peer, once connected.
    pub const fn peer(&self) -> Option<&Peer> {
        self.peer.as_ref()
    }

    /// What it has counted.
    pub const fn counters(&self) -> &Counters {
        &self.shared.counters
    }

    /// How many packets may be on their way just now: min(budget, window).
    pub const fn window(&self) -> u32 {
        self.requester.window()
    }

    /// How many work requests are posted and not over.
    pub fn outstanding(&self) -> usize {
        self.requester.outstanding()
    }

    /// How many work requests it has taken, before ERR; of these, the oldest are over first.
    pub(crate) const fn posted(&self) -> u64 {
        self.requester.count()
    }

    /// How many of those are over.
    pub(crate) fn over(&self) -> u64 {
        self.requester.count() - self.requester.outstanding() as u64
    }

    /// Takes a work request. In ERR it is flushed at once: its completion says so.
    ///
    /// # Errors
    ///
    /// [`PostError`] gives the request back with the reason.
    #[doc(alias = "ibv_post_send")]
    pub fn post(&mut self, now: Duration, request: WorkRequest) -> Result<(), PostError> {
        let refused = |reason| PostError { request, reason };
        match self.state {
            State::ReadyToSend => self.requester.post(now, request).map_err(refused),
            State::Error(_) => {
                self.shared
                    .completions
                    .push_back(Requester::flushed(&request));
                Ok(())
            }
            _ => Err(refused(PostReason::NotReady)),
        }
    }

    /// Carries out what it can without packets: the peer is a queue pair of this same NIC, and works. False: there is more, and the
    /// bytes that may be copied are used up.
    pub(crate) fn carry_out(
        &mut self,
        left: &mut usize,
        now: Duration,
        theirs: Domain,
        io: &Io<'_>,
    ) -> bool {
        let ends = Ends {
            ours: self.config.domain,
            theirs,
        };
        while self.state == State::ReadyToSend
            && let Some(request) = self.requester.first_of_idle()
        {
            if *left == 0 {
                return false;
            }
            let cost = LEAST_COST + request.operation.len() as usize;
            let Some(original) = loopback::perform(&request.operation, ends, io) else {
                break;
            };
            *left = left.saturating_sub(cost);
            self.requester.carried_out(now, original, &mut self.shared);
        }
        true
    }

    /// Whether a packet on this path is for this queue pair: it is connected, works (or refused a request, which may come
    /// again), and the path is its peer's. Counts it if not.
    pub fn admits(&mut self, path: &Path) -> bool {
        let listens = self.working_peer().is_some() || self.responder.has_refused();
        let Some(peer) = self.peer.as_ref().filter(|_| listens) else {
            self.shared.counters.wrong_state += 1;
            return false;
        };
        let ours = peer.path.same_addresses(&path.reversed());
        self.shared.counters.wrong_address += u64::from(!ours);
        ours
    }

    /// Takes a packet that [`QueuePair::admits`] and whose ICRC is right.
    pub fn receive(&mut self, now: Duration, packet: &Packet<'_>, io: &mut Io<'_>) {
        let shared = &mut self.shared;
        let mut context = Context {
            now,
            domain: self.config.domain,
            shared,
            io,
        };
        let body = packet.header.body;
        let is_request = body != Body::Cnp && !body.opcode().is_response();
        match (self.state, is_request) {
            (State::ReadyToSend | State::ReadyToReceive, true) => {
                self.responder.request(packet, &mut context);
            }
            (State::Error(_), true) => self.responder.refuse_again(packet, &mut context),
            (State::ReadyToSend, _) if body == Body::Cnp => self.requester.congested(&mut context),
            (State::ReadyToSend, _) => self.requester.answer(packet, &mut context),
            _ => context.shared.counters.wrong_state += 1,
        }
        self.settle();
    }

    /// Fills `out` with the next requests, `None` if there are none to send now.
    ///
    /// `max_segments` is how many packets of equal size one send may carry (1: no segmentation offload; the
    /// caller's buffer and 128 bound it too).
    pub fn poll_requests(
        &mut self,
        now: Duration,
        io: &mut Io<'_>,
        out: &mut [u8],
        max_segments: usize,
    ) -> Option<Transmit> {
        match self.state {
            State::ReadyToSend => self.fill(now, io, out, max_segments, Half::Requester),
            _ => None,
        }
    }

    /// Fills `out` with the next acknowledgements and responses, `None` if there are none. They should leave
    /// behind the requests of the same round.
    pub fn poll_replies(
        &mut self,
        now: Duration,
        io: &mut Io<'_>,
        out: &mut [u8],
        max_segments: usize,
    ) -> Option<Transmit> {
        self.fill(now, io, out, max_segments, Half::Responder)
    }

    /// Fills `out` with what one half sends next.
    #[inline]
    fn fill(
        &mut self,
        now: Duration,
        io: &mut Io<'_>,
        out: &mut [u8],
        max_segments: usize,
        half: Half,
    ) -> Option<Transmit> {
        let peer = self.peer.as_ref()?;
        let segments = max_segments.min(peer.max_segments);
        let mut batch = Batch::new(&peer.path, self.config.service_level, out, segments);
        let shared = &mut self.shared;
        let mut context = Context {
            now,
            domain: self.config.domain,
            shared,
            io,
        };
        match half {
            Half::Requester => self.requester.transmit(&mut batch, &mut context),
            Half::Responder => self.responder.transmit(&mut batch, &mut context),
        }
        let transmit = batch.finish();
        self.settle();
        transmit
    }

    /// [`QueuePair::poll_requests`], then [`QueuePair::poll_replies`].
    pub fn poll_transmit(
        &mut self,
        now: Duration,
        io: &mut Io<'_>,
        out: &mut [u8],
        max_segments: usize,
    ) -> Option<Transmit> {
        match self.poll_requests(now, io, out, max_segments) {
            Some(transmit) => Some(transmit),
            None => self.poll_replies(now, io, out, max_segments),
        }
    }

    /// When [`QueuePair::handle_timeout`] wants to be called, if nothing else happens before.
    pub fn poll_timeout(&self) -> Option<Duration> {
        match self.state {
            State::ReadyToSend => self.requester.next_timeout(),
            _ => None,
        }
    }

    /// Time has passed. Afterwards there may be packets to send.
    pub fn handle_timeout(&mut self, now: Duration) {
        if self.state == State::ReadyToSend {
            self.requester.handle_timeout(now, &mut self.shared);
            self.settle();
        }
    }

    /// The next completion, in the order in which things ended.
    #[doc(alias = "ibv_poll_cq")]
    pub fn poll_completion(&mut self) -> Option<Completion> {
        self.shared.completions.pop_front()
    }

    pub(crate) fn working_peer(&self) -> Option<&Peer> {
        let works = matches!(self.state, State::ReadyToReceive | State::ReadyToSend);
        self.peer.as_ref().filter(|_| works)
    }

    /// Goes to ERR if one of the halves found a reason to.
    fn settle(&mut self) {
        let Some(cause) = self.shared.failed else {
            return;
        };
        if !matches!(self.state, State::Error(_)) {
            self.state = State::Error(cause);
            self.requester.flush(&mut self.shared);
            self.responder.flush(&mut self.shared);
        }
    }

    fn expect(&self, state: State) -> Result<(), StateError> {
        match self.state == state {
            true => Ok(()),
            false => Err(StateError { state: self.state }),
        }
    }
}

/// A half of a queue pair.
#[derive(Clone, Copy)]
enum Half {
    Requester,
    Responder,
}
