//! What a device and a process on it have when nothing is under way: nothing.

use std::time::{Duration, Instant};

use doca_dpa::{CloseReport, Dpa};

use crate::{GONE, Outcome};

/// Spare stacks that a worker keeps.
const SPARES: usize = 16;

/// The process holds nothing, and its device has no more stacks in use than its workers keep: at once, or within [`GONE`], as
/// who ended for a fault may still be at it.
pub async fn nothing(dpa: &Dpa, workers: usize) -> Outcome {
    let until = Instant::now() + GONE;
    loop {
        let seen = dpa.snapshot();
        let used = dpa.device().stacks_in_use();
        let heap = (seen.heap.allocations, seen.heap.allocated);
        let counts = (seen.unfinished, seen.events, seen.queues, seen.regions);
        if heap == (0, 0) && counts == (0, 0, 0, 0) && used <= workers * SPARES {
            return Ok(());
        }
        if Instant::now() >= until {
            return Err(format!("left after {GONE:?}: {used} stacks, {seen:?}").into());
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// At its end a process had nothing.
pub fn closed(report: &CloseReport) -> Outcome {
    let launches = report.launches_dropped > 0 || report.threads_stopped > 0;
    if launches || report.events > 0 || report.allocations > 0 {
        return Err(format!("something is left at the end: {report:?}").into());
    }
    Ok(())
}
