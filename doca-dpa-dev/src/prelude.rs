//! Everything a kernel needs: `use doca_dpa_dev::prelude::*;`.

pub use core::time::Duration;

pub use crate::{
    Arg, AtomicSlice, Condition, DevAddr, DevEvent, DevSlice, DevSliceMut, EventError, EventHandle,
    FaultKind, HandlerHandle, LogLevel, Ops, Pod, RankSlice, ReduceOp, Space, Thread,
    ThreadContext,
};
pub use crate::{
    AsyncOps, Buf, BufArray, Completion, CompletionError, CompletionKind, Completions, Connection,
    ConnectionState, LocalMemory, Matrix, NicCounter, PostError, PostFlags, Rdma, RemoteBuf,
    RemoteEvent, RemoteMemory, Syndrome, WorkError,
};
pub use crate::{Errno, SpinGuard, SpinLock};
pub use crate::{Global, dpa_global};
pub use crate::{HashTable, HashTableWire, TableFull};
pub use crate::{StreamHandle, dpa_print, msg};
pub use crate::{debug, dpa_kernel, dpa_rpc, error, info, warn};
