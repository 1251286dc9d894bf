//! What two peers tell each other before the first packet: connection data, remote regions, remote events.
//!
//! Each type is valid: what came from outside was checked by one `TryFrom`. `to_blob` and `from_blob` are the way
//! over the wire.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use bitflags::bitflags;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::codec::{self, BlobKind, DecodeError, invalid};
use crate::config::{AckTimeout, Peer};
use crate::flow;
use crate::mtu::PathMtu;
use crate::psn::{Psn, Qpn};
use crate::region::{RemoteKey, Rights};
use crate::transmit::MAX_SEGMENTS;
use crate::udp::ROCE_PORT;
use crate::wire::{Path, RnrTimer};
use crate::work::RemoteAddress;

const VERSION: u16 = 1;
/// The identification of a segment of ours is below 128.
const OUR_MAX_IDENTIFICATION: u16 = 127;

/// Which kind of NIC speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NicKind {
    /// The software NIC of this crate.
    Soft,
    /// A NIC behind verbs, on Ethernet.
    Verbs,
    /// A NIC behind verbs, on InfiniBand: packets reach it by this LID. Its blob has the LID where others have the port.
    InfiniBand {
        /// Its LID, not 0.
        lid: u16,
    },
}

impl NicKind {
    const fn lid(self) -> u16 {
        match self {
            Self::InfiniBand { lid } => lid,
            Self::Soft | Self::Verbs => 0,
        }
    }
}

/// How far a peer's atomics are atomic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[doc(alias = "ibv_atomic_cap")]
pub enum AtomicCapability {
    /// There are none.
    None,
    /// Among the operations of one NIC.
    Nic,
    /// Also against the processors of that machine.
    Global,
}

bitflags! {
    /// What a peer can do beyond the base.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Features: u64 {
        /// Segmented sends reach it: its socket joins them again.
        const SEGMENTS = 1;
        /// It answers congestion notifications.
        const CONGESTION = 2;
        /// It takes "send with invalidate".
        const INVALIDATE = 4;
    }
}

/// 16 random bytes that a peer echoes, so that blobs of an earlier attempt are recognised.
pub type Nonce = [u8; 16];

/// One side's half of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectionInfo {
    /// Which kind of NIC it is.
    pub kind: NicKind,
    /// Its address.
    pub address: IpAddr,
    /// The UDP port it listens on: 4791 unless both agree on another.
    pub udp_port: u16,
    /// Its queue pair.
    pub queue_pair: Qpn,
    /// The first packet sequence number it sends with.
    pub first_psn: Psn,
    /// The path MTU it offers; the smaller offer wins.
    pub mtu: PathMtu,
    /// Reads and atomics it may have outstanding.
    pub initiator_depth: u8,
    /// Reads and atomics of its peer that it remembers.
    pub responder_resources: u8,
    /// How long it asks its peer to wait when it has no receive.
    pub rnr_timer: RnrTimer,
    /// How long it waits for an acknowledgement.
    pub timeout: AckTimeout,
    /// Packets its socket holds for this connection; `None` if it does not know.
    pub receive_budget: Option<u32>,
    /// How far its atomics are atomic.
    pub atomics: AtomicCapability,
    /// What else it can do.
    pub features: Features,
    /// Fresh for each export.
    pub nonce: Nonce,
    /// The peer's nonce, once its blob has been seen.
    pub echo: Option<Nonce>,
}

/// The layout of a [`ConnectionInfo`], unchecked.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct RawConnection {
    kind: u8,
    gid: [u8; 16],
    udp_port: u16,
    queue_pair: u32,
    first_psn: u32,
    mtu: u16,
    initiator_depth: u8,
    responder_resources: u8,
    rnr_timer: u8,
    timeout: u8,
    /// 0: unknown.
    receive_budget: u32,
    atomics: u8,
    features: u64,
    nonce: [u8; 16],
    echo: [u8; 16],
}

impl ConnectionInfo {
    /// As bytes for the peer.
    pub fn to_blob(&self) -> Vec<u8> {
        codec::encode(BlobKind::Connection, VERSION, &RawConnection::from(self))
    }

    /// From the peer's bytes.
    ///
    /// # Errors
    ///
    /// [`DecodeError`] if they are no valid connection data of this version.
    pub fn from_blob(bytes: &[u8]) -> Result<Self, DecodeError> {
        codec::decode::<RawConnection>(BlobKind::Connection, VERSION, bytes)?.try_into()
    }

    /// Where packets for it go.
    pub fn socket(&self) -> SocketAddr {
        (self.address, self.udp_port).into()
    }

    /// What both offers come to, as this side's queue pair needs it. Both sides come to the same MTU.
    ///
    /// # Errors
    ///
    /// [`Incompatible`] if the two cannot talk.
    pub fn agree(&self, theirs: &Self) -> Result<Peer, Incompatible> {
        let families = Incompatible::Families {
            ours: self.address,
            theirs: theirs.address,
        };
        let path = Path::new(self.socket(), theirs.socket()).ok_or(families)?;
        if theirs.echo.is_some_and(|echo| echo != self.nonce) {
            return Err(Incompatible::Nonce);
        }
        let lids = (self.kind.lid(), theirs.kind.lid());
        if (lids.0 == 0) != (lids.1 == 0) {
            return Err(Incompatible::Links);
        }
        let on_device = |info: &Self| info.kind != NicKind::Soft;
        for (one, other) in [(self, theirs), (theirs, self)] {
            let port = one.udp_port;
            if on_device(other) && port != ROCE_PORT {
                return Err(Incompatible::Port { port });
            }
        }
        if [self.atomics, theirs.atomics].contains(&AtomicCapability::None) {
            let address = match theirs.atomics {
                AtomicCapability::None => theirs.address,
                _ => self.address,
            };
            return Err(Incompatible::NoAtomics { address });
        }
        let offer = |info: &Self| (info.mtu, info.receive_budget);
        let ours = theirs.kind == NicKind::Soft;
        let segments = theirs.features.contains(Features::SEGMENTS);
        Ok(Peer {
            path,
            number: theirs.queue_pair,
            first_psn: theirs.first_psn,
            mtu: flow::path_mtu(offer(self), offer(theirs)),
            budget: theirs.receive_budget.unwrap_or(flow::MAX_WINDOW / 4),
            responder_resources: u32::from(theirs.responder_resources),
            lid: lids.1,
            max_segments: if segments { MAX_SEGMENTS } else { 1 },
            max_identification: if ours {
                OUR_MAX_IDENTIFICATION
            } else {
                u16::MAX
            },
        })
    }
}

/// Why two peers cannot talk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Incompatible {
    /// One has an IPv4 address, the other an IPv6 address.
    #[error("{ours} and {theirs} are of different address families")]
    Families {
        /// This side's.
        ours: IpAddr,
        /// The peer's.
        theirs: IpAddr,
    },
    /// One is on Ethernet, the other on InfiniBand.
    #[error("one is behind an InfiniBand port, the other is not")]
    Links,
    /// A NIC behind verbs sends to and receives at UDP port 4791 only.
    #[error(
        "one of them is behind verbs, which reaches UDP port 4791 only, and the other is at port {port}"
    )]
    Port {
        /// The port of the other.
        port: u16,
    },
    /// A device cannot do atomics, so events cannot be signalled by adding.
    #[error(
        "the device at {address} has no atomics, so nothing can be added to a remote event: use the software NIC there \
         (DPA_RDMA=soft)"
    )]
    NoAtomics {
        /// Where it is.
        address: IpAddr,
    },
    /// The peer answers to connection data of another attempt.
    #[error("the peer answers to another export")]
    Nonce,
}

impl From<&ConnectionInfo> for RawConnection {
    fn from(info: &ConnectionInfo) -> Self {
        Self {
            kind: match info.kind {
                NicKind::Soft => 0,
                NicKind::Verbs => 1,
                NicKind::InfiniBand { .. } => INFINIBAND,
            },
            gid: gid(info.address),
            udp_port: match info.kind {
                NicKind::InfiniBand { lid } => lid,
                _ => info.udp_port,
            },
            queue_pair: info.queue_pair.value(),
            first_psn: info.first_psn.value(),
            mtu: info.mtu.bytes() as u16,
            initiator_depth: info.initiator_depth,
            responder_resources: info.responder_resources,
            rnr_timer: info.rnr_timer.code(),
            timeout: info.timeout.code(),
            receive_budget: info.receive_budget.unwrap_or(0),
            atomics: match info.atomics {
                AtomicCapability::None => 0,
                AtomicCapability::Nic => 1,
                AtomicCapability::Global => 2,
            },
            features: info.features.bits(),
            nonce: info.nonce,
            echo: info.echo.unwrap_or_default(),
        }
    }
}

impl TryFrom<RawConnection> for ConnectionInfo {
    type Error = DecodeError;

    fn try_from(raw: RawConnection) -> Result<Self, DecodeError> {
        let psn = (raw.first_psn < 1 << 24).then(|| Psn::new(raw.first_psn));
        Ok(Self {
            kind: kind(raw.kind, raw.udp_port)?,
            address: address(raw.gid)?,
            udp_port: match (raw.kind, raw.udp_port) {
                (_, 0) => return Err(invalid("udp_port", 0u64)),
                (INFINIBAND, _) => ROCE_PORT,
                (_, port) => port,
            },
            queue_pair: Qpn::new(raw.queue_pair).ok_or(invalid("queue_pair", raw.queue_pair))?,
            first_psn: psn.ok_or(invalid("first_psn", raw.first_psn))?,
            mtu: PathMtu::from_bytes(raw.mtu.into()).ok_or(invalid("mtu", raw.mtu))?,
            initiator_depth: raw.initiator_depth,
            responder_resources: raw.responder_resources,
            rnr_timer: RnrTimer::from_code(raw.rnr_timer)
                .ok_or(invalid("rnr_timer", raw.rnr_timer))?,
            timeout: AckTimeout::from_code(raw.timeout).ok_or(invalid("timeout", raw.timeout))?,
            receive_budget: Some(raw.receive_budget).filter(|budget| *budget != 0),
            atomics: atomics(raw.atomics)?,
            // Features of later versions are no error: both sides use what both know.
            features: Features::from_bits_truncate(raw.features),
            nonce: raw.nonce,
            echo: Some(raw.echo).filter(|echo| *echo != Nonce::default()),
        })
    }
}

/// The code of [`NicKind::InfiniBand`].
const INFINIBAND: u8 = 2;

fn kind(code: u8, lid: u16) -> Result<NicKind, DecodeError> {
    match code {
        0 => Ok(NicKind::Soft),
        1 => Ok(NicKind::Verbs),
        INFINIBAND => Ok(NicKind::InfiniBand { lid }),
        _ => Err(invalid("kind", code)),
    }
}

fn atomics(code: u8) -> Result<AtomicCapability, DecodeError> {
    match code {
        0 => Ok(AtomicCapability::None),
        1 => Ok(AtomicCapability::Nic),
        2 => Ok(AtomicCapability::Global),
        _ => Err(invalid("atomics", code)),
    }
}

/// The GID of an address: IPv4 addresses are mapped into IPv6.
pub(crate) fn gid(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
        IpAddr::V6(v6) => v6.octets(),
    }
}

fn address(gid: [u8; 16]) -> Result<IpAddr, DecodeError> {
    let address = Ipv6Addr::from(gid).to_canonical();
    match address.is_unspecified() || address.is_multicast() {
        true => Err(invalid("gid", u64::from(gid[15]))),
        false => Ok(address),
    }
}

/// A region of a peer, as it was exported: what requests of this side may do with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RemoteRegion {
    /// The key.
    pub key: RemoteKey,
    /// The address of its first byte: 0 for regions of this library.
    pub base: u64,
    /// Bytes.
    pub len: u64,
    /// What may be done with it.
    pub rights: Rights,
}

#[derive(Serialize, Deserialize)]
struct RawRegion {
    key: u32,
    base: u64,
    len: u64,
    rights: u32,
}

/// The rights that mean something to a peer.
const REMOTE_RIGHTS: Rights = Rights::REMOTE_READ
    .union(Rights::REMOTE_WRITE)
    .union(Rights::REMOTE_ATOMIC)
    .union(Rights::REMOTE_INVALIDATE);

impl RemoteRegion {
    /// As bytes for the peer. Only remote rights are told.
    pub fn to_blob(&self) -> Vec<u8> {
        let rights = self.rights.intersection(REMOTE_RIGHTS).bits();
        let raw = RawRegion {
            key: self.key.0,
            base: self.base,
            len: self.len,
            rights,
        };
        codec::encode(BlobKind::Region, VERSION, &raw)
    }

    /// From the peer's bytes.
    ///
    /// # Errors
    ///
    /// [`DecodeError`] if they are no valid region of this version.
    pub fn from_blob(bytes: &[u8]) -> Result<Self, DecodeError> {
        codec::decode::<RawRegion>(BlobKind::Region, VERSION, bytes)?.try_into()
    }

    /// The place `offset` bytes into it, if `len` bytes from there lie in it.
    pub fn at(&self, offset: u64, len: u64) -> Option<RemoteAddress> {
        let end = offset.checked_add(len)?;
        (end <= self.len).then_some(RemoteAddress {
            address: self.base + offset,
            key: self.key,
        })
    }
}

impl TryFrom<RawRegion> for RemoteRegion {
    type Error = DecodeError;

    fn try_from(raw: RawRegion) -> Result<Self, DecodeError> {
        let fits = raw.base.checked_add(raw.len).is_some();
        let rights = Rights::from_bits(raw.rights).filter(|rights| REMOTE_RIGHTS.contains(*rights));
        if !fits {
            return Err(invalid("len", raw.len));
        }
        Ok(Self {
            key: RemoteKey(raw.key),
            base: raw.base,
            len: raw.len,
            rights: rights.ok_or(invalid("rights", raw.rights))?,
        })
    }
}

/// An event of a peer: where to signal it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RemoteEvent {
    /// The key of its region.
    pub key: RemoteKey,
    /// The address of its counter, a multiple of 8: 0 for events of this library.
    pub address: u64,
}

#[derive(Serialize, Deserialize)]
struct RawEvent {
    key: u32,
    address: u64,
}

impl RemoteEvent {
    /// As bytes for the peer.
    pub fn to_blob(&self) -> Vec<u8> {
        let raw = RawEvent {
            key: self.key.0,
            address: self.address,
        };
        codec::encode(BlobKind::Event, VERSION, &raw)
    }

    /// From the peer's bytes.
    ///
    /// # Errors
    ///
    /// [`DecodeError`] if they are no valid event of this version.
    pub fn from_blob(bytes: &[u8]) -> Result<Self, DecodeError> {
        codec::decode::<RawEvent>(BlobKind::Event, VERSION, bytes)?.try_into()
    }

    /// Where a signal goes.
    pub const fn remote(&self) -> RemoteAddress {
        RemoteAddress {
            address: self.address,
            key: self.key,
        }
    }
}

impl TryFrom<RawEvent> for RemoteEvent {
    type Error = DecodeError;

    fn try_from(raw: RawEvent) -> Result<Self, DecodeError> {
        match raw.address % 8 {
            0 => Ok(Self {
                key: RemoteKey(raw.key),
                address: raw.address,
            }),
            _ => Err(invalid("address", raw.address)),
        }
    }
}
