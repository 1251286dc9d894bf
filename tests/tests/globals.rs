//! Global variables of device code: one of each in every process.

mod drivers;

use doca_dpa::{Dpa, FaultKind};
use doca_dpa_dev::prelude::*;
use dpa_abi::pod::{Load, Store};
use drivers::{both, both_on};
use tests::globals::*;
use tests::{GivesUpArgs, gives_up};

#[test]
fn rule_4_6_globals_are_per_process_and_initialised() {
    both(async |first| {
        let second = first.open_beside()?;
        first.launch(count_globally).threads(50).submit()?.await?;
        second.launch(count_globally).submit()?.await?;
        assert_eq!(first.global(&RUNS)?.read()?, 150);
        assert_eq!(second.global(&RUNS)?.read()?, 101);
        // The host may be the first to reach one, and may change it.
        assert_eq!(first.global(&TABLE)?.read()?, [1, 2, 3, 4]);
        first.global(&TABLE)?.write([5, 6, 7, 8])?;
        first.launch(double_table).submit()?.await?;
        second.launch(double_table).submit()?.await?;
        assert_eq!(first.global(&TABLE)?.read()?, [10, 12, 14, 16]);
        assert_eq!(second.global(&TABLE)?.read()?, [2, 4, 6, 8]);
        Ok(())
    });
}

#[test]
fn rule_5_2_globals_of_a_fatal_process_can_be_read() {
    both(async |dpa| {
        dpa.launch(count_globally).threads(3).submit()?.await?;
        let fails = dpa.launch(gives_up).args(GivesUpArgs { code: 150 });
        assert!(fails.submit()?.await.is_err());
        assert_eq!(dpa.global(&RUNS)?.read()?, 103);
        Ok(())
    });
}

#[test]
fn rule_4_1_a_global_without_memory_says_asked_free_and_largest() {
    let small = Dpa::builder().workers(2).heap_bytes(1 << 16);
    both_on(&small, async |dpa| {
        let mut all = Vec::new();
        while let Ok(buffer) = dpa.zeroed::<u8>(64).await {
            all.push(buffer);
        }
        assert!(dpa.launch(count_globally).submit()?.await.is_err());
        let fault = dpa.last_error().expect("a fault");
        let (asked, free, largest) = (8, 0, 0);
        assert_eq!(
            fault.kind,
            FaultKind::OutOfMemory {
                asked,
                free,
                largest
            }
        );
        assert!(fault.to_string().contains("8 bytes asked"), "{fault}");
        Ok(())
    });
}

#[derive(Clone, Copy, Debug, Pod)]
struct Large {
    kind: u8,
    words: [u64; 8191],
}

/// As large as may be.
#[dpa_global]
static LARGE: Global<Large> = Global::new(Large {
    kind: 7,
    words: [3; 8191],
});

/// Counts what it finds in it. A copy on its stack would be half of that.
#[dpa_kernel]
fn sums_large(thread: &Thread, sum: DevSliceMut<u64>) {
    let words = DevAddr::<u64>::from_raw(thread.global(&LARGE).raw());
    match thread.bind(words, 8192) {
        Ok(words) => sum.write(0, (0..8192).map(|at| words.read(at)).sum()),
        Err(kind) => thread.fault(kind),
    }
}

#[test]
fn rule_4_6_the_largest_global_is_reached_from_a_kernel() {
    both(async |dpa| {
        let sum = dpa.zeroed::<u64>(1).await?;
        let args = SumsLargeArgs { sum: &sum };
        dpa.launch(sums_large).args(args).submit()?.await?;
        assert_eq!(sum.copy_out().await?, [7 + 3 * 8191]);
        let large = dpa.global(&LARGE)?.read()?;
        assert_eq!((large.kind, large.words[8190]), (7, 3));
        Ok(())
    });
}

/// A value whose bytes cannot be had: this panics, or does not end.
#[derive(Clone, Copy, Debug)]
struct Odd {
    ends: bool,
}

impl Pod for Odd {
    const SIZE: usize = 8;
    const ALIGN: usize = 8;
    fn load<L: Load + ?Sized>(_: &L, _: usize) -> Self {
        Self { ends: true }
    }
    fn store<S: Store + ?Sized>(self, _: &mut S, _: usize) {
        assert!(!self.ends, "it has no bytes");
        loop {
            std::hint::spin_loop();
        }
    }
}

#[dpa_global]
static PANICS: Global<Odd> = Global::new(Odd { ends: true });

#[dpa_global]
static ENDLESS: Global<Odd> = Global::new(Odd { ends: false });

#[dpa_kernel]
fn reaches(thread: &Thread, panics: u32) {
    let _ = match panics {
        0 => thread.global(&ENDLESS),
        _ => thread.global(&PANICS),
    };
}

/// How its process ends, beside another that goes on on the only worker.
async fn reached(beside: &Dpa, panics: u32) -> Result<FaultKind, doca_dpa::Error> {
    let dpa = beside.open_beside()?;
    let launch = dpa.launch(reaches).args(ReachesArgs { panics });
    assert!(launch.submit()?.await.is_err());
    let fault = dpa.last_error().expect("a fault");
    assert_eq!(fault.kernel, "reaches");
    // Nothing of the globals is held.
    let _ = dpa.global(&TABLE);
    beside.launch(count_globally).submit()?.await?;
    Ok(fault.kind)
}

#[tokio::test]
async fn rule_5_1_what_makes_a_global_is_code_of_the_kernel() -> Result<(), doca_dpa::Error> {
    let limit = Duration::from_millis(50);
    let beside = Dpa::builder().workers(1).run_time_limit(Some(limit));
    let beside = beside.open()?;
    assert_eq!(reached(&beside, 1).await?, FaultKind::Panic);
    let kind = reached(&beside, 0).await?;
    assert!(
        matches!(kind, FaultKind::RunTimeExceeded { .. }),
        "{kind:?}"
    );
    Ok(())
}
