//! Packets that the kernel's soft-RoCE sent or accepted, byte for byte.

use std::net::{Ipv4Addr, SocketAddr};

use rdma::psn::Psn;
use rdma::wire::{
    Aeth, AtomicAckEth, AtomicEth, Body, IcrcVerifier, Ieth, ImmDt, MIN_PACKET, Packet, PacketView,
    Part, Path, ReadPart, Reth, SendTail, Syndrome,
};

/// IP header, UDP header, BTH, then the rest; spaces are for the reader.
const GOLDEN: [(&str, &str); 17] = [
    (
        "write only",
        "4500005c00004000401125f50a4d00020a4d0001 12b712b7004814f6 0a40ffff00000011800003e8 00007fc8433db0000000022900000020 68656c6c6f20526f43452076322066726f6d2075736572207370616365212121 010089a7",
    ),
    (
        "its ack",
        "45000030fd874000401128990a4d00010a4d0002 f9b012b7001c0000 1100ffff00123456000003e8 1f000001 ca865c63",
    ),
    (
        "write of 5 bytes",
        "45000044000040004011260d0a4d00020a4d0001 12b712b7003014de 0a70ffff00000011800003ea 00007fc8433db0800000022900000005 3132333435000000 b2514c5b",
    ),
    (
        "send only",
        "45000034000040004011261d0a4d00020a4d0001 12b712b7002014ce 0470ffff00000011800003ed 73656e6421000000 b488a0e7",
    ),
    (
        "write imm",
        "45000044000040004011260d0a4d00020a4d0001 12b712b7003014de 0bc0ffff00000011800003ee 00007fc8433db0c80000022900000004 deadbeef 696d6d77 f9747e9b",
    ),
    (
        "send imm",
        "45000034000040004011261d0a4d00020a4d0001 12b712b7002014ce 0540ffff00000011800003ef cafe0001 696d6d73 fab25dd9",
    ),
    (
        "fetch add",
        "4500004800004000401126090a4d00020a4d0001 12b712b7003414e2 1440ffff00000011800003f0 00007fc8433db10000000229 0000000000000001 0000000000000000 024018a2",
    ),
    (
        "its atomic ack",
        "45000038fe2d4000401127eb0a4d00010a4d0002 f9b012b700240000 1200ffff00123456000003f0 1f000009 0000000000000029 0856c9f7",
    ),
    (
        "compare swap",
        "4500004800004000401126090a4d00020a4d0001 12b712b7003414e2 1340ffff00000011800003f1 00007fc8433db10000000229 0000000000000309 000000000000002a bcba76b0",
    ),
    (
        "read request",
        "4500003c00004000401126150a4d00020a4d0001 12b712b7002814d6 0c40ffff00000011800003f2 00007fc8433db0000000022900000010 12abbdc6",
    ),
    (
        "read response only",
        "45000040fe3e4000401127d20a4d00010a4d0002 f9b012b7002c0000 1000ffff00123456000003f2 1f00000b 30313233343536373839616263646566 c1f2fbd2",
    ),
    (
        "rxe write",
        "4500005c03b04000401122450a4d00010a4d0002 fd1b12b700480000 0a00ffff0000abcd80fffffe 11223344556677880000beef00000020 646174612066726f6d20746865206b65726e656c20746f207573657220737061 b1e4d051",
    ),
    (
        "our ack",
        "4500003000004000401126210a4d00020a4d0001 12b712b7001c14ca 1140ffff0000002300fffffe 1f000001 f2e94d7a",
    ),
    (
        "rxe send imm",
        "4500003803bc40004011225d0a4d00010a4d0002 fd1b12b700240000 0530ffff0000abcd80ffffff 12345678 6461746120000000 eea7e905",
    ),
    (
        "rxe fetch add",
        "4500004803d24000401122370a4d00010a4d0002 fd1b12b700340000 1400ffff0000abcd80000000 00000000000010000000beef 0000000000000007 0000000000000000 2965c83d",
    ),
    (
        "our atomic ack",
        "4500003800004000401126190a4d00020a4d0001 12b712b7002414d2 1240ffff0000002300000000 1f000003 0000000000000063 996df8ae",
    ),
    (
        "rxe read",
        "4500003c03e640004011222f0a4d00010a4d0002 fd1b12b700280000 0c00ffff0000abcd80000002 00000000000050000000beef000009c4 840ada31",
    ),
];

struct Golden {
    name: &'static str,
    path: Path,
    identification: u16,
    packet: Vec<u8>,
}

fn golden(index: usize) -> Golden {
    let (name, text) = GOLDEN[index];
    let digits: Vec<u8> = text
        .bytes()
        .filter(|byte| !byte.is_ascii_whitespace())
        .collect();
    let pair = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    let bytes: Vec<u8> = digits.chunks(2).map(pair).collect();
    let half = |at: usize| u16::from_be_bytes([bytes[at], bytes[at + 1]]);
    let socket = |ip: usize, port: usize| {
        let ip: [u8; 4] = bytes[ip..ip + 4].try_into().unwrap();
        SocketAddr::from((Ipv4Addr::from(ip), half(port)))
    };
    Golden {
        name,
        path: Path::new(socket(12, 20), socket(16, 22)).unwrap(),
        identification: half(4),
        packet: bytes[28..].to_vec(),
    }
}

fn parse(bytes: &[u8]) -> Packet<'_> {
    Packet::try_from(PacketView::new(bytes).expect("length")).expect("well formed")
}

fn all() -> impl Iterator<Item = Golden> {
    (0..GOLDEN.len()).map(golden)
}

#[test]
fn every_golden_packet_is_rebuilt_byte_for_byte() {
    for golden in all() {
        let packet = parse(&golden.packet);
        let mut out = vec![0xaa; golden.packet.len() + 8];
        let len = packet.emit(&golden.path, golden.identification, &mut out);
        assert_eq!(out[..len], golden.packet, "{}", golden.name);
    }
}

#[test]
fn every_golden_icrc_is_accepted_and_tells_the_identification() {
    let mut verifier = IcrcVerifier::new();
    for golden in all() {
        let view = PacketView::new(&golden.packet).unwrap();
        let found = verifier.identification(&golden.path, view);
        assert_eq!(found, Some(golden.identification), "{}", golden.name);
    }
}

#[test]
fn an_identification_above_the_bound_is_refused() {
    let mut verifier = IcrcVerifier::new();
    let golden = golden(1);
    let view = PacketView::new(&golden.packet).unwrap();
    assert!(verifier.verify(&golden.path, view, u16::MAX));
    assert!(verifier.verify(&golden.path, view, 0xfd87));
    assert!(!verifier.verify(&golden.path, view, 0xfd86));
}

#[test]
fn any_corrupt_bit_is_rejected_but_in_the_masked_byte() {
    let mut verifier = IcrcVerifier::new();
    for golden in all() {
        for bit in 0..golden.packet.len() * 8 {
            let mut bytes = golden.packet.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            let view = PacketView::new(&bytes).unwrap();
            // One wrong bit can look like another identification only if it is the ICRC's image of one:
            // with the identification known, nothing passes.
            let found = verifier.identification(&golden.path, view);
            let accepted = found == Some(golden.identification);
            assert_eq!(accepted, bit / 8 == 4, "{} bit {bit}", golden.name);
            assert!(
                found.is_none() || accepted,
                "{} bit {bit} passes as another",
                golden.name
            );
        }
    }
}

#[test]
fn another_address_or_port_is_rejected() {
    let mut verifier = IcrcVerifier::new();
    for golden in all() {
        let view = PacketView::new(&golden.packet).unwrap();
        let mut from = golden.path.source();
        from.set_port(from.port() ^ 1);
        let path = Path::new(from, golden.path.destination()).unwrap();
        assert!(!verifier.verify(&path, view, u16::MAX));
        assert!(!verifier.verify(&golden.path.reversed(), view, u16::MAX));
    }
}

#[test]
fn fields_are_where_the_standard_has_them() {
    let reth = |virtual_address, r_key, dma_length| Reth {
        virtual_address,
        r_key,
        dma_length,
    };
    let bytes = golden(0).packet;
    let packet = parse(&bytes);
    assert_eq!(packet.header.bth.psn, Psn::new(0x3e8));
    assert_eq!(packet.header.bth.destination, 0x11);
    assert!(packet.header.bth.ack_request && packet.header.bth.migrated);
    assert_eq!(
        packet.header.body,
        Body::Write(Part::Only(reth(0x7fc8_433d_b000, 0x229, 32), None))
    );
    assert_eq!(packet.payload, b"hello RoCE v2 from user space!!!");

    assert_eq!(
        parse(&golden(1).packet).header.body,
        Body::Acknowledge(Aeth::ack(1))
    );
    assert_eq!(parse(&golden(2).packet).payload, b"12345");
    assert_eq!(
        parse(&golden(3).packet).header.body,
        Body::Send(Part::Only((), SendTail::Plain))
    );
    let imm = Some(ImmDt(0xdead_beef));
    let body = Body::Write(Part::Only(reth(0x7fc8_433d_b0c8, 0x229, 4), imm));
    assert_eq!(parse(&golden(4).packet).header.body, body);
    assert!(parse(&golden(4).packet).header.bth.solicited);
    let tail = SendTail::Immediate(ImmDt(0xcafe_0001));
    assert_eq!(
        parse(&golden(5).packet).header.body,
        Body::Send(Part::Only((), tail))
    );
    let atomic = |swap_or_add, compare| AtomicEth {
        virtual_address: 0x7fc8_433d_b100,
        r_key: 0x229,
        swap_or_add,
        compare,
    };
    assert_eq!(
        parse(&golden(6).packet).header.body,
        Body::FetchAdd(atomic(1, 0))
    );
    let acked = Body::AtomicAcknowledge(Aeth::ack(9), AtomicAckEth(0x29));
    assert_eq!(parse(&golden(7).packet).header.body, acked);
    assert_eq!(
        parse(&golden(8).packet).header.body,
        Body::CompareSwap(atomic(0x309, 0x2a))
    );
    let body = Body::ReadRequest(reth(0x7fc8_433d_b000, 0x229, 16));
    assert_eq!(parse(&golden(9).packet).header.body, body);
    let body = Body::ReadResponse(ReadPart::Only(Aeth::ack(0xb)));
    assert_eq!(parse(&golden(10).packet).header.body, body);
    assert_eq!(
        parse(&golden(11).packet).header.bth.psn,
        Psn::new(0xff_fffe)
    );
}

#[test]
fn every_opcode_survives_both_families() {
    let mut verifier = IcrcVerifier::new();
    let reth = Reth {
        virtual_address: 1 << 40,
        r_key: 7,
        dma_length: 9,
    };
    let atomic = AtomicEth {
        virtual_address: 8,
        r_key: 9,
        swap_or_add: 10,
        compare: 11,
    };
    let aeth = Aeth {
        syndrome: Syndrome::Other(0x55),
        msn: 0xabcdef,
    };
    let (imm, key) = (ImmDt(0x0102_0304), Ieth(0x0506_0708));
    let bodies = [
        Body::Send(Part::First(())),
        Body::Send(Part::Middle),
        Body::Send(Part::Last(SendTail::Plain)),
        Body::Send(Part::Last(SendTail::Immediate(imm))),
        Body::Send(Part::Last(SendTail::Invalidate(key))),
        Body::Send(Part::Only((), SendTail::Plain)),
        Body::Send(Part::Only((), SendTail::Immediate(imm))),
        Body::Send(Part::Only((), SendTail::Invalidate(key))),
        Body::Write(Part::First(reth)),
        Body::Write(Part::Middle),
        Body::Write(Part::Last(None)),
        Body::Write(Part::Last(Some(imm))),
        Body::Write(Part::Only(reth, None)),
        Body::Write(Part::Only(reth, Some(imm))),
        Body::ReadRequest(reth),
        Body::ReadResponse(ReadPart::First(aeth)),
        Body::ReadResponse(ReadPart::Middle),
        Body::ReadResponse(ReadPart::Last(aeth)),
        Body::ReadResponse(ReadPart::Only(aeth)),
        Body::Acknowledge(aeth),
        Body::AtomicAcknowledge(aeth, AtomicAckEth(5)),
        Body::CompareSwap(atomic),
        Body::FetchAdd(atomic),
        Body::Cnp,
    ];
    let v4 = ("127.0.0.2:4791", "127.0.0.3:4791");
    let v6 = ("[::1]:4791", "[fe80::1]:4791");
    for (from, to) in [v4, v6] {
        let path = Path::new(from.parse().unwrap(), to.parse().unwrap()).unwrap();
        for (index, body) in bodies.into_iter().enumerate() {
            let bth = rdma::wire::Bth::new(0x1234, Psn::new(index as u32));
            let payload: &[u8] = if body.opcode().has_payload() {
                b"seven b"
            } else {
                b""
            };
            let packet = Packet {
                header: rdma::wire::Header { bth, body },
                payload,
            };
            let mut out = [0; 128];
            let len = packet.emit(&path, 0, &mut out);
            let view = PacketView::new(&out[..len]).unwrap();
            assert_eq!(Packet::try_from(view), Ok(packet));
            assert_eq!(verifier.identification(&path, view), Some(0));
            out[len - 9] ^= 1;
            assert!(!verifier.verify(&path, PacketView::new(&out[..len]).unwrap(), 127));
        }
    }
}

#[test]
fn segments_of_one_send_carry_their_index() {
    let mut verifier = IcrcVerifier::new();
    let Golden { path, packet, .. } = golden(0);
    for id in 0..128 {
        let mut out = packet.clone();
        rdma::wire::seal(&path, id, &mut out);
        assert_eq!(
            verifier.identification(&path, PacketView::new(&out).unwrap()),
            Some(id)
        );
    }
}

#[test]
fn truncated_packets_are_malformed_never_a_panic() {
    for golden in all() {
        for len in 0..golden.packet.len() {
            let Some(view) = PacketView::new(&golden.packet[..len]) else {
                assert!(len < MIN_PACKET || !len.is_multiple_of(4));
                continue;
            };
            if let Ok(packet) = Packet::try_from(view) {
                assert!(packet.payload.len() < golden.packet.len());
            }
        }
    }
}
