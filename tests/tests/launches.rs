//! Section 2: launches.

mod drivers;
mod places;

use std::pin::pin;
use std::sync::{Arc, mpsc};
use std::task::{Context, Waker};
use std::time::Duration;

use doca_dpa::error::{LaunchError, LaunchRefused};
use doca_dpa::{Dpa, Error, FaultKind, Sim, SyncEvent};
use drivers::on::seeds;
use drivers::{both, both_on};
use tests::*;

fn chain(dpa: &Dpa) -> SyncEvent {
    places::everywhere(dpa).expect("an event")
}

#[test]
fn rule_1_9_a_launch_whose_event_is_closed_says_its_last_value() {
    both(async |dpa| {
        let gate = chain(&dpa);
        gate.set(5)?;
        let waits_for = |least| {
            let waits = dpa.launch(nothing).wait_for(gate.ge(least));
            Ok::<_, Error>(waits.submit()?)
        };
        let parked = waits_for(6)?;
        gate.close();
        let (late, holds) = (waits_for(6)?, waits_for(5)?);
        for launch in [parked, late] {
            let ended = launch.await;
            assert!(
                matches!(ended, Err(LaunchError::WaitEventClosed { last: 5 })),
                "{ended:?}"
            );
        }
        // The last value satisfies it (rule 1.4).
        holds.await?;
        Ok(())
    });
}

#[test]
fn rule_2_1_a_launch_is_a_future_of_its_times() {
    both(async |dpa| {
        let before = dpa.now();
        let times = dpa.launch(nothing).submit()?.await?;
        assert!(before <= times.start && times.start <= times.end && times.end <= dpa.now());
        Ok(())
    });
}

#[test]
fn rule_2_1_dropping_the_handle_detaches() {
    both(async |dpa| {
        let (gate, total) = (chain(&dpa), dpa.zeroed::<u64>(1).await?);
        drop(
            dpa.launch(count)
                .args(CountArgs { total: &total })
                .wait_for(gate.ge(1))
                .submit()?,
        );
        gate.add(1)?;
        dpa.wait_idle().await;
        assert_eq!(total.copy_out().await?, [1]);
        Ok(())
    });
}

#[test]
fn rule_2_1_a_full_queue_gives_the_launch_back_and_submit_async_waits() {
    both_on(&Dpa::builder().workers(1).max_unfinished(2), async |dpa| {
        let (gate, total) = (chain(&dpa), dpa.zeroed::<u64>(1).await?);
        let parked = || {
            dpa.launch(count)
                .args(CountArgs { total: &total })
                .wait_for(gate.ge(1))
        };
        parked().submit()?;
        parked().submit()?;
        let full = parked().submit().expect_err("full");
        assert!(
            full.kind().to_string().contains("2 launches"),
            "{}",
            full.kind()
        );
        let mut later = std::pin::pin!(full.into_inner().submit_async());
        assert!(futures::poll!(later.as_mut()).is_pending());
        gate.add(1)?;
        later.await?.await?;
        assert_eq!(total.copy_out().await?, [3]);
        Ok(())
    });
}

#[test]
fn rule_2_2_start_order_follows_submission() {
    let config = Dpa::builder().partition_eus(1);
    for seed in seeds(50) {
        let run = Sim::new(seed)
            .on(config.clone())
            .run(async |dpa: Dpa| -> Result<_, Error> {
                let next = dpa.zeroed::<u64>(1).await?;
                let stamps = dpa.zeroed::<u64>(20).await?;
                for slot in 0..20 {
                    dpa.launch(stamp)
                        .args(StampArgs {
                            next: &next,
                            stamps: &stamps,
                            slot,
                        })
                        .submit()?;
                }
                dpa.wait_idle().await;
                Ok(stamps.copy_out().await?)
            });
        let stamps = run.expect("ends").value.expect("works");
        assert_eq!(stamps, (0..20).collect::<Vec<u64>>(), "seed {seed}");
    }
}

#[test]
fn rule_2_3_the_threads_of_a_launch_start_together() {
    both(async |dpa| {
        let (ranks, wrong) = (dpa.zeroed::<u64>(190).await?, dpa.zeroed::<u64>(1).await?);
        for threads in [1, 2, 16, 190] {
            dpa.launch(meet)
                .args(MeetArgs {
                    ranks: &ranks,
                    wrong: &wrong,
                })
                .threads(threads)
                .submit()?
                .await?;
        }
        assert_eq!(wrong.copy_out().await?, [0]);
        Ok(())
    });
}

#[test]
fn rule_2_3_a_number_of_threads_out_of_range_is_an_error_at_submit() {
    both(async |dpa| {
        assert_eq!(dpa.max_threads_per_kernel(), 190);
        for asked in [0, 191] {
            let error = dpa
                .launch(nothing)
                .threads(asked)
                .submit()
                .expect_err("out of range");
            assert!(
                error.kind().to_string().contains("1 to 190"),
                "{}",
                error.kind()
            );
        }
        Ok(())
    });
}

#[test]
fn rule_2_5_the_completion_update_is_made_once_and_before_the_future() {
    both(async |dpa| {
        let done = chain(&dpa);
        for n in 1..=100 {
            dpa.launch(nothing)
                .threads(4)
                .then_add(&done, 1)
                .submit()?
                .await?;
            assert_eq!(done.get(), n);
        }
        dpa.launch(nothing).then_set(&done, 7).submit()?.await?;
        assert_eq!(done.get(), 7);
        Ok(())
    });
}

#[test]
fn rule_2_5_a_closed_event_to_update_is_said() {
    both(async |dpa| {
        let (gate, done) = (chain(&dpa), chain(&dpa));
        let launch = dpa
            .launch(nothing)
            .wait_for(gate.ge(1))
            .then_add(&done, 1)
            .submit()?;
        done.close();
        gate.add(1)?;
        assert!(matches!(
            launch.await,
            Err(LaunchError::CompletedButEventClosed)
        ));
        Ok(())
    });
}

#[test]
fn rule_2_6_cancel_takes_back_what_has_not_started() {
    both(async |dpa| {
        let (gate, done) = (chain(&dpa), chain(&dpa));
        let first = dpa
            .launch(nothing)
            .wait_for(gate.ge(1))
            .then_add(&done, 1)
            .submit()?;
        let second = dpa.launch(nothing).wait_for(done.ge(1)).submit()?;
        assert!(first.cancel());
        assert!(!first.cancel());
        assert!(matches!(first.await, Err(LaunchError::Cancelled)));
        assert!(!second.is_over(), "what waits for it stays parked");
        assert_eq!((done.get(), dpa.cancel_chain(&done)), (0, 1));
        assert!(matches!(second.await, Err(LaunchError::Cancelled)));
        Ok(())
    });
}

#[test]
fn rule_2_7_what_is_passed_by_reference_lives_until_the_launch_is_over() {
    both(async |dpa| {
        let gate = chain(&dpa);
        let total = dpa.zeroed::<u64>(1).await?;
        let allocations = dpa.snapshot().heap.allocations;
        let launch = dpa
            .launch(count)
            .args(CountArgs { total: &total })
            .wait_for(gate.ge(1))
            .submit()?;
        drop(total);
        assert_eq!(dpa.snapshot().heap.allocations, allocations);
        gate.add(1)?;
        launch.await?;
        dpa.wait_idle().await;
        assert_eq!(dpa.snapshot().heap.allocations, allocations - 1);
        Ok(())
    });
}

/// Launches that nobody watches are booked together: by then what they kept is let go of.
#[test]
fn rule_2_7_what_detached_launches_keep_is_let_go_of_by_the_time_nothing_runs() {
    both(async |dpa| {
        let allocations = dpa.snapshot().heap.allocations;
        for many in [1, 3, 100] {
            let total = dpa.zeroed::<u64>(1).await?;
            for _ in 0..many {
                drop(
                    dpa.launch(count)
                        .args(CountArgs { total: &total })
                        .submit()?,
                );
            }
            dpa.wait_idle().await;
            assert_eq!(total.copy_out().await?, [many]);
            dpa.wait_idle().await;
            drop(total);
            assert_eq!(dpa.snapshot().heap.allocations, allocations);
        }
        Ok(())
    });
}

#[test]
fn rule_2_7_what_belongs_to_another_context_is_refused() {
    both(async |dpa| {
        let other = dpa.open_beside()?;
        let foreign = other.zeroed::<u64>(1).await?;
        let refused = dpa
            .launch(count)
            .args(CountArgs { total: &foreign })
            .submit()
            .expect_err("foreign");
        assert!(matches!(
            refused.kind(),
            LaunchRefused::ForeignArgument { kernel: "count" }
        ));
        let event = chain(&other);
        let refused = dpa
            .launch(nothing)
            .wait_for(event.ge(1))
            .submit()
            .expect_err("foreign");
        assert!(matches!(refused.kind(), LaunchRefused::ForeignEvent { .. }));
        let refused = dpa
            .launch(nothing)
            .then_add(&event, 1)
            .submit()
            .expect_err("foreign");
        assert!(matches!(refused.kind(), LaunchRefused::ForeignEvent { .. }));
        Ok(())
    });
}

#[test]
fn rule_2_8_a_kernel_that_polls_lets_others_run() {
    both_on(&Dpa::builder().workers(1), async |dpa| {
        let flag = dpa.zeroed::<u64>(1).await?;
        let polling = dpa
            .launch(poll)
            .args(PollArgs { flag: &flag })
            .threads(8)
            .submit()?;
        dpa.launch(raise).args(RaiseArgs { flag: &flag }).submit()?;
        polling.await?;
        Ok(())
    });
}

#[tokio::test]
async fn rule_2_9_a_kernel_past_the_limit_is_stopped() -> Result<(), Error> {
    let dpa = Dpa::builder()
        .workers(2)
        .run_time_limit(Some(Duration::from_millis(50)))
        .open()?;
    assert_eq!(dpa.kernel_max_run_time(), Some(Duration::from_millis(50)));
    let launch = dpa.launch(spins).args(SpinsArgs { from: 0u64 }).submit()?;
    match launch.await {
        Err(LaunchError::Faulted(fault)) => {
            assert_eq!(fault.kind, FaultKind::RunTimeExceeded { limit_ms: 50 });
        }
        other => panic!("{other:?}"),
    }
    let beside = dpa.open_beside()?;
    beside.launch(nothing).threads(190).submit()?.await?;
    Ok(())
}

/// A blocking wait shares the handle: each thread that waits is woken, beside a task that has polled before.
#[test]
fn several_threads_wait_for_one_launch() {
    let dpa = Dpa::open().expect("a context");
    let gate = chain(&dpa);
    let parked = dpa.launch(nothing).wait_for(gate.ge(1)).submit();
    let mut launch = parked.expect("there is room");
    let polled = pin!(&mut launch).poll(&mut Context::from_waker(Waker::noop()));
    assert!(polled.is_pending());
    let launch = Arc::new(launch);
    let (over, is_over) = mpsc::channel();
    for _ in 0..3 {
        let (launch, over) = (launch.clone(), over.clone());
        std::thread::spawn(move || over.send(launch.wait().is_ok()));
    }
    // Longer than they spin: they sleep.
    std::thread::sleep(Duration::from_millis(20));
    gate.add(1).expect("it is open");
    for _ in 0..3 {
        let ended = is_over.recv_timeout(Duration::from_secs(20));
        assert_eq!(ended, Ok(true), "a thread was never woken");
    }
}

#[test]
fn rule_2_10_a_deadlock_is_reported_with_who_waits_for_what() {
    both_on(
        &Dpa::builder()
            .workers(2)
            .deadlock_grace(Duration::from_millis(20)),
        async |dpa| {
            let (a, b) = (
                SyncEvent::device_to_device(&dpa)?,
                SyncEvent::device_to_device(&dpa)?,
            );
            let relays = [(&a, &b), (&b, &a)].map(|(from, to)| {
                dpa.launch(relay)
                    .args(RelayArgs {
                        from,
                        value: 1u64,
                        to,
                    })
                    .submit()
                    .expect("accepted")
            });
            for launch in relays {
                assert!(
                    matches!(launch.await, Err(LaunchError::Faulted(f)) if f.kind == FaultKind::Deadlock)
                );
            }
            let fault = dpa.last_error().expect("a fault");
            assert_eq!(fault.waiting.len(), 2);
            assert!(fault.to_string().contains("value >= 1"), "{fault}");
            Ok(())
        },
    );
}

#[test]
fn rule_2_11_a_stream_runs_in_order() {
    both(async |dpa| {
        let stream = dpa.stream();
        let values = dpa.zeroed::<u64>(4).await?;
        let sum = dpa.zeroed::<u64>(1).await?;
        stream.write(&values, 0, vec![1, 2, 3, 4]).submit()?;
        stream
            .launch(add_up)
            .args(AddUpArgs {
                values: &values,
                sum: &sum,
            })
            .submit()?;
        let first = stream.read(&sum, ..).submit()?;
        stream.fill(&values, 9).submit()?;
        stream
            .launch(add_up)
            .args(AddUpArgs {
                values: &values,
                sum: &sum,
            })
            .submit()?;
        let second = stream.read(&sum, ..).submit()?;
        assert_eq!((first.await?, second.await?), (vec![10], vec![36]));
        Ok(())
    });
}

#[test]
fn rule_2_11_one_that_is_cancelled_takes_along_what_is_behind_it_and_nothing_else() {
    both(async |dpa| {
        let (gate, total) = (chain(&dpa), dpa.zeroed::<u64>(1).await?);
        let stream = dpa.stream();
        let next = || stream.launch(count).args(CountArgs { total: &total });
        let front = next().wait_for(gate.ge(1)).submit()?;
        let [before, cancelled, behind] = [next().submit()?, next().submit()?, next().submit()?];
        assert!(cancelled.cancel() && !cancelled.cancel());
        assert!(stream.is_broken());
        assert!(next().submit().is_err(), "nothing joins it any more");
        gate.add(1)?;
        front.await?;
        before.await?;
        for launch in [cancelled, behind] {
            assert!(matches!(launch.await, Err(LaunchError::Cancelled)));
        }
        assert_eq!(total.copy_out().await?, [2]);
        Ok(())
    });
}

#[test]
fn rule_2_11_copies_wait_and_update_like_launches() {
    both(async |dpa| {
        let chain = chain(&dpa);
        let values = dpa.zeroed::<u64>(2).await?;
        let sum = dpa.zeroed::<u64>(1).await?;
        values
            .write_step(0, vec![20, 22])
            .wait_for(chain.ge(1))
            .then_add(&chain, 1)
            .submit()?;
        dpa.launch(add_up)
            .args(AddUpArgs {
                values: &values,
                sum: &sum,
            })
            .wait_for(chain.ge(2))
            .then_add(&chain, 1)
            .submit()?;
        let out = sum.read_step(..).wait_for(chain.ge(3)).submit()?;
        assert_eq!(
            sum.copy_out().await?,
            [0],
            "nothing moves before the first update"
        );
        chain.add(1)?;
        assert_eq!(out.await?, [42]);
        dpa.wait_idle().await;
        assert_eq!(dpa.snapshot().unfinished, 0);
        Ok(())
    });
}

#[test]
fn a_seed_replays_the_same_run() {
    let run = |seed| {
        Sim::new(seed)
            .run(async |dpa: Dpa| -> Result<(), Error> {
                let total = dpa.zeroed::<u64>(1).await?;
                for _ in 0..10 {
                    dpa.launch(count)
                        .args(CountArgs { total: &total })
                        .threads(4)
                        .submit()?;
                }
                dpa.wait_idle().await;
                Ok(())
            })
            .expect("ends")
            .digest
    };
    assert_eq!(run(1), run(1));
    assert!((2..10).any(|seed| run(seed) != run(1)));
}

/// Also programs that box their errors for other threads can pass a refusal on.
#[tokio::test]
async fn a_refusal_is_an_error_like_any_other() -> Result<(), Error> {
    fn refused(dpa: &Dpa) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        let _launch = dpa.launch(nothing).threads(100_000).submit()?;
        let stream = dpa.stream();
        let buffer = dpa.zeroed_blocking::<u8>(1)?;
        let _copy = stream.read(&buffer, ..).submit()?;
        Ok(())
    }
    let dpa = Dpa::builder().workers(1).open()?;
    let error = refused(&dpa).expect_err("there are not so many units");
    assert!(error.to_string().contains("100000"), "{error}");
    Ok(())
}
