//! One connection: what is posted to it.

use dpa_abi::queue::record::{STATE_ERROR, STATE_READY};
use dpa_abi::queue::{NicCounter, RemotePlace, WorkData, WorkEntry, WorkFlags, WorkOpcode};
use dpa_abi::{Condition, EventHandle};

use super::PostFlags;
use crate::memory::{Buf, RemoteBuf, RemoteEvent};
use crate::queue::{PostError, SendQueue};

/// Whether work can be done on a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectionState {
    /// Not connected.
    Disconnected,
    /// Connected.
    Ready,
    /// Over: what is posted is flushed.
    Failed,
}

/// One connection of an RDMA context. Each post gives the number by which its completion names it.
#[derive(Clone, Copy, Debug)]
pub struct Connection<'t> {
    pub(super) queue: SendQueue<'t>,
}

impl Connection<'_> {
    /// Its state now.
    pub fn state(&self) -> ConnectionState {
        match self.queue.state() {
            STATE_READY => ConnectionState::Ready,
            STATE_ERROR => ConnectionState::Failed,
            _ => ConnectionState::Disconnected,
        }
    }

    /// What the NIC has counted of this connection: a snapshot, taken at once. Over verbs all are 0: a device counts for
    /// its port, for the host to read.
    #[doc(alias = "flexio_dev_nic_counters_config")]
    #[doc(alias = "flexio_dev_nic_counters_sample")]
    pub fn counters<const N: usize>(&self, which: [NicCounter; N]) -> [u64; N] {
        self.queue.counters(which)
    }

    /// Rings the doorbell for everything posted without [`PostFlags::FLUSH`].
    #[doc(alias = "flexio_dev_qp_sq_ring_db")]
    pub fn flush(&self) {
        self.queue.ring_doorbell();
    }

    pub(crate) fn post(&self, entry: WorkEntry, flags: PostFlags) -> Result<u16, PostError> {
        let entry = WorkEntry {
            flags: flags.work(),
            ..entry
        };
        let posted = self.queue.post(&entry, flags.has(PostFlags::FLUSH));
        self.queue.thread().noting(posted)
    }

    /// Posts work on `len` bytes of the peer's memory.
    #[inline]
    fn post_to(
        &self,
        place: RemoteBuf,
        len: u32,
        entry: WorkEntry,
        flags: PostFlags,
    ) -> Result<u16, PostError> {
        let room = place.len;
        if len > room {
            let refused = Err(PostError::NoRoom { len, room });
            return self.queue.thread().noting(refused);
        }
        self.post(at(entry, place), flags)
    }

    /// Holds up what is posted behind it until a condition of an event of this node holds. Its own completion comes in its turn:
    /// behind those of what was posted before it.
    ///
    /// An event that is closed before, or that the device may not wait for, fails the connection.
    ///
    /// # Errors
    /// The queue is full; not connected.
    #[doc(alias = "flexio_dev_swqe_seg_wait_on_data_set")]
    #[doc(alias = "flexio_dev_swqe_seg_wait_on_data_data_set")]
    pub fn wait_for(
        &self,
        event: EventHandle,
        condition: Condition,
        flags: PostFlags,
    ) -> Result<u16, PostError> {
        let entry = WorkEntry {
            remote: RemotePlace {
                address: event.0.to_bits(),
                key: condition.op() as u32,
            },
            atomic: [condition.operand(), condition.mask()],
            ..WorkEntry::new(WorkOpcode::Wait, WorkFlags::NONE)
        };
        self.post(entry, flags)
    }

    /// Sends a message into the peer's next receive.
    ///
    /// # Errors
    /// The queue is full; not connected; more bytes than an entry names.
    #[doc(alias = "doca_dpa_dev_rdma_post_send")]
    #[doc(alias = "doca_dpa_dev_rdma_post_buf_send")]
    pub fn send(&self, data: Buf, flags: PostFlags) -> Result<u16, PostError> {
        self.post(with_data(WorkOpcode::Send, data), flags)
    }

    /// Sends a message with four bytes that arrive in the peer's completion.
    ///
    /// # Errors
    /// The queue is full; not connected; more bytes than an entry names.
    #[doc(alias = "doca_dpa_dev_rdma_post_send_imm")]
    #[doc(alias = "doca_dpa_dev_rdma_post_buf_send_imm")]
    pub fn send_imm(&self, data: Buf, immediate: u32, flags: PostFlags) -> Result<u16, PostError> {
        let entry = WorkEntry {
            immediate,
            ..with_data(WorkOpcode::SendImmediate, data)
        };
        self.post(entry, flags)
    }

    /// Writes into the peer's memory. That it was posted says nothing of the peer: how it ended is said by its completion.
    ///
    /// # Errors
    /// The queue is full; not connected; more bytes than the place has, or than an entry names.
    #[doc(alias = "doca_dpa_dev_rdma_post_write")]
    #[doc(alias = "doca_dpa_dev_rdma_post_buf_write")]
    pub fn write(&self, data: Buf, to: RemoteBuf, flags: PostFlags) -> Result<u16, PostError> {
        let entry = with_data(WorkOpcode::Write, data);
        self.post_to(to, data.len, entry, flags)
    }

    /// Writes into the peer's memory; takes one of its receives, and the four bytes arrive in that completion.
    ///
    /// # Errors
    /// The queue is full; not connected; more bytes than the place has, or than an entry names.
    #[doc(alias = "doca_dpa_dev_rdma_post_write_imm")]
    #[doc(alias = "doca_dpa_dev_rdma_post_buf_write_imm")]
    pub fn write_imm(
        &self,
        data: Buf,
        to: RemoteBuf,
        immediate: u32,
        flags: PostFlags,
    ) -> Result<u16, PostError> {
        let entry = WorkEntry {
            immediate,
            ..with_data(WorkOpcode::WriteImmediate, data)
        };
        self.post_to(to, data.len, entry, flags)
    }

    /// Writes a number into the peer's memory: eight bytes that travel in the entry, from no memory.
    ///
    /// # Errors
    /// The queue is full; not connected; more bytes than the place has.
    pub fn write_word(
        &self,
        value: u64,
        to: RemoteBuf,
        flags: PostFlags,
    ) -> Result<u16, PostError> {
        let entry = WorkEntry {
            data: WorkData::word(value),
            ..WorkEntry::new(WorkOpcode::Write, WorkFlags::NONE)
        };
        self.post_to(to, WORD, entry, flags)
    }

    /// Reads from the peer's memory.
    ///
    /// # Errors
    /// The queue is full; not connected; more bytes than the place has, or than an entry names.
    #[doc(alias = "doca_dpa_dev_rdma_post_read")]
    #[doc(alias = "doca_dpa_dev_rdma_post_buf_read")]
    pub fn read(&self, into: Buf, from: RemoteBuf, flags: PostFlags) -> Result<u16, PostError> {
        let entry = with_data(WorkOpcode::Read, into);
        self.post_to(from, into.len, entry, flags)
    }

    /// Adds to eight aligned bytes of the peer's memory. The completion has the word before; `result`, eight bytes of
    /// local memory, gets it too.
    ///
    /// # Errors
    /// The queue is full; not connected; more bytes than the place has.
    #[doc(alias = "doca_dpa_dev_rdma_post_atomic_fetch_add")]
    #[doc(alias = "doca_dpa_dev_rdma_post_buf_atomic_fetch_add")]
    pub fn fetch_add(
        &self,
        to: RemoteBuf,
        addend: u64,
        result: Option<Buf>,
        flags: PostFlags,
    ) -> Result<u16, PostError> {
        let entry = WorkEntry {
            atomic: [addend, 0],
            ..atomic(WorkOpcode::FetchAdd, result)
        };
        self.post_to(to, WORD, entry, flags)
    }

    /// Stores `swap` in eight aligned bytes of the peer's memory if they are `compare`. The completion has the word
    /// before; `result`, eight bytes of local memory, gets it too.
    ///
    /// # Errors
    /// The queue is full; not connected; more bytes than the place has.
    pub fn compare_swap(
        &self,
        to: RemoteBuf,
        compare: u64,
        swap: u64,
        result: Option<Buf>,
        flags: PostFlags,
    ) -> Result<u16, PostError> {
        let entry = WorkEntry {
            atomic: [swap, compare],
            ..atomic(WorkOpcode::CompareSwap, result)
        };
        self.post_to(to, WORD, entry, flags)
    }

    /// Sets a sync event of the peer. Whoever sees it there sees everything posted on this connection before.
    ///
    /// # Errors
    /// The queue is full; not connected.
    #[doc(alias = "doca_dpa_dev_rdma_signal_set")]
    pub fn signal_set(
        &self,
        event: RemoteEvent,
        value: u64,
        flags: PostFlags,
    ) -> Result<u16, PostError> {
        self.write_word(value, counter(event), flags)
    }

    /// Adds to a sync event of the peer. Whoever sees it there sees everything posted on this connection before.
    ///
    /// # Errors
    /// The queue is full; not connected.
    #[doc(alias = "doca_dpa_dev_rdma_signal_add")]
    pub fn signal_add(
        &self,
        event: RemoteEvent,
        n: u64,
        flags: PostFlags,
    ) -> Result<u16, PostError> {
        self.fetch_add(counter(event), n, None, flags)
    }
}

/// Bytes of a number that is written or updated.
const WORD: u32 = 8;

const fn with_data(opcode: WorkOpcode, buf: Buf) -> WorkEntry {
    WorkEntry {
        data: WorkData::Local {
            address: buf.address,
            len: buf.len,
            key: buf.key,
        },
        ..WorkEntry::new(opcode, WorkFlags::NONE)
    }
}

const fn at(entry: WorkEntry, remote: RemoteBuf) -> WorkEntry {
    WorkEntry {
        remote: RemotePlace {
            address: remote.address,
            key: remote.key,
        },
        ..entry
    }
}

fn atomic(opcode: WorkOpcode, result: Option<Buf>) -> WorkEntry {
    match result {
        Some(buf) => with_data(opcode, buf),
        None => WorkEntry::new(opcode, WorkFlags::NONE),
    }
}

const fn counter(event: RemoteEvent) -> RemoteBuf {
    RemoteBuf {
        address: event.address,
        key: event.key,
        len: WORD,
    }
}
