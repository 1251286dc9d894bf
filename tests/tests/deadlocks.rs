//! Deadlocks (rule 2.10): what is one is reported, whoever else goes on; what moves is none.

#[path = "drivers/on.rs"]
mod drivers;
mod places;

use std::time::Duration;

use doca_dpa::error::{EventError, LaunchError};
use doca_dpa::rdma::HostBuffer;
use doca_dpa::testing::{Chance, Mishaps, When};
use doca_dpa::{Dpa, Error, FaultKind, Launch, Location, Sim, SyncEvent, Waiting, WaitingOn};
use drivers::{Outcome, both_on, seeds};
use futures::future::{Either, select};
use tests::threads::{TickArgs, tick};
use tests::*;

const GRACE: Duration = Duration::from_secs(4);
const PAUSE: Duration = Duration::from_millis(700);
/// A grace that tests wait out, and a time in which who looks only now and then sees that it is over.
const SHORT: Duration = Duration::from_millis(20);
const LONGER: Duration = Duration::from_millis(600);
/// So many pauses are longer than the grace, also for who looks only now and then.
const ROUNDS: u64 = 7;

/// The host submits what helps again and again, each time within the grace, and all in all later.
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
    for _ in 0..ROUNDS {
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
        async |dpa| helped_in_time(&dpa, &Vec::from_iter(1..=ROUNDS)).await,
    );
}

/// The same, but nobody is woken before the last update.
#[test]
fn rule_2_10_who_waits_for_a_value_that_grows_is_not_deadlocked() {
    both_on(
        &Dpa::builder().workers(2).deadlock_grace(GRACE),
        async |dpa| helped_in_time(&dpa, &[ROUNDS]).await,
    );
}

/// The value that grows is one that a launch waits for, which will wake the kernel.
#[test]
fn rule_2_10_who_waits_for_a_launch_whose_event_grows_is_not_deadlocked() {
    both_on(
        &Dpa::builder().workers(2).deadlock_grace(GRACE),
        async |dpa| {
            let (event, total) = (
                SyncEvent::device_to_device(&dpa)?,
                dpa.zeroed::<u64>(1).await?,
            );
            let grows = SyncEvent::device_to_device(&dpa)?;
            let args = WaitThenCountArgs {
                event: &event,
                value: 1,
                total: &total,
            };
            let waits = dpa.launch(wait_then_count).args(args).submit()?;
            let helps = dpa.launch(nothing).wait_for(grows.ge(ROUNDS));
            let helps = helps.then_add(&event, 1).submit()?;
            for _ in 0..ROUNDS {
                dpa.sleep(PAUSE).await;
                dpa.launch(nothing).then_add(&grows, 1).submit()?.await?;
            }
            helps.await?;
            waits.await?;
            Ok(())
        },
    );
}

/// Two kernels that wait for each other.
fn deadlocked(dpa: &Dpa) -> Result<[Launch; 2], Error> {
    let (a, b) = (
        SyncEvent::device_to_device(dpa)?,
        SyncEvent::device_to_device(dpa)?,
    );
    let passes = |from, to| {
        let args = RelayArgs { from, value: 1, to };
        Ok::<_, Error>(dpa.launch(relay).args(args).submit()?)
    };
    Ok([passes(&a, &b)?, passes(&b, &a)?])
}

async fn are_reported(launches: [Launch; 2]) {
    for launch in launches {
        match launch.await {
            Err(LaunchError::Faulted(fault)) => assert_eq!(fault.kind, FaultKind::Deadlock),
            other => panic!("{other:?}"),
        }
    }
}

/// Of one launch one thread waits for an event, and the others for it.
#[test]
fn rule_2_10_threads_in_a_barrier_are_reported_with_launch_and_rank() {
    let device = Dpa::builder().workers(2);
    both_on(
        &device.deadlock_grace(Duration::from_millis(20)),
        async |dpa| {
            // So that the launch has another number than 0.
            dpa.launch(nothing).submit()?.await?;
            let never = SyncEvent::device_to_device(&dpa)?;
            let args = MeetsBehindArgs { event: &never };
            let launch = dpa.launch(meets_behind).args(args).threads(3).submit()?;
            let number = launch.number();
            assert!(matches!(launch.await, Err(LaunchError::Faulted(_))));
            let fault = dpa.last_error().expect("a fault");
            assert_eq!(fault.kind, FaultKind::Deadlock);
            let seen = |w: &Waiting| (w.rank, w.launch, matches!(w.on, WaitingOn::Meeting));
            let mut waiting: Vec<_> = fault.waiting.iter().map(seen).collect();
            waiting.sort_unstable();
            let expected = [(0, number, true), (1, number, false), (2, number, true)];
            assert_eq!(waiting, expected, "{fault}");
            Ok(())
        },
    );
}

/// A thread that the host may yet notify can update anything.
#[test]
fn rule_2_10_who_may_be_helped_by_a_thread_is_not_deadlocked() {
    both_on(
        &Dpa::builder().workers(2).deadlock_grace(SHORT),
        async |dpa| {
            let (event, total) = (
                SyncEvent::device_to_device(&dpa)?,
                dpa.zeroed::<u64>(1).await?,
            );
            let thread = dpa.thread(tick, TickArgs { total: &event }).start()?;
            thread.run()?;
            let args = WaitThenCountArgs {
                event: &event,
                value: 1,
                total: &total,
            };
            let waits = dpa.launch(wait_then_count).args(args).submit()?;
            dpa.sleep(LONGER).await;
            thread.notify();
            waits.await?;
            Ok(())
        },
    );
}

#[test]
fn rule_2_10_a_deadlock_is_reported_while_another_context_goes_on() {
    let device = Dpa::builder().deadlock_grace(Duration::from_micros(20));
    for seed in seeds(10) {
        let sim = Sim::new(seed).on(device.clone()).steps(20_000);
        let run = sim.run(async |dpa| {
            let other = dpa.open_beside()?;
            let flag = other.zeroed::<u64>(1).await?;
            let polls = other.launch(poll).args(PollArgs { flag: &flag }).submit()?;
            are_reported(deadlocked(&dpa)?).await;
            flag.write(0, &[1]).await?;
            polls.await?;
            Ok::<_, Error>(())
        });
        run.expect("it ends").value.expect("no errors");
    }
}

/// What could help is a launch, and not who waits beside.
#[test]
fn rule_2_10_a_deadlock_is_reported_while_the_host_waits_for_another_event() {
    let device = Dpa::builder().workers(2);
    both_on(
        &device.deadlock_grace(Duration::from_millis(100)),
        async |dpa| {
            let other = places::everywhere(&dpa)?;
            let waits = other.ge(1).timeout(Duration::from_secs(10)).into_future();
            // The wait is polled first: it stands when the kernels do.
            let (ended, ()) = futures::join!(waits, are_reported(deadlocked(&dpa)?));
            match ended {
                Err(EventError::Faulted(fault)) => assert_eq!(fault.kind, FaultKind::Deadlock),
                other => panic!("{other:?}"),
            }
            Ok(())
        },
    );
}

#[test]
fn rule_2_10_a_deadlock_is_reported_while_an_event_stands_in_memory() {
    let device = Dpa::builder().workers(2);
    both_on(
        &device.deadlock_grace(Duration::from_millis(100)),
        async |dpa| {
            let buffer = HostBuffer::new(64);
            let event = SyncEvent::builder(&dpa)
                .publisher(Location::Host | Location::Device)
                .subscriber(Location::Host | Location::Device);
            let _placed = event.in_host_memory(&buffer, 0).create()?;
            let reported = are_reported(deadlocked(&dpa)?);
            let most = dpa.sleep(Duration::from_secs(10));
            match select(std::pin::pin!(reported), std::pin::pin!(most)).await {
                Either::Left(_) => Ok(()),
                Either::Right(_) => panic!("it is not reported"),
            }
        },
    );
}

/// Helps a kernel that waits, in time. Beside it another context's kernel polls, if it is to.
async fn helped_after_a_jump(dpa: &Dpa, beside: bool) -> Result<(), Error> {
    let other = dpa.open_beside()?;
    let flag = other.zeroed::<u64>(1).await?;
    flag.write(0, &[u64::from(!beside)]).await?;
    let polls = other.launch(poll).args(PollArgs { flag: &flag }).submit()?;
    if !beside {
        other.wait_idle().await;
    }
    let (event, total) = (
        SyncEvent::device_to_device(dpa)?,
        dpa.zeroed::<u64>(1).await?,
    );
    let args = WaitThenCountArgs {
        event: &event,
        value: 1,
        total: &total,
    };
    let waits = dpa.launch(wait_then_count).args(args).submit()?;
    dpa.sleep(Duration::from_micros(100)).await;
    dpa.launch(nothing).then_add(&event, 1).submit()?.await?;
    waits.await?;
    flag.write(0, &[1]).await?;
    polls.await?;
    Ok(())
}

/// Time that was jumped over is none in which the host could have helped.
#[test]
fn rule_2_10_who_is_helped_after_a_jump_of_time_is_not_deadlocked() {
    let mishaps = Mishaps {
        clock_jump: When::By(Chance::percent(50)),
        longest_jump: Duration::from_millis(3),
        ..Mishaps::NONE
    };
    let device = Dpa::builder().deadlock_grace(Duration::from_millis(1));
    for beside in [false, true] {
        for seed in seeds(60) {
            let sim = Sim::new(seed).on(device.clone()).mishaps(mishaps);
            let run = sim.run(async |dpa| helped_after_a_jump(&dpa, beside).await);
            let ended = run.expect("it ends").value;
            ended.unwrap_or_else(|error| panic!("seed {seed}, beside {beside}: {error}"));
        }
    }
}

/// All units are taken, some by a context that gives them back some day. What helps then may stand behind a launch that never fits.
#[test]
fn rule_2_10_what_waits_for_units_of_another_context_may_help() {
    let device = Dpa::builder().workers(2).partition_eus(4);
    both_on(&device.deadlock_grace(PAUSE), async |dpa| {
        for wide in [false, true] {
            let (dpa, other) = (dpa.open_beside()?, dpa.open_beside()?);
            let event = SyncEvent::device_to_device(&dpa)?;
            let go = SyncEvent::host_to_device(&other)?;
            let two_wait = |dpa: &Dpa, event: &SyncEvent| {
                let args = WaitsFromArgs { event, first: 0 };
                dpa.launch(waits_from).threads(2).args(args).submit()
            };
            let holds = two_wait(&other, &go)?;
            while other.snapshot().waiting.len() < 2 {
                dpa.sleep(Duration::from_micros(1)).await;
            }
            // Nothing comes between: until what helps is there, they are deadlocked.
            let waits = two_wait(&dpa, &event)?;
            let wide = wide.then(|| dpa.launch(nothing).threads(4).submit());
            let helps = dpa.launch(nothing).then_add(&event, 2).submit()?;
            dpa.sleep(3 * PAUSE).await;
            go.add(2)?;
            holds.await?;
            helps.await?;
            waits.await?;
            if let Some(wide) = wide {
                wide?.await?;
            }
        }
        Ok(())
    });
}

/// What queues of a NIC complete might wake a thread: nothing is reported while they are open, and everything when they are closed.
#[test]
fn rule_2_10_beside_open_queues_of_a_nic_nothing_is_reported() {
    for seed in seeds(20) {
        let run = Sim::new(seed).run(async |dpa: Dpa| {
            let ops = dpa.async_ops().open()?;
            let event = SyncEvent::device_to_device(&dpa)?;
            let total = dpa.zeroed::<u64>(1).await?;
            let args = WaitThenCountArgs {
                event: &event,
                value: 1,
                total: &total,
            };
            let stuck = dpa.launch(wait_then_count).args(args).submit()?;
            dpa.sleep(Duration::from_secs(60)).await;
            assert!(dpa.last_error().is_none(), "{:?}", dpa.last_error());
            assert_eq!(dpa.snapshot().waiting.len(), 1);
            drop(ops);
            assert!(stuck.await.is_err());
            let fault = dpa.last_error().expect("a fault");
            assert_eq!(fault.kind, FaultKind::Deadlock);
            Ok::<_, Error>(())
        });
        let ended = run.expect("it ends").value;
        ended.unwrap_or_else(|error| panic!("seed {seed}: {error}"));
    }
}
