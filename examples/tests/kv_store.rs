//! The store of `kv-server`: what threads that share it can rely on.

#[path = "../../dpa-model/tests/seeds/mod.rs"]
mod seeds;

use doca_dpa::{Dpa, Error, Sim};
use doca_dpa_dev::prelude::*;
use examples_kernels::kv::{Store, StoreArg, StoreFull, free_words, value_words};

/// Entries of the stores here.
const ENTRIES: u32 = 16;

/// Puts, gets and deletes a few keys that all threads share. All words of a value are the same: its key, and how many words
/// there are. Counts values that are not whole at index 0, puts that were refused at index 1.
#[dpa_kernel]
pub fn crowd(
    thread: &Thread,
    store: Store<'_>,
    scratch: DevSliceMut<u64>,
    counts: AtomicSlice<u64>,
    rounds: u64,
) {
    let mine = scratch.part(thread.rank() as usize * 64, 64);
    let (given, out) = (mine.part(0, 32), mine.part(32, 32));
    for round in 0..rounds {
        let key = ((round * 7 + u64::from(thread.rank())) % 5) as u32;
        let words = 1 + (round % 32) as usize;
        let stamp = (u64::from(key) << 32) | words as u64;
        (0..words).for_each(|word| given.write(word, stamp));
        match round % 4 {
            0 | 1 => {
                let put = store.put(key, &given.as_slice(), words as u32 * 8);
                counts.at(1).add(u64::from(put.is_err()));
            }
            2 => {
                if let Some(len) = store.get(key, &out) {
                    let stamp = (u64::from(key) << 32) | (u64::from(len) / 8);
                    let whole = (0..len as usize / 8).all(|word| out.read(word) == stamp);
                    counts.at(0).add(u64::from(!whole));
                }
            }
            _ => {
                store.delete(key);
            }
        }
    }
}

/// Puts new keys until the store is full, three times; each time all are there, and after they are deleted none.
#[dpa_kernel]
pub fn fill_up(
    _thread: &Thread,
    store: Store<'_>,
    scratch: DevSliceMut<u64>,
    stored: DevSliceMut<u64>,
) {
    let (given, out) = (scratch.part(0, 32), scratch.part(32, 32));
    for round in 0..stored.len() {
        let put = |key: u32| {
            given.write(0, u64::from(key) + round as u64);
            store.put(key, &given.as_slice(), 8)
        };
        let full = (0..1000u32).find(|key| put(*key) == Err(StoreFull));
        let count = full.unwrap_or(1000);
        // What is there can still be replaced.
        let replaced = put(0).is_ok();
        let there = (0..count).all(|key| {
            let found = store.get(key, &out) == Some(8);
            found && out.read(0) == u64::from(key) + round as u64
        });
        let gone = (0..count).all(|key| store.delete(key) && !store.delete(key));
        let fine = there && gone && replaced && store.get(0, &out).is_none();
        stored.write(round, if fine { count.into() } else { 0 });
    }
}

async fn crowded(dpa: &Dpa, threads: u32, rounds: u64) -> Result<Vec<u64>, Error> {
    let table = dpa.hash_table(ENTRIES.into())?;
    let values = dpa.zeroed(value_words(ENTRIES)).await?;
    let free = dpa.zeroed(free_words(ENTRIES)).await?;
    let scratch = dpa.zeroed(threads as usize * 64).await?;
    let counts = dpa.zeroed(2).await?;
    let store = StoreArg {
        table: &table,
        values: &values,
        free: &free,
    };
    let args = CrowdArgs {
        store,
        scratch: &scratch,
        counts: &counts,
        rounds,
    };
    dpa.launch(crowd)
        .args(args)
        .threads(threads)
        .submit()?
        .await?;
    counts.copy_out().await.map_err(Error::from)
}

#[tokio::test]
async fn values_are_whole_whatever_other_threads_do() -> Result<(), Error> {
    let dpa = Dpa::builder().workers(2).open()?;
    assert_eq!(crowded(&dpa, 8, 20_000).await?, [0, 0]);
    Ok(())
}

#[test]
fn values_are_whole_under_any_schedule() {
    for seed in seeds::seeds(40) {
        let run = Sim::new(seed).run(async |dpa| crowded(&dpa, 4, 200).await);
        let counts = run.expect("a simulation").value.expect("all well");
        assert_eq!(counts, [0, 0], "seed {seed}");
    }
}

#[tokio::test]
async fn a_full_store_refuses_new_keys_and_loses_no_slot() -> Result<(), Error> {
    let dpa = Dpa::open()?;
    let table = dpa.hash_table(ENTRIES.into())?;
    let values = dpa.zeroed(value_words(ENTRIES)).await?;
    let free = dpa.zeroed(free_words(ENTRIES)).await?;
    let scratch = dpa.zeroed(64).await?;
    let stored = dpa.zeroed::<u64>(20).await?;
    let store = StoreArg {
        table: &table,
        values: &values,
        free: &free,
    };
    let args = FillUpArgs {
        store,
        scratch: &scratch,
        stored: &stored,
    };
    dpa.launch(fill_up).args(args).submit()?.await?;
    assert_eq!(stored.copy_out().await?, [u64::from(ENTRIES); 20]);
    Ok(())
}
