//! What a queue pair is made with and what its peer is told, from the figures of its owner.

use std::time::Duration;

use rdma::config::{AckTimeout, Config, RetryLimit, ServiceLevel};
use rdma::connection::{ConnectionInfo, Features, NicKind};
use rdma::flow;
use rdma::mtu::PathMtu;
use rdma::psn::{Psn, Qpn};
use rdma::region::Domain;
use rdma::wire::RnrTimer;

use super::NicLease;

/// Figures of the protocol.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Protocol {
    pub(crate) outstanding: usize,
    pub(crate) mtu: PathMtu,
    pub(crate) timeout: AckTimeout,
    pub(crate) retries: RetryLimit,
    pub(crate) rnr_retries: RetryLimit,
    pub(crate) rnr_timer: RnrTimer,
    pub(crate) keep_alive: Option<Duration>,
    pub(crate) service_level: ServiceLevel,
    pub(crate) depth: u8,
    /// How many queue pairs share the socket's buffer.
    pub(crate) sharing: u32,
}

impl Protocol {
    /// A queue pair of this domain.
    pub(crate) fn config(
        &self,
        lease: &NicLease,
        domain: Domain,
        number: Qpn,
        first_psn: Psn,
    ) -> Config {
        let facts = lease.nic().facts();
        Config {
            send_queue: self.outstanding,
            initiator_depth: self.depth.min(facts.initiator_depth).into(),
            responder_resources: self.depth.min(facts.responder_resources).into(),
            rnr_timer: self.rnr_timer,
            timeout: self.timeout,
            retries: self.retries,
            rnr_retries: self.rnr_retries,
            keep_alive: self.keep_alive,
            service_level: self.service_level,
            receive_budget: self.budget(lease),
            ..Config::new(number, first_psn, domain)
        }
    }

    /// A queue pair's share of the socket's buffer.
    fn budget(&self, lease: &NicLease) -> u32 {
        let buffer = lease.nic().receive_buffer();
        flow::budget(buffer, self.mtu, self.sharing as usize)
    }

    /// What a peer must know of a queue pair.
    pub(crate) fn info(&self, lease: &NicLease, queue_pair: Qpn, first_psn: Psn) -> ConnectionInfo {
        let nic = lease.nic();
        let facts = nic.facts();
        let is_soft = facts.kind == NicKind::Soft;
        let mut features = Features::empty();
        // A device takes no keys back that were registered like ours, and slows down by itself.
        features.set(Features::INVALIDATE | Features::CONGESTION, is_soft);
        features.set(Features::SEGMENTS, nic.joins_segments());
        let mut nonce = [0; 16];
        nonce[..8].copy_from_slice(&lease.random().to_ne_bytes());
        nonce[8..].copy_from_slice(&lease.random().to_ne_bytes());
        ConnectionInfo {
            kind: facts.kind,
            address: facts.at.ip(),
            udp_port: facts.at.port(),
            queue_pair,
            first_psn,
            mtu: self.mtu.min(facts.mtu),
            initiator_depth: self.depth.min(facts.initiator_depth),
            responder_resources: self.depth.min(facts.responder_resources),
            rnr_timer: self.rnr_timer,
            timeout: self.timeout,
            receive_budget: is_soft.then(|| self.budget(lease)),
            atomics: facts.atomics,
            features,
            nonce,
            echo: None,
        }
    }
}
