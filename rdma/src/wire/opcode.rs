//! The opcode table of the reliable connected transport (section 9.2.1, table 38) and the CNP of annex A17.

use super::headers::field;

/// What a packet is: the opcodes of the reliable connected transport, and the congestion notification.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the names are the standard's")]
#[repr(u8)]
pub enum Opcode {
    SendFirst = 0x00,
    SendMiddle = 0x01,
    SendLast = 0x02,
    SendLastImmediate = 0x03,
    SendOnly = 0x04,
    SendOnlyImmediate = 0x05,
    WriteFirst = 0x06,
    WriteMiddle = 0x07,
    WriteLast = 0x08,
    WriteLastImmediate = 0x09,
    WriteOnly = 0x0a,
    WriteOnlyImmediate = 0x0b,
    ReadRequest = 0x0c,
    ReadResponseFirst = 0x0d,
    ReadResponseMiddle = 0x0e,
    ReadResponseLast = 0x0f,
    ReadResponseOnly = 0x10,
    Acknowledge = 0x11,
    AtomicAcknowledge = 0x12,
    CompareSwap = 0x13,
    FetchAdd = 0x14,
    SendLastInvalidate = 0x16,
    SendOnlyInvalidate = 0x17,
    Cnp = 0x81,
}

impl Opcode {
    /// All of them, in the order of their codes.
    pub const ALL: [Self; 24] = [
        Self::SendFirst,
        Self::SendMiddle,
        Self::SendLast,
        Self::SendLastImmediate,
        Self::SendOnly,
        Self::SendOnlyImmediate,
        Self::WriteFirst,
        Self::WriteMiddle,
        Self::WriteLast,
        Self::WriteLastImmediate,
        Self::WriteOnly,
        Self::WriteOnlyImmediate,
        Self::ReadRequest,
        Self::ReadResponseFirst,
        Self::ReadResponseMiddle,
        Self::ReadResponseLast,
        Self::ReadResponseOnly,
        Self::Acknowledge,
        Self::AtomicAcknowledge,
        Self::CompareSwap,
        Self::FetchAdd,
        Self::SendLastInvalidate,
        Self::SendOnlyInvalidate,
        Self::Cnp,
    ];

    /// The opcode with this code, or `None` for another transport's.
    pub fn from_code(code: u8) -> Option<Self> {
        match code {
            0..=0x14 => Some(Self::ALL[usize::from(code)]),
            0x16 => Some(Self::SendLastInvalidate),
            0x17 => Some(Self::SendOnlyInvalidate),
            0x81 => Some(Self::Cnp),
            _ => None,
        }
    }

    /// The code on the wire.
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// Bytes of the extended headers between the base header and the payload.
    pub const fn extended_len(self) -> usize {
        match self {
            Self::SendLastImmediate | Self::SendOnlyImmediate | Self::WriteLastImmediate => {
                field::IMM_DT
            }
            Self::SendLastInvalidate | Self::SendOnlyInvalidate => field::IETH,
            Self::WriteFirst | Self::WriteOnly | Self::ReadRequest => field::RETH,
            Self::WriteOnlyImmediate => field::RETH + field::IMM_DT,
            Self::ReadResponseFirst | Self::ReadResponseLast | Self::ReadResponseOnly => {
                field::AETH
            }
            Self::Acknowledge => field::AETH,
            Self::AtomicAcknowledge => field::AETH + field::ATOMIC_ACK_ETH,
            Self::CompareSwap | Self::FetchAdd => field::ATOMIC_ETH,
            Self::Cnp => field::CNP_RESERVED,
            _ => 0,
        }
    }

    /// Whether a payload may follow the headers.
    pub const fn has_payload(self) -> bool {
        !matches!(
            self,
            Self::ReadRequest
                | Self::Acknowledge
                | Self::AtomicAcknowledge
                | Self::CompareSwap
                | Self::FetchAdd
                | Self::Cnp
        )
    }

    /// Whether a responder sent it: for the requester of this queue pair.
    pub const fn is_response(self) -> bool {
        matches!(self.code(), 0x0d..=0x12)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_the_standards() {
        for opcode in Opcode::ALL {
            assert_eq!(Opcode::from_code(opcode.code()), Some(opcode));
        }
        let known = (0..=255).filter(|&code| Opcode::from_code(code).is_some());
        assert_eq!(known.count(), Opcode::ALL.len());
    }
}
