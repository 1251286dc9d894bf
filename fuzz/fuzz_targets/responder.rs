//! The responder's state machine: packets of which a peer, or anybody, may send any sequence. Nothing is written but what the
//! rights allow.
//!
//! Each packet is a byte that says what is put right (the ICRC; the queue pair's number, the key and a packet number near the
//! expected one), one that says how far from it, one with its length in words, and its bytes.
#![no_main]

#[path = "../../rdma/tests/rig/mod.rs"]
#[allow(unused_imports, reason = "the target uses a part of it")]
mod rig;

use libfuzzer_sys::fuzz_target;
use rdma::region::{RegionKind, RegionSpec, Rights};
use rdma::wire::{MIN_PACKET, Opcode, seal};
use rig::forge::Forge;
use rig::{Pair, REGION, Side, region_like};

/// What the peer may write.
const OPEN: std::ops::Range<usize> = 1024..1536;
const BTH: usize = 12;

fuzz_target!(|bytes: &[u8]| run(bytes));

fn run(mut bytes: &[u8]) {
    let mut pair = Pair::new();
    let all = region_like(Rights::all());
    let narrow = RegionSpec {
        len: OPEN.len() as u64,
        target: all.target.plus(OPEN.start as u64),
        ..all
    };
    let key = pair.b.regions.register(narrow, 5).expect("a region");
    let main = pair.b.region;
    pair.b.regions.deregister(main).expect("it is there");
    let local = RegionSpec {
        kind: RegionKind::Bytes,
        rights: Rights::LOCAL_WRITE,
        ..narrow
    };
    pair.b.regions.register(local, 6).expect("a region");
    pair.b.receive(1, OPEN.start, 64);
    let mut forge = Forge::new(&pair);
    while let [how, ahead, words, rest @ ..] = bytes {
        let len = (4 * usize::from(*words)).min(rest.len());
        let (body, rest) = rest.split_at(len);
        bytes = rest;
        let mut packet = body.to_vec();
        if how & 1 != 0 && packet.len() >= BTH {
            let psn = forge.expected.plus(u32::from(*ahead & 3)).value();
            packet[0] = Opcode::ALL[usize::from(packet[0]) % Opcode::ALL.len()].code();
            packet[1] &= 0xf0;
            packet[2..4].copy_from_slice(&[0xff, 0xff]);
            packet[4..8].copy_from_slice(&(forge.number & 0xff_ffff).to_be_bytes());
            packet[9..12].copy_from_slice(&psn.to_be_bytes()[1..]);
        }
        if how & 2 != 0 && packet.len() >= BTH + 16 {
            packet[BTH + 8..BTH + 12].copy_from_slice(&key.remote_key().0.to_be_bytes());
            packet[BTH..BTH + 6].fill(0);
        }
        if how & 4 != 0 && packet.len() >= MIN_PACKET {
            seal(&forge.path, 0, &mut packet);
        }
        pair.inject(Side::A, packet);
        pair.deliver();
        pair.transmit();
        forge.expected = forge.expected.plus(u32::from(how >> 3 & 1));
    }
    let bytes = pair.b.bytes(0, REGION);
    let untouched = |range: &[u8]| range.iter().all(|byte| *byte == 0);
    assert!(untouched(&bytes[..OPEN.start]), "before the region");
    assert!(untouched(&bytes[OPEN.end..]), "behind the region");
    pair.b.assert_guards();
}
