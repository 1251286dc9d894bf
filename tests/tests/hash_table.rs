//! The rules of the hash table (`flexio-dev/src/hash_table.rs`), by kernels on a device.

mod drivers;

use std::time::{Duration, Instant};

use doca_dpa::error::{LaunchError, LaunchRefused};
use doca_dpa::{Dpa, Error, FaultKind, HashTable, HashTableError, Location, Sim, SyncEvent};
use drivers::both;
use drivers::on::seeds;
use tests::hash_table::*;

fn open() -> Dpa {
    Dpa::builder().workers(2).open().expect("a device")
}

async fn insert(dpa: &Dpa, table: &HashTable, keys: &[u32], threads: u32) -> Result<u64, Error> {
    let keys = dpa.copy_in(keys).await?;
    let refused = dpa.zeroed::<u64>(1).await?;
    dpa.launch(insert_all)
        .args(InsertAllArgs {
            table,
            keys: &keys,
            refused: &refused,
        })
        .threads(threads)
        .submit()?
        .await?;
    Ok(refused.copy_out().await?[0])
}

async fn find(dpa: &Dpa, table: &HashTable, keys: &[u32]) -> Result<Vec<u64>, Error> {
    let (keys, found) = (dpa.copy_in(keys).await?, dpa.zeroed(keys.len()).await?);
    dpa.launch(find_all)
        .args(FindAllArgs {
            table,
            keys: &keys,
            found: &found,
        })
        .submit()?
        .await?;
    Ok(found.copy_out().await?)
}

/// Threads that write keys of their own, and what was wrong.
async fn churned(dpa: &Dpa, threads: u32, rounds: u32) -> Result<u64, Error> {
    let own_keys = 3;
    let table = dpa.hash_table(u64::from(threads * own_keys))?;
    let wrong = dpa.zeroed::<u64>(1).await?;
    dpa.launch(churn_own)
        .args(ChurnOwnArgs {
            table: &table,
            own_keys,
            rounds,
            wrong: &wrong,
        })
        .threads(threads)
        .submit()?
        .await?;
    assert!(table.is_empty()?);
    Ok(wrong.copy_out().await?[0])
}

/// Threads that write the same keys, more than the table has room for: what was wrong, and whether the number of
/// entries is that of those that came and did not go.
async fn contended(dpa: &Dpa, threads: u32, rounds: u32) -> Result<(u64, bool), Error> {
    let mut table = dpa.hash_table(8)?;
    let (came, wrong) = (dpa.zeroed::<u64>(1).await?, dpa.zeroed::<u64>(1).await?);
    dpa.launch(churn_shared)
        .args(ChurnSharedArgs {
            table: &table,
            keys: 12,
            rounds,
            came: &came,
            wrong: &wrong,
        })
        .threads(threads)
        .submit()?
        .await?;
    let came = came.copy_out().await?[0];
    let consistent = table.len()? == came && table.entries()?.len() as u64 == came;
    Ok((wrong.copy_out().await?[0], consistent))
}

async fn published(dpa: &Dpa, threads: u32, numbers: usize) -> Result<u64, Error> {
    let table = dpa.hash_table(16)?;
    let written = dpa.zeroed::<u64>(numbers).await?;
    let wrong = dpa.zeroed::<u64>(1).await?;
    dpa.launch(read_what_was_published)
        .args(ReadWhatWasPublishedArgs {
            table: &table,
            written: &written,
            wrong: &wrong,
        })
        .threads(threads)
        .submit()?
        .await?;
    Ok(wrong.copy_out().await?[0])
}

#[test]
fn rule_1_3_threads_that_write_at_once_see_one_order() {
    both(async |dpa| {
        assert_eq!(churned(&dpa, 16, 2_000).await?, 0);
        assert_eq!(contended(&dpa, 16, 4_000).await?, (0, true));
        Ok(())
    });
}

#[test]
fn rule_1_3_threads_that_write_at_once_see_one_order_under_every_seed() {
    for seed in seeds(30) {
        let run = Sim::new(seed).run(async |dpa: Dpa| -> Result<_, Error> {
            Ok((churned(&dpa, 8, 300).await?, contended(&dpa, 8, 600).await?))
        });
        let seen = run.expect("nobody waits for ever").value.expect("works");
        assert_eq!(seen, (0, (0, true)), "seed {seed}");
    }
}

#[tokio::test]
async fn rule_7_who_gets_a_value_sees_what_was_written_before() -> Result<(), Error> {
    assert_eq!(published(&open(), 4, 20_000).await?, 0);
    for seed in seeds(10) {
        let run = Sim::new(seed).run(async |dpa: Dpa| published(&dpa, 4, 3_000).await);
        assert_eq!(run.expect("ends").value?, 0, "seed {seed}");
    }
    Ok(())
}

#[test]
fn rule_4_a_full_table_refuses_new_keys_and_only_those() {
    both(async |dpa| {
        let mut table = dpa.hash_table(100)?;
        assert_eq!(table.capacity(), 128);
        let keys: Vec<u32> = (0..200).map(|n| n * 0x0101_0101).collect();
        assert_eq!(insert(&dpa, &table, &keys, 16).await?, 72);
        let entries = table.entries()?;
        assert_eq!((entries.len(), table.len()?), (128, 128));
        assert!(entries.iter().all(|&(key, value)| value == !u64::from(key)));
        let there: Vec<u32> = entries.iter().map(|&(key, _)| key).collect();
        assert_eq!(insert(&dpa, &table, &there, 4).await?, 0);
        let found = find(&dpa, &table, &keys).await?;
        assert_eq!(found.iter().filter(|&&value| value != 0).count(), 128);
        table.clear()?;
        assert!(table.is_empty()? && table.entries()?.is_empty());
        Ok(())
    });
}

#[test]
fn rule_5_every_key_is_a_key() {
    both(async |dpa| {
        let table = dpa.hash_table(8)?;
        let keys = [0, 1, u32::MAX, u32::MAX - 1, 1 << 31];
        assert_eq!(find(&dpa, &table, &keys).await?, [0; 5]);
        assert_eq!(insert(&dpa, &table, &keys, 2).await?, 0);
        let values = keys.map(|key| !u64::from(key));
        assert_eq!(find(&dpa, &table, &keys).await?, values);
        let (keys_in, removed) = (dpa.copy_in(&keys).await?, dpa.zeroed::<u64>(5).await?);
        for expected in [values, [0; 5]] {
            dpa.launch(remove_all)
                .args(RemoveAllArgs {
                    table: &table,
                    keys: &keys_in,
                    removed: &removed,
                })
                .submit()?
                .await?;
            assert_eq!(removed.copy_out().await?, expected);
        }
        Ok(())
    });
}

#[test]
fn the_host_loads_what_kernels_find() {
    both(async |dpa| {
        let mut table = dpa.hash_table(1 << 16)?;
        table.load((0..1 << 16).map(|key| (key * 3, u64::from(key) + 1)))?;
        table.load([(3, 5)])?;
        assert_eq!(
            find(&dpa, &table, &[0, 3, 6, 7, 196_605]).await?,
            [1, 5, 3, 0, 65_536]
        );
        let full = table.load([(1, 1)]).expect_err("it is full");
        assert!(full.to_string().contains("65536 entries"), "{full}");
        assert_eq!(
            (table.len()?, find(&dpa, &table, &[1]).await?),
            (1 << 16, vec![0])
        );
        Ok(())
    });
}

#[test]
fn the_host_has_the_whole_table_only_while_no_kernel_has_it() {
    both(async |dpa| {
        let mut table = dpa.hash_table(16)?;
        let gate = SyncEvent::builder(&dpa)
            .publisher(Location::Host)
            .subscriber(Location::Device)
            .create()?;
        let (keys, found) = (dpa.copy_in(&[1]).await?, dpa.zeroed(1).await?);
        let launch = dpa
            .launch(find_all)
            .args(FindAllArgs {
                table: &table,
                keys: &keys,
                found: &found,
            })
            .wait_for(gate.ge(1))
            .submit()?;
        assert_eq!(table.load([(1, 1)]), Err(HashTableError::InUse));
        assert_eq!(table.clear(), Err(HashTableError::InUse));
        assert_eq!(table.entries(), Err(HashTableError::InUse));
        assert_eq!(table.len()?, 0);
        gate.add(1)?;
        launch.await?;
        dpa.wait_idle().await;
        table.load([(1, 1)])?;
        Ok(())
    });
}

/// Elsewhere each is refused after a moment in which a launch may let go of it. Here nothing can while the program waits.
#[test]
fn a_table_in_use_takes_no_time_of_a_simulation() {
    let run = Sim::new(1).run(async |dpa: Dpa| {
        let mut table = dpa.hash_table(16)?;
        let gate = SyncEvent::host_to_device(&dpa)?;
        let (keys, found) = (dpa.copy_in(&[1]).await?, dpa.zeroed(1).await?);
        let args = FindAllArgs {
            table: &table,
            keys: &keys,
            found: &found,
        };
        let launch = dpa.launch(find_all).args(args);
        let launch = launch.wait_for(gate.ge(1)).submit()?;
        let began = Instant::now();
        for _ in 0..100 {
            assert_eq!(table.clear(), Err(HashTableError::InUse));
        }
        let took = began.elapsed();
        gate.add(1)?;
        launch.await?;
        table.clear()?;
        Ok::<_, Error>(took)
    });
    let took = run.expect("it ends").value.expect("no error");
    assert!(took < Duration::from_secs(8), "{took:?}");
}

#[test]
fn a_dropped_table_lives_until_its_launches_are_over() {
    both(async |dpa| {
        let gate = SyncEvent::host_to_device(&dpa)?;
        let mut table = dpa.hash_table(16)?;
        table.load([(1, 11)])?;
        let (keys, found) = (dpa.copy_in(&[1]).await?, dpa.zeroed::<u64>(1).await?);
        let launch = dpa
            .launch(find_all)
            .args(FindAllArgs {
                table: &table,
                keys: &keys,
                found: &found,
            })
            .wait_for(gate.ge(1))
            .submit()?;
        drop(table);
        assert_eq!(dpa.snapshot().heap.allocations, 3);
        gate.add(1)?;
        launch.await?;
        dpa.wait_idle().await;
        assert_eq!(found.copy_out().await?, [11]);
        assert_eq!(dpa.snapshot().heap.allocations, 2);
        Ok(())
    });
}

#[tokio::test]
async fn a_table_that_cannot_be_is_an_error() -> Result<(), Error> {
    let (dpa, other) = (open(), open());
    assert_eq!(
        dpa.hash_table((1 << 31) + 1).expect_err("too many"),
        HashTableError::TooManyEntries {
            asked: (1 << 31) + 1,
            max: 1 << 31
        }
    );
    let large = dpa.hash_table(1 << 30).expect_err("more than the heap");
    assert!(matches!(large, HashTableError::Memory(_)), "{large}");
    let foreign = other.hash_table(16)?;
    let (keys, found) = (dpa.copy_in(&[1]).await?, dpa.zeroed(1).await?);
    let refused = dpa
        .launch(find_all)
        .args(FindAllArgs {
            table: &foreign,
            keys: &keys,
            found: &found,
        })
        .submit()
        .expect_err("another context's table");
    assert!(
        matches!(refused.kind(), LaunchRefused::ForeignArgument { .. }),
        "{refused}"
    );
    Ok(())
}

#[tokio::test]
async fn a_table_that_is_not_there_is_a_fault() -> Result<(), Error> {
    type Lie = fn(u64, u64) -> (u64, u64);
    let unlikely: [Lie; 4] = [
        |addr, entries| (addr, entries * 2),
        |addr, entries| (addr, entries - 1),
        |addr, _| (addr, 1 << 40),
        |addr, entries| (addr + 8, entries),
    ];
    for lie in unlikely {
        let dpa = open();
        let table = dpa.hash_table(1024)?;
        let true_one = table.wire();
        let try_one = async |(addr, entries)| {
            let launch = dpa
                .launch(binds_table)
                .args(BindsTableArgs { addr, entries });
            Ok::<_, Error>(launch.submit()?.await)
        };
        try_one((true_one.addr, true_one.entries)).await??;
        assert_eq!(table.len()?, 1);
        match try_one(lie(true_one.addr, true_one.entries)).await? {
            Err(LaunchError::Faulted(fault)) => {
                assert!(
                    matches!(fault.kind, FaultKind::OutOfRange { .. }),
                    "{fault}"
                );
            }
            other => panic!("{other:?}"),
        }
    }
    Ok(())
}
