//! Kernels whose queues have their entries in external memory, with fences or without.

use doca_dpa_dev::prelude::*;
use doca_dpa_dev::raw::{CompletionKind, CompletionQueue, ReceiveQueue, SendQueue, WorkOpcode};

use super::{signaled, words};

/// Looks for a completion: more than its work takes, and fewer than it takes until whatever was cached is surely evicted.
const LOOKS: u32 = 50;

/// Looks at the completion queue, posts a write, and looks for its completion. `fenced`: what is cached is dropped before each look.
/// Stores 1 if it was found.
#[dpa_kernel]
pub fn poll_in_external_memory(
    thread: &Thread,
    send: SendQueue<'_>,
    queue: CompletionQueue<'_>,
    local: Buf,
    remote: RemoteBuf,
    found: DevAddr<u64>,
    fenced: u64,
) {
    let early = queue.poll_unfenced(0);
    let wqe = signaled(WorkOpcode::Write);
    let posted = send.post(&wqe.data(local).remote(remote));
    if !matches!(early, Ok(None)) || posted.is_err() || send.ring().is_err() {
        thread.error(1);
    }
    for _ in 0..LOOKS {
        if fenced == 1 {
            thread.window_read_inv();
        }
        if let Ok(Some(entry)) = queue.poll_unfenced(0) {
            let sent = entry.kind == CompletionKind::Send;
            words(thread, found).at(0).store(sent.into());
            return;
        }
    }
}

/// Posts a receive and a send, and waits for both completions, with the library's own fences. Then the same for all rounds.
#[dpa_kernel]
pub fn talk_in_external_memory(
    thread: &Thread,
    send: SendQueue<'_>,
    receive: ReceiveQueue<'_>,
    completions: CompletionQueue<'_>,
    from: Buf,
    to: Buf,
    rounds: u64,
) {
    for round in 0..rounds {
        let wqe = signaled(WorkOpcode::Send);
        let posted = receive.post(to).is_ok() && send.post(&wqe.data(from)).is_ok();
        if !posted || send.ring().is_err() {
            thread.error(1);
        }
        for index in 2 * round..2 * round + 2 {
            while !matches!(completions.poll(index), Ok(Some(_))) {}
        }
        completions.set_ci(2 * round + 2);
    }
}
