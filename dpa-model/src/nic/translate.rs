//! Between entries in device memory and what the NIC's core understands.

use dpa_abi::queue::{
    CompletionEntry, CompletionKind, Matrix, Syndrome, WorkData, WorkEntry, WorkFlags, WorkOpcode,
};
use rdma::Shape;
use rdma::memory::Atomic;
use rdma::region::{LocalKey, RemoteKey};
use rdma::work::{
    Data, Flags, Inline, Operation, Received, ReceivedKind, RemoteAddress, Segment, Tail, WorkDone,
    WorkError, WorkRequest,
};

/// The work request that an entry asks for.
#[inline]
pub(crate) fn request(id: u64, entry: &WorkEntry) -> WorkRequest {
    WorkRequest {
        id,
        operation: operation(entry),
        flags: flags(entry.flags),
    }
}

#[inline]
fn operation(entry: &WorkEntry) -> Operation {
    let at = RemoteAddress {
        address: entry.remote.address,
        key: RemoteKey(entry.remote.key),
    };
    let send = |tail| Operation::Send {
        data: data(&entry.data),
        tail,
    };
    let write = |immediate| Operation::Write {
        data: data(&entry.data),
        to: at,
        immediate,
    };
    let atomic = |operation| Operation::Atomic {
        at,
        operation,
        result: Some(segment(&entry.data)).filter(|result| result.len > 0),
    };
    let [first, second] = entry.atomic;
    match entry.opcode {
        WorkOpcode::Send => send(Tail::Plain),
        WorkOpcode::SendImmediate => send(Tail::Immediate(entry.immediate)),
        WorkOpcode::SendInvalidate => send(Tail::Invalidate(RemoteKey(entry.immediate))),
        WorkOpcode::Write => write(None),
        WorkOpcode::WriteImmediate => write(Some(entry.immediate)),
        WorkOpcode::Read => Operation::Read {
            from: at,
            into: segment(&entry.data),
        },
        // Copies, transposes and waits never come here.
        WorkOpcode::FetchAdd | WorkOpcode::Copy | WorkOpcode::Transpose | WorkOpcode::Wait => {
            atomic(Atomic::Add(first))
        }
        WorkOpcode::CompareSwap => atomic(Atomic::CompareSwap {
            compare: second,
            swap: first,
        }),
    }
}

/// The matrix of an entry; `None` if it is not as long as its data.
pub(crate) fn shape(entry: &WorkEntry) -> Option<Shape> {
    let matrix = Matrix::from_bits(entry.atomic[0]);
    (matrix.bytes() == segment(&entry.data).len).then(|| Shape {
        element: matrix.element.into(),
        columns: matrix.columns.into(),
        rows: matrix.rows.into(),
    })
}

/// The local range of an entry.
#[inline]
pub(crate) fn segment(data: &WorkData) -> Segment {
    match *data {
        WorkData::Local { address, len, key } => Segment {
            address,
            len,
            key: LocalKey(key),
        },
        // Entries of these kinds have no inline data: decoding refuses it.
        WorkData::Inline { .. } => Segment {
            address: 0,
            len: 0,
            key: LocalKey(0),
        },
    }
}

#[inline]
fn data(data: &WorkData) -> Data {
    match data {
        WorkData::Inline { bytes, len } => Data::Inline(Inline::first(bytes, *len)),
        WorkData::Local { .. } => Data::Local(segment(data)),
    }
}

#[inline]
fn flags(flags: WorkFlags) -> Flags {
    let one = |ours, theirs: Flags| match flags.has(ours) {
        true => theirs,
        false => Flags::empty(),
    };
    one(WorkFlags::SIGNALED, Flags::SIGNALED)
        | one(WorkFlags::FENCE, Flags::FENCE)
        | one(WorkFlags::SOLICITED, Flags::SOLICITED)
}

/// The completion entry of work that is over.
#[inline]
pub(crate) fn work_done(done: &WorkDone, connection: u32, queue_pair: u32) -> CompletionEntry {
    CompletionEntry {
        kind: match done.outcome {
            Ok(()) => CompletionKind::Send,
            Err(_) => CompletionKind::SendError,
        },
        syndrome: done
            .outcome
            .map_or_else(|failure| syndrome(failure.cause), |()| Syndrome::NONE),
        unsent: done.outcome.is_err_and(|failure| !failure.sent),
        user_data: connection,
        immediate: 0,
        len: done.len,
        original: done.original,
        queue_pair,
        receive_queue: 0,
        index: done.id as u16,
        timestamp: 0,
    }
}

/// The completion entry of an entry that asked for something impossible.
pub(crate) fn impossible(index: u16, connection: u32, queue_pair: u32) -> CompletionEntry {
    CompletionEntry {
        kind: CompletionKind::SendError,
        syndrome: Syndrome::LOCAL_OPERATION,
        unsent: true,
        user_data: connection,
        immediate: 0,
        len: 0,
        original: 0,
        queue_pair,
        receive_queue: 0,
        index,
        timestamp: 0,
    }
}

/// The completion entry of a receive that is over.
///
/// `receive_queue` is the number of the queue of the low layer that it was taken from, else 0.
pub(crate) fn received(
    received: &Received,
    connection: u32,
    queue_pair: u32,
    receive_queue: u32,
) -> CompletionEntry {
    let (kind, immediate) = match received.kind {
        ReceivedKind::Send => (CompletionKind::ReceiveSend, 0),
        ReceivedKind::SendImmediate(value) => (CompletionKind::ReceiveSendImmediate, value),
        ReceivedKind::SendInvalidate(key) => (CompletionKind::ReceiveSendInvalidate, key.0),
        ReceivedKind::WriteImmediate(value) => (CompletionKind::ReceiveWriteImmediate, value),
    };
    CompletionEntry {
        kind: match received.outcome {
            Ok(()) => kind,
            Err(_) => CompletionKind::ReceiveError,
        },
        syndrome: received.outcome.map_or_else(syndrome, |()| Syndrome::NONE),
        unsent: false,
        user_data: connection,
        immediate,
        len: received.len,
        original: 0,
        queue_pair,
        receive_queue,
        index: received.id as u16,
        timestamp: 0,
    }
}

fn syndrome(error: WorkError) -> Syndrome {
    match error {
        WorkError::LocalProtection => Syndrome::LOCAL_PROTECTION,
        WorkError::LocalLength => Syndrome::LOCAL_LENGTH,
        WorkError::RemoteInvalidRequest => Syndrome::REMOTE_INVALID_REQUEST,
        WorkError::RemoteAccess => Syndrome::REMOTE_ACCESS,
        WorkError::RemoteOperation => Syndrome::REMOTE_OPERATION,
        WorkError::RetriesExceeded { .. } => Syndrome::RETRIES_EXCEEDED,
        WorkError::RnrRetriesExceeded { .. } => Syndrome::RNR_RETRIES_EXCEEDED,
        WorkError::Flushed => Syndrome::FLUSHED,
        _ => Syndrome::LOCAL_OPERATION,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rule_6_3_each_flag_of_an_entry_is_that_of_its_request() {
        for (ours, theirs) in [
            (WorkFlags::NONE, Flags::empty()),
            (WorkFlags::SIGNALED, Flags::SIGNALED),
            (WorkFlags::FENCE, Flags::FENCE),
            (WorkFlags::SOLICITED, Flags::SOLICITED),
            (
                WorkFlags::SIGNALED.with(WorkFlags::FENCE),
                Flags::SIGNALED | Flags::FENCE,
            ),
        ] {
            let entry = WorkEntry::new(WorkOpcode::Write, ours);
            assert_eq!(request(1, &entry).flags, theirs, "{ours:?}");
        }
    }
}
