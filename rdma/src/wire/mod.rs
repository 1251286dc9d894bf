//! The wire: RoCE v2 packets of the reliable connected transport (InfiniBand architecture, volume 1, chapter 9;
//! annex A17 for UDP).
//!
//! Each header stands here three times: as a table of byte ranges (`field`), as a *view* over bytes that may
//! lie ([`PacketView`]), and as a *value* that cannot ([`Packet`]): having one proves that opcode,
//! extended headers and payload belong together. A value is emitted to the same bytes it was parsed from,
//! unless those had reserved bits set.
//!
//! ```text
//!  IP | UDP 4791 | BTH 12 | RETH 16 / AtomicETH 28 / AETH 4 [AtomicAckETH 8] / ImmDt 4 / IETH 4 | payload | pad 0-3 | ICRC 4
//! ```

mod aeth;
mod bth;
mod bytes;
mod crc;
mod headers;
mod icrc;
mod opcode;
mod packet;
mod summary;

pub use aeth::{Aeth, NakCode, RnrTimer, Syndrome};
pub use bth::{Bth, BthView, DEFAULT_PKEY};
pub use headers::{AtomicAckEth, AtomicEth, Ieth, ImmDt, Reth};
pub use icrc::{IcrcVerifier, Path, icrc};
pub use opcode::Opcode;
pub use packet::{
    Body, Header, MalformedPacket, Packet, PacketView, Part, ReadPart, SendTail, seal,
};
pub use summary::Summary;

/// The UDP port of RoCE v2.
pub const UDP_PORT: u16 = 4791;
/// Bytes of the invariant CRC at the end of each packet.
pub const ICRC_LEN: usize = 4;
/// The shortest packet: a base transport header and the CRC.
pub const MIN_PACKET: usize = bth::field::LEN + ICRC_LEN;
/// The longest extended headers: those of an atomic request.
const MAX_EXTENDED: usize = headers::field::ATOMIC_ETH;
/// The longest packet: BTH, the longest headers, 4,096 bytes and the CRC.
pub const MAX_PACKET: usize = MIN_PACKET + MAX_EXTENDED + 4096;
