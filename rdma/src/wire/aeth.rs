//! AETH, the acknowledge header: syndrome and message sequence number (section 9.3.5, tables 44 to 46).

use std::time::Duration;

use super::bytes::{get, put};

mod field {
    use std::ops::Range;
    pub(crate) const SYNDROME: usize = 0;
    pub(crate) const MSN: Range<usize> = 1..4;
    /// The two bits that say which kind of syndrome it is.
    pub(crate) const KIND: u8 = 0xe0;
    pub(crate) const ACK: u8 = 0x00;
    pub(crate) const RNR_NAK: u8 = 0x20;
    pub(crate) const NAK: u8 = 0x60;
    pub(crate) const VALUE: u8 = 0x1f;
}

/// AETH: how the responder answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Aeth {
    /// Acknowledgement, or why not.
    pub syndrome: Syndrome,
    /// How many messages the responder has completed, 24 bits.
    pub msn: u32,
}

impl Aeth {
    /// A positive acknowledgement without end-to-end credits.
    pub const fn ack(msn: u32) -> Self {
        let syndrome = Syndrome::Ack {
            credits: Syndrome::NO_CREDITS,
        };
        Self { syndrome, msn }
    }

    pub(super) fn parse(bytes: &[u8]) -> Self {
        Self {
            syndrome: Syndrome::from_code(bytes[field::SYNDROME]),
            msn: get(bytes, field::MSN) as u32,
        }
    }

    pub(super) fn emit(&self, out: &mut [u8]) {
        out[field::SYNDROME] = self.syndrome.code();
        put(out, field::MSN, u64::from(self.msn));
    }
}

/// What an acknowledgement says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Syndrome {
    /// All up to this packet has been executed.
    Ack {
        /// The code of the end-to-end credits, 5 bits; [`Syndrome::NO_CREDITS`]: none are counted.
        credits: u8,
    },
    /// The receiver is not ready: come again after this time.
    RnrNak(RnrTimer),
    /// The packet was refused.
    Nak(NakCode),
    /// A code the standard reserves.
    Other(u8),
}

impl Syndrome {
    /// The credit code of a responder that counts none.
    pub const NO_CREDITS: u8 = 0x1f;

    /// What this code means.
    pub const fn from_code(code: u8) -> Self {
        let value = code & field::VALUE;
        match code & field::KIND {
            field::ACK => Self::Ack { credits: value },
            field::RNR_NAK => Self::RnrNak(RnrTimer(value)),
            field::NAK => Self::Nak(NakCode::from_value(value)),
            _ => Self::Other(code),
        }
    }

    /// The code on the wire.
    pub const fn code(self) -> u8 {
        match self {
            Self::Ack { credits } => field::ACK | credits & field::VALUE,
            Self::RnrNak(timer) => field::RNR_NAK | timer.0,
            Self::Nak(code) => field::NAK | code.value(),
            Self::Other(code) => code,
        }
    }
}

/// Why a packet was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NakCode {
    /// Packets are missing before this one.
    PsnSequenceError,
    /// Malformed, out of sequence, too long, or beyond the responder's resources.
    InvalidRequest,
    /// Wrong key, out of bounds, or without the right.
    RemoteAccessError,
    /// The responder has a problem of its own.
    RemoteOperationalError,
    /// Of another transport.
    InvalidRdRequest,
    /// A code the standard reserves.
    Other(u8),
}

impl NakCode {
    const fn from_value(value: u8) -> Self {
        match value {
            0 => Self::PsnSequenceError,
            1 => Self::InvalidRequest,
            2 => Self::RemoteAccessError,
            3 => Self::RemoteOperationalError,
            4 => Self::InvalidRdRequest,
            other => Self::Other(other),
        }
    }

    const fn value(self) -> u8 {
        match self {
            Self::PsnSequenceError => 0,
            Self::InvalidRequest => 1,
            Self::RemoteAccessError => 2,
            Self::RemoteOperationalError => 3,
            Self::InvalidRdRequest => 4,
            Self::Other(value) => value & field::VALUE,
        }
    }
}

/// How long to wait after "receiver not ready": one of 32 codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RnrTimer(u8);

/// The times of the 32 codes in units of 10 microseconds (section 9.7.5.2.8, table 46).
const RNR_TIMES: [u32; 32] = [
    65536, 1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 1536,
    2048, 3072, 4096, 6144, 8192, 12288, 16384, 24576, 32768, 49152,
];

impl RnrTimer {
    /// The timer with this code, or `None` above 31.
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

    /// The time, from 10 microseconds (code 1) to 655.36 milliseconds (code 0).
    pub const fn duration(self) -> Duration {
        Duration::from_micros(10 * RNR_TIMES[self.0 as usize] as u64)
    }

    /// The shortest of the 32 that is not shorter than `time`; the longest if none is.
    pub fn at_least(time: Duration) -> Self {
        let fits = |code: &u8| Self(*code).duration() >= time;
        Self((1..32).find(fits).unwrap_or(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_syndrome_survives() {
        for code in 0..=255 {
            assert_eq!(Syndrome::from_code(code).code(), code);
        }
    }

    #[test]
    fn rnr_timers_are_the_standards() {
        let millis = |code| RnrTimer(code).duration().as_secs_f64() * 1e3;
        assert!((millis(0) - 655.36).abs() < 1e-9);
        assert!((millis(1) - 0.01).abs() < 1e-9);
        assert!((millis(22) - 20.48).abs() < 1e-9);
        assert!((millis(31) - 491.52).abs() < 1e-9);
        assert_eq!(RnrTimer::at_least(Duration::from_millis(20)).code(), 22);
        assert_eq!(RnrTimer::at_least(Duration::from_secs(9)).code(), 0);
        assert_eq!(RnrTimer::from_code(32), None);
    }
}
