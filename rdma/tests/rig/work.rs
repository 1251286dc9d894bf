//! Work requests as tests write them, and completions as they read them.

use rdma::region::{LocalKey, RemoteKey};
use rdma::work::{Completion, Data, Flags, Inline, Operation, RemoteAddress, Segment, Tail};

use super::*;

pub fn signaled(id: u64, operation: Operation) -> WorkRequest {
    WorkRequest {
        id,
        operation,
        flags: Flags::SIGNALED,
    }
}

pub fn silent(id: u64, operation: Operation) -> WorkRequest {
    WorkRequest {
        id,
        operation,
        flags: Flags::empty(),
    }
}

pub fn fenced(id: u64, operation: Operation) -> WorkRequest {
    WorkRequest {
        id,
        operation,
        flags: Flags::SIGNALED | Flags::FENCE,
    }
}

pub fn write(from: Segment, to: RemoteAddress) -> Operation {
    Operation::Write {
        data: Data::Local(from),
        to,
        immediate: None,
    }
}

pub fn write_inline(data: &[u8], to: RemoteAddress) -> Operation {
    Operation::Write {
        data: inline(data),
        to,
        immediate: None,
    }
}

pub fn inline(data: &[u8]) -> Data {
    Data::Inline(Inline::new(data).unwrap())
}

pub fn read(from: RemoteAddress, into: Segment) -> Operation {
    Operation::Read { from, into }
}

pub fn send(data: Data) -> Operation {
    Operation::Send {
        data,
        tail: Tail::Plain,
    }
}

pub fn add(at: RemoteAddress, addend: u64) -> Operation {
    Operation::Atomic {
        at,
        operation: Atomic::Add(addend),
        result: None,
    }
}

/// Bytes that differ everywhere.
pub fn pattern(len: usize, salt: u8) -> Vec<u8> {
    (0..len).map(|i| (i * 7 + i / 251) as u8 ^ salt).collect()
}

/// The completions of work requests: id and how it ended.
pub fn ended(node: &Node) -> Vec<(u64, Option<rdma::work::WorkFailure>)> {
    let work = |completion: &Completion| match completion {
        Completion::Work(done) => Some((done.id, done.outcome.err())),
        Completion::Received(_) => None,
    };
    node.completions.iter().filter_map(work).collect()
}

/// The ids of work requests that succeeded, in order of their completions.
pub fn succeeded(node: &Node) -> Vec<u64> {
    ended(node)
        .into_iter()
        .filter(|(_, failure)| failure.is_none())
        .map(|(id, _)| id)
        .collect()
}

pub fn received(node: &Node) -> Vec<rdma::work::Received> {
    let received = |completion: &Completion| match completion {
        Completion::Received(received) => Some(*received),
        Completion::Work(_) => None,
    };
    node.completions.iter().filter_map(received).collect()
}

pub const WRONG_LOCAL: LocalKey = LocalKey(0xffff_0000);
pub const WRONG_REMOTE: RemoteKey = RemoteKey(0xffff_0000);
