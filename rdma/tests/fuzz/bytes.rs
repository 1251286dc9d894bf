//! Plain bytes: the packet parser, and the decoder of exported blobs.

use std::fmt::Debug;

use rdma::codec::{DecodeError, MAX_BLOB};
use rdma::config::AckTimeout;
use rdma::connection::{
    AtomicCapability, ConnectionInfo, Features, NicKind, RemoteEvent, RemoteRegion,
};
use rdma::mtu::PathMtu;
use rdma::psn::{Psn, Qpn};
use rdma::region::{RemoteKey, Rights};
use rdma::wire::{
    IcrcVerifier, MAX_PACKET, MIN_PACKET, Opcode, Packet, PacketView, Path, RnrTimer,
};

use crate::mutate::{mutate, noise, number, pick};
use crate::rig::Random;

/// Per seed.
const INPUTS: usize = 400;

/// A packet is refused, or is a value that says the same when it is sent again. Its ICRC can always be judged.
pub fn packets(seed: u64) {
    let mut random = Random::new(seed);
    let mut verifier = IcrcVerifier::new();
    let paths = [
        ("10.0.0.1:4791", "10.0.0.2:9"),
        ("[fd00::1]:1", "[fd00::2]:4791"),
    ]
    .map(|(from, to)| Path::new(from.parse().unwrap(), to.parse().unwrap()).unwrap());
    let mut old = Vec::new();
    for _ in 0..INPUTS {
        let mut bytes = packet(&mut random);
        if random.chance(400) {
            mutate(&mut random, &mut bytes, &old);
        }
        parse(&bytes, &paths, &mut verifier);
        old.push(bytes);
    }
}

fn parse(bytes: &[u8], paths: &[Path; 2], verifier: &mut IcrcVerifier) {
    let possible =
        (MIN_PACKET..=MAX_PACKET).contains(&bytes.len()) && bytes.len().is_multiple_of(4);
    let view = PacketView::new(bytes);
    assert_eq!(view.is_some(), possible, "{} bytes", bytes.len());
    let Some(view) = view else { return };
    for path in paths {
        let _any = verifier.identification(path, view);
    }
    let Ok(packet) = Packet::try_from(view) else {
        return;
    };
    assert_eq!(packet.len(), bytes.len());
    let mut again = vec![0; packet.len()];
    packet.emit(&paths[0], 5, &mut again);
    let view = PacketView::new(&again).unwrap();
    assert_eq!(verifier.identification(&paths[0], view), Some(5));
    assert_eq!(Packet::try_from(view), Ok(packet));
}

/// Mostly of an opcode that there is, with a length that there may be.
fn packet(random: &mut Random) -> Vec<u8> {
    let len = match random.below(4) {
        0 => random.below(MAX_PACKET as u64 + 64),
        1 => 4 * random.below(MAX_PACKET as u64 / 4),
        _ => 4 * random.below(40),
    };
    let mut bytes = noise(random, len as usize);
    if let Some(code) = bytes.first_mut()
        && random.chance(900)
    {
        *code = pick(random, &Opcode::ALL).code();
    }
    bytes
}

/// Bytes are refused, or are a value whose own blob decodes to the same value.
pub fn blobs(seed: u64) {
    let mut random = Random::new(seed);
    let mut old = Vec::new();
    for _ in 0..INPUTS {
        let mut bytes = blob(&mut random);
        if random.chance(800) {
            mutate(&mut random, &mut bytes, &old);
        }
        if random.chance(10) {
            bytes.resize(MAX_BLOB + random.below(3) as usize - 1, 0);
        }
        if let Some(info) = decode(&bytes, ConnectionInfo::from_blob, ConnectionInfo::to_blob) {
            assert!(
                info.udp_port != 0 && !info.address.is_multicast(),
                "{info:?}"
            );
        }
        if let Some(region) = decode(&bytes, RemoteRegion::from_blob, RemoteRegion::to_blob) {
            assert!(region.base.checked_add(region.len).is_some(), "{region:?}");
        }
        if let Some(event) = decode(&bytes, RemoteEvent::from_blob, RemoteEvent::to_blob) {
            assert_eq!(event.address % 8, 0, "{event:?}");
        }
        old.push(bytes);
    }
}

fn decode<T: Debug + PartialEq>(
    bytes: &[u8],
    from_blob: fn(&[u8]) -> Result<T, DecodeError>,
    to_blob: fn(&T) -> Vec<u8>,
) -> Option<T> {
    let decoded = from_blob(bytes);
    if bytes.len() > MAX_BLOB {
        let len = bytes.len();
        assert_eq!(decoded, Err(DecodeError::TooLong { len }));
    }
    let value = decoded.ok()?;
    assert_eq!(from_blob(&to_blob(&value)).as_ref(), Ok(&value));
    Some(value)
}

/// A good blob of one of the kinds; a part of its values is at the edges.
fn blob(random: &mut Random) -> Vec<u8> {
    let key = RemoteKey(number(random) as u32);
    match random.below(3) {
        0 => connection(random).to_blob(),
        1 => RemoteRegion {
            key,
            base: number(random),
            len: number(random),
            rights: Rights::from_bits_truncate(random.next() as u32),
        }
        .to_blob(),
        _ => RemoteEvent {
            key,
            address: number(random),
        }
        .to_blob(),
    }
}

fn connection(random: &mut Random) -> ConnectionInfo {
    let address = match random.chance(500) {
        true => (random.next() as u32).to_be_bytes().into(),
        false => (u128::from(random.next()) << 64).to_be_bytes().into(),
    };
    ConnectionInfo {
        kind: pick(random, &[NicKind::Soft, NicKind::Verbs]),
        address,
        udp_port: number(random) as u16,
        queue_pair: Qpn::new(2 + random.below(1000) as u32).unwrap(),
        first_psn: Psn::new(random.next() as u32),
        mtu: pick(random, &PathMtu::ALL),
        initiator_depth: random.next() as u8,
        responder_resources: random.next() as u8,
        rnr_timer: RnrTimer::from_code(random.below(32) as u8).unwrap(),
        timeout: AckTimeout::from_code(random.below(32) as u8).unwrap(),
        receive_budget: Some(number(random) as u32).filter(|budget| *budget != 0),
        atomics: pick(random, &[AtomicCapability::None, AtomicCapability::Global]),
        features: Features::from_bits_truncate(random.next()),
        nonce: [random.next() as u8; 16],
        echo: Some([random.next() as u8; 16]).filter(|echo| *echo != [0; 16]),
    }
}
