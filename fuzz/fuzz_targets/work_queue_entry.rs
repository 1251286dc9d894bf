//! Work-queue entries as a hostile kernel writes them: any words in the ring of a connected queue pair. The NIC reads nothing and
//! writes nothing but registered memory, answers with completions, and no process fails.
#![no_main]

#[path = "../../tests/tests/queues/rig.rs"]
#[allow(dead_code, reason = "the target uses a part of it")]
mod rig;
#[path = "../../dpa-model/tests/seeds/mod.rs"]
mod seeds;

use dpa_abi::DevAddr;
use dpa_abi::queue::{ENTRY_WORDS, WorkEntry, WorkOpcode};
use flexio::rdma::Rights;
use flexio::{Device, SimPlan, simulate};
use libfuzzer_sys::fuzz_target;
use rig::{Rig, config};
use tests::queues::{PostWordsArgs, post_words};

/// Entries at a time, at most.
const ENTRIES: usize = 8;

fuzz_target!(|bytes: &[u8]| {
    let entries: Vec<[u64; ENTRY_WORDS]> = bytes
        .chunks(8 * ENTRY_WORDS)
        .take(ENTRIES)
        .map(words)
        .collect();
    for entry in &entries {
        round_trip(entry);
    }
    let plan = SimPlan {
        seed: u64::from(bytes.first().copied().unwrap_or(0)),
        config: config(),
        ..SimPlan::default()
    };
    let run = simulate(plan, |device| post(device, &entries));
    run.expect("it ends");
});

fn words(bytes: &[u8]) -> [u64; ENTRY_WORDS] {
    std::array::from_fn(|at| {
        let mut word = [0; 8];
        let part = bytes.get(8 * at..).unwrap_or_default();
        let len = part.len().min(8);
        word[..len].copy_from_slice(&part[..len]);
        u64::from_le_bytes(word)
    })
}

fn round_trip(entry: &[u64; ENTRY_WORDS]) {
    let Ok(decoded) = WorkEntry::decode(entry) else {
        return;
    };
    let again = decoded.encode(3, 5, true);
    assert_eq!(WorkEntry::decode(&again), Ok(decoded), "{entry:x?}");
}

/// Whether the data segment stands behind another one.
fn is_atomic(opcode: WorkOpcode) -> bool {
    use WorkOpcode::{CompareSwap, FetchAdd, Transpose, Wait};
    matches!(opcode, CompareSwap | FetchAdd | Transpose | Wait)
}

/// What the last byte asks to be put right, so that the entry gets further: the phase, keys and addresses.
fn put_right(entry: &mut [u64; ENTRY_WORDS], open: &rig::Memory) {
    let how = entry[7] >> 56;
    if how & 1 != 0 {
        // The phase of the first round is 1.
        entry[1] = entry[1] & !0xff | 1;
    }
    if how & 2 != 0 {
        entry[2] = (entry[2] & 0xff).swap_bytes();
        entry[3] = u64::from(open.remote(0, 0).key.to_be());
    }
    if how & 4 != 0 {
        let at = if WorkEntry::decode(entry).is_ok_and(|e| is_atomic(e.opcode)) {
            6
        } else {
            4
        };
        let local = open.local(0, 0);
        let len = (entry[at] as u32).swap_bytes() & 0x1ff;
        entry[at] = u64::from(len.to_be()) | u64::from(local.key.to_be()) << 32;
        entry[at + 1] = (local.address + (entry[at + 1] & 0xff)).swap_bytes();
    }
}

async fn post(device: Device, entries: &[[u64; ENTRY_WORDS]]) {
    let rig = Rig::new(&device);
    let other = rig.beside();
    let (a, b) = rig.two();
    let (open, closed) = (rig.memory(Rights::all()), other.memory(Rights::empty()));
    other
        .process
        .write(closed.at, &[0xaa; 256])
        .expect("its memory");
    rig.receive(&b.receives, open.local(0, 64), 4).await;
    let entries = entries.iter().map(|entry| {
        let mut entry = *entry;
        put_right(&mut entry, &open);
        entry
    });
    let bytes: Vec<u8> = entries.flatten().flat_map(u64::to_le_bytes).collect();
    let at = rig
        .process
        .alloc(bytes.len().max(8) as u64, true)
        .expect("memory");
    rig.process.write(at, &bytes).expect("its memory");
    let args = PostWordsArgs {
        queue: &a.pair,
        entries: DevAddr::from_raw(at),
        count: (bytes.len() / (8 * ENTRY_WORDS)) as u64,
    };
    rig.run(post_words, args).await;
    rig.idle().await;
    for _ in 0..64 {
        a.completions.poll().expect("the queue is the host's");
        b.completions.poll().expect("the queue is the host's");
    }
    let mut there = [0; 256];
    other
        .process
        .read(closed.at, &mut there)
        .expect("its memory");
    assert_eq!(there, [0xaa; 256], "another process's memory");
    assert!(other.process.fault().is_none());
}
