//! The NIC under its lock: the core, the socket, what stands around them.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use dpa_abi::Update;
use rdma::provider::{Chosen, Provider as Asked, SystemError};
use rdma::psn::Qpn;
use rdma::queue_pair::Cause;
use rdma::region::{Domain, RegionTable};
use rdma::soft::SoftNic;
use rdma::udp::Options;

use super::NicError;
use super::after::After;
use super::late::Late;
use super::provider::Provider;
use super::turn::Turn;
use super::world::World;
use crate::process::Process;

/// Rounds of one call, so that others get their turn.
const ROUNDS: usize = 4;

/// How often an event is tried to be set while peers update it.
#[cfg(feature = "verbs")]
const TRIES: usize = 1000;
/// How long a device may take to flush the work of a process that is over.
#[cfg(feature = "verbs")]
const DRAIN: Duration = Duration::from_millis(200);

#[derive(Debug)]
pub(crate) struct Engine {
    pub(crate) provider: Provider,
    pub(crate) world: World,
}

impl Engine {
    /// On the network.
    pub(crate) fn open(
        asked: Asked,
        address: IpAddr,
        options: &Options,
        regions: Arc<RegionTable>,
    ) -> Result<(Self, Chosen), NicError> {
        let (provider, chosen) = Provider::open(asked, address, options)?;
        let world = World::new(regions);
        Ok((Self { provider, world }, chosen))
    }

    /// Without a network.
    pub(crate) fn inside(address: SocketAddr, regions: Arc<RegionTable>) -> Self {
        Self {
            provider: Provider::Soft(Box::new(SoftNic::inside(address))),
            world: World::new(regions),
        }
    }

    /// On the virtual network of a simulation.
    pub(crate) fn carried(address: SocketAddr, regions: Arc<RegionTable>) -> Self {
        let mut world = World::new(regions);
        world.late = Some(Late::default());
        Self {
            provider: Provider::Soft(Box::new(SoftNic::carried(address))),
            world,
        }
    }

    /// A doorbell: the send queue of this queue pair is looked at.
    pub(crate) fn ring(&mut self, now: Duration, number: Qpn) -> bool {
        self.world.begin(now);
        let any = self.world.pump(&mut self.provider, now, number);
        self.world.time_passes();
        any
    }

    /// Removes a queue pair. Its work is over before, as flushed: also what kernels have posted and the NIC has not taken, which
    /// may have been behind others.
    pub(crate) fn destroy(&mut self, now: Duration, number: Qpn) {
        self.provider.end_work(number, &mut self.world);
        // Kernels may fill it again meanwhile, and that without end: what they write then is over when its entries are.
        for _ in 0..Turn::OF_THE_LONGEST {
            // A device takes so many at a time.
            self.provider.report(now, &mut self.world);
            self.world.turn.begin();
            if !self.ring(now, number) {
                break;
            }
        }
        self.provider.report(now, &mut self.world);
        self.provider.destroy(now, number, &mut self.world);
    }

    /// Moves all queue pairs of a domain to ERR, and flushes their work. A device takes back what it has been given, for
    /// which it gets a bounded time; what it keeps longer it may not touch either, once its regions are deregistered.
    pub(crate) fn fail_domain(&mut self, now: Duration, domain: Domain, cause: Cause) {
        self.provider.fail_domain(domain, cause);
        self.send(now);
        #[cfg(feature = "verbs")]
        if let Provider::Verbs(verbs) = &mut self.provider {
            let patience = std::time::Instant::now() + DRAIN;
            while verbs.is_busy(domain) && std::time::Instant::now() < patience {
                verbs.progress(now, &mut self.world);
                std::thread::yield_now();
            }
            verbs.deregister_domain(domain);
        }
    }

    /// Receives of the host in contexts of a domain that is over: nothing will come, neither in those that a device has been
    /// given nor in the others.
    pub(crate) fn end_receives_of(&mut self, domain: Domain) {
        for pool in self.world.pools_of(domain) {
            let held = self.provider.take_back_receives(pool);
            held.into_iter().for_each(|id| self.world.end_work(id));
            self.world.end_receives(pool);
        }
    }

    #[cfg(not(feature = "verbs"))]
    pub(crate) fn update_word(
        &self,
        _process: &Process,
        _index: u32,
        _update: Update,
    ) -> Option<Result<u64, SystemError>> {
        None
    }

    /// Updates the word that a device writes for an event.
    #[cfg(feature = "verbs")]
    pub(crate) fn update_word(
        &mut self,
        process: &Process,
        index: u32,
        update: Update,
    ) -> Option<Result<u64, SystemError>> {
        use rdma::memory::Atomic;
        let Provider::Verbs(verbs) = &mut self.provider else {
            return None;
        };
        let (at, mut compare) = self.world.words.find(process, index)?;
        let domain = super::context::domain(process);
        let mut tries = 0;
        let done = loop {
            let operation = match update {
                Update::Add(value) => Atomic::Add(value),
                Update::Set(swap) => Atomic::CompareSwap { compare, swap },
            };
            match verbs.atomic(domain, at, operation) {
                Ok(before) if matches!(update, Update::Set(_)) && before != compare => {
                    // Peers update it, too: again, from what it is now.
                    compare = before;
                    tries += 1;
                    if tries == TRIES {
                        let what = "setting an event that peers update all the time";
                        let errno = libc::EBUSY;
                        break Err(SystemError { what, errno });
                    }
                }
                done => break done,
            }
        };
        self.world.carry_words();
        Some(done)
    }

    /// Looks at every send queue: some have rung, and it is not known which.
    pub(crate) fn ring_every(&mut self, now: Duration) {
        for number in self.world.pairs.numbers() {
            self.ring(now, number);
        }
    }

    /// Does what there is to do; whether there was anything.
    pub(crate) fn progress(&mut self, now: Duration) -> bool {
        let mut worked = self.world.end_due(now.as_nanos() as u64);
        for _ in 0..ROUNDS {
            let some = self.provider.progress(now, &mut self.world)
                | self.world.carry_words()
                | self.follow_up(now);
            worked |= some;
            if !some || self.has_more() {
                break;
            }
        }
        worked
    }

    /// Sends what was just posted, and what follows from it as long as the turn lasts; whether there was anything.
    pub(crate) fn send_and_report(&mut self, now: Duration) -> bool {
        // What is done without a peer leaves the core as it was.
        let sent = self.world.take_posted() && self.provider.send(now, &mut self.world);
        let mut followed = self.follow_up(now);
        let any = followed | sent;
        // Perhaps nobody else looks.
        while followed && !self.has_more() {
            followed = self.follow_up(now);
        }
        any
    }

    /// Sends what was just posted, and what follows from it as long as the turn lasts: kernels may write entries without end.
    pub(crate) fn send(&mut self, now: Duration) {
        self.provider.send(now, &mut self.world);
        while !self.has_more() && self.follow_up(now) {}
    }

    /// When it wants to be called.
    pub(crate) fn next_timer(&self) -> Option<u64> {
        let at = self.provider.poll_timeout();
        let at = at.map(|at| at.as_nanos() as u64);
        [at, self.world.next_late()].into_iter().flatten().min()
    }

    /// Whether the last look has left something that another is to do.
    pub(crate) fn has_more(&self) -> bool {
        self.world.turn.has_next() || self.provider.has_more()
    }

    /// Whether somebody is to look again: there is more to do, or queues whose turn has come were not looked at. What follows
    /// inside the NIC nothing from outside ever tells of.
    pub(crate) fn is_left(&self) -> bool {
        self.has_more() || !self.world.look_at.is_empty()
    }

    /// Queues that have room again, or whose connection has failed; connections whose completion queue has overrun.
    fn follow_up(&mut self, now: Duration) -> bool {
        let overrun = self.world.fail_overrun(&mut self.provider);
        if !overrun && self.world.look_at.is_empty() {
            return false;
        }
        let mut looked = false;
        while let Some(number) = self.world.look_at.pop_front() {
            looked = true;
            self.ring(now, number);
        }
        if overrun || looked {
            self.provider.send(now, &mut self.world);
        }
        overrun || looked
    }

    /// What is to be done without the lock.
    pub(crate) fn take_after(&mut self) -> Vec<After> {
        self.world.tell();
        std::mem::take(self.world.memory.after.get_mut())
    }
}
