//! Programming the data-path accelerator (DPA): kernels launched from an async host program, chained by 64-bit sync
//! events.
//!
//! ```
//! # mod kernels {
//! use doca_dpa_dev::prelude::*;
//!
//! #[dpa_kernel]
//! pub fn count(thread: &Thread, samples: DevSlice<u32>, bins: AtomicSlice<u64>) {
//!     for i in thread.strided(samples.len()) {
//!         bins.at(samples.read(i) as usize % bins.len()).add(1);
//!     }
//! }
//! # }
//! # use kernels::*;
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), doca_dpa::Error> {
//! use doca_dpa::{Dpa, SyncEvent};
//!
//! let dpa = Dpa::open()?;                          // the device model unless told otherwise
//! let ready = SyncEvent::host_to_device(&dpa)?;    // who publishes, who waits: said once, here
//! let done = SyncEvent::device_to_host(&dpa)?;
//!
//! let samples = dpa.copy_in(&[3u32, 1, 4, 1, 5]).await?;
//! let bins = dpa.zeroed::<u64>(8).await?;
//!
//! dpa.launch(count)
//!     .args(CountArgs { samples: &samples, bins: &bins })   // kept alive until the launch is over
//!     .threads(16)
//!     .wait_for(ready.ge(1))
//!     .then_add(&done, 1)
//!     .submit()?;
//!
//! ready.add(1)?;
//! done.ge(1).await?;                               // happens after everything the kernel wrote
//! assert_eq!(bins.copy_out().await?, [0, 2, 0, 1, 1, 1, 0, 0]);
//! # Ok(())
//! # }
//! ```
//!
//! # What is promised
//!
//! `docs/semantics.md` numbers the rules. In short: events lose no wake; launches start in order of submission, with all
//! their threads at once; what a kernel wrote happens before its completion update; a fault (panic, bad access, overflow,
//! run time, deadlock) ends its own process with a typed error and nothing else; dropping a future or a handle never
//! blocks, never cancels and never frees what the device still uses.
//!
//! # What is not offered
//!
//! GPU and remote-PCI locations of events, DC transport, PCI device emulation and congestion-control programs (they
//! are about other parts of the card), launches from kernels and priorities (the original has neither). Platforms: Linux
//! on x86-64 and aarch64.

#![forbid(unsafe_code)]

mod args;
mod buffer;
mod builder;
mod call;
mod close;
mod cmdq;
mod dpa;
pub mod error;
mod event;
mod function;
mod global;
mod hash_table;
mod launch;
pub mod log;
pub mod rdma;
mod sim;
mod step;
mod stream;
pub mod testing;
mod thread;
mod time;
pub mod trace;
mod turn;
mod watch;
mod window;

pub use buffer::{BufferSlice, DeviceBuffer};
pub use builder::Builder;
pub use call::Call;
pub use cmdq::{CommandError, CommandQueue, CommandQueueBuilder};
pub use dpa::Dpa;
pub use dpa_abi::{
    CollectiveKind, Condition, DevAddr, EventHandle, FaultKind, HandlerHandle, LogLevel, Pod,
    ReduceOp,
};
pub use dpa_macros::dpa_test;
pub use error::Error;
pub use event::{EventBuilder, EventCondition, EventWait, SyncEvent};
pub use flexio::handler::{Affinity, AttachError};
pub use flexio::{
    CloseReport, CrashProblem, CrashReport, DeviceInfo, DeviceKind, ErrorStatus, Fault,
    HandlerError, HandlerState, HeapInfo, Place, Snapshot, Waiting, WaitingOn,
};
pub use flexio::{
    DeviceFileError, FunctionError, FunctionInfo, FunctionKind, FunctionSpec, GroupSpec,
    LayoutError, NoUnitSet, PartitionSpec, UnitSet, WindowError,
};
pub use function::{Extended, NoGroup};
pub use global::GlobalRef;
pub use hash_table::{HashTable, HashTableError};
pub use launch::{Launch, LaunchBuilder, Times, TrySubmitError};
pub use log::{LogFilter, MessageStream, StreamHandle};
pub use sim::{
    Chance, Diary, Endless, NetworkCounters, NetworkSpec, Note, Sim, SimError, Simulated, Stuck,
    VirtualNetwork,
};
pub use step::{Step, StepBuilder};
pub use stream::Stream;
pub use sync_event::{CloseReason, Location, LocationSet, Locations};
pub use thread::{DpaThread, ThreadBuilder, ThreadError, ThreadGroup};
pub use window::HostWindow;
