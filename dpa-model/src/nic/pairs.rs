//! Queue pairs as the model knows them: whose they are, what they report to, where their receives come from.
//!
//! The NIC's core leads their protocol; what stands here is what it is not told of. A connection of an RDMA context is a
//! queue pair, and so is one of the low layer.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use rdma::psn::Qpn;
use rdma::region::Domain;
use rdma::work::{Receive, Receives};
use slab::Slab;

use super::queues::{IndexedReceives, ReceiveRing, Record, SendRing};
use super::waiting::Waiting;
use super::watch::Watch;
use crate::event::EventUse;
use crate::process::Process;
use crate::quota::Share;

/// One RDMA context: which queue pair each of its connections is, and where their receives come from.
#[derive(Debug)]
pub(crate) struct Context {
    /// The domain of its process.
    pub(crate) domain: Domain,
    pub(crate) connections: Vec<Option<Qpn>>,
    /// Not below the first number of any connection there was, and above all numbers of those that are gone.
    pub(crate) numbers_end: u64,
    pub(crate) pool: usize,
}

/// One queue pair.
#[derive(Debug)]
pub(crate) struct Pair {
    pub(crate) process: Arc<Process>,
    /// What its completions carry.
    pub(crate) name: u32,
    /// It has no peer, only copies and waits.
    pub(crate) local: bool,
    /// What kernels see of it.
    pub(crate) record: Record,
    pub(crate) send: Option<SendRing>,
    pub(crate) send_completions: Option<usize>,
    pub(crate) receive_completions: Option<usize>,
    /// Where its receives come from.
    pub(crate) pool: Option<usize>,
    pub(crate) watch: Arc<Watch>,
    /// Events that only its peer updates: closed when it fails.
    pub(crate) events: Vec<EventUse>,
    pub(crate) waiting: Waiting,
    pub(crate) _share: Share,
}

/// Receives, of one queue pair or shared by several.
#[derive(Debug)]
pub(crate) enum Pool {
    /// Of an RDMA context, posted by kernels.
    Ring(ReceiveRing),
    /// Of the low layer, posted by kernels.
    Indexed(IndexedReceives),
    /// Posted by the host.
    Host(VecDeque<Receive>),
}

/// All queue pairs, and whose receives are lent just now.
#[derive(Debug, Default)]
pub(crate) struct Pairs {
    all: BTreeMap<Qpn, Pair>,
    pub(crate) pools: Slab<Pool>,
    lending: Option<usize>,
}

impl Pairs {
    pub(crate) fn get(&self, number: Qpn) -> Option<&Pair> {
        self.all.get(&number)
    }

    pub(crate) fn get_mut(&mut self, number: Qpn) -> Option<&mut Pair> {
        self.all.get_mut(&number)
    }

    /// The numbers of all of them.
    pub(crate) fn numbers(&self) -> Vec<Qpn> {
        self.all.keys().copied().collect()
    }

    pub(crate) fn insert(&mut self, number: Qpn, pair: Pair) {
        self.all.insert(number, pair);
    }

    pub(crate) fn remove(&mut self, number: Qpn) -> Option<Pair> {
        self.all.remove(&number)
    }

    /// Whether this queue has no peer.
    pub(crate) fn is_local(&self, number: Qpn) -> bool {
        self.get(number).is_some_and(|pair| pair.local)
    }

    /// The queue pairs that take from this pool.
    pub(crate) fn that_take_from(&self, pool: usize) -> Vec<Qpn> {
        let of = self.all.iter().filter(|(_, pair)| pair.pool == Some(pool));
        of.map(|(number, _)| *number).collect()
    }

    /// The number of the receive queue of the low layer that this pool is, else 0.
    pub(crate) fn receive_queue(&self, pool: Option<usize>) -> u32 {
        match pool.and_then(|pool| self.pools.get(pool)) {
            Some(Pool::Indexed(receives)) => receives.number(),
            _ => 0,
        }
    }

    /// From now on the receives are those of this queue pair.
    pub(crate) fn lend(&mut self, number: Option<Qpn>) {
        self.lending = number.and_then(|number| self.get(number)?.pool);
    }
}

impl Receives for Pairs {
    fn take(&mut self) -> Option<Receive> {
        match self.pools.get_mut(self.lending?)? {
            Pool::Ring(ring) => ring.take(),
            Pool::Indexed(receives) => receives.take(),
            Pool::Host(receives) => receives.pop_front(),
        }
    }
}
