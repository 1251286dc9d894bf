//! The NIC under its lock: the core, the socket, what stands around them.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use rdma::psn::Qpn;
use rdma::region::RegionTable;
use rdma::soft::SoftNic;
use rdma::udp::{BindError, Options};

use super::after::After;
use super::world::World;

/// Rounds of one call, so that others get their turn.
const ROUNDS: usize = 4;

#[derive(Debug)]
pub(crate) struct Engine {
    pub(crate) soft: SoftNic,
    pub(crate) world: World,
}

impl Engine {
    /// On the network.
    pub(crate) fn bind(
        address: IpAddr,
        options: &Options,
        regions: Arc<RegionTable>,
    ) -> Result<Self, BindError> {
        Ok(Self {
            soft: SoftNic::bind(address, options)?,
            world: World::new(regions),
        })
    }

    /// Without a network.
    pub(crate) fn inside(address: SocketAddr, regions: Arc<RegionTable>) -> Self {
        Self {
            soft: SoftNic::inside(address),
            world: World::new(regions),
        }
    }

    /// On the virtual network of a simulation.
    pub(crate) fn carried(address: SocketAddr, regions: Arc<RegionTable>) -> Self {
        Self {
            soft: SoftNic::carried(address),
            world: World::new(regions),
        }
    }

    /// A doorbell: the send queue of this queue pair is looked at.
    pub(crate) fn ring(&mut self, now: Duration, number: Qpn) -> bool {
        self.world.pump(self.soft.nic(), now, number)
    }

    /// Does what there is to do; whether there was anything.
    pub(crate) fn progress(&mut self, now: Duration) -> bool {
        let mut worked = false;
        for _ in 0..ROUNDS {
            let some = self.soft.progress(now, &mut self.world) | self.follow_up(now);
            worked |= some;
            if !some {
                break;
            }
        }
        worked
    }

    /// Sends what was just posted; whether there was anything.
    pub(crate) fn send_and_report(&mut self, now: Duration) -> bool {
        let sent = self.soft.send(now, &mut self.world);
        self.follow_up(now) | sent
    }

    /// Sends what was just posted.
    pub(crate) fn send(&mut self, now: Duration) {
        self.soft.send(now, &mut self.world);
        while self.follow_up(now) {}
    }

    /// Queues that waited for room, or whose connection has failed; connections whose completion queue has overrun.
    fn follow_up(&mut self, now: Duration) -> bool {
        let overrun = self.world.fail_overrun(self.soft.nic());
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
            self.soft.send(now, &mut self.world);
        }
        overrun || looked
    }

    /// What is to be done without the lock.
    pub(crate) fn take_after(&mut self) -> Vec<After> {
        std::mem::take(self.world.memory.after.get_mut())
    }
}
