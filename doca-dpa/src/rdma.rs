//! RDMA: memory that peers may touch, events that they may signal, connections over which kernels and the host do so.
//!
//! ```no_run
//! # mod kernels {
//! use doca_dpa_dev::prelude::*;
//!
//! /// Writes a greeting into the peer's memory, then signals the peer's event.
//! #[dpa_kernel]
//! pub fn greet(_thread: &Thread, rdma: Rdma, from: LocalMemory, to: RemoteMemory, arrived: RemoteEvent) {
//!     let peer = rdma.connection(0);
//!     let posted = peer
//!         .write(from.at(0, 64), to.at(0, 64), PostFlags::OPTIMIZE_REPORTS)
//!         .and_then(|_| peer.signal_add(arrived, 1, PostFlags::FLUSH));
//!     posted.expect("room for two");
//! }
//! # }
//! # use kernels::*;
//! # async fn exchange(_: &'static str, mine: &[u8]) -> Vec<u8> { mine.to_vec() }
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), doca_dpa::Error> {
//! use doca_dpa::rdma::{RemoteMemoryMap, RemoteSyncEvent, Rights};
//! use doca_dpa::{Dpa, Location, SyncEvent};
//! use std::time::Duration;
//!
//! let dpa = Dpa::open()?;
//! // Who waits for a peer's signal wants to know if that is gone: after so much silence it is asked.
//! let silence = Duration::from_secs(1);
//! let address = "127.0.0.2".parse().expect("an address");
//! let rdma = dpa.rdma().address(address).keep_alive(silence).open()?;
//! let connection = rdma.export()?;
//!
//! let mine = dpa.zeroed::<u8>(64).await?;
//! let map = rdma.map(&mine, Rights::REMOTE_WRITE)?;
//! let arrived = SyncEvent::builder(&dpa)
//!     .publisher(Location::Remote)
//!     .subscriber(Location::Host)
//!     .create()?;
//! let signal = connection.export_event(&arrived)?;
//!
//! // What the two sides tell each other goes over any channel: a socket, a file, a job scheduler.
//! connection.connect(&exchange("connection", &connection.blob()).await)?;
//! let theirs = RemoteMemoryMap::import(&exchange("memory map", &map.export()).await)?;
//! let their_event = RemoteSyncEvent::import(&exchange("event", &signal.export()).await)?;
//!
//! dpa.launch(greet)
//!     .args(GreetArgs { rdma: &rdma, from: &map, to: theirs, arrived: their_event })
//!     .submit()?;
//! arrived.ge(1).await?;                    // the peer's greeting is here, all of it
//! # Ok(())
//! # }
//! ```
//!
//! `docs/rdma.md` shows the packets of one write and signal, what of the standard is implemented, and what the network
//! must be trusted with.

mod async_ops;
mod blob;
mod builder;
mod connection;
mod context;
mod error;
mod memory;
mod returned;
mod work;

pub use async_ops::{AsyncOps, AsyncOpsBuilder, MAX_USER_DATA};
pub use blob::{RemoteMemoryMap, RemoteSyncEvent};
pub use builder::RdmaBuilder;
pub use connection::{Connection, EventExport};
pub use context::{CompletionQueue, Rdma};
pub use error::{
    BlobError, ConnectError, MapError, QueueError, RdmaOpenError, WorkRefused, WorkUnfinished,
};
pub use flexio::rdma::{
    AtomicCapability, BindError, Cause, Chosen, CompletionQueueError, ConnectionInfo,
    ConnectionState, Counters, DecodeError, ExportError, Incompatible, Lost, PathMtu, PostReason,
    Provider, ReceivedKind, RegisterError, RetryLimit, Rights, ServiceLevel, SocketCounters,
    SystemError, UnknownProvider, VerbsOpenError, VerbsPort, WorkError, WorkFailure,
};
pub use flexio::{ContextError, NicError, QuotaExceeded};
pub use memory::{BufferArray, HostBuffer, HostMap, HostMemoryRefused, HostRangeError, MemoryMap};
pub use returned::Returned;
pub use work::{ReceiveOp, Received, WorkOp, WorkResult};
