//! The NIC without its socket: demultiplexing, the checks before a queue pair, whose turn it is to send, timers.
//!
//! Order of checks for a packet (the first that fails drops it, with a counter): length; transport version and
//! partition; queue pair and its state; addresses; ICRC; opcode. What comes behind (number, key, bounds,
//! rights, receive) is the queue pair's.
//!
//! Sending goes round among the queue pairs with something to send: first requests of all, then replies of
//! all, so that acknowledgements leave behind the data of the same round.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

use slab::Slab;
use thiserror::Error;

use crate::config::{Config, Peer};
use crate::counters::Counters;
use crate::provider::SystemError;
use crate::psn::Qpn;
use crate::queue_pair::{Cause, Io, QueuePair, State, StateError};
use crate::region::Domain;
use crate::reports::{Awaited, Reports};
use crate::retired::Retired;
pub use crate::retired::{MOST_RETIRED, MOST_RETIRED_OF_DOMAIN};
use crate::transmit::{Allowance, Transmit};
use crate::wire::{IcrcVerifier, Packet, PacketView, Path};
use crate::work::{Completion, PostError, PostReason, WorkRequest};

/// A NIC at one address, without I/O: it owns its queue pairs.
#[derive(Debug)]
pub struct Nic {
    local: SocketAddr,
    slots: Slab<Box<Slot>>,
    /// Where each queue pair is among the slots.
    index: BTreeMap<Qpn, usize>,
    /// Who may have requests, and who may have replies to send: slots, each at most once.
    requests: VecDeque<usize>,
    replies: VecDeque<usize>,
    timers: BTreeSet<(Duration, Qpn)>,
    reports: Reports,
    verifier: IcrcVerifier,
    counters: Counters,
    /// Numbers of queue pairs that are gone.
    retired: Retired,
}

/// What came of asking a NIC for something to send.
#[derive(Debug)]
pub(crate) enum Polled {
    /// This is to be sent.
    Send(Transmit),
    /// There may be more, but the bytes that were allowed are used up.
    Spent,
    /// There is nothing.
    Nothing,
}

/// How long the number of a queue pair that is gone is not given again: longer than any of its packets lives.
pub const QUARANTINE: Duration = Duration::from_secs(120);

#[derive(Debug)]
struct Slot {
    queue_pair: QueuePair,
    in_requests: bool,
    in_replies: bool,
    failed: bool,
    awaited: Awaited,
    /// The time under which it stands in `timers`: not later than it wants to be called.
    timer: Option<Duration>,
}

/// There is no queue pair with this number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("there is no queue pair {}", .0.value())]
pub struct UnknownQueuePair(pub Qpn);

/// A queue pair has this number, or had it less than [`QUARANTINE`] ago.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("queue pair {} exists, or did a short while ago", .0.value())]
pub struct NumberTaken(pub Qpn);

/// Why a queue pair could not be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum CreateError {
    /// Another number may be free.
    #[error(transparent)]
    Taken(#[from] NumberTaken),
    /// So many queue pairs have gone less than [`QUARANTINE`] ago that none gets a number now: of this domain
    /// ([`MOST_RETIRED_OF_DOMAIN`]), or of all ([`MOST_RETIRED`]).
    #[error(
        "{limit} queue pairs have ended within the last two minutes: no other gets a number yet"
    )]
    Resting {
        /// How many are too many.
        limit: usize,
    },
}

/// Why a queue pair could not be led to the next state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum TransitionError {
    /// There is no such queue pair.
    #[error(transparent)]
    Unknown(#[from] UnknownQueuePair),
    /// Its state does not allow it.
    #[error(transparent)]
    State(#[from] StateError),
    /// The device behind verbs refuses.
    #[error(transparent)]
    System(#[from] SystemError),
}

/// Why work was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum NicPostError {
    /// There is no such queue pair.
    #[error(transparent)]
    Unknown(#[from] UnknownQueuePair),
    /// The queue pair did not take it.
    #[error(transparent)]
    Post(#[from] PostError),
}

impl Nic {
    /// A NIC at `local`: the address and port its socket is bound to.
    pub const fn new(local: SocketAddr) -> Self {
        Self {
            local,
            slots: Slab::new(),
            index: BTreeMap::new(),
            requests: VecDeque::new(),
            replies: VecDeque::new(),
            timers: BTreeSet::new(),
            reports: Reports::new(),
            verifier: IcrcVerifier::new(),
            counters: Counters::NONE,
            retired: Retired::new(),
        }
    }

    /// The address it was made for.
    pub const fn local(&self) -> SocketAddr {
        self.local
    }

    /// Makes a queue pair, in INIT. Its number must not have been in use for the last two minutes ([`QUARANTINE`]):
    /// the caller draws another at random.
    ///
    /// # Errors
    ///
    /// [`CreateError`] if one with this number exists, or did a short while ago, or if too many have ended of late.
    #[doc(alias = "ibv_create_qp")]
    pub fn create(&mut self, now: Duration, config: Config) -> Result<Qpn, CreateError> {
        let number = config.number;
        if let Some(limit) = self.retired.limit(now, config.domain) {
            return Err(CreateError::Resting { limit });
        }
        if self.retired.has(now, number) || self.index.contains_key(&number) {
            return Err(NumberTaken(number).into());
        }
        let mut queue_pair = QueuePair::new(config);
        // A new queue pair is in RESET, from where this cannot fail.
        let _ = queue_pair.init();
        let slot = self.slots.insert(Box::new(Slot {
            queue_pair,
            in_requests: false,
            in_replies: false,
            failed: false,
            awaited: Awaited::NOTHING,
            timer: None,
        }));
        self.index.insert(number, slot);
        Ok(number)
    }

    /// INIT to RTR.
    ///
    /// # Errors
    ///
    /// [`TransitionError`] if there is no such queue pair or it is in another state.
    pub fn connect(&mut self, number: Qpn, peer: Peer) -> Result<(), TransitionError> {
        let slot = self.slot(number)?;
        Ok(self.slots[slot].queue_pair.connect(peer)?)
    }

    /// RTR to RTS.
    ///
    /// # Errors
    ///
    /// [`TransitionError`] if there is no such queue pair or it is in another state.
    pub fn activate(&mut self, now: Duration, number: Qpn) -> Result<(), TransitionError> {
        let slot = self.slot(number)?;
        self.slots[slot].queue_pair.activate(now)?;
        self.touched(slot);
        Ok(())
    }

    /// Moves a queue pair to ERR: its work is flushed.
    ///
    /// # Errors
    ///
    /// [`UnknownQueuePair`] if there is none with this number.
    pub fn fail(&mut self, number: Qpn, cause: Cause) -> Result<(), UnknownQueuePair> {
        let slot = self.slot(number)?;
        self.slots[slot].queue_pair.fail(cause);
        self.touched(slot);
        Ok(())
    }

    /// Moves all queue pairs of a domain to ERR, as when its process is over; says how many.
    pub fn fail_domain(&mut self, domain: Domain, cause: Cause) -> usize {
        let of = |slot: &Slot| slot.queue_pair.config().domain == domain;
        let ours = self
            .index
            .iter()
            .filter(|(_, slot)| of(&self.slots[**slot]));
        let numbers: Vec<Qpn> = ours.map(|(number, _)| *number).collect();
        let failed = numbers
            .iter()
            .filter(|number| self.fail(**number, cause).is_ok());
        failed.count()
    }

    /// Removes a queue pair. Its completions that have not been polled stay.
    pub fn destroy(&mut self, now: Duration, number: Qpn) -> Option<QueuePair> {
        let slot = self.index.remove(&number)?;
        self.requests.retain(|waiting| *waiting != slot);
        self.replies.retain(|waiting| *waiting != slot);
        let slot = self.slots.remove(slot);
        if let Some(at) = slot.timer {
            self.timers.remove(&(at, number));
        }
        let domain = slot.queue_pair.config().domain;
        self.retired.add(now, number, domain);
        Some(slot.queue_pair)
    }

    /// The queue pair with this number.
    pub fn queue_pair(&self, number: Qpn) -> Option<&QueuePair> {
        let slot = self.index.get(&number)?;
        Some(&self.slots[*slot].queue_pair)
    }

    /// How much work has been posted to this queue pair.
    pub fn posted(&self, number: Qpn) -> u64 {
        self.queue_pair(number).map_or(0, QueuePair::posted)
    }

    /// Whether any of the first `count` of what was posted to this queue pair is not over, or a completion of its work has not been
    /// polled.
    pub fn owes(&self, number: Qpn, count: u64) -> bool {
        let pair = self.queue_pair(number);
        pair.is_some_and(|pair| pair.over() < count) || self.reports.has_work_of(number)
    }

    /// The numbers of all queue pairs, in order.
    pub fn numbers(&self) -> impl Iterator<Item = Qpn> + '_ {
        self.index.keys().copied()
    }

    /// What was dropped before a queue pair was found. Each queue pair has counters of its own.
    pub const fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Posts work to a queue pair. When one that had no room has some again, [`Nic::poll_room`] says so.
    ///
    /// # Errors
    ///
    /// [`NicPostError`], with the request if the queue pair refused it.
    pub fn post(
        &mut self,
        now: Duration,
        number: Qpn,
        request: WorkRequest,
    ) -> Result<(), NicPostError> {
        let slot = self.slot(number)?;
        let posted = self.slots[slot].queue_pair.post(now, request);
        if let Err(error) = posted {
            if let PostReason::Full { limit } = error.reason {
                self.slots[slot].awaited.below(limit);
            }
            return Err(error.into());
        }
        self.touched(slot);
        Ok(())
    }

    /// [`Nic::poll_room`] is to say when the first `count` of what was posted to this queue pair are over, whatever is posted
    /// behind them.
    pub fn tell_when_over(&mut self, number: Qpn, count: u64) {
        if let Ok(slot) = self.slot(number) {
            self.slots[slot].awaited.over(count);
            self.settle(slot);
        }
    }

    /// For which queue pair a datagram is meant, before anything has been checked: which receives to lend.
    pub fn destination(datagram: &[u8]) -> Option<Qpn> {
        PacketView::new(datagram).and_then(|view| Qpn::new(view.bth().destination()))
    }

    /// Takes one datagram from `from`. Whatever it is, nothing panics; see the order of checks above.
    pub fn receive(&mut self, now: Duration, from: SocketAddr, datagram: &[u8], io: &mut Io<'_>) {
        let Some(view) = PacketView::new(datagram) else {
            self.counters.bad_length += 1;
            return;
        };
        if let Some((slot, packet)) = self.check(from, view) {
            self.slots[slot].queue_pair.receive(now, &packet, io);
            self.touched(slot);
        }
    }

    /// Fills `out` with the next send, `None` when there is nothing to send now.
    ///
    /// `max_segments` bounds how many packets one send may carry; 1 without segmentation offload. `out` holds at
    /// least one packet ([`crate::wire::MAX_PACKET`]) and at most what UDP can send (65,507 bytes).
    pub fn poll_transmit(
        &mut self,
        now: Duration,
        io: &mut Io<'_>,
        out: &mut [u8],
        max_segments: usize,
    ) -> Option<Transmit> {
        let mut unlimited = Allowance::each(usize::MAX);
        match self.poll_within(&mut unlimited, now, io, out, max_segments) {
            Polled::Send(transmit) => Some(transmit),
            Polled::Spent | Polled::Nothing => None,
        }
    }

    /// As [`Nic::poll_transmit`], while the bytes last that may still be sent or copied; takes those it sends or copies off them.
    pub(crate) fn poll_within(
        &mut self,
        left: &mut Allowance,
        now: Duration,
        io: &mut Io<'_>,
        out: &mut [u8],
        max_segments: usize,
    ) -> Polled {
        while left.requests > 0
            && let Some(slot) = self.requests.pop_front()
        {
            if !self.carry_out(&mut left.requests, now, slot, io) {
                // Behind the others.
                self.requests.push_back(slot);
                self.settle(slot);
                break;
            }
            let waiting = &mut self.slots[slot];
            waiting.in_requests = false;
            let sent = waiting.queue_pair.poll_requests(now, io, out, max_segments);
            if let Some(transmit) = sent {
                self.touched(slot);
                left.requests = left.requests.saturating_sub(transmit.len);
                return Polled::Send(transmit);
            }
            // It may have failed while it tried.
            self.settle(slot);
        }
        while left.replies > 0
            && let Some(slot) = self.replies.pop_front()
        {
            let waiting = &mut self.slots[slot];
            waiting.in_replies = false;
            let sent = waiting.queue_pair.poll_replies(now, io, out, max_segments);
            if let Some(transmit) = sent {
                self.touched(slot);
                left.replies = left.replies.saturating_sub(transmit.len);
                return Polled::Send(transmit);
            }
            // It may have failed while it tried.
            self.settle(slot);
        }
        match left.is_spent() {
            true => Polled::Spent,
            false => Polled::Nothing,
        }
    }

    /// When [`Nic::handle_timeout`] wants to be called, if nothing else happens before. It may be early.
    pub fn poll_timeout(&self) -> Option<Duration> {
        self.timers.first().map(|(at, _)| *at)
    }

    /// Time has passed. Afterwards there may be something to send.
    pub fn handle_timeout(&mut self, now: Duration) {
        while let Some(&(at, number)) = self.timers.first().filter(|(at, _)| *at <= now) {
            self.timers.remove(&(at, number));
            let Some(&slot) = self.index.get(&number) else {
                continue;
            };
            self.slots[slot].timer = None;
            self.slots[slot].queue_pair.handle_timeout(now);
            self.touched(slot);
        }
    }

    /// The next completion and whose it is.
    pub fn poll_completion(&mut self) -> Option<(Qpn, Completion)> {
        self.reports.completions.pop_front()
    }

    /// The next queue pair that has gone to ERR, and why. Each is told of once.
    pub fn poll_failure(&mut self) -> Option<(Qpn, Cause)> {
        self.reports.failures.pop_front()
    }

    /// The next queue pair that has room for work again, after it refused some, or of which so much work is over as was asked for
    /// by [`Nic::tell_when_over`]. Each is told of once for each time.
    pub fn poll_room(&mut self) -> Option<Qpn> {
        self.reports.roomy.pop_front()
    }

    /// All that is to be told.
    pub(crate) const fn reports(&mut self) -> &mut Reports {
        &mut self.reports
    }

    /// All checks before the packet's number.
    fn check<'a>(&mut self, from: SocketAddr, view: PacketView<'a>) -> Option<(usize, Packet<'a>)> {
        let bth = view.bth();
        if bth.transport_version() != 0 {
            self.counters.bad_version += 1;
            return None;
        }
        if !bth.is_default_partition() {
            self.counters.bad_partition += 1;
            return None;
        }
        let number = Qpn::new(bth.destination());
        let Some(&slot) = number.and_then(|number| self.index.get(&number)) else {
            self.counters.unknown_queue_pair += 1;
            return None;
        };
        let queue_pair = &mut self.slots[slot].queue_pair;
        let Some(path) = Path::new(from, self.local) else {
            // Of the other address family: nobody's peer.
            self.counters.wrong_address += 1;
            return None;
        };
        if !queue_pair.admits(&path) {
            return None;
        }
        let max_identification = queue_pair.peer().map_or(0, |peer| peer.max_identification);
        if !self.verifier.verify(&path, view, max_identification) {
            self.counters.bad_icrc += 1;
            return None;
        }
        match Packet::try_from(view) {
            Ok(packet) => Some((slot, packet)),
            Err(_) => {
                self.counters.bad_opcode += 1;
                None
            }
        }
    }

    /// Work for a queue pair of this same NIC needs no packets. False: the bytes that may be copied are used up.
    fn carry_out(&mut self, left: &mut usize, now: Duration, slot: usize, io: &Io<'_>) -> bool {
        match self.peer_here(slot) {
            Some(theirs) => self.slots[slot].queue_pair.carry_out(left, now, theirs, io),
            None => true,
        }
    }

    /// The domain of a queue pair's peer, if that is one of this same NIC.
    fn peer_here(&self, slot: usize) -> Option<Domain> {
        let queue_pair = &self.slots[slot].queue_pair;
        let peer = queue_pair.working_peer()?;
        if peer.path.destination() != self.local {
            return None;
        }
        let other = &self.slots[*self.index.get(&peer.number)?].queue_pair;
        let back = other.working_peer()?;
        let ours = back.path.destination() == self.local && back.number == queue_pair.number();
        ours.then(|| other.config().domain)
    }

    fn slot(&self, number: Qpn) -> Result<usize, UnknownQueuePair> {
        let slot = self.index.get(&number).copied();
        slot.ok_or(UnknownQueuePair(number))
    }

    /// Something happened to a queue pair: it may want to send, and to be called at another time.
    fn touched(&mut self, index: usize) {
        let slot = &mut self.slots[index];
        if !slot.in_requests {
            slot.in_requests = true;
            self.requests.push_back(index);
        }
        if !slot.in_replies {
            slot.in_replies = true;
            self.replies.push_back(index);
        }
        self.settle(index);
    }

    /// Takes the completions and the time at which the queue pair wants to be called.
    fn settle(&mut self, index: usize) {
        let slot = &mut self.slots[index];
        let number = slot.queue_pair.number();
        while let Some(completion) = slot.queue_pair.poll_completion() {
            self.reports.completions.push_back((number, completion));
        }
        let (under_way, over) = (slot.queue_pair.outstanding(), slot.queue_pair.over());
        if slot.awaited.is_due(under_way, over) {
            self.reports.roomy.push_back(number);
        }
        if let State::Error(cause) = slot.queue_pair.state()
            && !slot.failed
        {
            slot.failed = true;
            self.reports.failures.push_back((number, cause));
        }
        let Some(wanted) = slot.queue_pair.poll_timeout() else {
            return;
        };
        if slot.timer.is_none_or(|timer| wanted < timer) {
            if let Some(timer) = slot.timer.replace(wanted) {
                self.timers.remove(&(timer, number));
            }
            self.timers.insert((wanted, number));
        }
    }
}
