//! The path MTU: how many payload bytes a packet carries at most.

use std::net::IpAddr;

/// Payload bytes per packet, one of the five sizes of the standard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[doc(alias = "ibv_mtu")]
pub enum PathMtu {
    /// 256 bytes.
    B256,
    /// 512 bytes.
    B512,
    /// 1,024 bytes.
    B1024,
    /// 2,048 bytes.
    B2048,
    /// 4,096 bytes.
    B4096,
}

impl PathMtu {
    /// All five, the smallest first.
    pub const ALL: [Self; 5] = [
        Self::B256,
        Self::B512,
        Self::B1024,
        Self::B2048,
        Self::B4096,
    ];

    /// What is usual at an address: 4,096 bytes on loopback, elsewhere the 1,024 that fit the common links of 1,500.
    pub const fn usual(address: IpAddr) -> Self {
        match address.to_canonical().is_loopback() {
            true => Self::B4096,
            false => Self::B1024,
        }
    }

    /// The size in bytes.
    pub const fn bytes(self) -> usize {
        256 << self as usize
    }

    /// The size that has exactly so many bytes.
    pub fn from_bytes(bytes: usize) -> Option<Self> {
        Self::ALL.into_iter().find(|mtu| mtu.bytes() == bytes)
    }

    /// How many packets a message of `len` bytes takes. An empty message takes one.
    pub const fn packets(self, len: usize) -> u32 {
        let packets = len.div_ceil(self.bytes());
        if packets == 0 { 1 } else { packets as u32 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ipv4_address_mapped_into_ipv6_is_that_address() {
        let usual = |address: &str| PathMtu::usual(address.parse().expect("an address"));
        assert_eq!(usual("::ffff:127.0.0.1"), PathMtu::B4096);
        assert_eq!(usual("::ffff:10.0.0.1"), PathMtu::B1024);
    }

    #[test]
    fn sizes_and_packets() {
        assert_eq!(PathMtu::B4096.bytes(), 4096);
        assert_eq!(PathMtu::from_bytes(1024), Some(PathMtu::B1024));
        assert_eq!(PathMtu::from_bytes(1000), None);
        assert_eq!(PathMtu::B256.packets(0), 1);
        assert_eq!(PathMtu::B256.packets(256), 1);
        assert_eq!(PathMtu::B256.packets(257), 2);
    }
}
