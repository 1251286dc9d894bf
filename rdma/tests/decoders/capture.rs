//! Packets as a capture file: the headers of IP and UDP that a socket would put before them, and the file's own.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use rdma::wire::MAX_PACKET;

/// The link type of captures whose packets begin with an IP header.
const LINKTYPE_RAW: u32 = 101;
const IP_HEADERS: usize = 48;
const UDP: u8 = 17;
const TTL: u8 = 64;

/// One packet on its way.
#[derive(Clone, Debug)]
pub struct Frame {
    pub at: Duration,
    pub from: SocketAddr,
    pub to: SocketAddr,
    /// Its index in a segmented send, else 0: the IP identification.
    pub segment: u16,
    /// From BTH to ICRC.
    pub packet: Vec<u8>,
}

impl Frame {
    /// With all headers.
    fn bytes(&self) -> Vec<u8> {
        let datagram = self.datagram();
        let header = match (self.from.ip(), self.to.ip()) {
            (IpAddr::V4(from), IpAddr::V4(to)) => {
                let addresses = [from.octets(), to.octets()].concat();
                ipv4_header(&addresses, self.segment, datagram.len())
            }
            _ => [
                &[0x60, 0, 0, 0][..],
                &be16(datagram.len()),
                &[UDP, TTL],
                &self.addresses(),
            ]
            .concat(),
        };
        [header, datagram].concat()
    }

    /// The identification in its IP header; IPv6 has none.
    pub fn identification(&self) -> Option<u64> {
        self.from.is_ipv4().then(|| self.segment.into())
    }

    fn addresses(&self) -> Vec<u8> {
        let octets = |address: &SocketAddr| match address.ip() {
            IpAddr::V4(v4) => v4.octets().to_vec(),
            IpAddr::V6(v6) => v6.octets().to_vec(),
        };
        [octets(&self.from), octets(&self.to)].concat()
    }

    /// UDP header and packet. A checksum that comes out as 0 travels as ffff.
    fn datagram(&self) -> Vec<u8> {
        let len = be16(8 + self.packet.len());
        let ports = [self.from.port().to_be_bytes(), self.to.port().to_be_bytes()].concat();
        let pseudo = [&self.addresses()[..], &[0, UDP], &len].concat();
        let unchecked = [&ports[..], &len, &[0, 0], &self.packet].concat();
        let checksum = match checksum(&[pseudo, unchecked].concat()) {
            0 => 0xffff,
            sum => sum,
        };
        [&ports[..], &len, &checksum.to_be_bytes(), &self.packet].concat()
    }
}

/// Don't fragment, time to live 64.
fn ipv4_header(addresses: &[u8], identification: u16, payload: usize) -> Vec<u8> {
    let id = identification.to_be_bytes();
    let header = |checksum: u16| {
        [
            &[0x45, 0][..],
            &be16(20 + payload),
            &id,
            &[0x40, 0, TTL, UDP],
            &checksum.to_be_bytes(),
            addresses,
        ]
        .concat()
    };
    header(checksum(&header(0)))
}

/// The internet's: the complement of the sum of all pairs of bytes, carries added.
fn checksum(bytes: &[u8]) -> u16 {
    let pair = |pair: &[u8]| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0));
    let mut sum: u32 = bytes.chunks(2).map(pair).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

fn be16(len: usize) -> [u8; 2] {
    u16::try_from(len).unwrap().to_be_bytes()
}

/// A capture file: magic of microseconds, version 2.4, then each packet behind its time and its length, twice.
pub fn pcap(frames: &[Frame]) -> Vec<u8> {
    let snap = (MAX_PACKET + IP_HEADERS) as u32;
    let header = [0xa1b2_c3d4, 4 << 16 | 2, 0, 0, snap, LINKTYPE_RAW];
    let mut out: Vec<u8> = header.into_iter().flat_map(u32::to_le_bytes).collect();
    for frame in frames {
        let bytes = frame.bytes();
        let len = bytes.len() as u32;
        let record = [
            frame.at.as_secs() as u32,
            frame.at.subsec_micros(),
            len,
            len,
        ];
        out.extend(record.into_iter().flat_map(u32::to_le_bytes));
        out.extend(bytes);
    }
    out
}
