//! Work that needs no peer: copies between memories of this node, and waits for sync events, carried out one after the
//! other behind the kernel's back, and reported to a completion queue.

use dpa_abi::queue::{Matrix, RemotePlace, WorkData, WorkEntry, WorkFlags, WorkOpcode};
use dpa_abi::{Condition, EventHandle, FaultKind, KernelArg};

use crate::context::{BindArg, ThreadContext};
use crate::memory::Buf;
use crate::queue::PostError;
use crate::rdma::{Connection, PostFlags, Rdma, RdmaWire};

/// A queue of asynchronous operations. Each post gives the number by which its completion names it.
///
/// They are carried out in the order posted: what is behind a wait waits with it. A queue that has failed takes work as
/// before, and flushes it: the completion says so.
#[doc(alias = "doca_dpa_dev_async_ops_t")]
#[derive(Clone, Copy, Debug)]
pub struct AsyncOps<'t> {
    queue: Connection<'t>,
}

#[diagnostic::do_not_recommend]
impl KernelArg for AsyncOps<'_> {
    type Wire = RdmaWire;
}

impl<'t> BindArg<'t> for AsyncOps<'t> {
    fn bind_arg(wire: RdmaWire, thread: &'t ThreadContext<'t>) -> Result<Self, FaultKind> {
        let queue = Rdma::bind_arg(wire, thread)?.connection(0);
        Ok(Self { queue })
    }
}

impl AsyncOps<'_> {
    /// Copies `from` to `to`, which may overlap. Lengths must be equal.
    ///
    /// A key, range or right that is wrong fails the queue: the completion says so, and what is behind it is flushed.
    ///
    /// # Errors
    /// The queue is full; more bytes than an entry names.
    ///
    /// # Panics
    /// If the lengths differ: a fault of the process.
    #[doc(alias = "doca_dpa_dev_post_memcpy")]
    #[doc(alias = "doca_dpa_dev_post_buf_memcpy")]
    #[track_caller]
    pub fn copy(&self, to: Buf, from: Buf, flags: PostFlags) -> Result<u16, PostError> {
        assert!(
            to.len == from.len,
            "a copy of {} bytes to {} bytes",
            from.len,
            to.len
        );
        self.queue.post(local(WorkOpcode::Copy, to, from), flags)
    }

    /// Copies the matrix at `from` to `to`, its rows becoming columns. The two may not overlap.
    ///
    /// A key, range or right that is wrong fails the queue: the completion says so, and what is behind it is flushed.
    ///
    /// # Errors
    /// The queue is full.
    ///
    /// # Panics
    /// If a length is not that of the matrix: a fault of the process.
    #[doc(alias = "flexio_dev_swqe_seg_transpose_set")]
    #[track_caller]
    pub fn transpose(
        &self,
        to: Buf,
        from: Buf,
        matrix: Matrix,
        flags: PostFlags,
    ) -> Result<u16, PostError> {
        let size = matrix.bytes();
        assert!(
            to.len == size && from.len == size,
            "a matrix of {size} bytes, from {} bytes to {} bytes",
            from.len,
            to.len
        );
        let entry = WorkEntry {
            atomic: [matrix.to_bits(), 0],
            ..local(WorkOpcode::Transpose, to, from)
        };
        self.queue.post(entry, flags)
    }

    /// Waits until a condition of an event holds. An event that is closed before, or that the device may not wait for,
    /// fails the queue.
    ///
    /// # Errors
    /// The queue is full.
    #[doc(alias = "doca_dpa_dev_sync_event_post_wait_gt")]
    #[doc(alias = "doca_dpa_dev_sync_event_post_wait_ne")]
    pub fn wait_for(
        &self,
        event: EventHandle,
        condition: Condition,
        flags: PostFlags,
    ) -> Result<u16, PostError> {
        self.queue.wait_for(event, condition, flags)
    }

    /// Rings the doorbell for everything posted without [`PostFlags::FLUSH`].
    pub fn flush(&self) {
        self.queue.flush();
    }
}

/// Work from one memory of this node to another.
const fn local(opcode: WorkOpcode, to: Buf, from: Buf) -> WorkEntry {
    WorkEntry {
        remote: RemotePlace {
            address: to.address,
            key: to.key,
        },
        data: WorkData::Local {
            address: from.address,
            len: from.len,
            key: from.key,
        },
        ..WorkEntry::new(opcode, WorkFlags::NONE)
    }
}
