//! 24-bit numbers of the transport: packet sequence numbers and queue pair numbers.

use std::fmt;

const MASK: u32 = 0x00ff_ffff;
const HALF: u32 = 0x0080_0000;

/// A packet sequence number: 24 bits, counting round (InfiniBand architecture, section 9.7.2).
///
/// Two numbers can be ordered only if they are less than half the space apart, which the requester ensures.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Psn(u32);

impl Psn {
    /// The lower 24 bits of `value`.
    pub const fn new(value: u32) -> Self {
        Self(value & MASK)
    }

    /// As a number below 2^24.
    pub const fn value(self) -> u32 {
        self.0
    }

    /// The number `n` further on.
    #[must_use]
    pub const fn plus(self, n: u32) -> Self {
        Self::new(self.0.wrapping_add(n))
    }

    /// The number just before.
    #[must_use]
    pub const fn previous(self) -> Self {
        Self::new(self.0.wrapping_sub(1))
    }

    /// How many steps lead from `origin` forward to `self`.
    pub const fn since(self, origin: Self) -> u32 {
        self.0.wrapping_sub(origin.0) & MASK
    }

    /// Whether `self` comes before `other`, by the shorter way round.
    pub const fn is_before(self, other: Self) -> bool {
        let ahead = other.since(self);
        ahead != 0 && ahead < HALF
    }

    /// Whether `self` is one of the `count` numbers that start with `first`.
    pub const fn is_within(self, first: Self, count: u32) -> bool {
        self.since(first) < count
    }
}

impl fmt::Debug for Psn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Psn({:06x})", self.0)
    }
}

/// The number of a queue pair: 24 bits. 0 and 1 are reserved by the standard and never valid here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Qpn(u32);

impl Qpn {
    /// A valid queue pair number, or `None` for a reserved one or one of more than 24 bits.
    pub const fn new(value: u32) -> Option<Self> {
        match value {
            2..=0x00ff_fffe => Some(Self(value)),
            _ => None,
        }
    }

    /// A valid number out of 32 random bits.
    pub const fn from_random(random: u32) -> Self {
        Self(2 + random % (MASK - 2))
    }

    /// As a number below 2^24.
    pub const fn value(self) -> u32 {
        self.0
    }

    /// The next valid number; after the last comes the first.
    #[must_use]
    pub const fn next(self) -> Self {
        match Self::new(self.0 + 1) {
            Some(next) => next,
            None => Self(2),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_goes_round() {
        let last = Psn::new(0xff_ffff);
        assert_eq!(last.plus(1), Psn::new(0));
        assert_eq!(Psn::new(0).previous(), last);
        assert!(last.is_before(Psn::new(5)));
        assert!(!Psn::new(5).is_before(last));
        assert_eq!(Psn::new(5).since(last), 6);
        assert!(!last.is_before(last));
    }

    #[test]
    fn half_the_space_is_the_horizon() {
        let zero = Psn::new(0);
        assert!(zero.is_before(Psn::new(HALF - 1)));
        assert!(!zero.is_before(Psn::new(HALF)));
        assert!(Psn::new(HALF + 1).is_before(zero));
    }

    #[test]
    fn queue_pair_numbers_skip_the_reserved() {
        assert_eq!(Qpn::new(1), None);
        assert_eq!(Qpn::new(0x0100_0000), None);
        assert_eq!(
            Qpn::new(0x00ff_fffe).map(|last| last.next().value()),
            Some(2)
        );
        assert!(Qpn::new(Qpn::from_random(u32::MAX).value()).is_some());
        assert!(Qpn::new(Qpn::from_random(0).value()).is_some());
    }
}
