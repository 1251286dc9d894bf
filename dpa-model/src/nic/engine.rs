//! The NIC under its lock: the core, the socket, what stands around them.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use rdma::provider::{Chosen, Provider as Asked};
use rdma::psn::Qpn;
use rdma::queue_pair::Cause;
use rdma::region::{Domain, RegionTable};
use rdma::soft::SoftNic;
use rdma::udp::Options;

use super::NicError;
use super::after::After;
use super::provider::Provider;
use super::world::World;

/// Rounds of one call, so that others get their turn.
const ROUNDS: usize = 4;

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
        Self {
            provider: Provider::Soft(Box::new(SoftNic::carried(address))),
            world: World::new(regions),
        }
    }

    /// A doorbell: the send queue of this queue pair is looked at.
    pub(crate) fn ring(&mut self, now: Duration, number: Qpn) -> bool {
        self.world.pump(&mut self.provider, now, number)
    }

    /// Removes a queue pair, with what is left of it.
    pub(crate) fn destroy(&mut self, now: Duration, number: Qpn) {
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

    /// Does what there is to do; whether there was anything.
    pub(crate) fn progress(&mut self, now: Duration) -> bool {
        let mut worked = false;
        for _ in 0..ROUNDS {
            let some = self.provider.progress(now, &mut self.world)
                | self.world.carry_words()
                | self.follow_up(now);
            worked |= some;
            if !some {
                break;
            }
        }
        worked
    }

    /// Sends what was just posted; whether there was anything.
    pub(crate) fn send_and_report(&mut self, now: Duration) -> bool {
        let sent = self.provider.send(now, &mut self.world);
        self.follow_up(now) | sent
    }

    /// Sends what was just posted.
    pub(crate) fn send(&mut self, now: Duration) {
        self.provider.send(now, &mut self.world);
        while self.follow_up(now) {}
    }

    /// Queues that waited for room, or whose connection has failed; connections whose completion queue has overrun.
    fn follow_up(&mut self, now: Duration) -> bool {
        let overrun = self.world.fail_overrun(&mut self.provider);
        let mut looked = false;
        // Each of them once: those that still find no room wait on.
        for number in std::mem::take(&mut self.world.stalled) {
            looked |= self.ring(now, number);
        }
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
        std::mem::take(self.world.memory.after.get_mut())
    }
}
