//! Our NIC asks, the kernel answers.

use rdma::memory::Atomic;
use rdma::mtu::PathMtu;
use rdma::queue_pair::Cause;
use rdma::region::RemoteKey;
use rdma::work::{Data, Flags, Operation, RemoteAddress, Tail, WorkError, WorkFailure};

use super::{IMMEDIATE, PSN, WRAP, lengths, with, with_1024, with_mtus};
use crate::Failure;
use crate::lab::{Family, Lab, Wire, pattern, same, same_bytes};
use crate::node::REGION;
use crate::peer::{RECEIVED, RECEIVED_WRITE, WITH_IMMEDIATE};

type Outcome = Result<(), Failure>;

/// Where in both memories things happen.
const PLACE: usize = 512;

pub fn send(lab: &mut Lab) -> Outcome {
    with_mtus(lab, |lab, wire| sends(lab, wire, Tail::Plain))
}

pub fn send_imm(lab: &mut Lab) -> Outcome {
    with_mtus(lab, |lab, wire| {
        sends(lab, wire, Tail::Immediate(IMMEDIATE))
    })
}

fn sends(lab: &mut Lab, wire: Wire, tail: Tail) -> Outcome {
    for (salt, len) in lengths(wire.mtu).into_iter().enumerate() {
        let bytes = pattern(len, salt);
        lab.peer_receives(wire, PLACE, len + 16)?;
        let data = lab.filled(wire, 0, &bytes);
        lab.perform(wire, Operation::Send { data, tail })?;
        let done = lab.peer_success(wire)?;
        same("opcode", &done.opcode, &RECEIVED)?;
        same("length", &(done.len as usize), &len)?;
        if tail != Tail::Plain {
            let immediate = (done.immediate, done.flags & WITH_IMMEDIATE);
            same("immediate", &immediate, &(IMMEDIATE, WITH_IMMEDIATE))?;
        }
        same_bytes("a send", &lab.peek(PLACE, len)?, &bytes)?;
    }
    Ok(())
}

pub fn write(lab: &mut Lab) -> Outcome {
    with_mtus(lab, |lab, wire| {
        for (salt, len) in lengths(wire.mtu).into_iter().enumerate() {
            writes(lab, wire, &pattern(len, salt + 10), None)?;
        }
        nothing_written(lab, wire)
    })
}

pub fn write_imm(lab: &mut Lab) -> Outcome {
    with_mtus(lab, |lab, wire| {
        for (salt, len) in lengths(wire.mtu).into_iter().enumerate() {
            lab.peer_receives(wire, 0, 0)?;
            writes(lab, wire, &pattern(len, salt + 20), Some(IMMEDIATE))?;
            let done = lab.peer_success(wire)?;
            let found = (done.opcode, done.len as usize, done.immediate);
            same("completion", &found, &(RECEIVED_WRITE, len, IMMEDIATE))?;
        }
        Ok(())
    })
}

/// A write, with the bytes around it looked at.
fn writes(lab: &mut Lab, wire: Wire, bytes: &[u8], immediate: Option<u32>) -> Outcome {
    lab.poke(PLACE - 8, &vec![0xee; bytes.len() + 16])?;
    let data = lab.filled(wire, 0, bytes);
    let to = lab.theirs(PLACE);
    lab.perform(
        wire,
        Operation::Write {
            data,
            to,
            immediate,
        },
    )?;
    let found = lab.peek(PLACE - 8, bytes.len() + 16)?;
    let expected = [&[0xee; 8], bytes, &[0xee; 8]].concat();
    same_bytes("a write", &found, &expected)
}

/// The standard's keep-alive: nothing, to nowhere, is acknowledged.
fn nothing_written(lab: &mut Lab, wire: Wire) -> Outcome {
    let data = lab.filled(wire, 0, &[]);
    let to = RemoteAddress {
        address: 0,
        key: RemoteKey(0),
    };
    lab.perform(wire, plain_write(data, to)).map(drop)
}

const fn plain_write(data: Data, to: RemoteAddress) -> Operation {
    Operation::Write {
        data,
        to,
        immediate: None,
    }
}

pub fn read_256(lab: &mut Lab) -> Outcome {
    with(lab, Family::V4, PathMtu::B256, PSN, reads)
}

pub fn read_1024(lab: &mut Lab) -> Outcome {
    with(lab, Family::V4, PathMtu::B1024, PSN, reads)
}

pub fn read_4096(lab: &mut Lab) -> Outcome {
    with(lab, Family::V4, PathMtu::B4096, PSN, reads)
}

fn reads(lab: &mut Lab, wire: Wire) -> Outcome {
    let long = 100 * wire.mtu.bytes() - 1;
    for (salt, len) in lengths(wire.mtu).into_iter().chain([long]).enumerate() {
        let bytes = pattern(len, salt + 30);
        lab.poke(PLACE, &bytes)?;
        lab.clear(wire);
        let (from, into) = (lab.theirs(PLACE), lab.segment(wire, 8, len));
        lab.perform(wire, Operation::Read { from, into })?;
        let found = lab.node(wire).bytes(0, len + 16);
        let expected = [&[0; 8], &bytes[..], &[0; 8]].concat();
        same_bytes("a read", &found, &expected)?;
    }
    Ok(())
}

pub fn fetch_add(lab: &mut Lab) -> Outcome {
    with_1024(lab, |lab, wire| {
        let start = u64::MAX - 100;
        lab.poke(PLACE, &start.to_le_bytes())?;
        let mut sum = start;
        for addend in 1..=30 {
            let original = atomic(lab, wire, Atomic::Add(addend))?;
            same("the word before", &original, &sum)?;
            sum = sum.wrapping_add(addend);
        }
        for _ in 0..50 {
            post_atomic(lab, wire, Atomic::Add(3))?;
        }
        for _ in 0..50 {
            let done = lab.done(wire)?;
            same("outcome", &done.outcome, &Ok(()))?;
            same("the word before", &done.original, &sum)?;
            sum = sum.wrapping_add(3);
        }
        word_is(lab, sum)
    })
}

pub fn compare_swap(lab: &mut Lab) -> Outcome {
    with_1024(lab, |lab, wire| {
        lab.poke(PLACE, &5u64.to_le_bytes())?;
        let mut word = 5;
        for step in 0..20u64 {
            let compare = if step % 3 == 2 { word + 1 } else { word };
            let operation = Atomic::CompareSwap {
                compare,
                swap: 1000 * step + 1,
            };
            let original = atomic(lab, wire, operation)?;
            same("the word before", &original, &word)?;
            word = operation.applied_to(word);
            word_is(lab, word)?;
        }
        Ok(())
    })
}

/// An atomic on the peer's word, whose result lands in our memory, too.
fn atomic(lab: &mut Lab, wire: Wire, operation: Atomic) -> Result<u64, Failure> {
    post_atomic(lab, wire, operation)?;
    let done = lab.done(wire)?;
    same("outcome", &done.outcome, &Ok(()))?;
    let stored = lab.node(wire).bytes(0, 8);
    same(
        "stored result",
        &stored,
        &done.original.to_ne_bytes().into(),
    )?;
    Ok(done.original)
}

fn post_atomic(lab: &mut Lab, wire: Wire, operation: Atomic) -> Outcome {
    let at = lab.theirs(PLACE);
    let result = Some(lab.segment(wire, 0, 8));
    let operation = Operation::Atomic {
        at,
        operation,
        result,
    };
    lab.post(wire, operation)
}

fn word_is(lab: &mut Lab, expected: u64) -> Outcome {
    let found = lab.peek(PLACE, 8)?;
    same_bytes("the peer's word", &found, &expected.to_le_bytes())
}

/// The receive comes late.
pub fn rnr(lab: &mut Lab) -> Outcome {
    with_1024(lab, |lab, wire| {
        let bytes = pattern(3000, 40);
        let data = lab.filled(wire, 0, &bytes);
        let tail = Tail::Plain;
        lab.post(wire, Operation::Send { data, tail })?;
        let told = |lab: &mut Lab| {
            let count = lab.node(wire).counters(wire.ours).rnr_naks_received;
            Ok((count >= 2).then_some(()))
        };
        lab.until(|| "two RNR NAKs".into(), told)?;
        lab.peer_receives(wire, PLACE, 4096)?;
        same("outcome", &lab.done(wire)?.outcome, &Ok(()))?;
        same("length", &lab.peer_success(wire)?.len, &3000)?;
        same_bytes("a late send", &lab.peek(PLACE, 3000)?, &bytes)
    })
}

/// Wrong key, out of bounds, read-only: each takes a connection with it.
pub fn access_error(lab: &mut Lab) -> Outcome {
    let good = lab.theirs(0);
    let wrong = RemoteAddress {
        key: RemoteKey(good.key.0 ^ 0x55),
        ..good
    };
    let outside = lab.theirs(REGION - 8);
    let readable = RemoteAddress {
        key: RemoteKey(lab.memory.readable),
        ..good
    };
    for to in [wrong, outside, readable] {
        with(lab, Family::V4, PathMtu::B1024, PSN, |lab, wire| {
            refused(lab, wire, to)
        })?;
    }
    Ok(())
}

fn refused(lab: &mut Lab, wire: Wire, to: RemoteAddress) -> Outcome {
    let before = lab.peek(0, 64)?;
    let data = lab.filled(wire, 0, &pattern(64, 41));
    lab.post(wire, plain_write(data, to))?;
    lab.post(wire, plain_write(data, to))?;
    let failed = |cause| Err(WorkFailure { cause, sent: true });
    let first = lab.done(wire)?.outcome;
    // The driver says it once: if that is lost, the retries end it.
    let access = match first {
        Err(failure) if lab.is_spoiled() && is_retries(failure.cause) => failure.cause,
        _ => WorkError::RemoteAccess,
    };
    same("first outcome", &first, &failed(access))?;
    let second = lab.done(wire)?.outcome.map_err(|failure| failure.cause);
    same("second outcome", &second, &Err(WorkError::Flushed))?;
    let cause = lab.node(wire).failure(wire.ours);
    same("our state", &cause, &Some(Cause::Work(access)))?;
    same("the peer's state", &lab.peer_state(wire)?, &"ERR".into())?;
    same_bytes("the peer's memory", &lab.peek(0, 64)?, &before)
}

const fn is_retries(cause: WorkError) -> bool {
    matches!(cause, WorkError::RetriesExceeded { .. })
}

/// All kinds of packets while the numbers begin again.
pub fn wrap(lab: &mut Lab) -> Outcome {
    for skip in 0..3 {
        with(lab, Family::V4, PathMtu::B256, WRAP - skip, everything)?;
    }
    Ok(())
}

pub fn ipv6(lab: &mut Lab) -> Outcome {
    for mtu in super::MTUS {
        with(lab, Family::V6, mtu, PSN, everything)?;
    }
    Ok(())
}

/// Write, send, read, atomic.
fn everything(lab: &mut Lab, wire: Wire) -> Outcome {
    let len = 3 * wire.mtu.bytes() + 1;
    writes(lab, wire, &pattern(len, 50), None)?;
    let bytes = pattern(len, 51);
    lab.peer_receives(wire, PLACE, len)?;
    let data = lab.filled(wire, 0, &bytes);
    let tail = Tail::Immediate(IMMEDIATE);
    lab.perform(wire, Operation::Send { data, tail })?;
    same("immediate", &lab.peer_success(wire)?.immediate, &IMMEDIATE)?;
    same_bytes("a send", &lab.peek(PLACE, len)?, &bytes)?;
    lab.clear(wire);
    let (from, into) = (lab.theirs(PLACE), lab.segment(wire, 0, len));
    lab.perform(wire, Operation::Read { from, into })?;
    same_bytes("a read", &lab.node(wire).bytes(0, len), &bytes)?;
    lab.poke(PLACE, &40u64.to_le_bytes())?;
    same("the word before", &atomic(lab, wire, Atomic::Add(2))?, &40)?;
    word_is(lab, 42)
}

/// Writes that ask for no acknowledgement and get none, until our NIC asks.
pub fn tail(lab: &mut Lab) -> Outcome {
    with_1024(lab, |lab, wire| {
        let bytes = pattern(2500, 60);
        let data = lab.filled(wire, 0, &bytes);
        for step in 0..3 {
            let to = lab.theirs(PLACE + 4096 * step);
            lab.post_with(wire, plain_write(data, to), Flags::empty())?;
        }
        let over = |lab: &mut Lab| Ok((lab.node(wire).outstanding(wire.ours) == 0).then_some(()));
        lab.until(|| "the tail's acknowledgement".into(), over)?;
        // On a bad network a retry may have asked before.
        let counters = lab.node(wire).counters(wire.ours);
        let asked = counters.solicited_tails > 0 || lab.is_spoiled();
        same("a tail was sent again", &asked, &true)?;
        for step in 0..3 {
            let found = lab.peek(PLACE + 4096 * step, bytes.len())?;
            same_bytes("a silent write", &found, &bytes)?;
        }
        Ok(())
    })
}

/// The whole of both memories.
pub fn mebibyte(lab: &mut Lab) -> Outcome {
    with(lab, Family::V4, PathMtu::B4096, PSN, |lab, wire| {
        let bytes = pattern(REGION, 70);
        let data = lab.filled(wire, 0, &bytes);
        let to = lab.theirs(0);
        lab.perform(wire, plain_write(data, to))?;
        same_bytes("a mebibyte", &lab.peek(0, REGION)?, &bytes)
    })
}
