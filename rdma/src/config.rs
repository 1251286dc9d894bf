//! What a queue pair is made with, and what it learns about its peer.

use std::time::Duration;

use crate::mtu::PathMtu;
use crate::psn::{Psn, Qpn};
use crate::region::Domain;
use crate::wire::{Path, RnrTimer};

/// How often something is tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RetryLimit {
    /// So many times after the first attempt. The standard's field ends at 6 or 7; a soft NIC takes any.
    Times(u32),
    /// Without end.
    Forever,
}

impl RetryLimit {
    /// Whether a further attempt is allowed after `failures` without progress between them.
    pub(crate) const fn allows(self, failures: u32) -> bool {
        match self {
            Self::Times(limit) => failures <= limit,
            Self::Forever => true,
        }
    }
}

/// The acknowledgement timeout: a code of five bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AckTimeout(u8);

impl AckTimeout {
    /// No timeout: a lost acknowledgement is waited for without end.
    pub const NEVER: Self = Self(0);

    /// The timeout with this code, or `None` above 31.
    pub const fn from_code(code: u8) -> Option<Self> {
        match code {
            0..32 => Some(Self(code)),
            _ => None,
        }
    }

    /// The code, below 32.
    pub const fn code(self) -> u8 {
        self.0
    }

    /// 4.096 us x 2^code; `None` for code 0.
    pub const fn duration(self) -> Option<Duration> {
        match self.0 {
            0 => None,
            code => Some(Duration::from_nanos(4096 << code)),
        }
    }
}

/// The priority of packets: a number below 16 that interfaces and switches map to queues.
///
/// A software NIC gives its packets this priority (`SO_PRIORITY`), which an interface maps to a priority of VLAN tags
/// (`egress-qos-map`) or to a queue; a device behind verbs has it in the address vector. InfiniBand architecture, 7.6.5.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServiceLevel(u8);

impl ServiceLevel {
    /// The one that everything has if nobody says otherwise.
    pub const DEFAULT: Self = Self(0);
    /// The highest.
    pub const MAX: Self = Self(15);

    /// The service level with this number, or `None` above 15.
    pub const fn new(level: u8) -> Option<Self> {
        match level {
            0..16 => Some(Self(level)),
            _ => None,
        }
    }

    /// Its number, below 16.
    pub const fn value(self) -> u8 {
        self.0
    }
}

/// What a queue pair is made with.
#[derive(Clone, Debug)]
#[doc(alias = "ibv_qp_init_attr")]
pub struct Config {
    /// Its number.
    pub number: Qpn,
    /// The first packet sequence number it sends with. Random, so that nobody can guess it.
    pub first_psn: Psn,
    /// Whose it is: which regions its work requests and its peer can reach.
    pub domain: Domain,
    /// Work requests that may be outstanding.
    pub send_queue: usize,
    /// Reads and atomics it may have outstanding (its peer's limit counts too).
    pub initiator_depth: u32,
    /// Reads and atomics of its peer that it remembers.
    pub responder_resources: u32,
    /// How long a peer is asked to wait when there is no receive.
    pub rnr_timer: RnrTimer,
    /// How long an acknowledgement may take.
    pub timeout: AckTimeout,
    /// How often it sends again without an acknowledgement.
    pub retries: RetryLimit,
    /// How often it sends again to a receiver that is not ready.
    pub rnr_retries: RetryLimit,
    /// After how much silence a zero-length write asks whether the peer is still there: also one that has not connected yet.
    pub keep_alive: Option<Duration>,
    /// The priority of its packets.
    pub service_level: ServiceLevel,
    /// How many packets of its peer its socket holds: bounds the answers of one read.
    pub receive_budget: u32,
}

impl Config {
    /// A configuration with the usual limits: 256 work requests, 16 reads and atomics each way, timeout 67 ms,
    /// 7 retries, RNR timer 0.64 ms, RNR retries without end, no keep-alive, service level 0.
    pub fn new(number: Qpn, first_psn: Psn, domain: Domain) -> Self {
        Self {
            number,
            first_psn,
            domain,
            send_queue: 256,
            initiator_depth: 16,
            responder_resources: 16,
            rnr_timer: RnrTimer::at_least(Duration::from_micros(640)),
            timeout: AckTimeout(14),
            retries: RetryLimit::Times(7),
            rnr_retries: RetryLimit::Forever,
            keep_alive: None,
            service_level: ServiceLevel::DEFAULT,
            receive_budget: 64,
        }
    }
}

/// What a queue pair learns about its peer when it is connected.
#[derive(Clone, Debug)]
pub struct Peer {
    /// From our address and port to the peer's.
    pub path: Path,
    /// The peer's queue pair.
    pub number: Qpn,
    /// The first packet sequence number the peer sends with.
    pub first_psn: Psn,
    /// Payload bytes per packet, both ways: the smaller of both offers.
    pub mtu: PathMtu,
    /// Packets the peer's socket holds for this connection.
    pub budget: u32,
    /// Reads and atomics of ours that the peer remembers.
    pub responder_resources: u32,
    /// The largest IP identification its packets carry: 127 for a NIC of ours, 65,535 for others.
    pub max_identification: u16,
    /// Its LID, if it is behind an InfiniBand port; else 0.
    pub lid: u16,
    /// Packets of equal size that may go to it in one segmented send; 1 unless a probe showed that more arrive.
    pub max_segments: usize,
}
