//! How work is posted.

use core::ops::BitOr;

use dpa_abi::queue::WorkFlags;

/// How work is posted.
#[doc(alias = "doca_dpa_dev_submit_flag")]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PostFlags(u8);

impl PostFlags {
    /// The NIC looks at it with a later doorbell; success makes a completion.
    pub const NONE: Self = Self(0);
    /// Rings the doorbell now, for this and for everything posted before.
    #[doc(alias = "DOCA_DPA_DEV_SUBMIT_FLAG_FLUSH")]
    pub const FLUSH: Self = Self(1);
    /// Success makes no completion of its own: a later one tells. Failure always makes one.
    #[doc(alias = "DOCA_DPA_DEV_SUBMIT_FLAG_OPTIMIZE_REPORTS")]
    pub const OPTIMIZE_REPORTS: Self = Self(2);
    /// Begins only when all reads and atomics posted before have been answered.
    pub const FENCE: Self = Self(4);
    /// The peer's completion is a solicited one.
    pub const SOLICITED: Self = Self(8);

    pub(super) const fn has(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    pub(super) const fn work(self) -> WorkFlags {
        let mut flags = WorkFlags::NONE;
        if !self.has(Self::OPTIMIZE_REPORTS) {
            flags = flags.with(WorkFlags::SIGNALED);
        }
        if self.has(Self::FENCE) {
            flags = flags.with(WorkFlags::FENCE);
        }
        if self.has(Self::SOLICITED) {
            flags = flags.with(WorkFlags::SOLICITED);
        }
        flags
    }
}

impl BitOr for PostFlags {
    type Output = Self;
    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}
