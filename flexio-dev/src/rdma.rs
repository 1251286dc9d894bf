//! RDMA as a kernel does it: work is posted to a connection, completions are read from a queue.
//!
//! Nothing here blocks but [`Completions::wait`]. A post hands an entry to the queue; the NIC looks at it when the
//! doorbell is rung, which a post with [`PostFlags::FLUSH`] does. Work of one connection is carried out in the order
//! in which it was posted, once (SEMANTICS 6.3, 6.4).

mod completions;
mod connection;
mod flags;

use dpa_abi::pod::{Load, Store};
use dpa_abi::{FaultKind, KernelArg, Pod};

use crate::context::{BindArg, ThreadContext};
use crate::memory::Buf;
use crate::queue::{PostError, QueueTable};

pub use completions::{Completion, Completions, CompletionsWire, WorkError};
pub use connection::{Connection, ConnectionState};
pub use flags::PostFlags;

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

    /// The connection with this id; a fault if there can be none. Cheap, but not free: keep it for a loop. When the host
    /// has dropped it, it is not connected, also while another has its id.
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
    /// All entries are in use: [`Rdma::receive_ack`] gives them back. Of a context without a receive queue (`receive_queue(0)`) that is
    /// so for ever.
    #[doc(alias = "doca_dpa_dev_rdma_post_receive")]
    #[doc(alias = "doca_dpa_dev_rdma_post_buf_receive")]
    #[track_caller]
    pub fn post_receive(&self, buf: Buf) -> Result<u16, PostError> {
        let posted = self.table.post_receive(buf.address, buf.len, buf.key);
        self.table.thread().noting(posted)
    }

    /// Gives the entries of `count` receives whose completions have been read back to the queue.
    ///
    /// # Panics
    /// If the NIC has not used so many: a fault of the process.
    #[doc(alias = "doca_dpa_dev_rdma_receive_ack")]
    #[track_caller]
    pub fn receive_ack(&self, count: u32) {
        self.table.receive_ack(count);
    }
}
