//! Section 7: shutdown.

mod drivers;
mod places;

use std::time::Duration;

use doca_dpa::error::{EventError, LaunchError, MemoryError};
use doca_dpa::{Dpa, Error, SyncEvent};
use drivers::both;
use tests::globals::{RUNS, TABLE};
use tests::threads::{TickArgs, WakeArgs, tick, wake};
use tests::*;

fn open() -> Dpa {
    Dpa::builder().workers(2).open().expect("a device")
}

#[test]
fn rule_7_only_clones_keep_the_context_open() {
    both(async |dpa| {
        let clone = dpa.clone();
        let gate = SyncEvent::host_to_device(&dpa)?;
        let done = SyncEvent::device_to_host(&dpa)?;
        let buffer = dpa.copy_in(&[1u8]).await?;
        let parked = dpa
            .launch(nothing)
            .wait_for(gate.ge(1))
            .then_add(&done, 1)
            .submit()?;
        drop(dpa);
        assert_eq!(buffer.copy_out().await?, [1], "a clone is left");
        drop(clone);
        assert!(matches!(parked.await, Err(LaunchError::ContextClosed)));
        assert!(matches!(
            done.ge(1).await,
            Err(EventError::ContextClosed { last: 0 })
        ));
        assert!(matches!(
            gate.add(1),
            Err(EventError::ContextClosed { last: 0 })
        ));
        assert!(matches!(
            buffer.copy_out().await,
            Err(MemoryError::ContextClosed)
        ));
        Ok(())
    });
}

#[test]
fn rule_7_a_closed_context_has_no_globals() {
    both(async |dpa| {
        let clone = dpa.clone();
        let runs = clone.global(&RUNS)?;
        runs.write(5)?;
        dpa.close().await?;
        assert_eq!(runs.read(), Err(MemoryError::ContextClosed));
        assert_eq!(runs.write(6), Err(MemoryError::ContextClosed));
        let before = clone.memory_info().allocated;
        for late in [clone.global(&RUNS).err(), clone.global(&TABLE).err()] {
            assert_eq!(late, Some(MemoryError::ContextClosed));
        }
        assert_eq!(clone.memory_info().allocated, before);
        Ok(())
    });
}

#[test]
fn rule_7_close_waits_for_what_runs_and_reports_what_is_left() {
    both(async |dpa| {
        let clone = dpa.clone();
        let gate = SyncEvent::host_to_device(&dpa)?;
        let total = dpa.zeroed::<u64>(1).await?;
        dpa.launch(nothing).wait_for(gate.ge(1)).submit()?;
        let mut ready = Vec::new();
        for _ in 0..100 {
            let launch = dpa.launch(count).args(CountArgs { total: &total });
            ready.push(launch.submit()?);
        }
        let report = dpa.close().await?;
        assert_eq!((report.launches_dropped, report.threads_stopped), (1, 0));
        assert_eq!((report.events, report.allocations), (1, 1));
        for launch in ready {
            launch.await?;
        }
        assert!(
            clone.launch(nothing).submit().is_err(),
            "closed for all clones"
        );
        Ok(())
    });
}

/// Launches that become ready, and DPA threads that are woken.
#[test]
fn rule_7_what_is_opened_while_a_context_is_closed_runs_too() {
    both(async |dpa| {
        let other = dpa.open_beside()?;
        let [go, gate, ticks] = [(); 3].map(|()| places::everywhere(&other));
        let (go, gate, ticks) = (go?, gate?, ticks?);
        let thread = other.thread(tick, TickArgs { total: &ticks }).start()?;
        thread.run()?;
        let args = RelayArgs {
            from: &go,
            value: 1,
            to: &gate,
        };
        let relays = other.launch(relay).args(args).submit()?;
        let args = WakeArgs {
            other: &thread,
            times: 1,
        };
        let wakes = other.launch(wake).args(args).wait_for(gate.ge(1));
        let wakes = wakes.submit()?;
        while other.snapshot().waiting.is_empty() {
            dpa.sleep(Duration::from_micros(1)).await;
        }
        let goes_on = async {
            dpa.sleep(Duration::from_micros(50)).await;
            go.add(1)
        };
        let (closed, gone_on) = futures::join!(other.clone().close(), goes_on);
        gone_on?;
        assert_eq!(closed?.launches_dropped, 0);
        relays.await?;
        wakes.await?;
        assert_eq!(ticks.get(), 1);
        Ok(())
    });
}

/// However many threads of others run, and whatever has ended just now.
#[test]
fn rule_7_what_is_dropped_is_what_had_not_started() {
    both(async |dpa| {
        let other = dpa.open_beside()?;
        let (gate, started) = (places::everywhere(&other)?, other.zeroed::<u64>(1).await?);
        let parked = || other.launch(nothing).wait_for(gate.ge(1));
        let stream = other.stream();
        parked().submit()?;
        parked().submit()?;
        stream.launch(nothing).wait_for(gate.ge(1)).submit()?;
        stream.launch(nothing).submit()?;
        for _ in 0..50 {
            drop(other.launch(nothing).submit()?);
        }
        let running = other.launch(yields).args(YieldsArgs { started: &started });
        let running = running.threads(8).submit()?;
        // All of these, and none of those before that has ended just now.
        while started.copy_out().await? != [8] || other.snapshot().started != 8 {
            dpa.sleep(Duration::from_micros(1)).await;
        }
        let closed = other.close_within(Duration::from_micros(50)).await;
        let report = match closed {
            Err(error) => error.report,
            Ok(report) => panic!("they do not end: {report:?}"),
        };
        assert_eq!((report.launches_dropped, report.threads_stopped), (4, 8));
        assert!(running.await.is_err());
        Ok(())
    });
}

#[test]
fn rule_7_close_gives_up_on_what_never_returns() {
    both(async |dpa| {
        let started = dpa.zeroed::<u64>(1).await?;
        let launch = dpa
            .launch(yields)
            .args(YieldsArgs { started: &started })
            .submit()?;
        while started.copy_out().await? == [0] {
            tokio::task::yield_now().await;
        }
        let error = dpa
            .close_within(Duration::from_millis(20))
            .await
            .expect_err("still runs");
        assert_eq!(error.report.threads_stopped, 1);
        assert!(matches!(launch.await, Err(LaunchError::ContextClosed)));
        Ok(())
    });
}

#[test]
fn rule_7_a_context_that_is_closed_twice_leaves_others_alone() {
    both(async |dpa| {
        let first = dpa.open_beside()?;
        let clone = first.clone();
        first.close().await?;
        // This one may stand where the closed one stood.
        let second = dpa.open_beside()?;
        drop(clone);
        let total = second.zeroed::<u64>(1).await?;
        for _ in 0..10 {
            second
                .launch(count)
                .args(CountArgs { total: &total })
                .submit()?
                .await?;
        }
        assert_eq!(total.copy_out().await?, [10]);
        Ok(())
    });
}

#[test]
fn rule_7_no_order_of_dropping_is_wrong() {
    for order in 0..6 {
        both(async |dpa| {
            let gate = SyncEvent::host_to_device(&dpa)?;
            let total = dpa.zeroed::<u64>(1).await?;
            let launch = dpa
                .launch(wait_then_count)
                .args(WaitThenCountArgs {
                    event: &gate,
                    value: 1u64,
                    total: &total,
                })
                .threads(4)
                .submit()?;
            let mut things: Vec<Box<dyn std::any::Any>> = vec![
                Box::new(dpa),
                Box::new(gate),
                Box::new(total),
                Box::new(launch),
            ];
            things.rotate_left(order % 4);
            if order >= 4 {
                things.reverse();
            }
            things.into_iter().for_each(drop);
            Ok(())
        });
    }
}

/// No sleep is needed between dropping a NIC and opening one at the same address.
#[test]
fn rule_7_an_address_is_free_again_at_once() -> Result<(), Error> {
    let address = std::net::IpAddr::from([127, 0, 9, 77]);
    let kept = open();
    for round in 0..50 {
        let dpa = if round % 2 == 0 { kept.clone() } else { open() };
        let rdma = dpa.rdma().address(address).open()?;
        let connection = rdma.export()?;
        let other = kept.rdma().address(address).open();
        assert_eq!(
            other.is_ok(),
            round % 2 == 0,
            "two devices have no address in common"
        );
        drop((connection, dpa, rdma, other));
    }
    Ok(())
}
