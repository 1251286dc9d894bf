//! Global variables of device code: one of each in every process.

mod drivers;

use doca_dpa::{Dpa, FaultKind};
use drivers::{both, both_on};
use tests::globals::*;

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
