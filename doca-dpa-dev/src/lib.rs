//! What the author of a kernel sees.
//!
//! A kernel is a plain function. Many threads run it at once, each with its rank; waiting in it blocks one thread only.
//! Kernels live in a `#![no_std]` library crate (in a crate with the standard library they work, too, but stay on the
//! worker they started on). Where neither that crate nor one it uses has the standard library or `alloc`, a kernel that computes for
//! long without a safe point is interrupted for others; elsewhere it keeps its worker, until the run-time limit.
//!
//! ```
//! #![forbid(unsafe_code)]
//! use doca_dpa_dev::prelude::*;
//!
//! /// Counts how often each sample occurs, then tells `done` how many there are.
//! #[dpa_kernel]
//! pub fn count(thread: &Thread, samples: DevSlice<u32>, bins: AtomicSlice<u64>, done: DevEvent) {
//!     for i in thread.strided(samples.len()) {            // rank, rank + threads, ..
//!         let bin = samples.read(i) as usize % bins.len();
//!         bins.at(bin).add(1);
//!     }
//!     thread.barrier();                                   // all threads have counted
//!     if thread.rank() == 0 {
//!         info!(thread, "{} samples counted", samples.len());
//!         if done.add(samples.len() as u64).is_err() {
//!             warn!(thread, "nobody is interested any more");
//!         }
//!     }
//! }
//!
//! /// Called by the host like a function: one thread, a result of at most eight bytes.
//! #[dpa_rpc]
//! pub fn largest(_thread: &Thread, xs: DevSlice<u32>) -> u64 {
//!     (0..xs.len()).map(|i| u64::from(xs.read(i))).max().unwrap_or(0)
//! }
//!
//! /// A plain value of your own: it can stand in device memory and travel as an argument.
//! #[derive(Clone, Copy, Debug, Pod)]
//! pub struct Point {
//!     pub x: i32,
//!     pub y: i32,
//! }
//!
//! /// Arguments that belong together. The host fills in `ShapeArg { points, scale }`.
//! #[derive(Arg)]
//! pub struct Shape<'t> {
//!     points: DevSliceMut<'t, Point>,
//!     scale: i32,
//! }
//!
//! /// Each thread changes the points of its own rank only.
//! #[dpa_kernel]
//! pub fn stretch(thread: &Thread, shape: Shape<'_>) {
//!     let mut mine = thread.rank_slice(shape.points);
//!     mine.update(|_, p| Point { x: p.x * shape.scale, y: p.y * shape.scale });
//! }
//! # fn main() {}
//! ```
//!
//! The host launches `count` with `CountArgs { samples: &samples, bins: &bins, done: &done }`, a struct that
//! `#[dpa_kernel]` has made. What the arguments refer to stays alive until the launch is over.
//!
//! # What a kernel can rely on
//!
//! * A view is checked once, when the kernel starts; afterwards only the index is. A bad one is a fault of the process,
//!   with kernel, rank and source line.
//! * Plain reads may be merged and order nothing. To poll, use `read_volatile`, an [`AtomicSlice`], or better
//!   [`DevEvent::wait`]. Order between threads is what `barrier()`, events, atomics and fences give.
//! * What waits, publishes, posts, fences or meets others is a *safe point*: the thread may be switched there, and is
//!   stopped there (its stack is unwound) when its process has failed. Plain accesses and what only looks (`rank`, `time`,
//!   `bind` and the like) are none; of atomics, volatile reads and lookups in hash tables one in 1,024 is. A loop of nothing
//!   but the former calls `safe_point()` or `yield_now()`.
//! * A kernel's result is ordered: what all its threads wrote happens before the launch's completion update.

#![no_std]
#![forbid(unsafe_code)]

#[doc(hidden)]
#[path = "private.rs"]
pub mod __private;
mod log;
pub mod prelude;
mod rank_slice;
mod thread;

pub use dpa_abi::global::Global;
pub use dpa_abi::queue::{CompletionKind, Matrix, NicCounter, Syndrome};
pub use dpa_abi::{
    CollectiveKind, Condition, DevAddr, EventError, EventHandle, FaultKind, Handle, HandlerHandle,
    MAX_ARG_BYTES, Pod,
};
pub use dpa_macros::{Arg, Pod, dpa_global, dpa_kernel, dpa_rpc};
pub use flexio_dev::fence::compiler_barrier;
pub use flexio_dev::math;
pub use flexio_dev::raw;
pub use flexio_dev::{
    AsyncOps, Buf, BufArray, Completion, CompletionError, Completions, Connection, ConnectionState,
    LocalMemory, PostError, PostFlags, Rdma, RemoteBuf, RemoteEvent, RemoteMemory, WorkError,
};
pub use flexio_dev::{
    AtomicSlice, DevEvent, DevSlice, DevSliceMut, LogLevel, Ops, ReduceOp, Space, ThreadContext,
};
pub use flexio_dev::{Errno, SpinGuard, SpinLock};
pub use flexio_dev::{HashTable, HashTableWire, TableFull};
pub use flexio_dev::{MAX_MESSAGE, StreamHandle, dpa_print, msg};
pub use rank_slice::RankSlice;
pub use thread::Thread;
