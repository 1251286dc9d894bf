//! Deadlocks (rule 2.10): what is one is reported, whoever else goes on; what moves is none.

#[path = "drivers/on.rs"]
mod drivers;

use std::time::Duration;

use doca_dpa::{Dpa, SyncEvent};
use drivers::{Outcome, both_on};
use tests::*;

const GRACE: Duration = Duration::from_secs(2);
const PAUSE: Duration = Duration::from_millis(700);

/// The host submits what helps three times, each time within the grace, and all in all later.
async fn helped_in_time(dpa: &Dpa, thresholds: &[u64]) -> Outcome {
    let (event, total) = (
        SyncEvent::device_to_device(dpa)?,
        dpa.zeroed::<u64>(1).await?,
    );
    let mut waiting = Vec::new();
    for &value in thresholds {
        let args = WaitThenCountArgs {
            event: &event,
            value,
            total: &total,
        };
        waiting.push(dpa.launch(wait_then_count).args(args).submit()?);
    }
    for _ in 0..3 {
        dpa.sleep(PAUSE).await;
        dpa.launch(nothing).then_add(&event, 1).submit()?.await?;
    }
    for launch in waiting {
        launch.await?;
    }
    assert_eq!(total.copy_out().await?, [thresholds.len() as u64]);
    Ok(())
}

#[test]
fn rule_2_10_who_is_helped_in_time_again_and_again_is_not_deadlocked() {
    both_on(
        &Dpa::builder().workers(2).deadlock_grace(GRACE),
        async |dpa| helped_in_time(&dpa, &[1, 2, 3]).await,
    );
}

/// The same, but nobody is woken before the last update.
#[test]
fn rule_2_10_who_waits_for_a_value_that_grows_is_not_deadlocked() {
    both_on(
        &Dpa::builder().workers(2).deadlock_grace(GRACE),
        async |dpa| helped_in_time(&dpa, &[3]).await,
    );
}
