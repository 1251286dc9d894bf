//! Receives that the device has: one shared receive queue for each pool of them.

use std::collections::BTreeMap;
use std::sync::Arc;

use slab::Slab;

use super::keys::Keys;
use super::objects::ProtectionDomain;
use super::queues::ReceiveQueue;
use crate::provider::SystemError;
use crate::psn::Qpn;
use crate::region::Domain;
use crate::work::Receive;

/// This bit of a completion's id says that it is of a receive.
pub(super) const RECEIVE: u64 = 1 << 63;
/// Receives that the device has of a pool at most.
const DEPTH: u32 = 256;
const POOL_BITS: u32 = 32;

/// All pools.
#[derive(Debug, Default)]
pub(super) struct Pools {
    all: Slab<Pool>,
    /// By the number that whoever owns the receives gave.
    by_name: BTreeMap<usize, usize>,
}

#[derive(Debug)]
struct Pool {
    queue: Arc<ReceiveQueue>,
    domain: Domain,
    depth: usize,
    /// By what the device calls it: what its owner calls it.
    posted: Slab<u64>,
    members: Vec<Qpn>,
}

impl Pools {
    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// The receive queue of a pool, made if there is none, and how many receives it has at most.
    pub(super) fn join(
        &mut self,
        name: usize,
        domain: (Domain, &Arc<ProtectionDomain>),
        limit: u32,
    ) -> Result<(Arc<ReceiveQueue>, u32), SystemError> {
        let depth = DEPTH.min(limit);
        if let Some(at) = self.by_name.get(&name) {
            return Ok((self.all[*at].queue.clone(), depth));
        }
        let queue = ReceiveQueue::new(domain.1, depth)?;
        let at = self.all.insert(Pool {
            queue: queue.clone(),
            domain: domain.0,
            depth: depth as usize,
            posted: Slab::new(),
            members: Vec::new(),
        });
        self.by_name.insert(name, at);
        Ok((queue, depth))
    }

    /// This queue pair takes from the pool.
    pub(super) fn add(&mut self, name: usize, number: Qpn) {
        if let Some(at) = self.by_name.get(&name) {
            self.all[*at].members.push(number);
        }
    }

    /// This queue pair takes from the pool no more.
    pub(super) fn remove(&mut self, name: usize, number: Qpn) {
        if let Some(at) = self.by_name.get(&name) {
            self.all[*at].members.retain(|member| *member != number);
        }
    }

    /// Gives the device receives, as long as it has room and `take` has some of this queue pair's.
    pub(super) fn fill(
        &mut self,
        keys: &Keys,
        mut take: impl FnMut(Qpn) -> Option<Receive>,
    ) -> bool {
        let mut any = false;
        for (at, pool) in &mut self.all {
            let Some(member) = pool.members.first().copied() else {
                continue;
            };
            while pool.posted.len() < pool.depth
                && let Some(receive) = take(member)
            {
                any = true;
                let slot = pool.posted.insert(receive.id);
                let id = RECEIVE | (at as u64) << POOL_BITS | slot as u64;
                if !pool.queue.post(id, keys.place(pool.domain, receive.buffer)) {
                    // It has as much room as was asked for, so this is a device that fails: its owner gets it back
                    // with the others.
                    break;
                }
            }
        }
        any
    }

    /// A receive is over: what its owner calls it.
    pub(super) fn completed(&mut self, id: u64) -> Option<u64> {
        let at = (id & !RECEIVE) >> POOL_BITS;
        let pool = self.all.get_mut(at as usize)?;
        pool.posted.try_remove(id as u32 as usize)
    }

    /// The receives that the device has of a pool count no more: what its owner calls them.
    pub(super) fn take_back(&mut self, name: usize) -> Vec<u64> {
        let pool = self.by_name.get(&name).and_then(|at| self.all.get_mut(*at));
        pool.map(|pool| pool.posted.drain().collect())
            .unwrap_or_default()
    }

    /// The pool is gone: what the device had of it.
    pub(super) fn end(&mut self, name: usize) -> Vec<u64> {
        let at = self.by_name.remove(&name);
        let pool = at.and_then(|at| self.all.try_remove(at));
        pool.map(|pool| pool.posted.into_iter().map(|(_, id)| id).collect())
            .unwrap_or_default()
    }
}
