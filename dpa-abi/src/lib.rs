//! What host, device and model agree on.
//!
//! Everything here is plain data or a protocol over plain data: device addresses, handles, conditions,
//! the event word, the packed arguments and entry of a kernel, the port through which a kernel reaches
//! its device, faults, and the one module through which device memory is read and written.
//! `no_std`, without allocation and without dependencies: the same crate is compiled for the host and for
//! the device's RISC-V cores.

#![no_std]
#![cfg_attr(
    dpa_loom,
    allow(clippy::new_without_default, reason = "loom's atomics are not const")
)]

pub mod access;
pub mod addr;
pub mod arg;
mod bytes;
pub mod condition;
pub mod event_word;
pub mod fault;
pub mod global;
pub mod handle;
pub mod kernel;
pub mod location;
pub mod message;
pub mod pod;
pub mod port;
pub mod queue;
pub mod sync;

pub use addr::{DevAddr, HEAP_BASE, WINDOW_BASE};
pub use arg::{IntoArg, IntoArgs, KernelArg, KernelArgs, MAX_ARG_BYTES};
pub use condition::{Condition, Update};
pub use event_word::EventWord;
pub use fault::{EventError, FaultKind, Rights};
pub use handle::{EventHandle, Handle, HandlerHandle};
pub use kernel::{Kernel, KernelEntry, Reach, Rpc, RpcEntry};
pub use location::{Location, LocationSet};
pub use message::{LogFilter, StreamHandle};
pub use pod::Pod;
pub use port::{CollectiveKind, LogLevel, PortVtable, ReduceOp, UnitRef};
