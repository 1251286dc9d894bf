//! A NIC with nothing to do sleeps: also when a timer of it runs, as that of a keep-alive does. Over verbs, too
//! (`cargo xtask verbs here`, `cargo xtask verbs`).

#[expect(dead_code, reason = "other tests use more of it")]
mod nodes;

use std::time::{Duration, Instant};

use doca_dpa::Error;
use nodes::{Settings, pair, settings};

/// What the NICs' own threads of this program have run.
fn run_by_nics() -> std::io::Result<Duration> {
    let mut all = Duration::ZERO;
    for task in std::fs::read_dir("/proc/self/task")? {
        let task = task?.path();
        let read = |name: &str| std::fs::read_to_string(task.join(name));
        // Other threads may end meanwhile.
        let (Ok(name), Ok(figures)) = (read("comm"), read("schedstat")) else {
            continue;
        };
        if name.trim() == "dpa-nic" {
            let nanos = figures.split(' ').next().and_then(|text| text.parse().ok());
            all += Duration::from_nanos(nanos.expect("nanoseconds"));
        }
    }
    Ok(all)
}

#[tokio::test]
async fn a_nic_with_nothing_to_do_sleeps() -> Result<(), Error> {
    let quiet = Settings {
        keep_alive: Some(Duration::from_secs(60)),
        ..settings()
    };
    let (_a, _b) = pair(quiet).await?;
    // What was asked for is done, and the threads have looked on.
    tokio::time::sleep(Duration::from_millis(100)).await;
    let (before, begun) = (run_by_nics().expect("figures"), Instant::now());
    tokio::time::sleep(Duration::from_millis(500)).await;
    let (run, wall) = (run_by_nics().expect("figures") - before, begun.elapsed());
    assert!(run < wall / 4, "two idle NICs ran {run:?} in {wall:?}");
    Ok(())
}
