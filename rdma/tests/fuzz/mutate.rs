//! Changing bytes: what a bad line or a bad peer does to a packet.

use rdma::wire::{MIN_PACKET, Path, seal};

use crate::rig::Random;

/// Values at which comparisons are apt to be wrong.
const EDGES: [u64; 14] = [
    0,
    1,
    7,
    8,
    255,
    4095,
    4096,
    1 << 23,
    (1 << 24) - 1,
    1 << 30,
    u32::MAX as u64,
    1 << 63,
    u64::MAX - 7,
    u64::MAX,
];

/// A number at or beside an edge, or any.
pub fn number(random: &mut Random) -> u64 {
    match random.below(4) {
        0 => random.next(),
        _ => pick(random, &EDGES)
            .wrapping_add(random.below(3))
            .wrapping_sub(1),
    }
}

pub fn pick<T: Copy>(random: &mut Random, from: &[T]) -> T {
    *pick_one(random, from)
}

/// One of these, of which there must be some.
pub fn pick_one<'a, T>(random: &mut Random, from: &'a [T]) -> &'a T {
    &from[random.below(from.len() as u64) as usize]
}

/// As many random bytes.
pub fn noise(random: &mut Random, len: usize) -> Vec<u8> {
    (0..len).map(|_| random.next() as u8).collect()
}

/// The bytes changed in one of many ways; `others` are there to be mixed in.
pub fn mutate(random: &mut Random, bytes: &mut Vec<u8>, others: &[Vec<u8>]) {
    match random.below(7) {
        0 => bytes.truncate(random.below(bytes.len() as u64 + 1) as usize),
        1 => flip(random, bytes, 1),
        2 => {
            let times = 1 + random.below(8);
            flip(random, bytes, times);
        }
        3 => overwrite(random, bytes),
        4 => {
            let len = 4 * random.below(20) as usize;
            bytes.extend(noise(random, len));
        }
        5 if !others.is_empty() => splice(random, bytes, others),
        _ => {
            let len = random.below(200) as usize;
            *bytes = noise(random, len);
        }
    }
}

fn flip(random: &mut Random, bytes: &mut [u8], times: u64) {
    for _ in 0..times.min(8 * bytes.len() as u64) {
        let at = random.below(bytes.len() as u64) as usize;
        bytes[at] ^= 1 << random.below(8);
    }
}

/// A field of 1, 2, 4 or 8 bytes gets a number at an edge.
fn overwrite(random: &mut Random, bytes: &mut [u8]) {
    let value = number(random).to_be_bytes();
    let len = pick(random, &[1, 2, 4, 8]).min(bytes.len());
    let at = random.below((bytes.len() - len) as u64 + 1) as usize;
    bytes[at..at + len].copy_from_slice(&value[8 - len..]);
}

/// The head of these and the tail of others.
fn splice(random: &mut Random, bytes: &mut Vec<u8>, others: &[Vec<u8>]) {
    let other = pick_one(random, others);
    bytes.truncate(random.below(bytes.len() as u64 + 1) as usize & !3);
    let from = random.below(other.len() as u64 + 1) as usize & !3;
    bytes.extend(&other[from..]);
}

/// Makes the ICRC right, so that the packet gets as far as its other faults let it.
pub fn reseal(random: &mut Random, path: &Path, packet: &mut [u8]) {
    if packet.len() >= MIN_PACKET {
        seal(path, random.below(128) as u16, packet);
    }
}
