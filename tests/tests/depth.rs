//! The compiler asks of a handle that a spawned task holds, and of all that stands behind it, whether it may go to another thread,
//! and it asks no deeper than 128 levels (`recursion_limit`). What is ours must leave most of them to who uses it: futures within
//! futures. What each needs by itself is 20 levels at most.
#![recursion_limit = "32"]

use doca_dpa::rdma::{Connection, HostBuffer, HostMap, MemoryMap, Rdma, RemoteMemoryMap};
use doca_dpa::{
    CommandQueue, DeviceBuffer, Dpa, DpaThread, HashTable, Launch, MessageStream, Step, Stream,
    SyncEvent,
};

fn may_go_anywhere<T: Send + Sync>() {}

#[test]
fn handles_leave_levels_to_who_uses_them() {
    may_go_anywhere::<Dpa>();
    may_go_anywhere::<SyncEvent>();
    may_go_anywhere::<DeviceBuffer<u64>>();
    may_go_anywhere::<Launch>();
    may_go_anywhere::<Step<()>>();
    may_go_anywhere::<HashTable>();
    may_go_anywhere::<Stream>();
    may_go_anywhere::<MessageStream>();
    may_go_anywhere::<CommandQueue>();
    may_go_anywhere::<DpaThread>();
    may_go_anywhere::<Rdma>();
    may_go_anywhere::<Connection>();
    may_go_anywhere::<HostBuffer>();
    may_go_anywhere::<HostMap>();
    may_go_anywhere::<MemoryMap>();
    may_go_anywhere::<RemoteMemoryMap>();
}
