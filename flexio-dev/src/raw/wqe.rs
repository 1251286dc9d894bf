//! Work-queue entries, put together segment by segment.

use core::fmt;

use dpa_abi::queue::work::MAX_INLINE;
use dpa_abi::queue::{Matrix, RemotePlace, WorkData, WorkEntry, WorkFlags, WorkOpcode};
use dpa_abi::{Condition, EventHandle};

use crate::memory::{Buf, RemoteBuf};

/// A work-queue entry in the making. What has not been said is none: no data, no address, no immediate.
///
/// Number and queue pair of the control segment are filled in when it is written into a queue. An entry that lacks what
/// its opcode needs is refused by the NIC: the queue pair fails, with a completion that says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "an entry does nothing until it is written into a queue"]
pub struct Wqe(pub(super) WorkEntry);

/// More inline bytes than an entry holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InlineTooLong {
    /// How many they are.
    pub len: usize,
}

impl InlineTooLong {
    /// The most there can be.
    pub const MAX: usize = MAX_INLINE;
}

impl fmt::Display for InlineTooLong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} inline bytes, at most {MAX_INLINE} fit", self.len)
    }
}

impl core::error::Error for InlineTooLong {}

impl Wqe {
    /// What has been said so far.
    #[doc(alias = "doca_dpa_dev_verbs_send_wr_get_sg_list")]
    #[doc(alias = "doca_dpa_dev_verbs_send_wr_get_sg_num_sge")]
    #[doc(alias = "doca_dpa_dev_verbs_send_wr_get_opcode")]
    #[doc(alias = "doca_dpa_dev_verbs_send_wr_get_send_flags")]
    #[doc(alias = "doca_dpa_dev_verbs_send_wr_get_fence_mode")]
    #[doc(alias = "doca_dpa_dev_verbs_send_wr_get_imm_data")]
    #[doc(alias = "doca_dpa_dev_verbs_send_wr_get_invalidate_rkey")]
    #[doc(alias = "doca_dpa_dev_verbs_send_wr_get_rdma_remote_addr")]
    #[doc(alias = "doca_dpa_dev_verbs_send_wr_get_rdma_rkey")]
    #[doc(alias = "doca_dpa_dev_verbs_send_wr_get_atomic_remote_addr")]
    #[doc(alias = "doca_dpa_dev_verbs_send_wr_get_atomic_compare_add")]
    #[doc(alias = "doca_dpa_dev_verbs_send_wr_get_atomic_swap")]
    #[doc(alias = "doca_dpa_dev_verbs_send_wr_get_atomic_rkey")]
    pub const fn entry(&self) -> &WorkEntry {
        &self.0
    }

    /// The control segment: what to do, and how.
    #[doc(alias = "flexio_dev_swqe_seg_ctrl_set")]
    #[doc(alias = "doca_dpa_dev_verbs_send_wr_set_opcode")]
    #[doc(alias = "doca_dpa_dev_verbs_send_wr_set_send_flags")]
    #[doc(alias = "doca_dpa_dev_verbs_send_wr_set_fence_mode")]
    pub const fn control(opcode: WorkOpcode, flags: WorkFlags) -> Self {
        Self(WorkEntry::new(opcode, flags))
    }

    /// Immediate data, or the key to invalidate.
    #[doc(alias = "doca_dpa_dev_verbs_send_wr_set_imm_data")]
    #[doc(alias = "doca_dpa_dev_verbs_send_wr_set_invalidate_rkey")]
    pub const fn immediate(mut self, immediate: u32) -> Self {
        self.0.immediate = immediate;
        self
    }

    /// The remote-address segment: where in the peer's memory. Of a copy: where to, with a local key.
    #[doc(alias = "flexio_dev_swqe_seg_rdma_set")]
    #[doc(alias = "doca_dpa_dev_verbs_send_wr_set_rdma_remote_addr")]
    #[doc(alias = "doca_dpa_dev_verbs_send_wr_set_rdma_rkey")]
    #[doc(alias = "doca_dpa_dev_verbs_send_wr_set_atomic_remote_addr")]
    #[doc(alias = "doca_dpa_dev_verbs_send_wr_set_atomic_rkey")]
    pub const fn remote(mut self, place: RemoteBuf) -> Self {
        self.0.remote = RemotePlace {
            address: place.address,
            key: place.key,
        };
        self
    }

    /// The data segment: registered memory of this node.
    #[doc(alias = "flexio_dev_swqe_seg_mem_ptr_data_set")]
    #[doc(alias = "doca_dpa_dev_verbs_send_wr_set_sg_list")]
    #[doc(alias = "doca_dpa_dev_verbs_send_wr_set_sg_num_sge")]
    pub const fn data(mut self, buf: Buf) -> Self {
        self.0.data = WorkData::Local {
            address: buf.address,
            len: buf.len,
            key: buf.key,
        };
        self
    }

    /// The data segment: bytes that travel in the entry itself.
    ///
    /// # Errors
    /// More than fit.
    #[doc(alias = "flexio_dev_swqe_seg_inline_data_set")]
    pub fn inline(mut self, data: &[u8]) -> Result<Self, InlineTooLong> {
        let mut bytes = [0; MAX_INLINE];
        let len = data.len();
        let into = bytes.get_mut(..len).ok_or(InlineTooLong { len })?;
        into.copy_from_slice(data);
        let len = len as u8;
        self.0.data = WorkData::Inline { bytes, len };
        Ok(self)
    }

    /// The atomic segment: what is added, or swapped in; and, of a compare-and-swap, what must be there.
    #[doc(alias = "flexio_dev_swqe_seg_atomic_set")]
    #[doc(alias = "doca_dpa_dev_verbs_send_wr_set_atomic_compare_add")]
    #[doc(alias = "doca_dpa_dev_verbs_send_wr_set_atomic_swap")]
    pub const fn atomic(mut self, swap_or_add: u64, compare: u64) -> Self {
        self.0.atomic = [swap_or_add, compare];
        self
    }

    /// The wait segment: what is behind it is held up until the condition of an event of this process holds.
    #[doc(alias = "flexio_dev_swqe_seg_wait_on_data_set")]
    #[doc(alias = "flexio_dev_swqe_seg_wait_on_data_data_set")]
    pub fn wait_on(mut self, event: EventHandle, condition: Condition) -> Self {
        self.0.remote = RemotePlace {
            address: event.0.to_bits(),
            key: condition.op() as u32,
        };
        self.0.atomic = [condition.operand(), condition.mask()];
        self
    }

    /// The transpose segment: the matrix that the data segment holds, row after row. A matrix that is longer than the data
    /// fails the queue.
    #[doc(alias = "flexio_dev_swqe_seg_transpose_set")]
    pub const fn transpose(mut self, matrix: Matrix) -> Self {
        self.0.atomic = [matrix.to_bits(), 0];
        self
    }
}
