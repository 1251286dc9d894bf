//! Memory of what waits, each row in a process of its own.

use std::process::{Command, ExitCode};
use std::time::Instant;

use doca_dpa::{Dpa, EventCondition, Launch, SyncEvent};
use dpa_bench_kernels::{TakeArgs, WaitArgs, meet, take, wait};

use crate::chain::everywhere;
use crate::row::Row;
use crate::slices::median;

/// Launches parked at once.
const PARKED: u64 = 1_000_000;
/// Openings that are timed.
const OPENED: usize = 100_000;

pub(crate) const ROWS: [&str; 10] = [
    "parked-ascending",
    "parked-random",
    "parked-one-threshold",
    "parked-masked",
    "parked-eq",
    "parked-cancel",
    "parked-drop",
    "blocked-wait",
    "blocked-barrier",
    "blocked-40000",
];

/// Measures a row in a process of its own.
pub(crate) fn in_child(name: &str) -> Option<Row> {
    let program = std::env::current_exe().ok()?;
    let output = Command::new(program)
        .args(["launch", "--child", name])
        .output()
        .ok()?;
    let line = String::from_utf8_lossy(&output.stdout).into_owned();
    let row = serde_json::from_str(line.trim()).ok();
    if row.is_none() {
        eprintln!(
            "dpa-bench: {name} failed: {}{}",
            line,
            String::from_utf8_lossy(&output.stderr)
        );
    }
    row
}

pub(crate) fn child(name: &str) -> ExitCode {
    let row = match name {
        "parked-ascending" => opened_one_by_one(name, |event, i| event.ge(i + 1), false),
        "parked-random" => opened_one_by_one(name, |event, i| event.ge(shuffled(i) + 1), false),
        "parked-masked" => opened_one_by_one(
            name,
            |event, i| event.ge(i + 1).masked(u64::MAX >> 1),
            false,
        ),
        "parked-eq" => opened_one_by_one(name, |event, i| event.eq(i + 1), true),
        "parked-one-threshold" => opened_at_once(name),
        "parked-cancel" => cancelled(name),
        "parked-drop" => dropped(name),
        "blocked-wait" => blocked(name, 10_000, blocked_in_wait),
        "blocked-barrier" => blocked(name, 10_000, blocked_in_barrier),
        "blocked-40000" => blocked(name, 40_000, blocked_in_wait),
        _ => return ExitCode::from(2),
    };
    row.print(true);
    ExitCode::SUCCESS
}

/// Resident memory and page tables, in bytes.
pub(crate) fn memory() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let kib = |what: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(what));
        line.and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok())
            .unwrap_or(0.0)
    };
    (kib("VmRSS:") + kib("VmPTE:")) * 1024.0
}

/// A permutation of the numbers below [`PARKED`].
fn shuffled(i: u64) -> u64 {
    (i * 617_647 + 12_345) % PARKED
}

fn device() -> Dpa {
    Dpa::builder().workers(1).open().expect("a device")
}

fn park(dpa: &Dpa, condition: impl Fn(u64) -> EventCondition) -> Vec<Launch> {
    (0..PARKED)
        .map(|i| {
            let launch = dpa
                .launch(take)
                .args(TakeArgs { value: i })
                .wait_for(condition(i));
            launch.submit().expect("room")
        })
        .collect()
}

/// Parks all, dropping the handles: what is left is what a parked launch takes.
fn park_detached(dpa: &Dpa, condition: impl Fn(u64) -> EventCondition) -> f64 {
    let before = memory();
    for i in 0..PARKED {
        let launch = dpa
            .launch(take)
            .args(TakeArgs { value: i })
            .wait_for(condition(i));
        launch.submit().expect("room");
    }
    (memory() - before) / PARKED as f64
}

fn percentile(sorted: &[f64], part: f64) -> f64 {
    sorted[((sorted.len() - 1) as f64 * part) as usize]
}

fn opened_one_by_one(
    name: &str,
    condition: fn(&SyncEvent, u64) -> EventCondition,
    set: bool,
) -> Row {
    let dpa = device();
    let event = everywhere(&dpa);
    let bytes = park_detached(&dpa, |i| condition(&event, i));
    let mut times: Vec<f64> = (0..OPENED as u64)
        .map(|i| {
            let start = Instant::now();
            if set { event.set(i + 1) } else { event.add(1) }.expect("open");
            start.elapsed().as_nanos() as f64
        })
        .collect();
    let first = times[0];
    let middle = median(&mut times);
    Row::new(
        "launch",
        name,
        middle,
        "<= 256 B, median <= 1 us, p99 <= 5 us",
    )
    .with("bytes_each", bytes)
    .with("first_ns", first)
    .with("p99_ns", percentile(&times, 0.99))
}

fn opened_at_once(name: &str) -> Row {
    let dpa = device();
    let event = everywhere(&dpa);
    let bytes = park_detached(&dpa, |_| event.ge(1));
    let start = Instant::now();
    event.add(1).expect("open");
    let update = start.elapsed().as_nanos() as f64;
    dpa.wait_idle_blocking();
    let all = start.elapsed().as_nanos() as f64 / PARKED as f64;
    Row::new("launch", name, all, "<= 256 B")
        .with("bytes_each", bytes)
        .with("update_ns", update)
}

fn cancelled(name: &str) -> Row {
    let dpa = device();
    let event = everywhere(&dpa);
    let launches = park(&dpa, |i| event.ge(i + 1));
    let mut times: Vec<f64> = (0..OPENED as u64)
        .map(|i| {
            let launch = &launches[shuffled(i) as usize];
            let start = Instant::now();
            assert!(launch.cancel());
            start.elapsed().as_nanos() as f64
        })
        .collect();
    let middle = median(&mut times);
    Row::new("launch", name, middle, "reported").with("p99_ns", percentile(&times, 0.99))
}

fn dropped(name: &str) -> Row {
    let dpa = device();
    let event = everywhere(&dpa);
    park_detached(&dpa, |i| event.ge(i + 1));
    let start = Instant::now();
    drop(dpa);
    let took = start.elapsed().as_nanos() as f64 / PARKED as f64;
    assert!(event.is_closed());
    Row::new("launch", name, took, "reported")
}

/// Kernels that wait on an event.
fn blocked_in_wait(dpa: &Dpa, count: u32, go: &SyncEvent) -> Vec<Launch> {
    (0..count)
        .map(|_| {
            dpa.launch(wait)
                .args(WaitArgs { go })
                .submit()
                .expect("room")
        })
        .collect()
}

/// One launch, of which all threads but the last wait in a barrier; the last waits for a unit.
fn blocked_in_barrier(dpa: &Dpa, count: u32, _: &SyncEvent) -> Vec<Launch> {
    vec![dpa.launch(meet).threads(count).submit().expect("room")]
}

fn blocked(name: &str, count: u32, block: fn(&Dpa, u32, &SyncEvent) -> Vec<Launch>) -> Row {
    // As many units to a core as are needed for a device of at most 1,000 cores.
    let units = count + 8;
    let per_core = units.div_ceil(1000).max(16);
    let builder = Dpa::builder()
        .workers(2)
        .cores(units / per_core + 2)
        .eus_per_core(per_core)
        .partition_eus(units);
    let dpa = builder.open().expect("a device");
    let go = everywhere(&dpa);
    let before = memory();
    let start = Instant::now();
    let launches = block(&dpa, count, &go);
    // In the barrier the last thread releases the others, so the most memory is seen while they gather.
    let mut most = 0.0f64;
    while dpa.snapshot().waiting.len() < count as usize && !launches.iter().all(Launch::is_over) {
        most = most.max(memory());
    }
    most = most.max(memory());
    let took = start.elapsed().as_nanos() as f64 / f64::from(count);
    go.add(1).expect("open");
    launches.iter().for_each(|launch| {
        launch.wait().expect("completes");
    });
    Row::new("launch", name, took, "<= 8 KiB")
        .with("bytes_each", (most - before) / f64::from(count))
}
