//! Conditions on a sync event, and updates of one, as values.

/// How a condition compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Op {
    /// Greater than.
    Gt = 0,
    /// Greater than or equal.
    Ge = 1,
    /// Equal.
    Eq = 2,
    /// Not equal.
    Ne = 3,
}

/// A condition on the 64-bit value of a sync event: `(value & mask) OP operand`.
///
/// A condition is a plain value. The host awaits it, a launch waits for it and a kernel waits on it, all with the
/// same meaning.
///
/// ```
/// use dpa_abi::Condition;
/// assert!(Condition::ge(3).holds(3));
/// assert!(Condition::eq(1).masked(0xff).holds(0x1201));
/// assert!(!Condition::gt(u64::MAX).holds(u64::MAX));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[must_use = "a condition does nothing until something waits for it"]
pub struct Condition {
    op: Op,
    operand: u64,
    mask: u64,
}

impl Condition {
    const fn new(op: Op, operand: u64) -> Self {
        Self {
            op,
            operand,
            mask: u64::MAX,
        }
    }

    /// The value is greater than `v`. Never true for `v == u64::MAX`.
    #[doc(alias = "doca_sync_event_wait_gt")]
    pub const fn gt(v: u64) -> Self {
        Self::new(Op::Gt, v)
    }

    /// The value is at least `v`. Always true for `v == 0`.
    pub const fn ge(v: u64) -> Self {
        Self::new(Op::Ge, v)
    }

    /// The value is `v`.
    #[doc(alias = "doca_sync_event_wait_eq")]
    pub const fn eq(v: u64) -> Self {
        Self::new(Op::Eq, v)
    }

    /// The value is not `v`.
    #[doc(alias = "doca_sync_event_wait_neq")]
    pub const fn ne(v: u64) -> Self {
        Self::new(Op::Ne, v)
    }

    /// Compares only the bits of `mask`; the operand is compared as it is.
    pub const fn masked(self, mask: u64) -> Self {
        Self { mask, ..self }
    }

    /// The condition with this comparison, by its number, or `None` if there is no such comparison.
    pub const fn from_code(op: u32, operand: u64, mask: u64) -> Option<Self> {
        let op = match op {
            0 => Op::Gt,
            1 => Op::Ge,
            2 => Op::Eq,
            3 => Op::Ne,
            _ => return None,
        };
        Some(Self { op, operand, mask })
    }

    /// The comparison.
    pub const fn op(self) -> Op {
        self.op
    }

    /// What the masked value is compared with.
    pub const fn operand(self) -> u64 {
        self.operand
    }

    /// The bits that are compared.
    pub const fn mask(self) -> u64 {
        self.mask
    }

    /// Whether `value` satisfies this condition.
    #[inline]
    pub const fn holds(self, value: u64) -> bool {
        let v = value & self.mask;
        match self.op {
            Op::Gt => v > self.operand,
            Op::Ge => v >= self.operand,
            Op::Eq => v == self.operand,
            Op::Ne => v != self.operand,
        }
    }

    /// The least *masked* value that satisfies a `gt` or `ge` condition; `None` for `eq`, `ne`, and for
    /// `gt(u64::MAX)`, which nothing satisfies.
    #[inline]
    pub const fn threshold(self) -> Option<u64> {
        match self.op {
            Op::Gt => self.operand.checked_add(1),
            Op::Ge => Some(self.operand),
            Op::Eq | Op::Ne => None,
        }
    }
}

impl core::fmt::Display for Condition {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let op = match self.op {
            Op::Gt => ">",
            Op::Ge => ">=",
            Op::Eq => "==",
            Op::Ne => "!=",
        };
        if self.mask == u64::MAX {
            write!(f, "value {op} {}", self.operand)
        } else {
            write!(f, "(value & {:#x}) {op} {}", self.mask, self.operand)
        }
    }
}

/// One update of a sync event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Update {
    /// Stores the value (a swap: it is ordered like an add).
    Set(u64),
    /// Adds, wrapping modulo 2^64.
    Add(u64),
}

impl Update {
    /// The value after this update of `previous`.
    #[inline]
    pub const fn apply(self, previous: u64) -> u64 {
        match self {
            Self::Set(v) => v,
            Self::Add(n) => previous.wrapping_add(n),
        }
    }
}
