//! BTH, the base transport header (section 9.2).

use super::bytes::{get, put};
use super::opcode::Opcode;
use crate::psn::Psn;

/// The default partition, full membership.
pub const DEFAULT_PKEY: u16 = 0xffff;

/// Byte ranges of the base transport header.
pub(super) mod field {
    use std::ops::Range;

    pub(crate) const OPCODE: usize = 0;
    /// SE, M, pad count (2 bits), TVER (4 bits).
    pub(crate) const FLAGS: usize = 1;
    pub(crate) const P_KEY: Range<usize> = 2..4;
    /// FECN, BECN and six reserved bits: the byte the ICRC masks.
    pub(crate) const CONGESTION: usize = 4;
    pub(crate) const DEST_QP: Range<usize> = 5..8;
    /// AckReq and seven reserved bits.
    pub(crate) const ACK_REQ: usize = 8;
    pub(crate) const PSN: Range<usize> = 9..12;
    pub(crate) const LEN: usize = 12;

    pub(crate) const SOLICITED: u8 = 0x80;
    pub(crate) const MIG_REQ: u8 = 0x40;
    pub(crate) const PAD_SHIFT: u32 = 4;
    pub(crate) const PAD: u8 = 0x03;
    pub(crate) const TVER: u8 = 0x0f;
    pub(crate) const FECN: u8 = 0x80;
    pub(crate) const BECN: u8 = 0x40;
    pub(crate) const ACK: u8 = 0x80;
}

/// The base transport header as it stands in a packet. It may lie.
#[derive(Clone, Copy, Debug)]
pub struct BthView<'a>(&'a [u8; field::LEN]);

impl<'a> BthView<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Option<Self> {
        bytes.first_chunk().map(Self)
    }

    /// The code of the operation, perhaps of another transport.
    pub fn opcode(self) -> u8 {
        self.0[field::OPCODE]
    }

    /// The version of the transport: 0 is the only one.
    pub fn transport_version(self) -> u8 {
        self.0[field::FLAGS] & field::TVER
    }

    /// How many bytes of padding follow the payload.
    pub fn pad_count(self) -> usize {
        usize::from(self.0[field::FLAGS] >> field::PAD_SHIFT & field::PAD)
    }

    /// The partition key.
    pub fn partition_key(self) -> u16 {
        get(self.0, field::P_KEY) as u16
    }

    /// Whether the partition key names the default partition, as a full or a limited member.
    pub fn is_default_partition(self) -> bool {
        self.partition_key() | 0x8000 == DEFAULT_PKEY
    }

    /// The queue pair the packet is for.
    pub fn destination(self) -> u32 {
        get(self.0, field::DEST_QP) as u32
    }

    /// The packet sequence number.
    pub fn psn(self) -> Psn {
        Psn::new(get(self.0, field::PSN) as u32)
    }

    pub(super) fn to_value(self) -> Bth {
        let flags = self.0[field::FLAGS];
        let congestion = self.0[field::CONGESTION];
        Bth {
            solicited: flags & field::SOLICITED != 0,
            migrated: flags & field::MIG_REQ != 0,
            partition_key: self.partition_key(),
            forward_congestion: congestion & field::FECN != 0,
            backward_congestion: congestion & field::BECN != 0,
            destination: self.destination(),
            ack_request: self.0[field::ACK_REQ] & field::ACK != 0,
            psn: self.psn(),
        }
    }
}

/// The base transport header as a value, without opcode and pad count, which follow from the rest of the packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bth {
    /// SE: the receiver is asked for a solicited event.
    pub solicited: bool,
    /// MigReq: the path is migrated; set by everyone who does not migrate.
    pub migrated: bool,
    /// The partition key.
    pub partition_key: u16,
    /// FECN.
    pub forward_congestion: bool,
    /// BECN.
    pub backward_congestion: bool,
    /// The queue pair the packet is for, 24 bits.
    pub destination: u32,
    /// AckReq: the responder is asked to acknowledge.
    pub ack_request: bool,
    /// The packet sequence number.
    pub psn: Psn,
}

impl Bth {
    /// A header as this NIC sends it: default partition, migrated, no other flag.
    pub const fn new(destination: u32, psn: Psn) -> Self {
        Self {
            solicited: false,
            migrated: true,
            partition_key: DEFAULT_PKEY,
            forward_congestion: false,
            backward_congestion: false,
            destination,
            ack_request: false,
            psn,
        }
    }

    pub(super) fn emit(&self, opcode: Opcode, pad: usize, out: &mut [u8]) {
        let bit = |set: bool, bit: u8| if set { bit } else { 0 };
        out[field::OPCODE] = opcode.code();
        out[field::FLAGS] = bit(self.solicited, field::SOLICITED)
            | bit(self.migrated, field::MIG_REQ)
            | (pad as u8) << field::PAD_SHIFT;
        put(out, field::P_KEY, u64::from(self.partition_key));
        out[field::CONGESTION] =
            bit(self.forward_congestion, field::FECN) | bit(self.backward_congestion, field::BECN);
        put(out, field::DEST_QP, u64::from(self.destination));
        out[field::ACK_REQ] = bit(self.ack_request, field::ACK);
        put(out, field::PSN, u64::from(self.psn.value()));
    }
}
