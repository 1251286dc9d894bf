//! Kernels that make no device call for long are interrupted when others wait, go on where they were, and are stopped at the
//! run-time limit all the same.

#[path = "drivers/on.rs"]
mod on;

use std::cell::Cell;
use std::hint::black_box;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::RecvTimeoutError;
use std::time::{Duration, Instant};

use doca_dpa::error::LaunchError;
use doca_dpa::{Builder, Dpa, Error, FaultKind, SyncEvent};
use doca_dpa_dev::__private::{Kernel, Rpc};
use doca_dpa_dev::{DevEvent, DevSliceMut, Thread, dpa_kernel};
use on::both_on;
use tests::slices::*;
use tests::{CountArgs, SpinsArgs, count, nothing, spins};

/// Generous: everything here takes milliseconds.
const LIMIT: Duration = Duration::from_secs(60);

fn workers(many: usize) -> Builder {
    Dpa::builder().workers(many)
}

/// Short launches of this process, one after the other; none waits long.
async fn short_launches(dpa: &Dpa, times: u64) -> Result<(), Error> {
    let total = dpa.zeroed::<u64>(1).await?;
    for _ in 0..times {
        let args = CountArgs { total: &total };
        dpa.launch(count).args(args).submit()?.await?;
    }
    assert_eq!(total.copy_out().await?, [times]);
    Ok(())
}

async fn in_time<T>(program: impl Future<Output = Result<T, Error>>) -> T {
    let ended = tokio::time::timeout(LIMIT, program);
    ended.await.expect("in time").expect("no errors")
}

static OPENED: AtomicU64 = AtomicU64::new(0);

#[dpa_kernel]
fn is_opened(_thread: &Thread) {
    OPENED.store(1, Ordering::Relaxed);
}

/// Opens what waits for the event, and makes no device call until that has run, or for ten seconds.
#[dpa_kernel]
fn opens_and_goes_on(_thread: &Thread, go: DevEvent, late: DevSliceMut<u64>) {
    let opened = go.add(1).is_ok();
    let begun = Instant::now();
    while OPENED.load(Ordering::Relaxed) == 0 && begun.elapsed() < Duration::from_secs(10) {
        black_box(opened);
    }
    late.write(0, (OPENED.load(Ordering::Relaxed) == 0).into());
}

/// The other worker sleeps by then, and the kernel has the standard library, so it is not interrupted.
#[tokio::test]
async fn rule_2_8_what_a_kernel_opens_before_it_goes_on_is_taken_by_an_idle_worker() {
    in_time(async {
        let dpa = workers(2).run_time_limit(None).open()?;
        let go = SyncEvent::device_to_device(&dpa)?;
        let late = dpa.zeroed::<u64>(1).await?;
        let behind = dpa.launch(is_opened).wait_for(go.ge(1)).submit()?;
        tokio::time::sleep(Duration::from_millis(50)).await;
        let args = OpensAndGoesOnArgs {
            go: &go,
            late: &late,
        };
        dpa.launch(opens_and_goes_on).args(args).submit()?.await?;
        behind.await?;
        assert_eq!(late.copy_out().await?, [0], "an idle worker left it");
        Ok(())
    })
    .await;
}

/// More kernels spin than there are workers: another process goes on at once, not at their run-time limit.
#[tokio::test]
async fn rule_2_9_a_process_goes_on_beside_one_that_spins_on_all_workers() {
    in_time(async {
        let spinning = workers(2).run_time_limit(None).open()?;
        let other = spinning.open_beside()?;
        for from in 0..5 {
            let args = SpinsArgs { from };
            drop(spinning.launch(spins).args(args).submit()?);
        }
        short_launches(&other, 200).await?;
        assert!(spinning.last_error().is_none());
        // What is closed does not spin on: all units are free again.
        let refused = spinning.close_within(Duration::from_millis(50)).await;
        assert!(refused.is_err(), "it never comes to rest");
        let total = other.zeroed::<u64>(1).await?;
        let args = CountArgs { total: &total };
        let all = other.launch(count).threads(190).args(args);
        all.submit()?.await?;
        short_launches(&other, 20).await
    })
    .await;
}

/// Ends of launches are booked together, but not behind what another process runs next: that may go on for ever.
#[tokio::test]
async fn a_process_is_idle_while_another_spins_on_its_worker() {
    in_time(async {
        for _ in 0..5 {
            let spinning = workers(1).run_time_limit(None).open()?;
            let other = spinning.open_beside()?;
            let total = other.zeroed::<u64>(1).await?;
            // It sleeps then, and finds all of them when it wakes.
            tokio::time::sleep(Duration::from_millis(5)).await;
            for _ in 0..3 {
                let args = CountArgs { total: &total };
                drop(other.launch(count).args(args).submit()?);
            }
            let args = SpinsArgs { from: 0 };
            let spins_on = spinning.launch(spins).args(args).submit()?;
            other.wait_idle().await;
            assert!(!spins_on.is_over());
            let refused = spinning.close_within(Duration::from_millis(50)).await;
            assert!(refused.is_err(), "it never comes to rest");
        }
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn what_was_interrupted_goes_on_as_if_nothing_had_been() {
    const ROUNDS: u64 = 8_000_000;
    const THREADS: u32 = 6;
    in_time(async {
        let dpa = workers(1).open()?;
        let other = dpa.open_beside()?;
        let found = dpa.zeroed::<u64>(THREADS as usize).await?;
        let args = ComputeArgs {
            rounds: ROUNDS,
            found: &found,
        };
        let computing = dpa.launch(compute).threads(THREADS).args(args).submit()?;
        let mut short = 0;
        while !computing.is_over() {
            short_launches(&other, 10).await?;
            short += 10;
        }
        computing.await?;
        let expected: Vec<u64> = (0..u64::from(THREADS))
            .map(|n| computed(ROUNDS, n))
            .collect();
        assert_eq!(found.copy_out().await?, expected);
        assert!(short > 0);
        Ok(())
    })
    .await;
}

/// One that was interrupted goes on when its worker has nothing else to do. Nothing comes behind it by which its end could be
/// booked.
#[tokio::test]
async fn a_process_is_idle_when_what_was_interrupted_has_ended() {
    const ROUNDS: u64 = 100_000_000;
    in_time(async {
        let dpa = workers(1).open()?;
        let other = dpa.open_beside()?;
        let found = dpa.zeroed::<u64>(1).await?;
        let args = ComputeArgs {
            rounds: ROUNDS,
            found: &found,
        };
        drop(dpa.launch(compute).args(args).submit()?);
        short_launches(&other, 3).await?;
        dpa.wait_idle().await;
        assert_eq!(found.copy_out().await?, [computed(ROUNDS, 0)]);
        Ok(())
    })
    .await;
}

/// Computes far down a stack, beside short launches of another process if there is one.
async fn deep(dpa: &Dpa, other: Option<&Dpa>, deep: u64) -> Result<bool, Error> {
    let rounds = if other.is_some() { 2_000_000 } else { 1 };
    let found = dpa.zeroed::<u64>(1).await?;
    let args = ComputeDeepArgs {
        deep,
        rounds,
        found: &found,
    };
    let computing = dpa.launch(compute_deep).args(args).submit()?;
    while let Some(other) = other.filter(|_| !computing.is_over()) {
        short_launches(other, 1).await?;
    }
    if computing.await.is_err() {
        return Ok(false);
    }
    let expected = (1..=deep).fold(computed(rounds, 1), u64::wrapping_add);
    assert_eq!(found.copy_out().await?, [expected]);
    Ok(true)
}

/// Where the stack is nearly used up a kernel cannot be interrupted, and is none the worse for it.
#[tokio::test]
async fn a_kernel_deep_in_its_stack_computes_right() {
    in_time(async {
        let other = workers(1).stack_bytes(64 * 1024).open()?;
        let mut deepest = 20;
        while deep(&other.open_beside()?, None, deepest + 1).await? {
            deepest += 1;
        }
        let dpa = other.open_beside()?;
        for less in (0..12).rev() {
            let fits = deep(&dpa, Some(&other), deepest - less).await?;
            assert!(fits, "{less} calls above the end: {:?}", dpa.last_error());
        }
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn rule_2_9_interruptions_do_not_lengthen_the_limit() {
    in_time(async {
        let limit = Duration::from_millis(300);
        let dpa = workers(1).run_time_limit(Some(limit)).open()?;
        let other = dpa.open_beside()?;
        let args = SpinsArgs { from: 1 };
        let spinning = dpa.launch(spins).args(args).submit()?;
        while !spinning.is_over() {
            short_launches(&other, 5).await?;
        }
        assert!(matches!(spinning.await, Err(LaunchError::Faulted(_))));
        let kind = dpa.last_error().expect("a fault").kind;
        assert!(
            matches!(kind, FaultKind::RunTimeExceeded { .. }),
            "{kind:?}"
        );
        short_launches(&other, 5).await
    })
    .await;
}

#[tokio::test]
async fn rule_2_9_a_kernel_with_safe_points_may_run_longer_than_the_limit() {
    in_time(async {
        let limit = Duration::from_millis(400);
        let dpa = workers(1).run_time_limit(Some(limit)).open()?;
        // Twice as much each time, until one takes several times the limit, whatever this machine and build are.
        let (mut ran, mut times) = (Duration::ZERO, 50);
        while ran < 3 * limit {
            times *= 2;
            let args = ComputesWithPausesArgs { times };
            let ended = dpa.launch(computes_with_pauses).args(args).submit()?;
            let ended = ended.await?;
            ran = ended.end - ended.start;
        }
        Ok(())
    })
    .await;
}

/// What the C library does for a kernel is its own code: one that does hardly anything else is interrupted and stopped like any.
#[tokio::test]
async fn rule_2_8_a_kernel_that_only_copies_is_interrupted_and_stopped() {
    in_time(async {
        let limit = Duration::from_secs(4);
        let builder = workers(1).stack_bytes(4 << 20);
        let dpa = builder.run_time_limit(Some(limit)).open()?;
        let other = dpa.open_beside()?;
        let copying = dpa.launch(copies).submit()?;
        for n in 0..25 {
            short_launches(&other, 1).await?;
            assert!(!copying.is_over(), "launch {n} waited for the limit");
            // It has rested then, and goes on.
            tokio::time::sleep(Duration::from_millis(35)).await;
        }
        assert!(matches!(copying.await, Err(LaunchError::Faulted(_))));
        let kind = dpa.last_error().expect("a fault").kind;
        assert!(
            matches!(kind, FaultKind::RunTimeExceeded { .. }),
            "{kind:?}"
        );
        Ok(())
    })
    .await;
}

#[test]
fn rule_2_8_only_kernels_without_an_allocator_are_interruptible() {
    assert!(spins.entry().reach.is_interruptible() && compute.entry().reach.is_interruptible());
    assert!(tests_alloc::allocates.entry().reach.is_movable());
    assert!(!tests_alloc::allocates.entry().reach.is_interruptible());
    let call = tests_alloc::allocates_and_says.entry();
    assert!(call.reach.is_movable() && !call.reach.is_interruptible());
    assert!(!keeps_to_itself.entry().reach.is_interruptible());
}

thread_local! {
    static INSIDE: Cell<bool> = const { Cell::new(false) };
}
static MET: AtomicU64 = AtomicU64::new(0);

/// Is in the middle of something on its OS thread for some time, as the initialiser of a thread-local is.
#[dpa_kernel]
fn keeps_to_itself(_thread: &Thread) {
    MET.fetch_add(INSIDE.replace(true).into(), Ordering::Relaxed);
    let begun = Instant::now();
    // Longer than it takes until somebody looks who has nothing to do.
    while begun.elapsed() < Duration::from_millis(600) {
        for n in 0..10_000 {
            black_box(n);
        }
    }
    INSIDE.set(false);
}

#[tokio::test]
async fn rule_2_8_a_kernel_with_the_standard_library_is_not_interrupted() {
    in_time(async {
        let dpa = workers(1).open()?;
        let mut spinning = Vec::new();
        for _ in 0..2 {
            spinning.push(dpa.launch(keeps_to_itself).submit()?);
        }
        for launch in spinning {
            launch.await?;
        }
        assert_eq!(MET.load(Ordering::Relaxed), 0, "began in the middle of one");
        Ok(())
    })
    .await;
}

/// More than a thread of the C library keeps for itself: it holds a lock while it changes what it has of this.
#[dpa_kernel]
fn allocates_for_ever(_thread: &Thread) {
    loop {
        let blocks: [Vec<u8>; 8] = std::array::from_fn(|n| Vec::with_capacity(3000 + 100 * n));
        drop(black_box(blocks));
    }
}

/// Uses the allocator on a worker.
#[dpa_kernel]
fn allocates_once(_thread: &Thread) {
    let blocks: [Vec<u8>; 8] = std::array::from_fn(|n| Vec::with_capacity(3000 + 100 * n));
    drop(black_box(blocks));
}

/// A kernel with the standard library is not stopped within the allocator of the C library: it would stay locked.
#[tokio::test]
async fn rule_2_9_who_allocates_when_the_limit_comes_leaves_nothing_locked() {
    let (over, watched) = std::sync::mpsc::channel::<()>();
    // With the allocator locked no test could say that it failed.
    std::thread::spawn(move || {
        if watched.recv_timeout(2 * LIMIT) == Err(RecvTimeoutError::Timeout) {
            std::process::abort();
        }
    });
    in_time(async {
        let limit = Duration::from_millis(40);
        let dpa = workers(1).run_time_limit(Some(limit)).open()?;
        for _ in 0..10 {
            let (ends, after) = (dpa.open_beside()?, dpa.open_beside()?);
            let ended = ends.launch(allocates_for_ever).submit()?.await;
            assert!(matches!(ended, Err(LaunchError::Faulted(_))));
            after.launch(allocates_once).submit()?.await?;
        }
        Ok(())
    })
    .await;
    drop(over);
}

/// A call that has nothing to wait for is a safe point like any other.
#[test]
fn rule_2_8_who_only_makes_calls_that_never_block_lets_others_run() {
    for what in 0..3 {
        both_on(&workers(1), async |dpa| {
            let other = dpa.open_beside()?;
            let event = SyncEvent::host_to_device(&dpa)?;
            if what == 1 {
                event.close();
            }
            let (go, seen) = (dpa.zeroed::<u64>(1).await?, dpa.zeroed::<u64>(1).await?);
            let args = NeverBlocksArgs {
                what,
                times: 50_000_000,
                event: event.handle(),
                go: &go,
                seen: &seen,
            };
            let calls = dpa.launch(never_blocks).args(args).submit()?;
            while dpa.snapshot().started == 0 {
                dpa.sleep(Duration::from_micros(1)).await;
            }
            other.launch(nothing).submit()?.await?;
            go.write(0, &[1]).await?;
            calls.await?;
            assert_eq!(seen.copy_out().await?, [1], "{what}");
            Ok(())
        });
    }
}

#[tokio::test]
async fn rule_2_9_a_kernel_is_stopped_whatever_it_asks_for() {
    let limit = Duration::from_millis(50);
    in_time(async {
        let other = workers(1).run_time_limit(Some(limit)).open()?;
        for _ in 0..10 {
            let dpa = other.open_beside()?;
            let asks = dpa.launch(asks_for_storage).submit()?;
            assert!(matches!(asks.await, Err(LaunchError::Faulted(_))));
            short_launches(&other, 1).await?;
        }
        Ok(())
    })
    .await;
}

static TAKEN: AtomicU64 = AtomicU64::new(0);

#[dpa_kernel]
fn is_taken(_thread: &Thread) {
    TAKEN.store(1, Ordering::Relaxed);
}

/// Opens what waits for an event and comes to one safe point. Then it makes no device call until that has run, or for ten seconds:
/// whether it had not.
#[dpa_kernel]
fn opens_before_a_safe_point(thread: &Thread, go: DevEvent, late: DevSliceMut<u64>) {
    let opened = go.add(1).is_ok();
    thread.safe_point();
    let begun = Instant::now();
    let waits = || TAKEN.load(Ordering::Relaxed) == 0;
    while waits() && begun.elapsed() < Duration::from_secs(10) {
        black_box(opened);
    }
    late.write(0, waits().into());
}

#[tokio::test]
async fn rule_2_8_what_a_kernel_opens_before_a_safe_point_is_taken_by_an_idle_worker() {
    in_time(async {
        let dpa = workers(2).run_time_limit(None).open()?;
        let go = SyncEvent::device_to_device(&dpa)?;
        let late = dpa.zeroed::<u64>(1).await?;
        let behind = dpa.launch(is_taken).wait_for(go.ge(1)).submit()?;
        // Both workers fall asleep.
        tokio::time::sleep(Duration::from_millis(50)).await;
        let args = OpensBeforeASafePointArgs {
            go: &go,
            late: &late,
        };
        let launch = dpa.launch(opens_before_a_safe_point).args(args).submit()?;
        launch.await?;
        behind.await?;
        assert_eq!(late.copy_out().await?, [0], "an idle worker left it");
        Ok(())
    })
    .await;
}
