//! Launches, calls, steps and jobs, and the ends of all of them: what was submitted goes on without its future.

use std::time::Duration;

use doca_dpa::{CloseReport, Dpa, Error};
use tests::cmdq::{TallyArgs, tally};
use tests::{CountArgs, GivesUpArgs, SumToArgs, WaitThenCountArgs};
use tests::{count, gives_up, sum_to, wait_then_count};

use crate::harness::{cut_everywhere, cut_everywhere_on, gate};

#[test]
fn rule_2_1_a_launch() {
    cut_everywhere(async |dpa, cut| {
        let (go, total) = (gate(dpa)?, dpa.zeroed::<u64>(1).await?);
        let launch = dpa.launch(count).args(CountArgs { total: &total });
        let launch = launch.threads(3).wait_for(go.ge(1)).submit()?;
        let opening = async {
            go.add(1)?;
            Ok::<_, Error>(())
        };
        let (_, opened) = futures::join!(cut.off(launch), opening);
        opened?;
        dpa.wait_idle().await;
        assert_eq!(
            total.copy_out().await?,
            [3],
            "it goes on without its future"
        );
        Ok(())
    });
}

#[test]
fn rule_2_1_a_submission_that_waits_for_room() {
    let device = Dpa::builder().max_unfinished(1);
    cut_everywhere_on(&device, async |dpa, cut| {
        let (go, total) = (gate(dpa)?, dpa.zeroed::<u64>(1).await?);
        let args = || CountArgs { total: &total };
        let first = dpa.launch(count).args(args()).wait_for(go.ge(1)).submit()?;
        let opening = async {
            dpa.sleep(Duration::from_nanos(500)).await;
            go.add(1)?;
            Ok::<_, Error>(())
        };
        let second = dpa.launch(count).args(args()).submit_async();
        let (second, opened) = futures::join!(cut.off(second), opening);
        opened?;
        first.await?;
        let counted = 1 + u64::from(second.transpose()?.is_some());
        dpa.wait_idle().await;
        assert_eq!(total.copy_out().await?, [counted]);
        // Whoever waited and went away holds no place.
        dpa.launch(count).args(args()).submit_async().await?.await?;
        Ok(())
    });
}

#[test]
fn rule_3_a_call() {
    cut_everywhere(async |dpa, cut| {
        let cut_off = cut.off(dpa.call(sum_to, SumToArgs { last: 10 })).await;
        assert!(cut_off.is_none_or(|sum| sum.ok() == Some(55)));
        assert_eq!(dpa.call(sum_to, SumToArgs { last: 3 }).await?, 6);
        Ok(())
    });
}

#[test]
fn rule_2_11_steps_of_a_stream_and_idleness() {
    cut_everywhere(async |dpa, cut| {
        let stream = dpa.stream();
        let words = dpa.zeroed::<u64>(4).await?;
        stream.fill(&words, 7).submit()?;
        let read = stream.read(&words, ..).submit()?;
        if let Some(read) = cut.off(read).await {
            assert_eq!(read?, [7; 4]);
        }
        stream.fill(&words, 8).submit()?;
        assert_eq!(stream.read(&words, ..).submit()?.await?, [8; 4]);
        Ok(())
    });
    cut_everywhere(async |dpa, cut| {
        let total = dpa.zeroed::<u64>(1).await?;
        for _ in 0..3 {
            drop(
                dpa.launch(count)
                    .args(CountArgs { total: &total })
                    .submit()?,
            );
        }
        let _ = cut.off(dpa.wait_idle()).await;
        dpa.wait_idle().await;
        assert_eq!(total.copy_out().await?, [3]);
        Ok(())
    });
}

#[test]
fn a_command_queue_and_sleep() {
    cut_everywhere(async |dpa, cut| {
        let words = dpa.zeroed::<u64>(1).await?;
        let queue = dpa.command_queue().workers(2).open()?;
        for _ in 0..5 {
            let args = TallyArgs {
                at: words.addr(),
                index: 0,
            };
            queue.add(tally, args)?;
        }
        queue.run();
        let _ = cut.off(queue.idle()).await;
        queue.idle().await?;
        assert_eq!(words.copy_out().await?, [5]);
        Ok(())
    });
    cut_everywhere(async |dpa, cut| {
        let _ = cut.off(dpa.sleep(Duration::from_micros(1))).await;
        Ok(())
    });
}

#[test]
fn rule_7_a_close_and_a_failure_that_is_awaited() {
    cut_everywhere(async |dpa, cut| {
        let other = dpa.open_beside()?;
        let total = other.zeroed::<u64>(1).await?;
        let running = other.launch(count).args(CountArgs { total: &total });
        let running = running.submit()?;
        let watched = other.clone();
        let _ = cut.off(other.close()).await;
        assert!(watched.launch(tests::nothing).submit().is_err() || cut.polls == 0);
        drop((watched, running, total));
        Ok(())
    });
    cut_everywhere(async |dpa, cut| {
        let other = dpa.open_beside()?;
        let failing = other.launch(gives_up).args(GivesUpArgs { code: 1 });
        let failing = failing.submit()?;
        let _ = cut.off(other.failed()).await;
        assert!(failing.await.is_err());
        Ok(())
    });
}

/// What runs does not end in time: then the close says so, and without it the last clone ends it.
#[test]
fn rule_7_a_close_that_waits_in_vain() {
    cut_everywhere(async |dpa, cut| {
        let other = dpa.open_beside()?;
        let (never, total) = (gate(&other)?, other.zeroed::<u64>(1).await?);
        let args = WaitThenCountArgs {
            event: &never,
            value: 1,
            total: &total,
        };
        let waits = other.launch(wait_then_count).args(args).submit()?;
        other.sleep(Duration::from_micros(1)).await;
        let patience = Duration::from_micros(50);
        if let Some(closed) = cut.off(other.close_within(patience)).await {
            let stopped =
                closed.map_or_else(|late| late.report, |_: CloseReport| panic!("in time"));
            assert_eq!((stopped.threads_stopped, stopped.launches_dropped), (1, 0));
        }
        assert!(waits.await.is_err(), "it ends with its context");
        assert!(never.add(1).is_err(), "so does what it waited for");
        Ok(())
    });
}
