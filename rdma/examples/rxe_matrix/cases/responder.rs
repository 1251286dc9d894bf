//! The kernel asks, our NIC answers.

use rdma::memory::Atomic;
use rdma::mtu::PathMtu;
use rdma::queue_pair::Cause;
use rdma::region::RemoteKey;
use rdma::work::{ReceivedKind, RemoteAddress, WorkError};

use super::{IMMEDIATE, PSN, WRAP, lengths, with, with_1024, with_mtus};
use crate::Failure;
use crate::lab::{Family, Lab, Wire, pattern, same, same_bytes};
use crate::node::{self, REGION};
use crate::peer::{REMOTE_ACCESS, SUCCESS};

type Outcome = Result<(), Failure>;

/// Where in both memories things happen.
const PLACE: usize = 512;
/// What the peer's sends name, which means nothing.
const NOWHERE: RemoteAddress = RemoteAddress {
    address: 0,
    key: RemoteKey(0),
};

pub fn send(lab: &mut Lab) -> Outcome {
    with_mtus(lab, |lab, wire| {
        sends(lab, wire, "SEND", ReceivedKind::Send)
    })
}

pub fn send_imm(lab: &mut Lab) -> Outcome {
    with_mtus(lab, |lab, wire| {
        sends(lab, wire, "SENDI", ReceivedKind::SendImmediate(IMMEDIATE))
    })
}

fn sends(lab: &mut Lab, wire: Wire, operation: &str, kind: ReceivedKind) -> Outcome {
    for (salt, len) in lengths(wire.mtu).into_iter().enumerate() {
        one_send(lab, wire, operation, kind, &pattern(len, salt))?;
    }
    Ok(())
}

fn one_send(
    lab: &mut Lab,
    wire: Wire,
    operation: &str,
    kind: ReceivedKind,
    bytes: &[u8],
) -> Outcome {
    let len = bytes.len();
    receive(lab, wire, PLACE, len + 16);
    lab.poke(0, bytes)?;
    let what = format!("{operation} 0 {len}");
    lab.peer_posts(wire, &what, NOWHERE, &IMMEDIATE.to_string())?;
    lab.peer_success(wire)?;
    let received = lab.received(wire)?;
    let found = (received.kind, received.len as usize, received.outcome);
    same("completion", &found, &(kind, len, Ok(())))?;
    same_bytes("a send", &lab.node(wire).bytes(PLACE, len), bytes)
}

fn receive(lab: &mut Lab, wire: Wire, offset: usize, len: usize) {
    let buffer = lab.segment(wire, offset, len);
    lab.node(wire).receive(1, buffer);
}

pub fn write(lab: &mut Lab) -> Outcome {
    with_mtus(lab, |lab, wire| {
        for (salt, len) in lengths(wire.mtu).into_iter().enumerate() {
            writes(lab, wire, "WRITE", &pattern(len, salt + 10))?;
        }
        // The standard's keep-alive.
        lab.peer_posts(wire, "WRITE 0 0", NOWHERE, "")?;
        lab.peer_success(wire).map(drop)
    })
}

pub fn write_imm(lab: &mut Lab) -> Outcome {
    with_mtus(lab, |lab, wire| {
        for (salt, len) in lengths(wire.mtu).into_iter().enumerate() {
            receive(lab, wire, 0, 0);
            writes(lab, wire, "WRITEI", &pattern(len, salt + 20))?;
            let received = lab.received(wire)?;
            let found = (received.kind, received.len as usize);
            let expected = (ReceivedKind::WriteImmediate(IMMEDIATE), len);
            same("completion", &found, &expected)?;
        }
        Ok(())
    })
}

/// A write of the kernel's, with the bytes around it looked at.
fn writes(lab: &mut Lab, wire: Wire, operation: &str, bytes: &[u8]) -> Outcome {
    let len = bytes.len();
    lab.clear(wire);
    lab.poke(0, bytes)?;
    let to = lab.ours(wire, PLACE);
    let what = format!("{operation} 0 {len}");
    lab.peer_posts(wire, &what, to, &IMMEDIATE.to_string())?;
    lab.peer_success(wire)?;
    let found = lab.node(wire).bytes(PLACE - 8, len + 16);
    let expected = [&[0; 8], bytes, &[0; 8]].concat();
    same_bytes("a write", &found, &expected)
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
        one_read(lab, wire, &pattern(len, salt + 30))?;
    }
    Ok(())
}

fn one_read(lab: &mut Lab, wire: Wire, bytes: &[u8]) -> Outcome {
    let len = bytes.len();
    lab.node(wire).fill(PLACE, bytes);
    let from = lab.ours(wire, PLACE);
    lab.peer_posts(wire, &format!("READ 8 {len}"), from, "")?;
    lab.peer_success(wire)?;
    same_bytes("a read", &lab.peek(8, len)?, bytes)
}

pub fn fetch_add(lab: &mut Lab) -> Outcome {
    with_1024(lab, |lab, wire| {
        let mut sum = u64::MAX - 100;
        lab.node(wire).fill(PLACE, &sum.to_ne_bytes());
        for addend in 1..=30u64 {
            add(lab, wire, 0, addend)?;
            lab.peer_success(wire)?;
            same_bytes("the word before", &lab.peek(0, 8)?, &sum.to_le_bytes())?;
            sum = sum.wrapping_add(addend);
        }
        burst(lab, wire, &mut sum)?;
        word_is(lab, wire, sum)
    })
}

/// Many at once, their results side by side.
fn burst(lab: &mut Lab, wire: Wire, sum: &mut u64) -> Outcome {
    const COUNT: usize = 50;
    for slot in 0..COUNT {
        add(lab, wire, 8 * slot, 3)?;
    }
    let done = lab.peer_completions(wire, COUNT)?;
    let good = done.iter().filter(|done| done.status == SUCCESS).count();
    same("atomics that succeeded", &good, &COUNT)?;
    for slot in 0..COUNT {
        let found = lab.peek(8 * slot, 8)?;
        same_bytes("the word before", &found, &sum.to_le_bytes())?;
        *sum = sum.wrapping_add(3);
    }
    Ok(())
}

fn add(lab: &mut Lab, wire: Wire, result: usize, addend: u64) -> Outcome {
    let at = lab.ours(wire, PLACE);
    let what = format!("FADD {result} 8");
    lab.peer_posts(wire, &what, at, &addend.to_string())
}

fn word_is(lab: &mut Lab, wire: Wire, expected: u64) -> Outcome {
    let found = lab.node(wire).bytes(PLACE, 8);
    same_bytes("our word", &found, &expected.to_ne_bytes())
}

pub fn compare_swap(lab: &mut Lab) -> Outcome {
    with_1024(lab, |lab, wire| {
        let mut word = 5u64;
        lab.node(wire).fill(PLACE, &word.to_ne_bytes());
        for step in 0..20u64 {
            let compare = if step % 3 == 2 { word + 1 } else { word };
            let swap = 1000 * step + 1;
            let at = lab.ours(wire, PLACE);
            lab.peer_posts(wire, "CAS 0 8", at, &format!("{compare} {swap}"))?;
            lab.peer_success(wire)?;
            same_bytes("the word before", &lab.peek(0, 8)?, &word.to_le_bytes())?;
            word = Atomic::CompareSwap { compare, swap }.applied_to(word);
            word_is(lab, wire, word)?;
        }
        Ok(())
    })
}

/// The receive comes late.
pub fn rnr(lab: &mut Lab) -> Outcome {
    with_1024(lab, |lab, wire| {
        let bytes = pattern(3000, 40);
        lab.poke(0, &bytes)?;
        lab.peer_posts(wire, "SEND 0 3000", NOWHERE, "")?;
        let told = |lab: &mut Lab| {
            let count = lab.node(wire).counters(wire.ours).rnr_naks_sent;
            Ok((count >= 2).then_some(()))
        };
        lab.until(|| "two RNR NAKs".into(), told)?;
        receive(lab, wire, PLACE, 4096);
        lab.peer_success(wire)?;
        same("length", &lab.received(wire)?.len, &3000)?;
        same_bytes("a late send", &lab.node(wire).bytes(PLACE, 3000), &bytes)
    })
}

/// Wrong key, out of bounds, read-only: each takes a connection with it. (An atomic that is not aligned is refused
/// by the kernel's own requester.)
pub fn access_error(lab: &mut Lab) -> Outcome {
    let end = lab.end(Family::V4);
    let good = node::place(end.region, 0);
    let wrong = RemoteAddress {
        key: RemoteKey(good.key.0 ^ 0x5500),
        ..good
    };
    let outside = node::place(end.region, REGION - 8);
    let readable = node::place(end.readable, 0);
    let cases = [
        ("WRITE 0 64", wrong),
        ("WRITE 0 64", outside),
        ("WRITE 0 64", readable),
        ("READ 0 64", outside),
        ("FADD 0 8", readable),
    ];
    for (what, to) in cases {
        with(lab, Family::V4, PathMtu::B1024, PSN, |lab, wire| {
            refused(lab, wire, what, to)
        })?;
    }
    Ok(())
}

fn refused(lab: &mut Lab, wire: Wire, what: &str, to: RemoteAddress) -> Outcome {
    let before = lab.node(wire).bytes(0, REGION);
    lab.poke(0, &pattern(64, 41))?;
    lab.peer_posts(wire, what, to, "1")?;
    let done = lab.peer_completions(wire, 1)?[0];
    same("the peer's status", &done.status, &REMOTE_ACCESS)?;
    let cause = lab.node(wire).failure(wire.ours);
    let expected = Some(Cause::Peer(WorkError::RemoteAccess));
    same("our state", &cause, &expected)?;
    same_bytes("our memory", &lab.node(wire).bytes(0, REGION), &before)
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
    writes(lab, wire, "WRITE", &pattern(len, 50))?;
    let kind = ReceivedKind::SendImmediate(IMMEDIATE);
    one_send(lab, wire, "SENDI", kind, &pattern(len, 51))?;
    one_read(lab, wire, &pattern(len, 52))?;
    lab.node(wire).fill(PLACE, &40u64.to_ne_bytes());
    add(lab, wire, 0, 2)?;
    lab.peer_success(wire)?;
    same_bytes("the word before", &lab.peek(0, 8)?, &40u64.to_le_bytes())?;
    word_is(lab, wire, 42)
}

/// The whole of both memories. The kernel sends up to 128 packets at once, of which the socket holds 51.
pub fn mebibyte(lab: &mut Lab) -> Outcome {
    with(lab, Family::V4, PathMtu::B4096, PSN, |lab, wire| {
        let bytes = pattern(REGION, 70);
        lab.clear(wire);
        lab.poke(0, &bytes)?;
        let to = lab.ours(wire, 0);
        lab.peer_posts(wire, &format!("WRITE 0 {REGION}"), to, "")?;
        lab.peer_success(wire)?;
        same_bytes("a mebibyte", &lab.node(wire).bytes(0, REGION), &bytes)
    })
}
