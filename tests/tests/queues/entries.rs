//! Entries that a kernel writes word by word, whatever they say.

use dpa_abi::DevAddr;
use flexio::queues::CompletionKind;
use flexio::rdma::Rights;
use flexio::{SimPlan, simulate};
use tests::queues::{PostWordsArgs, post_words};

use super::rig::{Rig, config, write};
use super::{store, word};
use crate::seeds::seeds;

/// Numbers without an end.
fn any_words(seed: u64) -> impl Iterator<Item = u64> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    std::iter::repeat_with(move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    })
}

/// Half of them with an opcode that there is, all of the first round.
fn any_entries(seed: u64, count: usize) -> Vec<u8> {
    let opcodes = [
        0x01u32, 0x08, 0x09, 0x0a, 0x0b, 0x0f, 0x10, 0x11, 0x12, 0x2e, 0x2f,
    ];
    let mut words = any_words(seed);
    let mut next = || words.next().unwrap_or(0);
    let mut bytes = Vec::new();
    for _ in 0..count {
        let mut entry: [u64; 8] = std::array::from_fn(|_| next());
        if next() % 2 == 0 {
            let opcode = opcodes[next() as usize % opcodes.len()];
            entry[0] = u64::from(opcode.to_be());
        }
        entry[1] |= 1;
        bytes.extend(entry.iter().flat_map(|word| word.to_le_bytes()));
    }
    bytes
}

#[test]
fn entries_of_any_words_harm_nobody_else() {
    for seed in seeds(200) {
        let plan = SimPlan {
            seed,
            config: config(),
            ..SimPlan::default()
        };
        let run = simulate(plan, async |device| {
            let rig = Rig::new(&device);
            let other = rig.beside();
            let theirs = other.memory(Rights::empty());
            store(&other, &theirs, 77);
            let (a, b) = rig.two();
            let entries = any_entries(seed, 4);
            let at = rig.process.alloc(entries.len() as u64, false);
            let at = at.expect("memory");
            rig.process.write(at, &entries).expect("its memory");
            let args = PostWordsArgs {
                queue: &a.pair,
                entries: DevAddr::from_raw(at),
                count: 4,
            };
            rig.run(post_words, args).await;
            rig.idle().await;
            assert_eq!(word(&other, &theirs, 0), 77);
            assert!(rig.process.fault().is_none() && other.process.fault().is_none());
            // What fails is the queue, and it says so; a new one works.
            let _ = (a.completions.poll(), b.completions.poll());
            let (c, d) = rig.two();
            let (from, to) = (rig.memory(Rights::empty()), rig.memory(Rights::all()));
            write(&rig, &c, &from, &to, 1).await;
            assert_eq!(c.next().await.kind, CompletionKind::Send);
            drop(d);
        });
        run.expect("it ends");
    }
}
