//! Device side of the low layer: the thread context, bound views of device memory, sync events, queues of the NIC,
//! fences, counters and fixed-point arithmetic.
//!
//! A kernel author usually writes against `doca-dpa-dev`, which stands on this crate. Everything here is `no_std`,
//! without allocation, and reaches the device only through the port of `dpa-abi`.
//!
//! A *device call* is any function here that asks something of the device: loads and stores of views do not. Every device call
//! is a safe point (the thread may be switched there, or stopped by unwinding its stack), but for those that only look: `bind`
//! and the like, `local_storage`, clocks and counters of the unit, who the thread is, a message that its level keeps back.

#![no_std]
#![cfg_attr(not(test), forbid(unsafe_code))]

pub mod async_ops;
pub mod context;
pub mod errno;
pub mod event;
pub mod fence;
pub mod hash_table;
pub mod lock;
pub mod math;
pub mod memory;
pub mod message;
pub mod queue;
pub mod raw;
pub mod rdma;
pub mod view;

pub use async_ops::AsyncOps;
pub use context::{BindArg, ThreadContext};
pub use dpa_abi::StreamHandle;
pub use dpa_abi::port::{Collective, Counter, LogLevel, Ops, ReduceOp, Space};
pub use errno::Errno;
pub use event::DevEvent;
pub use hash_table::{HashTable, HashTableWire, TableFull};
pub use lock::{SpinGuard, SpinLock};
pub use memory::{Buf, BufArray, LocalMemory, RemoteBuf, RemoteEvent, RemoteMemory};
pub use message::MAX_MESSAGE;
pub use queue::{CompletionError, PostError};
pub use rdma::{Completion, Completions, Connection, ConnectionState, PostFlags, Rdma, WorkError};
pub use view::{AtomicSlice, DevSlice, DevSliceMut, SliceWire};
