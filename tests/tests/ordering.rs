//! Rule 4.3: what plain accesses, fences, atomics and barriers promise.

mod drivers;

use doca_dpa::{Dpa, Error, Sim};
use doca_dpa_dev::prelude::*;
use drivers::both;

/// Half of the threads store words whose halves are equal, the others look for one whose halves differ.
#[dpa_kernel]
fn tear(thread: &Thread, words: DevSliceMut<u64>, torn: AtomicSlice<u64>) {
    for round in 0..20_000u64 {
        let at = round as usize % words.len();
        if thread.rank().is_multiple_of(2) {
            let half = round & 0xffff_ffff;
            words.write(at, half << 32 | half);
        } else {
            let word = words.read_volatile(at);
            if word >> 32 != word & 0xffff_ffff {
                torn.at(0).add(1);
            }
        }
    }
}

/// One thread writes data and then a flag, with a fence between; the other polls the flag and reads the data.
#[dpa_kernel]
fn publish(
    thread: &Thread,
    data: DevSliceMut<u64>,
    flag: DevSliceMut<u64>,
    stale: AtomicSlice<u64>,
) {
    for round in 1..=2_000u64 {
        if thread.rank() == 0 {
            data.write(0, round);
            thread.fence(Space::Heap, Ops::W, Ops::W);
            flag.write_volatile(0, round);
            while flag.read_volatile(1) < round {}
        } else {
            while flag.read_volatile(0) < round {}
            thread.fence(Space::Heap, Ops::R, Ops::Rw);
            if data.read(0) < round {
                stale.at(0).add(1);
            }
            flag.write_volatile(1, round);
        }
    }
}

/// Each thread adds 1 so often by a load and a store: what others add between the two is lost.
#[dpa_kernel]
fn add_carelessly(_thread: &Thread, total: AtomicSlice<u64>, times: u64) {
    for _ in 0..times {
        let seen = total.at(0).load();
        total.at(0).store(seen + 1);
    }
}

/// Also kernels with far fewer of them than a thousand.
#[test]
fn rule_2_8_threads_are_switched_between_atomic_accesses() {
    let added = |seed| {
        let run = Sim::new(seed).run(async |dpa: Dpa| {
            let total = dpa.zeroed::<u64>(1).await?;
            let args = AddCarelesslyArgs {
                total: &total,
                times: 50,
            };
            let launch = dpa.launch(add_carelessly).args(args).threads(2).submit()?;
            launch.await?;
            Ok::<_, Error>(total.copy_out().await?[0])
        });
        run.expect("it ends").value.expect("no errors")
    };
    let totals: Vec<u64> = (0..200).map(added).collect();
    assert!(totals.iter().all(|total| (2..=100).contains(total)));
    let lost = totals.iter().filter(|&&total| total < 100).count();
    assert!(
        (20..180).contains(&lost),
        "an update is lost at {lost} of 200 seeds"
    );
}

#[test]
fn rule_4_3_plain_accesses_never_tear() {
    both(async |dpa| {
        let (words, torn) = (dpa.zeroed::<u64>(3).await?, dpa.zeroed::<u64>(1).await?);
        dpa.launch(tear)
            .args(TearArgs {
                words: &words,
                torn: &torn,
            })
            .threads(4)
            .submit()?
            .await?;
        assert_eq!(torn.copy_out().await?, [0]);
        Ok(())
    });
}

#[test]
fn rule_4_3_a_fence_orders_data_before_its_flag() {
    both(async |dpa| {
        let (data, flag) = (dpa.zeroed::<u64>(1).await?, dpa.zeroed::<u64>(2).await?);
        let stale = dpa.zeroed::<u64>(1).await?;
        let args = PublishArgs {
            data: &data,
            flag: &flag,
            stale: &stale,
        };
        dpa.launch(publish).args(args).threads(2).submit()?.await?;
        assert_eq!(stale.copy_out().await?, [0]);
        Ok(())
    });
}

#[test]
fn rule_4_3_a_barrier_orders_what_all_threads_wrote() {
    both(async |dpa| {
        let cells = dpa.zeroed::<u64>(64).await?;
        dpa.launch(pass_on)
            .args(PassOnArgs { cells: &cells })
            .threads(64)
            .submit()?
            .await?;
        assert_eq!(cells.copy_out().await?, vec![100; 64]);
        Ok(())
    });
}

/// In each round every thread writes one more than its neighbour had, which it must see.
#[dpa_kernel]
fn pass_on(thread: &Thread, cells: DevSliceMut<u64>) {
    let (rank, threads) = (thread.rank() as usize, thread.threads() as usize);
    for _ in 0..100 {
        let neighbour = cells.read((rank + 1) % threads);
        thread.barrier();
        cells.write(rank, neighbour + 1);
        thread.barrier();
    }
}
