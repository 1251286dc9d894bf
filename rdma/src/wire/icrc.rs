//! ICRC, the invariant cyclic redundancy check (section 7.8.1; annex A17.3 for UDP).
//!
//! It is zlib's CRC-32 over 8 bytes ff, the IP and UDP headers with everything a router may change set to ff,
//! the BTH with its congestion byte set to ff, and the rest of the packet as it is sent.
//!
//! A program behind a socket knows all of these but one: the identification of a received IPv4 header. The
//! CRC is affine, so the received ICRC xor the one for identification 0 is a linear function of the
//! identification alone. Running the register backwards over the bytes behind the identification field,
//! and over the field, must give a register whose upper half is 0 and whose lower half is the identification
//! with its bytes swapped; else the packet is corrupt. That map depends on the length only and is cached.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use super::crc::LinearMap;
use super::packet::PacketView;
use super::{ICRC_LEN, MAX_PACKET, bth};

const UDP_HEADER: usize = 8;
const IPV4_HEADER: usize = 20;
/// Bytes of an IPv4 header behind its identification.
const BEHIND_ID: usize = 14;
const PROTOCOL_UDP: u8 = 17;
/// "Don't fragment", as every RoCE v2 sender sets it.
const FLAGS_DF: u8 = 0x40;

/// From which address and port to which: the part of the IP and UDP headers that the ICRC covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Path {
    addresses: Addresses,
    source_port: u16,
    destination_port: u16,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Addresses {
    V4(Ipv4Addr, Ipv4Addr),
    V6(Ipv6Addr, Ipv6Addr),
}

impl Path {
    /// A path, or `None` if the addresses are of different families.
    pub fn new(source: SocketAddr, destination: SocketAddr) -> Option<Self> {
        let addresses = match (source, destination) {
            (SocketAddr::V4(from), SocketAddr::V4(to)) => Addresses::V4(*from.ip(), *to.ip()),
            (SocketAddr::V6(from), SocketAddr::V6(to)) => Addresses::V6(*from.ip(), *to.ip()),
            _ => return None,
        };
        Some(Self {
            addresses,
            source_port: source.port(),
            destination_port: destination.port(),
        })
    }

    /// The way back.
    #[must_use]
    pub const fn reversed(self) -> Self {
        let addresses = match self.addresses {
            Addresses::V4(from, to) => Addresses::V4(to, from),
            Addresses::V6(from, to) => Addresses::V6(to, from),
        };
        Self {
            addresses,
            source_port: self.destination_port,
            destination_port: self.source_port,
        }
    }

    /// Whether two paths join the same addresses, whatever the ports.
    pub fn same_addresses(&self, other: &Self) -> bool {
        self.addresses == other.addresses
    }

    /// Where packets on this path go.
    pub fn destination(&self) -> SocketAddr {
        match self.addresses {
            Addresses::V4(_, to) => (to, self.destination_port).into(),
            Addresses::V6(_, to) => (to, self.destination_port).into(),
        }
    }

    /// Where packets on this path come from.
    pub fn source(&self) -> SocketAddr {
        match self.addresses {
            Addresses::V4(from, _) => (from, self.source_port).into(),
            Addresses::V6(from, _) => (from, self.source_port).into(),
        }
    }

    fn has_identification(&self) -> bool {
        matches!(self.addresses, Addresses::V4(..))
    }

    /// Feeds pseudo LRH, IP and UDP headers for a UDP payload of `len` bytes.
    fn hash_headers(&self, identification: u16, len: usize, hasher: &mut crc32fast::Hasher) {
        let udp_len = (UDP_HEADER + len) as u16;
        hasher.update(&[0xff; 8]);
        match self.addresses {
            Addresses::V4(from, to) => {
                hasher.update(&ipv4_header(from, to, identification, udp_len));
            }
            Addresses::V6(from, to) => hasher.update(&ipv6_header(from, to, udp_len)),
        }
        let mut udp = [0xff; UDP_HEADER];
        udp[0..2].copy_from_slice(&self.source_port.to_be_bytes());
        udp[2..4].copy_from_slice(&self.destination_port.to_be_bytes());
        udp[4..6].copy_from_slice(&udp_len.to_be_bytes());
        hasher.update(&udp);
    }
}

fn ipv4_header(
    from: Ipv4Addr,
    to: Ipv4Addr,
    identification: u16,
    udp_len: u16,
) -> [u8; IPV4_HEADER] {
    let mut header = [0xff; IPV4_HEADER];
    header[0] = 0x45;
    header[2..4].copy_from_slice(&(udp_len + IPV4_HEADER as u16).to_be_bytes());
    header[4..6].copy_from_slice(&identification.to_be_bytes());
    header[6] = FLAGS_DF;
    header[7] = 0;
    header[9] = PROTOCOL_UDP;
    header[12..16].copy_from_slice(&from.octets());
    header[16..20].copy_from_slice(&to.octets());
    header
}

fn ipv6_header(from: Ipv6Addr, to: Ipv6Addr, udp_len: u16) -> [u8; 40] {
    let mut header = [0xff; 40];
    header[0] = 0x6f;
    header[4..6].copy_from_slice(&udp_len.to_be_bytes());
    header[6] = PROTOCOL_UDP;
    header[8..24].copy_from_slice(&from.octets());
    header[24..40].copy_from_slice(&to.octets());
    header
}

/// The ICRC of a packet, whose bytes without the ICRC are `covered`; appended to them in little-endian order.
///
/// `identification` is that of the IPv4 header; IPv6 has none.
///
/// # Panics
///
/// If `covered` is shorter than a base transport header.
pub fn icrc(path: &Path, identification: u16, covered: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    path.hash_headers(identification, covered.len() + ICRC_LEN, &mut hasher);
    let (head, rest) = covered.split_at(bth::field::LEN);
    let mut masked = [0; bth::field::LEN];
    masked.copy_from_slice(head);
    masked[bth::field::CONGESTION] = 0xff;
    hasher.update(&masked);
    hasher.update(rest);
    hasher.finalize()
}

/// Checks the ICRC of received packets.
///
/// It keeps one map of 128 bytes per length it has met, at most about a thousand.
#[derive(Clone, Debug, Default)]
pub struct IcrcVerifier {
    /// By packet length / 4.
    maps: Vec<Option<Box<LinearMap>>>,
}

impl IcrcVerifier {
    /// A verifier that has met no packet.
    pub const fn new() -> Self {
        Self { maps: Vec::new() }
    }

    /// The IPv4 identification under which the packet's ICRC is right, `None` if there is none. For IPv6 it is 0.
    pub fn identification(&mut self, path: &Path, view: PacketView<'_>) -> Option<u16> {
        let difference = view.icrc() ^ icrc(path, 0, view.covered());
        if difference == 0 {
            return Some(0);
        }
        if !path.has_identification() {
            return None;
        }
        let register = self.map(view.bytes().len()).apply(difference);
        (register >> 16 == 0).then_some((register as u16).swap_bytes())
    }

    /// Whether the packet's ICRC is right. `max_identification` bounds the identification a sender may have
    /// used: a NIC of ours uses the index of a segment, others any.
    pub fn verify(&mut self, path: &Path, view: PacketView<'_>, max_identification: u16) -> bool {
        self.identification(path, view)
            .is_some_and(|id| id <= max_identification)
    }

    fn map(&mut self, len: usize) -> &LinearMap {
        if self.maps.is_empty() {
            self.maps.resize(MAX_PACKET / 4 + 1, None);
        }
        let back = 2 + BEHIND_ID + UDP_HEADER + len - ICRC_LEN;
        self.maps[len / 4].get_or_insert_with(|| Box::new(LinearMap::backwards(back)))
    }
}
