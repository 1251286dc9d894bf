//! The verbs provider: queue pairs of a device of the machine, through libibverbs.
//!
//! ```text
//!  VerbsNic --- Port (device, address)            library.rs: loaded when first wanted
//!     |-------- Pair: QP, its work under way --.
//!     |-------- Pools: SRQ, its receives ------+--- completion queues --- one channel, whose descriptor wakes
//!     '-------- Keys: memory regions           |
//! ```
//!
//! It takes the same work requests as the software NIC and gives the same completions, to the same [`Host`]; what the
//! device does by itself is not repeated here. Rules:
//!
//! 1. Nothing blocks, but who drops a queue pair at work, for a moment (`leaving.rs`). Who makes progress polls the completion
//!    queues; who wants to sleep asks for a notification, polls once more, and sleeps on the descriptor.
//! 2. A completion queue has room for everything that its queue pairs can have outstanding, so it never overruns.
//! 3. What the device may touch is deregistered, or its queue pair destroyed, before it is freed; ERR alone is not enough.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use slab::Slab;

use crate::config::{Config, Peer};
use crate::connection::AtomicCapability;
use crate::mtu::PathMtu;
use crate::nic::{NicPostError, TransitionError, UnknownQueuePair};
use crate::provider::{SystemError, VerbsOpenError, VerbsPort};
use crate::psn::Qpn;
use crate::queue_pair::{Cause, State, StateError};
use crate::region::Domain;
use crate::soft::Host;
use crate::work::{PostError, PostReason, WorkRequest};

mod ending;
mod keys;
mod leaving;
mod library;
mod lost;
mod memory;
mod objects;
mod own;
mod pair;
mod pinned;
mod pool;
mod port;
mod progress;
mod queues;
mod raw_pair;
mod reports;
mod status;
mod under_way;

pub use memory::{DeviceRegion, OwnWord};
pub use pinned::Pinned;

use keys::Keys;
use leaving::Leaving;
use objects::ProtectionDomain;
use own::OwnPair;
use pair::Pair;
use pool::Pools;
use port::Port;
use queues::{Batch, Channel, CompletionQueue};
use raw_pair::{QueuePairSizes, RawQueuePair, Step};
use reports::Reports;

/// Bytes that a work request may carry.
const INLINE: u32 = crate::work::MAX_INLINE as u32;
/// Entries of a completion queue, if the device has as many.
const COMPLETIONS: u32 = 1 << 14;
/// How long a queue pair in ERR may take to flush.
const FLUSH: Duration = Duration::from_secs(1);
/// How often a device that does not tell of failures is asked.
const ASK: Duration = Duration::from_millis(100);
/// When a device is tried again that has refused work for lack of room while nothing was under way, whose end would say that there is
/// some.
const AGAIN: Duration = Duration::from_millis(1);
const NEVER: Duration = Duration::MAX;

/// A NIC behind verbs.
#[derive(Debug)]
pub struct VerbsNic {
    port: Port,
    channel: Arc<Channel>,
    queues: Vec<SharedQueue>,
    domains: BTreeMap<Domain, Arc<ProtectionDomain>>,
    keys: Keys,
    /// By which the processor asks the device.
    own: BTreeMap<Domain, OwnPair>,
    pairs: Slab<Box<Pair>>,
    index: BTreeMap<Qpn, usize>,
    /// The one that was posted to last.
    recent: Option<(Qpn, usize)>,
    pools: Pools,
    /// Those whose owners are gone.
    leaving: Vec<Leaving>,
    /// What new queue pairs count from: above all that gone ones have counted.
    next_count: u64,
    /// The time of the last call.
    now: Duration,
    /// The channel was emptied, also of what completion queues have said there that are not looked at since.
    drained: bool,
    /// When queue pairs must be looked at, if nothing happens before.
    look_at: Duration,
    /// When a device that does not tell is asked for its queue pairs' states.
    ask_at: Duration,
    reports: Reports,
}

/// A completion queue that several queue pairs report to.
#[derive(Debug)]
struct SharedQueue {
    /// `None`: it has failed, and was given back.
    queue: Option<Arc<CompletionQueue>>,
    capacity: u32,
    /// What nobody has reserved.
    room: u32,
    /// It says nothing any more.
    failed: bool,
}

impl SharedQueue {
    /// As [`CompletionQueue::poll`]; `None` if it was seen before that it has failed.
    #[inline]
    fn poll(&self, batch: &mut Batch) -> Option<Option<usize>> {
        let queue = self.queue.as_ref().filter(|_| !self.failed)?;
        Some(queue.poll(batch))
    }
}

/// What a peer must know of this NIC.
#[derive(Clone, Copy, Debug)]
pub struct VerbsFacts {
    /// Its address.
    pub address: IpAddr,
    /// Its LID, if it is an InfiniBand port; else 0.
    pub lid: u16,
    /// The largest packets its port carries.
    pub mtu: PathMtu,
    /// Reads and atomics that one of its queue pairs may have outstanding.
    pub initiator_depth: u8,
    /// Reads and atomics of a peer that one of its queue pairs remembers.
    pub responder_resources: u8,
    /// How far its atomics are atomic.
    pub atomics: AtomicCapability,
}

impl VerbsNic {
    /// Opens the device that has this address, or the one of this name. An IPv4 address that is mapped into IPv6 is that IPv4 address.
    ///
    /// # Errors
    ///
    /// [`VerbsOpenError`] says what is missing, and what can be done.
    pub fn open(device: Option<&str>, address: IpAddr) -> Result<Self, VerbsOpenError> {
        let port = port::open(device, address)?;
        let failed = |cause| VerbsOpenError::System {
            device: port.at.device.clone(),
            cause,
        };
        let channel = Channel::new(&port.device).map_err(failed)?;
        let keys = Keys::new(&port.device).map_err(failed)?;
        Ok(Self {
            channel,
            keys,
            port,
            queues: Vec::new(),
            domains: BTreeMap::new(),
            own: BTreeMap::new(),
            pairs: Slab::new(),
            index: BTreeMap::new(),
            recent: None,
            pools: Pools::default(),
            leaving: Vec::new(),
            next_count: 0,
            now: Duration::ZERO,
            drained: false,
            look_at: NEVER,
            ask_at: Duration::ZERO,
            reports: Reports::default(),
        })
    }

    /// Which port it is.
    pub fn port(&self) -> &VerbsPort {
        &self.port.at
    }

    /// What peers must know of it.
    pub fn facts(&self) -> VerbsFacts {
        let limits = &self.port.limits;
        VerbsFacts {
            address: self.port.address,
            lid: self.port.lid,
            mtu: self.port.mtu,
            initiator_depth: limits.initiator_depth,
            responder_resources: limits.responder_resources,
            atomics: limits.atomics,
        }
    }

    /// Makes a queue pair, in INIT; the number is the device's. It takes its receives from the pool of this name.
    ///
    /// # Errors
    ///
    /// The device has no room for it.
    #[doc(alias = "ibv_create_qp")]
    pub fn create(&mut self, config: Config, pool: Option<usize>) -> Result<Qpn, SystemError> {
        let name = config.domain;
        let domain = self.domain(name)?;
        let work = (config.send_queue as u32 + 1).min(self.port.limits.work);
        let limit = self.port.limits.receives;
        let joined = match pool {
            Some(pool) => Some(self.pools.join(pool, (name, &domain), limit)?),
            None => None,
        };
        let reserved = work + joined.as_ref().map_or(1, |(_, depth)| *depth);
        let (queue, completions) = self.queue_for(reserved)?;
        let sizes = QueuePairSizes {
            work,
            inline: INLINE,
        };
        let receives = joined.as_ref().map(|(receives, _)| receives);
        let make = || RawQueuePair::new(&domain, &completions, receives, sizes);
        let mut raw = self.with_a_new_number(make)?;
        let port = self.port.at.port;
        raw.modify("initialising a queue pair", &Step::Init { port })?;
        let number = Qpn::new(raw.number()).ok_or(SystemError {
            what: "numbering a queue pair",
            errno: libc::EPROTO,
        })?;
        let config = Config {
            number,
            send_queue: work as usize - 1,
            ..config
        };
        let place = (self.pairs.vacant_key(), self.next_count);
        let mut pair = Pair::new(config, raw, &domain, number, place)?;
        (pair.queue, pair.reserved, pair.pool) = (queue, reserved, pool);
        self.queues[queue].room -= reserved;
        let slot = self.pairs.insert(Box::new(pair));
        self.index.insert(number, slot);
        pool.into_iter()
            .for_each(|pool| self.pools.add(pool, number));
        Ok(number)
    }

    /// A queue pair whose number is none of ours. Of one that was given up, the device may give it again while its owner still has
    /// that.
    fn with_a_new_number(
        &self,
        make: impl Fn() -> Result<RawQueuePair, SystemError>,
    ) -> Result<RawQueuePair, SystemError> {
        // They keep their numbers until there is another.
        let mut aside = Vec::new();
        loop {
            let made = make()?;
            let is_ours = |number| self.index.contains_key(&number);
            if !Qpn::new(made.number()).is_some_and(is_ours) {
                return Ok(made);
            }
            aside.push(made);
        }
    }

    fn domain(&mut self, domain: Domain) -> Result<Arc<ProtectionDomain>, SystemError> {
        if let Some(there) = self.domains.get(&domain) {
            return Ok(there.clone());
        }
        self.forget_unused();
        let made = ProtectionDomain::new(&self.port.device)?;
        self.domains.insert(domain, made.clone());
        Ok(made)
    }

    /// Gives protection domains back that nothing but this map and their own pairs keeps: whoever had them has closed all that it had
    /// here. One that comes again gets another.
    fn forget_unused(&mut self) {
        let Self { domains, own, .. } = self;
        domains.retain(|domain, made| {
            let holders = own.get(domain).map_or(0, |_| OwnPair::HOLDS);
            let is_used = Arc::strong_count(made) > 1 + holders;
            if !is_used {
                own.remove(domain);
            }
            is_used
        });
    }

    /// A completion queue with room for so many. A new one has the place of one that was given back.
    fn queue_for(&mut self, entries: u32) -> Result<(usize, Arc<CompletionQueue>), SystemError> {
        let fits = |shared: &SharedQueue| {
            let fits = !shared.failed && shared.room >= entries;
            shared.queue.as_ref().filter(|_| fits).cloned()
        };
        let mut all = self.queues.iter().enumerate();
        if let Some(found) = all.find_map(|(at, shared)| Some((at, fits(shared)?))) {
            return Ok(found);
        }
        let room = COMPLETIONS.min(self.port.limits.completions).max(entries);
        let queue = CompletionQueue::new(&self.channel, room)?;
        let made = SharedQueue {
            queue: Some(queue.clone()),
            capacity: room,
            room,
            failed: false,
        };
        let left = self.queues.iter().position(|s| s.queue.is_none());
        let at = left.unwrap_or(self.queues.len());
        match self.queues.get_mut(at) {
            Some(place) => *place = made,
            None => self.queues.push(made),
        }
        Ok((at, queue))
    }

    /// A completion queue that has failed is given back when nobody has anything of it.
    fn give_back(&mut self, queue: usize) {
        let shared = &mut self.queues[queue];
        if shared.failed && shared.room == shared.capacity && shared.queue.take().is_some() {
            self.drained = true;
            self.look_at = self.now;
        }
    }

    /// INIT to RTR.
    ///
    /// # Errors
    ///
    /// There is no such queue pair, it is in another state, or the device refuses the peer.
    pub fn connect(&mut self, number: Qpn, peer: &Peer) -> Result<(), TransitionError> {
        let at = &self.port.at;
        let (port, gid_index) = (at.port, at.gid_index);
        let pair = pair_in(&mut self.pairs, &self.index, number)?;
        expect(pair, State::Init)?;
        let depth = pair.config.initiator_depth.min(peer.responder_resources);
        let resources = pair.config.responder_resources.min(u8::MAX.into()) as u8;
        let step = Step::ReadyToReceive {
            port,
            gid_index,
            gid: crate::connection::gid(peer.path.destination().ip()),
            lid: peer.lid,
            number: peer.number.value(),
            psn: peer.first_psn.value(),
            mtu: peer.mtu as u32 + 1,
            responder_resources: resources,
            rnr_timer: pair.config.rnr_timer.code(),
            service_level: pair.config.service_level.value(),
        };
        Ok(pair.connect(&step, depth)?)
    }

    /// RTR to RTS.
    ///
    /// # Errors
    ///
    /// There is no such queue pair, it is in another state, or the device refuses.
    pub fn activate(&mut self, now: Duration, number: Qpn) -> Result<(), TransitionError> {
        let pair = pair_in(&mut self.pairs, &self.index, number)?;
        expect(pair, State::ReadyToReceive)?;
        pair.activate(now, self.port.limits.most_retries)?;
        self.look_at = now;
        Ok(())
    }

    /// The state of a queue pair.
    pub fn state(&self, number: Qpn) -> Option<State> {
        let slot = self.index.get(&number)?;
        Some(self.pairs[*slot].state)
    }

    /// Moves a queue pair to ERR: its work is flushed.
    ///
    /// # Errors
    ///
    /// There is none with this number.
    pub fn fail(&mut self, number: Qpn, cause: Cause) -> Result<(), UnknownQueuePair> {
        let pair = pair_in(&mut self.pairs, &self.index, number)?;
        pair.fail(cause);
        self.look_at = self.now;
        Ok(())
    }

    /// Moves all queue pairs of a domain to ERR.
    pub fn fail_domain(&mut self, domain: Domain, cause: Cause) {
        let of = |slot: &usize| self.pairs[*slot].config.domain == domain;
        let ours = self.index.iter().filter(|(_, slot)| of(slot));
        let numbers: Vec<Qpn> = ours.map(|(number, _)| *number).collect();
        for number in numbers {
            // It was just found.
            let _ = self.fail(number, cause);
        }
    }

    /// Whether work of this domain is under way in the device.
    pub fn is_busy(&self, domain: Domain) -> bool {
        let mut ours = self.pairs.iter().filter(|(_, p)| p.config.domain == domain);
        ours.any(|(_, pair)| !pair.is_idle())
    }

    /// How much work has been posted to this queue pair, from some number on.
    pub fn posted(&self, number: Qpn) -> u64 {
        let slot = self.index.get(&number);
        slot.map_or(0, |slot| self.pairs[*slot].next_count())
    }

    /// Whether any of what was posted to this queue pair before [`VerbsNic::posted`] was `count` is not over, or the end of its work
    /// is not reported.
    pub fn owes(&self, number: Qpn, count: u64) -> bool {
        let slot = self.index.get(&number);
        slot.is_some_and(|slot| !self.pairs[*slot].is_over(count))
            || self.reports.has_work_of(number)
    }

    /// The host is to be told that it has room when that is over, whatever is posted behind it.
    pub fn tell_when_over(&mut self, number: Qpn, count: u64) {
        let slot = self.index.get(&number);
        let Some(pair) = slot.and_then(|slot| self.pairs.get_mut(*slot)) else {
            return;
        };
        pair.tell_when_over(count);
        if pair.takes_again() {
            self.reports.roomy.push_back(number);
        }
    }

    /// Ends the work of a queue pair. The device does nothing for it any more. What it had under way is reported to `host` as
    /// flushed, and then that it has failed, if that was not said before. What is posted from now on is flushed, as much at a time as it has room for.
    pub fn end_work(&mut self, number: Qpn, host: &mut dyn Host) {
        self.poll_queues(host);
        self.await_flush(number, host);
        if let Some(slot) = self.index.get(&number) {
            let pair = &mut self.pairs[*slot];
            let cause = pair.end(Cause::Closed);
            self.reports.settle(pair, cause);
            self.end_receives_of(number);
        }
        self.reports.tell(host);
    }

    /// Removes a queue pair, after [`VerbsNic::end_work`]. The device touches nothing for it when this returns, but for
    /// receives of its pool, as long as that is there.
    pub fn destroy(&mut self, now: Duration, number: Qpn, host: &mut dyn Host) {
        self.end_work(number, host);
        let Some(slot) = self.index.remove(&number) else {
            return;
        };
        self.recent = None;
        let pair = self.pairs.remove(slot);
        self.next_count = self.next_count.max(pair.next_count());
        self.leave(now, *pair, host);
    }

    /// Posts work to a queue pair.
    ///
    /// # Errors
    ///
    /// [`NicPostError`], with the request if the queue pair refused it.
    #[doc(alias = "ibv_post_send")]
    #[inline]
    pub fn post(
        &mut self,
        now: Duration,
        number: Qpn,
        request: &WorkRequest,
    ) -> Result<(), NicPostError> {
        let slot = match self.recent {
            Some((recent, slot)) if recent == number => slot,
            _ => {
                let slot = self.index.get(&number).ok_or(UnknownQueuePair(number))?;
                self.recent = Some((number, *slot));
                *slot
            }
        };
        let pair = &mut self.pairs[slot];
        if matches!(pair.state, State::Error(_)) {
            self.look_at = now;
        }
        match pair.post(now, request, &self.keys) {
            Ok(()) => Ok(()),
            Err(reason) => {
                self.look_at = self.look_at.min(pair.again_at);
                Err(refused(request, reason))
            }
        }
    }

    /// The receives that the device has of a pool count no more: their ids.
    pub fn take_back_receives(&mut self, pool: usize) -> Vec<u64> {
        self.pools.take_back(pool)
    }

    /// A pool is gone, and all queue pairs that took from it: the ids of the receives that the device had of it, which touches
    /// them no more.
    pub fn end_pool(&mut self, pool: usize, host: &mut dyn Host) -> Vec<u64> {
        self.destroy_leaving_of(pool, host);
        self.pools.end(pool)
    }
}

fn pair_in<'a>(
    pairs: &'a mut Slab<Box<Pair>>,
    index: &BTreeMap<Qpn, usize>,
    number: Qpn,
) -> Result<&'a mut Pair, UnknownQueuePair> {
    let slot = index.get(&number).ok_or(UnknownQueuePair(number))?;
    Ok(&mut pairs[*slot])
}

#[cold]
fn refused(request: &WorkRequest, reason: PostReason) -> NicPostError {
    let request = *request;
    PostError { request, reason }.into()
}

fn expect(pair: &Pair, state: State) -> Result<(), StateError> {
    match pair.state == state {
        true => Ok(()),
        false => Err(StateError { state: pair.state }),
    }
}
