//! The extended transport headers (section 9.3): RETH, AtomicETH, AtomicAckETH, ImmDt, IETH.
//!
//! `parse` and `emit` take exactly the bytes of the header; the caller has checked the length.

use super::bytes::{get, put};

/// Lengths and byte ranges of the extended headers.
pub(super) mod field {
    pub(crate) const RETH: usize = 16;
    pub(crate) const ATOMIC_ETH: usize = 28;
    pub(crate) const AETH: usize = 4;
    pub(crate) const ATOMIC_ACK_ETH: usize = 8;
    pub(crate) const IMM_DT: usize = 4;
    pub(crate) const IETH: usize = 4;
    /// What follows the BTH in a congestion notification packet: zeros.
    pub(crate) const CNP_RESERVED: usize = 16;

    /// RETH and AtomicETH begin alike.
    pub(crate) mod remote {
        use std::ops::Range;
        pub(crate) const VIRTUAL_ADDRESS: Range<usize> = 0..8;
        pub(crate) const R_KEY: Range<usize> = 8..12;
        pub(crate) const DMA_LENGTH: Range<usize> = 12..16;
        pub(crate) const SWAP_OR_ADD: Range<usize> = 12..20;
        pub(crate) const COMPARE: Range<usize> = 20..28;
    }
}

use field::remote;

/// RETH: what a write or a read is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reth {
    /// The remote address.
    pub virtual_address: u64,
    /// The remote key.
    pub r_key: u32,
    /// Bytes of the whole message.
    pub dma_length: u32,
}

impl Reth {
    pub(super) fn parse(bytes: &[u8]) -> Self {
        Self {
            virtual_address: get(bytes, remote::VIRTUAL_ADDRESS),
            r_key: get(bytes, remote::R_KEY) as u32,
            dma_length: get(bytes, remote::DMA_LENGTH) as u32,
        }
    }

    pub(super) fn emit(&self, out: &mut [u8]) {
        put(out, remote::VIRTUAL_ADDRESS, self.virtual_address);
        put(out, remote::R_KEY, u64::from(self.r_key));
        put(out, remote::DMA_LENGTH, u64::from(self.dma_length));
    }
}

/// AtomicETH: an atomic operation on eight bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AtomicEth {
    /// The remote address, a multiple of 8.
    pub virtual_address: u64,
    /// The remote key.
    pub r_key: u32,
    /// What is swapped in, or added.
    pub swap_or_add: u64,
    /// What the word must be for a swap; 0 for an add.
    pub compare: u64,
}

impl AtomicEth {
    pub(super) fn parse(bytes: &[u8]) -> Self {
        Self {
            virtual_address: get(bytes, remote::VIRTUAL_ADDRESS),
            r_key: get(bytes, remote::R_KEY) as u32,
            swap_or_add: get(bytes, remote::SWAP_OR_ADD),
            compare: get(bytes, remote::COMPARE),
        }
    }

    pub(super) fn emit(&self, out: &mut [u8]) {
        put(out, remote::VIRTUAL_ADDRESS, self.virtual_address);
        put(out, remote::R_KEY, u64::from(self.r_key));
        put(out, remote::SWAP_OR_ADD, self.swap_or_add);
        put(out, remote::COMPARE, self.compare);
    }
}

/// AtomicAckETH: the word before an atomic operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AtomicAckEth(pub u64);

impl AtomicAckEth {
    pub(super) fn parse(bytes: &[u8]) -> Self {
        Self(get(bytes, 0..field::ATOMIC_ACK_ETH))
    }

    pub(super) fn emit(self, out: &mut [u8]) {
        put(out, 0..field::ATOMIC_ACK_ETH, self.0);
    }
}

/// ImmDt: four bytes that travel with a send or a write and arrive in the completion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImmDt(pub u32);

impl ImmDt {
    pub(super) fn parse(bytes: &[u8]) -> Self {
        Self(get(bytes, 0..field::IMM_DT) as u32)
    }

    pub(super) fn emit(self, out: &mut [u8]) {
        put(out, 0..field::IMM_DT, u64::from(self.0));
    }
}

/// IETH: the remote key that a send with invalidate takes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ieth(pub u32);

impl Ieth {
    pub(super) fn parse(bytes: &[u8]) -> Self {
        Self(get(bytes, 0..field::IETH) as u32)
    }

    pub(super) fn emit(self, out: &mut [u8]) {
        put(out, 0..field::IETH, u64::from(self.0));
    }
}
