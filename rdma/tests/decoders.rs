//! Decoders that others wrote read what our NICs send: every opcode, over IPv4 and IPv6.
//!
//! * tshark finds nothing malformed and reads the same numbers out of every header as our parser does;
//! * scapy's RoCE layer computes the ICRC that we sent;
//! * a Python program of 40 lines computes it from the raw bytes by the recipe alone.
//!
//! Each decoder is first shown a damaged capture, which it must refuse: one that finds fault with nothing proves
//! nothing. A test whose tool is missing prints that it was skipped. `DPA_TSHARK` and `DPA_SCAPY_PYTHON` name the
//! programs; a program that is named must be there (`cargo xtask decoders` names them).

#[path = "decoders/capture.rs"]
mod capture;
mod rig;
#[path = "decoders/tools.rs"]
mod tools;
#[path = "decoders/traffic.rs"]
mod traffic;

use std::collections::BTreeSet;
use std::net::IpAddr;

use capture::{Frame, pcap};
use rdma::wire::{Aeth, AtomicAckEth, AtomicEth, Body, Header, Opcode, Packet, PacketView};
use rdma::wire::{Ieth, ImmDt, Part, ReadPart, Reth, SendTail};
use tools::{Python, Row, Tshark};

const IPV4: [&str; 2] = ["127.0.0.2", "127.0.0.3"];
const IPV6: [&str; 2] = ["fd00::2", "fd00:0:0:1::3"];

fn traffic_over(family: [&str; 2]) -> Vec<Frame> {
    traffic::all_opcodes(family.map(|address| address.parse::<IpAddr>().unwrap()))
}

fn packet(frame: &Frame) -> Packet<'_> {
    Packet::try_from(PacketView::new(&frame.packet).unwrap()).unwrap()
}

#[test]
fn the_traffic_has_every_opcode_padding_and_segmented_sends() {
    for family in [IPV4, IPV6] {
        let frames = traffic_over(family);
        let codes: BTreeSet<u8> = frames
            .iter()
            .map(|frame| packet(frame).header.body.opcode().code())
            .collect();
        let all: BTreeSet<u8> = Opcode::ALL.iter().map(|opcode| opcode.code()).collect();
        assert_eq!(codes, all);
        let pads: BTreeSet<usize> = frames.iter().map(|frame| pad_of(&packet(frame))).collect();
        assert_eq!(pads.len(), 4, "every padding");
        let segments = frames.iter().map(|frame| frame.segment).max();
        assert!(segments > Some(10), "segmented sends");
    }
}

#[test]
fn tshark_reads_every_packet_as_it_was_sent() {
    let Some(tshark) = Tshark::find() else { return };
    for family in [IPV4, IPV6] {
        let frames = traffic_over(family);
        let rows = tshark.read(&pcap(&frames));
        assert_eq!(rows.len(), frames.len());
        for (i, (frame, row)) in frames.iter().zip(&rows).enumerate() {
            assert_eq!(row.complaints(), Vec::<&str>::new(), "frame {i}");
            assert_eq!(*row, expected(frame), "frame {i}");
        }
    }
}

/// A packet cut in its extended header, and one whose last bit was flipped after the checksum of UDP was made.
#[test]
fn tshark_refuses_what_is_damaged() {
    let Some(tshark) = Tshark::find() else { return };
    let frames = traffic_over(IPV4);
    let first = |opcode: Opcode| {
        let is = |frame: &&Frame| frame.packet[0] == opcode.code();
        frames.iter().find(is).unwrap().clone()
    };
    let mut cut = first(Opcode::WriteOnly);
    cut.packet.truncate(12 + 8);
    let mut capture = pcap(&[cut, first(Opcode::FetchAdd)]);
    *capture.last_mut().unwrap() ^= 1;
    for row in tshark.read(&capture) {
        assert_ne!(row.complaints(), Vec::<&str>::new(), "{row:?}");
    }
}

#[test]
fn every_icrc_is_what_the_recipe_and_scapy_make_of_the_bytes() {
    let Some(python) = Python::find() else { return };
    for family in [IPV4, IPV6] {
        let frames = traffic_over(family);
        let computed = python.icrcs(&pcap(&frames));
        assert_eq!(computed.len(), frames.len());
        for (i, (frame, computed)) in frames.iter().zip(&computed).enumerate() {
            let sent = PacketView::new(&frame.packet).unwrap().icrc();
            assert_eq!(computed.recipe, sent, "recipe, frame {i} of {family:?}");
            if let Some(scapy) = computed.scapy {
                assert_eq!(scapy, sent, "scapy, frame {i} of {family:?}");
            }
        }
        python.report(family, &computed);
    }
}

/// One flipped bit anywhere that the ICRC covers, and neither finds the ICRC that was sent.
#[test]
fn a_flipped_bit_makes_another_icrc() {
    let Some(python) = Python::find() else { return };
    for family in [IPV4, IPV6] {
        let mut frames = traffic_over(family);
        for (i, frame) in frames.iter_mut().enumerate() {
            let covered = frame.packet.len() - 4;
            // Not the first byte, which says how to go on; not the byte that a router may change.
            let at = 5 + i % (covered - 5);
            frame.packet[at] ^= 1 << (i % 8);
        }
        for (i, (frame, computed)) in frames.iter().zip(python.icrcs(&pcap(&frames))).enumerate() {
            let sent = PacketView::new(&frame.packet).unwrap().icrc();
            assert_ne!(computed.recipe, sent, "recipe, frame {i} of {family:?}");
            assert_ne!(computed.scapy, Some(sent), "scapy, frame {i} of {family:?}");
        }
    }
}

fn pad_of(packet: &Packet<'_>) -> usize {
    packet.payload.len().next_multiple_of(4) - packet.payload.len()
}

/// What tshark should read, from our parser.
fn expected(frame: &Frame) -> Row {
    let packet = packet(frame);
    let Header { bth, body } = packet.header;
    Row {
        identification: frame.identification(),
        opcode: Some(body.opcode().code().into()),
        destination: Some(bth.destination.into()),
        psn: Some(bth.psn.value().into()),
        pad: Some(pad_of(&packet) as u64),
        ack_request: Some(bth.ack_request.into()),
        remote: remote(&body),
        dma_length: reth(&body).map(|reth| reth.dma_length.into()),
        atomic: atomic(&body).map(|eth| (eth.swap_or_add, eth.compare)),
        aeth: aeth(&body).map(|aeth| (aeth.syndrome.code(), aeth.msn)),
        original: original(&body).map(|original| original.0),
        immediate: immediate(&body).map(|immediate| immediate.0),
        invalidate: invalidate(&body).map(|key| key.0),
        complaints: Vec::new(),
    }
}

fn remote(body: &Body) -> Option<(u64, u32)> {
    let of_reth = reth(body).map(|reth| (reth.virtual_address, reth.r_key));
    of_reth.or(atomic(body).map(|eth| (eth.virtual_address, eth.r_key)))
}

fn reth(body: &Body) -> Option<Reth> {
    match body {
        Body::Write(Part::First(reth) | Part::Only(reth, _)) | Body::ReadRequest(reth) => {
            Some(*reth)
        }
        _ => None,
    }
}

fn atomic(body: &Body) -> Option<AtomicEth> {
    match body {
        Body::CompareSwap(atomic) | Body::FetchAdd(atomic) => Some(*atomic),
        _ => None,
    }
}

fn aeth(body: &Body) -> Option<Aeth> {
    match body {
        Body::Acknowledge(aeth) | Body::AtomicAcknowledge(aeth, _) => Some(*aeth),
        Body::ReadResponse(ReadPart::First(a) | ReadPart::Last(a) | ReadPart::Only(a)) => Some(*a),
        _ => None,
    }
}

fn original(body: &Body) -> Option<AtomicAckEth> {
    match body {
        Body::AtomicAcknowledge(_, original) => Some(*original),
        _ => None,
    }
}

fn immediate(body: &Body) -> Option<ImmDt> {
    match body {
        Body::Send(Part::Last(SendTail::Immediate(imm)))
        | Body::Send(Part::Only((), SendTail::Immediate(imm)))
        | Body::Write(Part::Last(Some(imm)) | Part::Only(_, Some(imm))) => Some(*imm),
        _ => None,
    }
}

fn invalidate(body: &Body) -> Option<Ieth> {
    match body {
        Body::Send(
            Part::Last(SendTail::Invalidate(key)) | Part::Only((), SendTail::Invalidate(key)),
        ) => Some(*key),
        _ => None,
    }
}
