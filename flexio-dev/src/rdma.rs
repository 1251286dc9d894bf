//! RDMA as a kernel does it: work is posted to a connection, completions are read from a queue.
//!
//! Nothing here blocks but [`Completions::wait`]. A post hands an entry to the queue; the NIC looks at it when the
//! doorbell is rung, which a post with [`PostFlags::FLUSH`] does. Work of one connection is carried out in the order
//! in which it was posted, once (SEMANTICS 6.3, 6.4).

use core::fmt;
use core::ops::BitOr;
use core::time::Duration;

use dpa_abi::pod::{Load, Store};
use dpa_abi::queue::record::{STATE_ERROR, STATE_READY};
use dpa_abi::queue::{
    CompletionEntry, CompletionKind, NicCounter, RemotePlace, Syndrome, WorkData, WorkEntry,
    WorkFlags, WorkOpcode,
};
use dpa_abi::{Condition, EventHandle, FaultKind, KernelArg, Pod};

use crate::context::{BindArg, ThreadContext};
use crate::memory::{Buf, RemoteBuf, RemoteEvent};
use crate::queue::{CompletionError, CompletionQueue, PostError, QueueTable, SendQueue};

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

    const fn has(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    const fn work(self) -> WorkFlags {
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

/// How an [`Rdma`] travels: the place of its table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RdmaWire {
    /// The address of the table.
    pub table: u64,
    /// Its words.
    pub words: u64,
}

#[diagnostic::do_not_recommend]
impl Pod for RdmaWire {
    const SIZE: usize = 16;
    const ALIGN: usize = 8;
    fn load<L: Load + ?Sized>(from: &L, at: usize) -> Self {
        Self {
            table: from.u64(at),
            words: from.u64(at + 8),
        }
    }
    fn store<S: Store + ?Sized>(self, to: &mut S, at: usize) {
        to.put_u64(at, self.table);
        to.put_u64(at + 8, self.words);
    }
}

/// An RDMA context: connections to peers, and the receives they share.
#[doc(alias = "doca_dpa_dev_rdma_t")]
#[derive(Clone, Copy, Debug)]
pub struct Rdma<'t> {
    table: QueueTable<'t>,
}

#[diagnostic::do_not_recommend]
impl KernelArg for Rdma<'_> {
    type Wire = RdmaWire;
}

impl<'t> BindArg<'t> for Rdma<'t> {
    fn bind_arg(wire: RdmaWire, thread: &'t ThreadContext<'t>) -> Result<Self, FaultKind> {
        let table = QueueTable::bind(thread, wire.table, wire.words)?;
        Ok(Self { table })
    }
}

impl<'t> Rdma<'t> {
    /// How many connections it may have; their ids are below.
    pub fn connections(&self) -> u32 {
        self.table.connections()
    }

    /// The connection with this id; a fault if there can be none. Cheap, but not free: keep it for a loop.
    #[track_caller]
    pub fn connection(&self, id: u32) -> Connection<'t> {
        Connection {
            queue: self.table.send_queue(id),
        }
    }

    /// Posts a receive: the place for one incoming message of any connection. Its number, by which the completion names
    /// it.
    ///
    /// # Errors
    /// All entries are in use: [`Rdma::receive_ack`] gives them back.
    #[doc(alias = "doca_dpa_dev_rdma_post_receive")]
    #[doc(alias = "doca_dpa_dev_rdma_post_buf_receive")]
    #[track_caller]
    pub fn post_receive(&self, buf: Buf) -> Result<u16, PostError> {
        let posted = self.table.post_receive(buf.address, buf.len, buf.key);
        self.table.thread().noting(posted)
    }

    /// Gives the entries of `count` receives whose completions have been read back to the queue.
    #[doc(alias = "doca_dpa_dev_rdma_receive_ack")]
    pub fn receive_ack(&self, count: u32) {
        self.table.receive_ack(count);
    }
}

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
    queue: SendQueue<'t>,
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
        let number = self.queue.thread().noting(self.queue.post(&entry))?;
        if flags.has(PostFlags::FLUSH) {
            self.queue.ring_doorbell();
        }
        Ok(number)
    }

    /// Holds up what is posted behind it until a condition of an event of this node holds. Its own completion may come
    /// before those of work that is still under way.
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
    /// The queue is full; not connected.
    #[doc(alias = "doca_dpa_dev_rdma_post_send")]
    #[doc(alias = "doca_dpa_dev_rdma_post_buf_send")]
    pub fn send(&self, data: Buf, flags: PostFlags) -> Result<u16, PostError> {
        self.post(with_data(WorkOpcode::Send, data), flags)
    }

    /// Sends a message with four bytes that arrive in the peer's completion.
    ///
    /// # Errors
    /// The queue is full; not connected.
    #[doc(alias = "doca_dpa_dev_rdma_post_send_imm")]
    #[doc(alias = "doca_dpa_dev_rdma_post_buf_send_imm")]
    pub fn send_imm(&self, data: Buf, immediate: u32, flags: PostFlags) -> Result<u16, PostError> {
        let entry = WorkEntry {
            immediate,
            ..with_data(WorkOpcode::SendImmediate, data)
        };
        self.post(entry, flags)
    }

    /// Writes into the peer's memory.
    ///
    /// # Errors
    /// The queue is full; not connected.
    #[doc(alias = "doca_dpa_dev_rdma_post_write")]
    #[doc(alias = "doca_dpa_dev_rdma_post_buf_write")]
    pub fn write(&self, data: Buf, to: RemoteBuf, flags: PostFlags) -> Result<u16, PostError> {
        self.post(at(with_data(WorkOpcode::Write, data), to), flags)
    }

    /// Writes into the peer's memory; takes one of its receives, and the four bytes arrive in that completion.
    ///
    /// # Errors
    /// The queue is full; not connected.
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
            ..at(with_data(WorkOpcode::WriteImmediate, data), to)
        };
        self.post(entry, flags)
    }

    /// Writes a number into the peer's memory: eight bytes that travel in the entry, from no memory.
    ///
    /// # Errors
    /// The queue is full; not connected.
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
        self.post(at(entry, to), flags)
    }

    /// Reads from the peer's memory.
    ///
    /// # Errors
    /// The queue is full; not connected.
    #[doc(alias = "doca_dpa_dev_rdma_post_read")]
    #[doc(alias = "doca_dpa_dev_rdma_post_buf_read")]
    pub fn read(&self, into: Buf, from: RemoteBuf, flags: PostFlags) -> Result<u16, PostError> {
        self.post(at(with_data(WorkOpcode::Read, into), from), flags)
    }

    /// Adds to eight aligned bytes of the peer's memory. The completion has the word before; `result`, eight bytes of
    /// local memory, gets it too.
    ///
    /// # Errors
    /// The queue is full; not connected.
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
        self.post(at(entry, to), flags)
    }

    /// Stores `swap` in eight aligned bytes of the peer's memory if they are `compare`. The completion has the word
    /// before; `result`, eight bytes of local memory, gets it too.
    ///
    /// # Errors
    /// The queue is full; not connected.
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
        self.post(at(entry, to), flags)
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
        len: 8,
    }
}

/// How a [`Completions`] travels: the place of its record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CompletionsWire {
    /// The address of the record.
    pub record: u64,
}

#[diagnostic::do_not_recommend]
impl Pod for CompletionsWire {
    const SIZE: usize = 8;
    const ALIGN: usize = 8;
    fn load<L: Load + ?Sized>(from: &L, at: usize) -> Self {
        Self {
            record: from.u64(at),
        }
    }
    fn store<S: Store + ?Sized>(self, to: &mut S, at: usize) {
        to.put_u64(at, self.record);
    }
}

/// A completion queue that one or several RDMA contexts report to.
#[doc(alias = "doca_dpa_dev_completion_t")]
#[derive(Clone, Copy, Debug)]
pub struct Completions<'t> {
    queue: CompletionQueue<'t>,
}

#[diagnostic::do_not_recommend]
impl KernelArg for Completions<'_> {
    type Wire = CompletionsWire;
}

impl<'t> BindArg<'t> for Completions<'t> {
    fn bind_arg(wire: CompletionsWire, thread: &'t ThreadContext<'t>) -> Result<Self, FaultKind> {
        let queue = CompletionQueue::bind(thread, wire.record)?;
        Ok(Self { queue })
    }
}

/// Something is complete.
#[doc(alias = "doca_dpa_dev_completion_element_t")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Completion(CompletionEntry);

impl Completion {
    /// What is complete.
    #[doc(alias = "doca_dpa_dev_get_completion_type")]
    pub const fn kind(&self) -> CompletionKind {
        self.0.kind
    }

    /// What the owner of the queue gave it to be named by: of an RDMA connection its id, else the user data.
    #[doc(alias = "doca_dpa_dev_get_completion_user_data")]
    pub const fn user_data(&self) -> u32 {
        self.0.user_data
    }

    /// The connection's id.
    #[doc(alias = "doca_dpa_dev_get_completion_user_data")]
    pub const fn connection(&self) -> u32 {
        self.0.user_data
    }

    /// Immediate data, if any came.
    #[doc(alias = "doca_dpa_dev_get_completion_immediate")]
    pub const fn immediate(&self) -> Option<u32> {
        match self.0.kind {
            CompletionKind::ReceiveSendImmediate | CompletionKind::ReceiveWriteImmediate => {
                Some(self.0.immediate)
            }
            _ => None,
        }
    }

    /// The number that the post gave.
    #[doc(alias = "doca_dpa_dev_rdma_completion_get_wr_index")]
    #[doc(alias = "doca_dpa_dev_completion_element_get_wqe_counter")]
    pub const fn index(&self) -> u16 {
        self.0.index
    }

    /// The number of the queue pair.
    #[doc(alias = "doca_dpa_dev_completion_element_get_qpn")]
    pub const fn queue_pair(&self) -> u32 {
        self.0.queue_pair
    }

    /// When the entry was written: device time.
    #[doc(alias = "doca_dpa_dev_completion_element_get_timestamp")]
    pub const fn timestamp(&self) -> Duration {
        Duration::from_nanos(self.0.timestamp)
    }

    /// Bytes of the message.
    #[doc(alias = "doca_dpa_dev_completion_element_get_received_bytes")]
    pub const fn len(&self) -> u32 {
        self.0.len
    }

    /// Whether the message has no bytes.
    pub const fn is_empty(&self) -> bool {
        self.0.len == 0
    }

    /// After an atomic that succeeded: the word before it.
    pub const fn original(&self) -> u64 {
        self.0.original
    }

    /// How it ended.
    ///
    /// # Errors
    /// Why it failed.
    #[doc(alias = "doca_dpa_dev_completion_element_get_error_syndrome")]
    #[doc(alias = "doca_dpa_dev_completion_element_get_vendor_error_syndrome")]
    pub const fn result(&self) -> Result<(), WorkError> {
        if self.0.kind.is_error() {
            Err(WorkError {
                syndrome: self.0.syndrome,
                sent: !self.0.unsent,
            })
        } else {
            Ok(())
        }
    }
}

/// Work failed. If it was sent, what it did to the peer is unknown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WorkError {
    /// Why.
    pub syndrome: Syndrome,
    /// Whether anything of it was sent. If not, it has done nothing.
    pub sent: bool,
}

impl fmt::Display for WorkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.syndrome)
    }
}

impl core::error::Error for WorkError {}

impl Completions<'_> {
    /// The next completion, if there is one. Its slot is free again.
    ///
    /// # Errors
    /// The queue has overrun, and everything before that has been read.
    pub fn poll(&self) -> Result<Option<Completion>, CompletionError> {
        let entry = self.poll_unacknowledged()?;
        if entry.is_some() {
            self.queue.acknowledge(1);
        }
        Ok(entry)
    }

    /// The next completion, if there is one. Its slot is not free before [`Completions::acknowledge`].
    ///
    /// # Errors
    /// As [`Completions::poll`].
    #[doc(alias = "doca_dpa_dev_get_completion")]
    pub fn poll_unacknowledged(&self) -> Result<Option<Completion>, CompletionError> {
        let taken = self.queue.thread().noting(self.queue.take())?;
        Ok(taken.map(Completion))
    }

    /// Gives the slots of `count` completions back.
    #[doc(alias = "doca_dpa_dev_completion_ack")]
    #[doc(alias = "flexio_dev_dbr_cq_set_ci")]
    pub fn acknowledge(&self, count: u32) {
        self.queue.acknowledge(count);
    }

    /// Asks for a notification of the next completion: the thread that is attached to the queue is triggered, or if there
    /// is none, 1 is added to the queue's event. True if something is complete already, which may bring no notification:
    /// poll once more.
    #[doc(alias = "doca_dpa_dev_completion_request_notification")]
    #[must_use = "what is complete already may bring no notification"]
    pub fn request_notification(&self) -> bool {
        self.queue.request_notification()
    }

    /// Blocks this thread until something is complete.
    ///
    /// # Errors
    /// The queue has overrun, or is closed.
    #[track_caller]
    pub fn wait(&self) -> Result<Completion, CompletionError> {
        self.finish(self.queue.wait(None))
    }

    /// As [`Completions::wait`], for at most `timeout` of device time.
    ///
    /// # Errors
    /// [`CompletionError::TimedOut`], too.
    #[track_caller]
    pub fn wait_timeout(&self, timeout: Duration) -> Result<Completion, CompletionError> {
        let nanos = u64::try_from(timeout.as_nanos()).unwrap_or(u64::MAX);
        self.finish(self.queue.wait(Some(nanos)))
    }

    fn finish(
        &self,
        entry: Result<CompletionEntry, CompletionError>,
    ) -> Result<Completion, CompletionError> {
        let entry = self.queue.thread().noting(entry)?;
        self.queue.acknowledge(1);
        Ok(Completion(entry))
    }
}
