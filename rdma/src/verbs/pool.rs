//! Receives that the device has: one shared receive queue for each pool of them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use slab::Slab;

use super::ending::Ending;
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
/// A completion's id says, from its lowest bit on: which receive, of which of the pool's queues, of which pool.
const SLOT_BITS: u32 = 16;
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
    /// How many queues it had before: what those report late is of no receive of this one.
    generation: u16,
    /// The queue has failed, and may have reported what is not polled yet.
    failed: bool,
    domain: Domain,
    depth: usize,
    /// By what the device calls it.
    posted: Slab<Posted>,
    /// So many receives it was given before.
    given: u64,
    members: Vec<Qpn>,
    /// So many queue pairs that are no members any more may have taken some of these.
    holders: usize,
    /// It gives nothing any more.
    ending: Option<Ending>,
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
            generation: 0,
            failed: false,
            domain: domain.0,
            depth: depth as usize,
            posted: Slab::new(),
            given: 0,
            members: Vec::new(),
            holders: 0,
            ending: None,
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
    pub(super) fn remove(&mut self, name: usize, number: Qpn, keys: &Keys) {
        if let Some(at) = self.by_name.get(&name).copied() {
            self.all[at].members.retain(|member| *member != number);
            self.all[at].renew(at, keys);
        }
    }

    /// Until [`Pools::release`] the device has a queue pair that may have taken receives of this pool.
    pub(super) fn hold(&mut self, name: usize) {
        if let Some(at) = self.by_name.get(&name) {
            self.all[*at].holders += 1;
        }
    }

    /// It is destroyed, and all that it reported was polled.
    pub(super) fn release(&mut self, name: usize, keys: &Keys) {
        if let Some(at) = self.by_name.get(&name).copied() {
            self.all[at].holders -= 1;
            self.all[at].renew(at, keys);
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
                let order = pool.given;
                pool.given += 1;
                let slot = pool.posted.insert(Posted { order, receive });
                if !pool.give((at, slot), &receive, keys) {
                    // It has as much room as was asked for, so this is a device that fails: its owner gets it back
                    // with the others.
                    break;
                }
            }
        }
        any
    }

    /// The receive queue at this place has failed.
    pub(super) fn has_failed(&mut self, place: usize) {
        let mut all = self.all.iter_mut();
        if let Some((_, pool)) = all.find(|(_, pool)| pool.queue.place() == place) {
            pool.failed = true;
        }
    }

    /// A pool whose queue has failed.
    pub(super) fn next_failed(&self) -> Option<usize> {
        let mut all = self.all.iter();
        all.find_map(|(at, pool)| pool.failed.then_some(at))
    }

    /// The queue pairs that take from this pool.
    pub(super) fn members(&self, at: usize) -> Vec<Qpn> {
        self.all[at].members.clone()
    }

    /// The receive queue of this pool has failed, and its queue pairs do nothing any more: what the owner calls the receives that the
    /// device had. If it has no queue pairs, the next get them.
    pub(super) fn lose(&mut self, at: usize, keys: &Keys) -> Vec<u64> {
        let pool = &mut self.all[at];
        pool.failed = false;
        let lost = match pool.members.is_empty() {
            true => Vec::new(),
            false => pool.take_all(),
        };
        pool.replace(at, keys);
        lost
    }

    /// A receive is over: what its owner calls it.
    pub(super) fn completed(&mut self, id: u64) -> Option<u64> {
        let given = Given::of(id);
        let pool = self.all.get_mut(given.pool)?;
        if pool.generation != given.generation {
            return None;
        }
        Some(pool.posted.try_remove(given.slot)?.receive.id)
    }

    /// A receive was taken for nothing: the device gets it again.
    pub(super) fn give_again(&mut self, id: u64, keys: &Keys) {
        let given = Given::of(id);
        if let Some(pool) = self.all.get(given.pool)
            && pool.generation == given.generation
            && let Some(posted) = pool.posted.get(given.slot)
        {
            // As where it was given first.
            pool.give((given.pool, given.slot), &posted.receive, keys);
        }
    }

    /// The receives that the device has of a pool count no more: what its owner calls them.
    pub(super) fn take_back(&mut self, name: usize) -> Vec<u64> {
        let pool = self.by_name.get(&name).and_then(|at| self.all.get_mut(*at));
        pool.map(Pool::take_all).unwrap_or_default()
    }

    /// From now on the pool ends like this, if it does not end already.
    pub(super) fn begin_to_end(&mut self, name: usize, ending: Ending) {
        if let Some(at) = self.by_name.get(&name) {
            self.all[*at].ending.get_or_insert(ending);
        }
    }

    /// The pools that end now: their time is over, or their queue pairs are drained.
    pub(super) fn due_to_end(&self, now: Duration, drained: impl Fn(&Qpn) -> bool) -> Vec<usize> {
        let due = |pool: &Pool| match &pool.ending {
            Some(ending) => now >= ending.until || pool.members.iter().all(&drained),
            None => false,
        };
        let all = self.all.iter().filter(|(_, pool)| due(pool));
        all.map(|(at, _)| at).collect()
    }

    /// When the next ends at the latest.
    pub(super) fn next_end(&self) -> Option<Duration> {
        let all = self.all.iter();
        let ends = all.filter_map(|(_, pool)| pool.ending.as_ref().map(|ending| ending.until));
        ends.min()
    }

    /// The pools whose end this queue pair is to report.
    pub(super) fn ends_for(&self, number: Qpn) -> Vec<usize> {
        let is = |pool: &Pool| {
            let ending = pool.ending.as_ref();
            ending.is_some_and(|ending| ending.reporter == Some(number))
        };
        let all = self.all.iter().filter(|(_, pool)| is(pool));
        all.map(|(at, _)| at).collect()
    }

    /// It ends: how, and what its owner calls the receives that the device had.
    pub(super) fn take_ending(&mut self, at: usize) -> Option<(Ending, Vec<u64>)> {
        let pool = self.all.get_mut(at)?;
        let ending = pool.ending.take()?;
        Some((ending, pool.take_all()))
    }

    /// The pool is gone: what the device had of it.
    pub(super) fn end(&mut self, name: usize) -> Vec<u64> {
        let at = self.by_name.remove(&name);
        let pool = at.and_then(|at| self.all.try_remove(at));
        pool.map(|mut pool| pool.take_all()).unwrap_or_default()
    }
}

impl Pool {
    /// The receives that the device has count no more: what its owner calls them, in the order in which it gave them.
    fn take_all(&mut self) -> Vec<u64> {
        let mut all: Vec<Posted> = self.posted.drain().collect();
        all.sort_unstable_by_key(|posted| posted.order);
        all.iter().map(|posted| posted.receive.id).collect()
    }

    /// Gives the device a receive, by its place.
    fn give(&self, (at, slot): (usize, usize), receive: &Receive, keys: &Keys) -> bool {
        let given = Given {
            pool: at,
            generation: self.generation,
            slot,
        };
        self.queue
            .post(given.id(), keys.place(self.domain, receive.buffer))
    }

    /// If no queue pair is left that may have a receive, the device has lost those that it has not reported: it gets all of
    /// them again, in another queue.
    fn renew(&mut self, at: usize, keys: &Keys) {
        let used = self.holders > 0 || !self.members.is_empty();
        if !used && !self.posted.is_empty() {
            self.replace(at, keys);
        }
    }

    /// From now on it has another queue. If the device refuses, it keeps those receives that it has not lost.
    fn replace(&mut self, at: usize, keys: &Keys) {
        if let Ok(another) = self.queue.another(self.depth as u32) {
            self.queue = another;
            self.failed = false;
            self.generation = self.generation.wrapping_add(1);
            let mut all: Vec<_> = self.posted.iter().collect();
            all.sort_unstable_by_key(|(_, posted)| posted.order);
            for (slot, posted) in all {
                self.give((at, slot), &posted.receive, keys);
            }
        }
    }
}

/// A receive that the device has.
#[derive(Debug)]
struct Posted {
    /// Before all with a higher one.
    order: u64,
    receive: Receive,
}

/// Which of the receives that the device was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Given {
    pool: usize,
    generation: u16,
    slot: usize,
}

impl Given {
    const fn of(id: u64) -> Self {
        Self {
            pool: ((id & !RECEIVE) >> POOL_BITS) as usize,
            generation: (id >> SLOT_BITS) as u16,
            slot: id as u16 as usize,
        }
    }

    const fn id(self) -> u64 {
        let of_pool = (self.pool as u64) << POOL_BITS | (self.generation as u64) << SLOT_BITS;
        RECEIVE | of_pool | self.slot as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_says_where_a_receive_is() {
        let given = Given {
            pool: 0x7fff_fff1,
            generation: 0xfff2,
            slot: DEPTH as usize - 1,
        };
        assert_eq!(Given::of(given.id()), given);
    }
}
