//! Random, truncated, corrupted and replayed packets: nothing panics, nothing else is touched.

mod rig;
#[path = "../../dpa-model/tests/seeds/mod.rs"]
mod seeds;

use rdma::queue_pair::State;
use rdma::region::{RegionKind, RegionSpec, Rights};
use rdma::wire::{Aeth, AtomicEth, Body, ImmDt, Part, ReadPart, Reth, SendTail, seal};
use rdma::work::{Data, Operation, RemoteAddress};
use rig::forge::*;
use rig::*;
use seeds::seeds;

/// Random, truncated, corrupted-and-resealed and replayed packets.
#[test]
fn rule_6_8_hostile_packets_neither_panic_nor_touch_what_is_not_theirs() {
    seeds(200).for_each(hostile);
}

fn hostile(seed: u64) {
    let mut random = Random::new(seed);
    let mut pair = Pair::new();
    let narrow = RegionSpec {
        len: 512,
        ..region_like(Rights::all())
    };
    let narrow = RegionSpec {
        target: narrow.target.plus(1024),
        ..narrow
    };
    let key = pair.b.regions.register(narrow, 5).unwrap();
    let main = pair.b.region;
    pair.b.regions.deregister(main).unwrap();
    pair.b
        .regions
        .register(
            RegionSpec {
                kind: RegionKind::Bytes,
                rights: Rights::LOCAL_WRITE,
                ..narrow
            },
            6,
        )
        .unwrap();
    let to = RemoteAddress {
        address: 0,
        key: key.remote_key(),
    };
    let mut forge = Forge::new(&pair);
    let mut old: Vec<Vec<u8>> = Vec::new();
    for _ in 0..300 {
        let payload = vec![random.next() as u8; random.below(5) as usize * 256];
        let body = random_body(&mut random, to, payload.len());
        let payload: &[u8] = if body.opcode().has_payload() {
            &payload
        } else {
            &[]
        };
        let mut packet = forge.packet(random.below(3) as u32, body, payload);
        match random.below(6) {
            0 => packet.truncate(4 * random.below(packet.len() as u64 / 4) as usize),
            1 => {
                let at = random.below(packet.len() as u64) as usize;
                packet[at] ^= random.next() as u8;
                seal(&forge.path, 0, &mut packet);
            }
            2 if !old.is_empty() => {
                packet.clone_from(&old[random.below(old.len() as u64) as usize]);
            }
            3 => packet
                .iter_mut()
                .for_each(|byte| *byte = random.next() as u8),
            _ => {}
        }
        old.push(packet.clone());
        pair.inject(Side::A, packet);
        pair.deliver();
        pair.transmit();
        if matches!(pair.b.queue_pair().state(), State::Error(_)) {
            break;
        }
        forge.expected = forge.expected.plus(random.below(2) as u32);
    }
    let bytes = pair.b.bytes(0, REGION);
    assert!(
        bytes[..1024].iter().all(|byte| *byte == 0),
        "seed {seed}: before the region"
    );
    assert!(
        bytes[1024 + 512..].iter().all(|byte| *byte == 0),
        "seed {seed}: behind the region"
    );
    pair.b.assert_guards();
}

fn random_body(random: &mut Random, to: RemoteAddress, len: usize) -> Body {
    let address = match random.below(4) {
        0 => random.next(),
        1 => 512 - random.below(20),
        _ => random.below(512) & !7,
    };
    let len = if random.chance(700) {
        len
    } else {
        random.next() as usize
    };
    let reth = Reth {
        virtual_address: address,
        ..reth(to, len)
    };
    let reth = if random.chance(900) {
        reth
    } else {
        Reth {
            r_key: random.next() as u32,
            ..reth
        }
    };
    let atomic = AtomicEth {
        virtual_address: address,
        r_key: reth.r_key,
        swap_or_add: 1,
        compare: 0,
    };
    match random.below(12) {
        0 => Body::Send(Part::First(())),
        1 => Body::Send(Part::Only((), SendTail::Plain)),
        2 => Body::Write(Part::First(reth)),
        3 => Body::Write(Part::Middle),
        4 => Body::Write(Part::Last(Some(ImmDt(1)))),
        5 | 6 => Body::Write(Part::Only(reth, None)),
        7 => Body::ReadRequest(reth),
        8 => Body::FetchAdd(atomic),
        9 => Body::CompareSwap(atomic),
        10 => Body::Acknowledge(Aeth::ack(1)),
        _ => Body::ReadResponse(ReadPart::Middle),
    }
}

#[test]
fn rule_6_4_replayed_traffic_changes_nothing() {
    let mut pair = Pair::new();
    pair.a.fill(0, &pattern(3000, 1));
    pair.b.receive(1, 9000, 100);
    pair.b.receive(2, 9100, 100);
    pair.post(signaled(
        1,
        write(pair.a.segment(0, 3000), pair.b.remote(0)),
    ));
    pair.post(signaled(2, add(pair.b.remote(4096), 5)));
    pair.post(signaled(3, send(inline(b"hello"))));
    let operation = Operation::Write {
        data: Data::Local(pair.a.segment(0, 8)),
        to: pair.b.remote_event(),
        immediate: None,
    };
    pair.post(signaled(4, operation));
    pair.run();
    let before = pair.b.bytes(0, REGION);
    let traffic: Vec<_> = pair
        .trace
        .iter()
        .map(|sent| (sent.from, sent.bytes.clone()))
        .collect();
    for (from, packet) in traffic.iter().chain(traffic.iter().rev()) {
        pair.inject(*from, packet.clone());
        pair.run();
    }
    assert_eq!(pair.b.bytes(0, REGION), before);
    assert_eq!(pair.b.memory.event_updates.borrow().len(), 1);
    assert_eq!(received(&pair.b).len(), 1);
    assert_eq!(succeeded(&pair.a), [1, 2, 3, 4]);
    assert_eq!(pair.a.queue_pair().state(), State::ReadyToSend);
}
