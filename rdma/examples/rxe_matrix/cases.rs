//! The matrix: what is tried, with each end as the requester.

use rdma::mtu::PathMtu;

use crate::Failure;
use crate::lab::{Family, Lab, Wire};

mod requester;
mod responder;

/// One end's part in a case. Every function makes its own connections.
pub type Run = fn(&mut Lab) -> Result<(), Failure>;

/// A row of the table.
pub struct Case {
    pub name: &'static str,
    /// Our NIC asks.
    pub requester: Run,
    /// The kernel asks. Nothing where the kernel never does such a thing.
    pub responder: Option<Run>,
}

const fn both(name: &'static str, requester: Run, responder: Run) -> Case {
    let responder = Some(responder);
    Case {
        name,
        requester,
        responder,
    }
}

/// All of them.
pub const CASES: &[Case] = &[
    both("send", requester::send, responder::send),
    both("send_imm", requester::send_imm, responder::send_imm),
    both("write", requester::write, responder::write),
    both("write_imm", requester::write_imm, responder::write_imm),
    both("read, MTU 256", requester::read_256, responder::read_256),
    both("read, MTU 1024", requester::read_1024, responder::read_1024),
    both("read, MTU 4096", requester::read_4096, responder::read_4096),
    both("fetch_add", requester::fetch_add, responder::fetch_add),
    both(
        "compare_swap",
        requester::compare_swap,
        responder::compare_swap,
    ),
    both("receiver not ready", requester::rnr, responder::rnr),
    both(
        "remote access error",
        requester::access_error,
        responder::access_error,
    ),
    both("PSN wrap", requester::wrap, responder::wrap),
    Case {
        name: "tail without AckReq",
        requester: requester::tail,
        responder: None,
    },
    both(
        "1 MiB write, MTU 4096",
        requester::mebibyte,
        responder::mebibyte,
    ),
    both("IPv6", requester::ipv6, responder::ipv6),
];

/// The path MTUs that sends and writes are tried with.
const MTUS: [PathMtu; 3] = [PathMtu::B256, PathMtu::B1024, PathMtu::B4096];
/// The first packet sequence number where nothing depends on it.
const PSN: u32 = 0x0012_3456;
/// Two steps before the numbers begin again with 0.
const WRAP: u32 = 0x00ff_fffe;
const IMMEDIATE: u32 = 0xcafe_0001;

/// Lengths of messages: one byte, a pad, one packet, several packets and a pad.
const fn lengths(mtu: PathMtu) -> [usize; 4] {
    let mtu = mtu.bytes();
    [1, 5, mtu, 5 * mtu + 3]
}

/// Does something with a connection of its own.
fn with(
    lab: &mut Lab,
    family: Family,
    mtu: PathMtu,
    psn: u32,
    run: impl FnOnce(&mut Lab, Wire) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let wire = lab.connect(family, mtu, psn)?;
    let result = run(lab, wire);
    let closed = lab.close(wire);
    result.and(closed)
}

/// The same for each path MTU.
fn with_mtus(lab: &mut Lab, run: fn(&mut Lab, Wire) -> Result<(), Failure>) -> Result<(), Failure> {
    MTUS.into_iter()
        .try_for_each(|mtu| with(lab, Family::V4, mtu, PSN, run))
}

/// With the middle path MTU.
fn with_1024(lab: &mut Lab, run: fn(&mut Lab, Wire) -> Result<(), Failure>) -> Result<(), Failure> {
    with(lab, Family::V4, PathMtu::B1024, PSN, run)
}
