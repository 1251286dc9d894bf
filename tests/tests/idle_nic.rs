//! A NIC with nothing to do sleeps: also when a timer of it runs, as that of a keep-alive does. Over verbs, too
//! (`cargo xtask verbs here`, `cargo xtask verbs`).

#[expect(dead_code, reason = "other tests use more of it")]
mod nodes;
#[expect(dead_code, reason = "`hostile-kernel` uses more of it")]
#[path = "../src/bin/hostile-kernel/threads.rs"]
mod threads;

use std::time::Duration;

use doca_dpa::Error;
use nodes::{Settings, pair, settings};

#[tokio::test]
async fn a_nic_with_nothing_to_do_sleeps() -> Result<(), Error> {
    let quiet = Settings {
        keep_alive: Some(Duration::from_secs(60)),
        ..settings()
    };
    let (_a, _b) = pair(quiet).await?;
    // What was asked for is done, and the threads have looked on.
    tokio::time::sleep(Duration::from_millis(100)).await;
    let before = threads::had().expect("figures");
    tokio::time::sleep(Duration::from_millis(500)).await;
    let after = threads::had().expect("figures");
    let (ran, wall) = (
        after.ran_since(&before, "dpa-nic"),
        after.seconds_since(&before),
    );
    assert!(ran < wall / 4.0, "two idle NICs ran {ran} s in {wall} s");
    Ok(())
}
