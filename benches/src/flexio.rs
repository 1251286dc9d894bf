//! The low layer: what kernels do with device memory.

use std::time::Instant;

use doca_dpa::{Dpa, HashTable};
use dpa_bench_kernels::{FindEachArgs, find_each};
use foldhash::fast::FixedState;
use hashbrown::HashMap;

use crate::chain::device;
use crate::row::Row;
use crate::slices::{Plan, fixed};

/// Entries of the table and of the map.
const ENTRIES: u32 = 1_000_000;
/// Lookups in one launch, and in one slice of the peer.
const BATCH: u64 = 100_000;
/// Keys that are looked up, in a random order, and again.
const KEYS: u64 = 20 * BATCH;

/// A permutation of all numbers of 32 bits: entry n has key `scattered(n)`, and no other number gives it.
const fn scattered(n: u32) -> u32 {
    let n = (n ^ (n >> 16)).wrapping_mul(0x7feb_352d);
    let n = (n ^ (n >> 15)).wrapping_mul(0x846c_a68b);
    n ^ (n >> 16)
}

/// Every other key is there, in no order that helps.
fn keys() -> Vec<u32> {
    let mut state = 0x2545_f491_4f6c_dd1du64;
    let mut random = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state >> 20
    };
    let key = |n: u64| scattered((n % u64::from(ENTRIES * 2)) as u32);
    (0..KEYS).map(|_| key(random())).collect()
}

fn entries() -> impl Iterator<Item = (u32, u64)> {
    (0..ENTRIES).map(|n| (scattered(n), u64::from(n) << 8))
}

fn filled(dpa: &Dpa) -> HashTable {
    let mut table = dpa.hash_table(ENTRIES.into()).expect("memory");
    table.load(entries()).expect("room");
    table
}

/// What the finds of these keys add up to.
fn find_in_map(map: &HashMap<u32, u64, FixedState>, keys: &[u32]) -> u64 {
    keys.iter().fold(0u64, |sum, key| {
        sum.wrapping_add(map.get(key).copied().unwrap_or(1))
    })
}

/// Finds in a table of a million entries, by a kernel, hits and misses mixed. At the end both sides have found the same.
pub(crate) fn hash_find(plan: &Plan) -> Row {
    let (dpa, keys) = (device(), keys());
    let table = filled(&dpa);
    let on_device = dpa.copy_in_blocking(&keys).expect("memory");
    let sum = dpa.zeroed_blocking::<u64>(1).expect("memory");
    let map: HashMap<u32, u64, FixedState> = entries().collect();
    let (mut first, mut peer_first, mut peer_sum) = (0, 0, 0u64);
    let ours = |times: u64| {
        let args = FindEachArgs {
            table: &table,
            keys: &on_device,
            first: first % KEYS,
            times,
            sum: &sum,
        };
        first += times;
        let start = Instant::now();
        let launch = dpa.launch(find_each).args(args).submit().expect("room");
        launch.wait().expect("completes");
        start.elapsed()
    };
    let theirs = |times: u64| {
        let from = (peer_first % KEYS) as usize;
        let start = Instant::now();
        let found = find_in_map(&map, &keys[from..from + times as usize]);
        let took = start.elapsed();
        peer_first += times;
        peer_sum = peer_sum.wrapping_add(found);
        took
    };
    let peer = "hashbrown HashMap<u32, u64>, foldhash, on the host";
    let shape = ("flexio", "hash-find", "ratio <= 1.5");
    let row = fixed(plan, shape, (BATCH, ours), (peer, BATCH, theirs));
    if plan.peer {
        let found = sum.copy_out_blocking().expect("open");
        assert_eq!(found, [peer_sum], "both found the same");
    }
    row
}
