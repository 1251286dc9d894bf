//! Kernels that post entries of several kinds, one behind the other.

use doca_dpa_dev::prelude::*;
use doca_dpa_dev::raw::{SendQueue, WorkFlags, WorkOpcode, Wqe};
use dpa_abi::Handle;

use super::signaled;

/// A write that is not reported.
pub const SILENT_WRITE: u64 = 1;
/// A write that is.
pub const SIGNALED_WRITE: u64 = 2;
/// A wait whose condition holds.
pub const WAIT_THAT_HOLDS: u64 = 3;
/// A wait for an event that there is not.
pub const WAIT_FOR_NOTHING: u64 = 4;
/// A read.
pub const SIGNALED_READ: u64 = 5;

fn of_kind(kind: u64, event: EventHandle, local: Buf, remote: RemoteBuf) -> Option<Wqe> {
    let moves = |wqe: Wqe| wqe.data(local).remote(remote);
    let wait = signaled(WorkOpcode::Wait);
    match kind {
        SILENT_WRITE => Some(moves(Wqe::control(WorkOpcode::Write, WorkFlags::NONE))),
        SIGNALED_WRITE => Some(moves(signaled(WorkOpcode::Write))),
        SIGNALED_READ => Some(moves(signaled(WorkOpcode::Read))),
        WAIT_THAT_HOLDS => Some(wait.wait_on(event, Condition::ge(0))),
        WAIT_FOR_NOTHING => Some(wait.wait_on(EventHandle(Handle::NULL), Condition::ge(0))),
        _ => None,
    }
}

/// Posts entries of these kinds, a byte each from the lowest on, and rings once for all of them.
#[dpa_kernel]
pub fn post_kinds(
    thread: &Thread,
    queue: SendQueue<'_>,
    kinds: u64,
    event: EventHandle,
    local: Buf,
    remote: RemoteBuf,
) {
    let kinds = (0..8).map(|byte| kinds >> (8 * byte) & 0xff);
    for wqe in kinds.map_while(|kind| of_kind(kind, event, local, remote)) {
        if queue.post(&wqe).is_err() {
            thread.error(1);
        }
    }
    if queue.ring().is_err() {
        thread.error(2);
    }
}
