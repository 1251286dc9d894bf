//! Where what was submitted stands in the order, and when it was under way.

mod drivers;
mod places;

use std::time::Duration;

use doca_dpa::error::LaunchRefused;
use doca_dpa::{Dpa, Error, Sim};
use drivers::on::seeds;
use drivers::{both, both_on};
use places::everywhere;
use tests::threads::{TickArgs, tick};
use tests::*;

#[test]
fn rule_2_1_times_are_those_of_the_threads_and_not_of_the_submission() {
    both(async |dpa| {
        let (gate, inside) = (everywhere(&dpa)?, everywhere(&dpa)?);
        let total = dpa.zeroed::<u64>(1).await?;
        let pause = Duration::from_millis(2);
        let args = WaitThenCountArgs {
            event: &inside,
            value: 1,
            total: &total,
        };
        let launch = dpa.launch(wait_then_count).args(args).threads(2);
        let launch = launch.wait_for(gate.ge(1)).submit()?;
        dpa.sleep(pause).await;
        let opened = dpa.now();
        gate.add(1)?;
        while dpa.snapshot().waiting.len() < 2 {
            dpa.sleep(Duration::from_micros(1)).await;
        }
        let waits = dpa.now();
        dpa.sleep(pause).await;
        let released = dpa.now();
        inside.add(1)?;
        dpa.wait_idle().await;
        let over = dpa.now();
        dpa.sleep(pause).await;
        let times = launch.await?;
        assert!(opened <= times.start && times.start <= waits, "{times:?}");
        assert!(released <= times.end && times.end <= over, "{times:?}");
        Ok(())
    });
}

#[test]
fn rule_2_1_who_waited_for_room_has_the_place_of_its_first_poll() {
    let builder = Dpa::builder().max_unfinished(2).partition_eus(1);
    for seed in seeds(20) {
        let sim = Sim::new(seed).on(builder.clone());
        let run = sim.run(async |dpa: Dpa| -> Result<_, Error> {
            let (full, go) = (everywhere(&dpa)?, everywhere(&dpa)?);
            let (next, stamps) = (dpa.zeroed::<u64>(1).await?, dpa.zeroed::<u64>(2).await?);
            let stamps_at = |slot| {
                let args = StampArgs {
                    next: &next,
                    stamps: &stamps,
                    slot,
                };
                dpa.launch(stamp).args(args).wait_for(go.ge(1))
            };
            let takes = |least| {
                let takes = dpa.launch(nothing).wait_for(full.ge(least));
                Ok::<_, Error>(takes.submit()?)
            };
            let (first, second) = (takes(1)?, takes(2)?);
            let mut early = std::pin::pin!(stamps_at(0).submit_async());
            assert!(futures::poll!(early.as_mut()).is_pending());
            full.add(1)?;
            first.await?;
            let late = stamps_at(1).submit()?;
            full.add(1)?;
            second.await?;
            let early = early.await?;
            // Both are ready at once, and the later one was registered first.
            go.add(1)?;
            early.await?;
            late.await?;
            Ok(stamps.copy_out().await?)
        });
        let stamps = run.expect("ends").value.expect("works");
        assert_eq!(stamps, [0, 1], "seed {seed}");
    }
}

#[test]
fn rule_3_calls_and_launches_start_in_the_order_of_submission() {
    both_on(&Dpa::builder().workers(1).partition_eus(1), async |dpa| {
        let (hold, total) = (everywhere(&dpa)?, dpa.zeroed::<u64>(1).await?);
        let (next, stamps) = (dpa.zeroed::<u64>(1).await?, dpa.zeroed::<u64>(1).await?);
        let args = WaitThenCountArgs {
            event: &hold,
            value: 1,
            total: &total,
        };
        let holds = dpa.launch(wait_then_count).args(args).submit()?;
        let calls = || dpa.call(ticket, TicketArgs { next: &next });
        let before = calls();
        let args = StampArgs {
            next: &next,
            stamps: &stamps,
            slot: 0,
        };
        let launch = dpa.launch(stamp).args(args).submit()?;
        let (first, second) = (calls(), calls());
        hold.add(1)?;
        holds.await?;
        // The last is awaited first: that changes nothing.
        let told = (second.await?, first.await?, before.await?);
        assert_eq!(told, (3, 2, 0));
        launch.await?;
        assert_eq!(stamps.copy_out().await?, [1]);
        Ok(())
    });
}

/// What a DPA thread does at its triggers is none of the launches that the host may have under way.
#[test]
fn rule_2_1_activations_take_and_leave_no_room_of_the_host() {
    both_on(&Dpa::builder().workers(1).max_unfinished(1), async |dpa| {
        let (gate, total) = (everywhere(&dpa)?, everywhere(&dpa)?);
        let args = TickArgs { total: &total };
        let thread = dpa.thread(tick, args).start()?;
        thread.run()?;
        for round in 1..=3 {
            thread.notify();
            total.ge(round).await?;
        }
        drop(thread);
        let parked = dpa.launch(nothing).wait_for(gate.ge(1)).submit()?;
        let full = dpa.launch(nothing).submit().expect_err("one is parked");
        assert!(
            matches!(full.kind(), LaunchRefused::Refused(_)),
            "{}",
            full.kind()
        );
        gate.add(1)?;
        parked.await?;
        dpa.launch(nothing).submit()?.await?;
        Ok(())
    });
}
