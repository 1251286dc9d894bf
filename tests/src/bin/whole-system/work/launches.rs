//! Sections 2 and 3: launches, streams and calls.

use std::time::Duration;

use doca_dpa::{Location, SyncEvent};
use futures::future::join_all;
use tests::{
    CountArgs, MeetArgs, PollArgs, RaiseArgs, RelayArgs, StampArgs, SumToArgs, TicketArgs, count,
    meet, poll, raise, relay, stamp, sum_to, ticket,
};

use crate::cluster::{Outcome, World};

/// Launches, each opened by the one before it; some are taken back before they start.
pub async fn chain(world: &World<'_>) -> Outcome {
    let dpa = &world.any().dpa;
    let links = 1 + world.dice.below(8);
    let go = SyncEvent::builder(dpa)
        .publisher(Location::Host | Location::Device)
        .subscriber(Location::Host | Location::Device)
        .create()?;
    let total = dpa.zeroed::<u64>(1).await?;
    let mut launches = Vec::new();
    let mut threads = 0;
    for link in 1..=links {
        let wide = 1 + world.dice.below(4);
        threads += wide;
        let launch = dpa
            .launch(count)
            .args(CountArgs { total: &total })
            .threads(wide as u32);
        let launch = launch.wait_for(go.ge(link)).then_add(&go, 1);
        launches.push(launch.submit_async().await?);
    }
    let never = dpa.launch(count).args(CountArgs { total: &total });
    let never = never.wait_for(go.ge(1 << 40)).submit_async().await?;
    go.add(1)?;
    assert_eq!(go.ge(1 + links).await?, 1 + links);
    let once = never.cancel() && !never.cancel();
    assert!(never.await.is_err());
    world.expect_by("2.6", once, "it is taken back once");
    for launch in launches {
        let times = launch.await?;
        assert!(times.start <= times.end);
    }
    assert_eq!(total.copy_out().await?, [threads]);
    world.saw("2.1");
    world.saw("2.5");
    Ok(())
}

/// Threads of one launch meet.
pub async fn gang(world: &World<'_>) -> Outcome {
    let dpa = &world.any().dpa;
    let running: Vec<_> = (0..1 + world.dice.below(3))
        .map(|_| 1 + world.dice.below(16))
        .collect();
    let gangs = running.iter().map(async |&threads| {
        let ranks = dpa.zeroed::<u64>(threads as usize).await?;
        let wrong = dpa.zeroed::<u64>(1).await?;
        let args = MeetArgs {
            ranks: &ranks,
            wrong: &wrong,
        };
        let launch = dpa.launch(meet).args(args).threads(threads as u32);
        launch.submit_async().await?.await?;
        assert_eq!(wrong.copy_out().await?, [0]);
        Ok::<_, doca_dpa::Error>(())
    });
    join_all(gangs)
        .await
        .into_iter()
        .collect::<Result<Vec<_>, _>>()?;
    world.saw("2.4");
    Ok(())
}

/// A launch that needs all units waits at the head of the queue while one that came before holds some; then its threads start
/// together.
pub async fn waiting_head(world: &World<'_>) -> Outcome {
    let dpa = world.any().dpa.open_beside()?;
    let (go, done) = (
        SyncEvent::host_to_device(&dpa)?,
        SyncEvent::device_to_host(&dpa)?,
    );
    let args = RelayArgs {
        from: &go,
        value: 1,
        to: &done,
    };
    let holder = dpa.launch(relay).args(args).threads(2).submit_async();
    let holder = holder.await?;
    dpa.sleep(Duration::from_nanos(world.dice.below(2000)))
        .await;
    let all = dpa.max_threads_per_kernel();
    let ranks = dpa.zeroed::<u64>(all as usize).await?;
    let wrong = dpa.zeroed::<u64>(1).await?;
    let args = MeetArgs {
        ranks: &ranks,
        wrong: &wrong,
    };
    let head = dpa.launch(meet).args(args).threads(all);
    let head = head.submit_async().await?;
    let submitted = dpa.now();
    dpa.sleep(Duration::from_nanos(1 + world.dice.below(2000)))
        .await;
    go.add(1)?;
    let (held, headed) = (holder.await?, head.await?);
    assert_eq!(wrong.copy_out().await?, [0]);
    let both = held.start < headed.end && headed.start < held.end;
    assert!(!both, "{held:?} and {headed:?} do not fit together");
    if held.start < submitted && submitted < held.end {
        world.saw("2.3");
    }
    Ok(())
}

/// Calls give their results, in order of submission.
pub async fn calls(world: &World<'_>) -> Outcome {
    let dpa = &world.any().dpa;
    let last = world.dice.below(50);
    assert_eq!(
        dpa.call(sum_to, SumToArgs { last }).await?,
        last * (last + 1) / 2
    );
    let next = dpa.zeroed::<u64>(1).await?;
    for n in 0..1 + world.dice.below(4) {
        assert_eq!(dpa.call(ticket, TicketArgs { next: &next }).await?, n);
    }
    world.saw("3");
    Ok(())
}

/// What is put into a stream is done in its order.
pub async fn stream(world: &World<'_>) -> Outcome {
    let dpa = &world.any().dpa;
    let stream = dpa.stream();
    let total = dpa.zeroed::<u64>(4).await?;
    let start = world.dice.below(1000);
    stream.fill(&total, start).submit()?.await?;
    let mut counted = 0;
    for _ in 0..1 + world.dice.below(4) {
        let threads = 1 + world.dice.below(3);
        counted += threads;
        let launch = stream.launch(count).args(CountArgs { total: &total });
        drop(launch.threads(threads as u32).submit_async().await?);
    }
    let seen = stream.read(&total, ..).submit()?.await?;
    assert_eq!(seen, [start + counted, start, start, start]);
    world.saw("2.11");
    world.saw("4.2");
    Ok(())
}

/// Launches that one update opens, all at once, start in the order in which they were submitted.
pub async fn started_in_order(world: &World<'_>) -> Outcome {
    let dpa = &world.any().dpa;
    let all = 1 + world.dice.below(10);
    let go = SyncEvent::builder(dpa)
        .publisher(Location::Host)
        .subscriber(Location::Device)
        .create()?;
    let next = dpa.zeroed::<u64>(1).await?;
    let stamps = dpa.zeroed::<u64>(all as usize).await?;
    let mut launches = Vec::new();
    for slot in 0..all {
        let args = StampArgs {
            next: &next,
            stamps: &stamps,
            slot,
        };
        let launch = dpa.launch(stamp).args(args).wait_for(go.ge(1));
        launches.push(launch.submit_async().await?);
    }
    let opened = dpa.now();
    go.add(1)?;
    let mut starts = Vec::new();
    for launch in launches {
        starts.push(launch.await?.start);
    }
    assert!(starts.is_sorted() && opened <= starts[0], "{starts:?}");
    let mut stamps = stamps.copy_out().await?;
    stamps.sort_unstable();
    assert_eq!(stamps, (0..all).collect::<Vec<_>>());
    // One alone, or some at the same moment, have no order.
    if starts.first() < starts.last() {
        world.saw("2.2");
    }
    Ok(())
}

/// A kernel that polls memory lets the one run that sets it.
pub async fn polling(world: &World<'_>) -> Outcome {
    let dpa = &world.any().dpa;
    let flag = dpa.zeroed::<u64>(1).await?;
    // It is there before the one that polls for it, which never ends without it, whatever else is refused.
    let go = SyncEvent::builder(dpa)
        .publisher(Location::Host)
        .subscriber(Location::Device)
        .create()?;
    let raising = dpa
        .launch(raise)
        .args(RaiseArgs { flag: &flag })
        .wait_for(go.ge(1))
        .submit_async()
        .await?;
    let polling = dpa
        .launch(poll)
        .args(PollArgs { flag: &flag })
        .submit_async()
        .await?;
    go.add(1)?;
    polling.await?;
    raising.await?;
    world.saw("2.8");
    Ok(())
}
