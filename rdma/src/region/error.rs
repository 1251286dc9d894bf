//! Why a region is not given, or an access to one refused.

use thiserror::Error;

use super::Intent;

/// Why an access is refused. The peer learns no more than "remote access error".
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum AccessError {
    /// No region has this key (any more).
    #[error("no region has key {key:#010x}")]
    UnknownKey {
        /// The key asked for.
        key: u32,
    },
    /// The region belongs to another domain.
    #[error("the region with key {key:#010x} belongs to another domain")]
    ForeignDomain {
        /// The key asked for.
        key: u32,
    },
    /// The region does not give this right.
    #[error("the region with key {key:#010x} does not allow {intent:?}")]
    NoRight {
        /// The key asked for.
        key: u32,
        /// What was wanted.
        intent: Intent,
    },
    /// The range does not lie in the region.
    #[error("{len} bytes at {address:#x} do not lie in the region")]
    OutOfBounds {
        /// The first byte asked for.
        address: u64,
        /// Bytes asked for.
        len: u64,
    },
    /// An atomic or an event access that is not eight aligned bytes.
    #[error("{len} bytes at {address:#x} are not eight aligned bytes")]
    Misaligned {
        /// The first byte asked for.
        address: u64,
        /// Bytes asked for.
        len: u64,
    },
}

/// Why a region cannot be registered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum RegisterError {
    /// All slots are taken.
    #[error("all {capacity} regions are in use")]
    Full {
        /// How many there are.
        capacity: usize,
    },
    /// The range goes beyond the end of the address space.
    #[error("{len} bytes do not fit behind address {base:#x}")]
    Overflow {
        /// The base that is too high.
        base: u64,
        /// Bytes of the region.
        len: u64,
    },
    /// An event region that is not eight aligned bytes.
    #[error("an event region is 8 aligned bytes, not {len} at offset {offset:#x}")]
    Event {
        /// Where it would lie.
        offset: u64,
        /// Its bytes.
        len: u64,
    },
}

/// The region has been deregistered already.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the region has been deregistered already")]
pub struct StaleRegion;
