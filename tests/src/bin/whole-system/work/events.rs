//! Section 1: events by themselves.

use std::future::poll_fn;
use std::task::Poll;
use std::time::Duration;

use doca_dpa::error::EventError;
use doca_dpa::{Location, SyncEvent};
use futures::future::join_all;
use tests::{RelayArgs, nothing, relay};

use crate::cluster::{Outcome, World};

fn everywhere(world: &World<'_>) -> Result<SyncEvent, doca_dpa::Error> {
    SyncEvent::builder(&world.any().dpa)
        .publisher(Location::Host | Location::Device)
        .subscriber(Location::Host | Location::Device)
        .initial(world.dice.below(100))
        .create()
}

/// Each condition is met by what it names; sides are checked.
pub async fn conditions(world: &World<'_>) -> Outcome {
    let event = everywhere(world)?;
    let first = event.get();
    assert_eq!(event.set(7)?, first);
    assert_eq!(event.add(u64::MAX)?, 7, "an add gives the value before");
    assert_eq!(event.get(), 6, "an add wraps");
    world.saw("1.1");
    let held = [
        event.gt(5).await?,
        event.ge(6).await?,
        event.eq(6).await?,
        event.ne(0).await?,
    ];
    assert_eq!(held, [6; 4]);
    world.saw("1.4");
    let masked = event.eq(0x100).masked(0xff00).into_future();
    let later = async {
        world
            .any()
            .dpa
            .sleep(Duration::from_nanos(world.dice.below(2000)))
            .await;
        event.add(0x100)
    };
    let (met, added) = futures::join!(masked, later);
    assert_eq!((met?, added?), (0x106, 6));
    world.saw("1.2");
    let theirs = SyncEvent::device_to_host(&world.any().dpa)?;
    let refused = theirs.add(1);
    let as_said = matches!(refused, Err(EventError::NotPublisher(_)));
    world.expect_by("1.8", as_said, refused);
    Ok(())
}

/// A wait that is dropped or times out leaves nothing behind, and takes nothing from the others.
pub async fn waits_that_end_early(world: &World<'_>) -> Outcome {
    let dpa = &world.any().dpa;
    let event = SyncEvent::builder(dpa)
        .publisher(Location::Host)
        .subscriber(Location::Host)
        .create()?;
    let short = event
        .ge(1)
        .timeout(Duration::from_nanos(1 + world.dice.below(3000)));
    let ended = short.await;
    world.expect(
        matches!(ended, Err(EventError::TimedOut { value: 0 })),
        ended,
    );
    let mut dropped = Box::pin(event.ge(1).into_future());
    for _ in 0..world.dice.below(3) {
        let now = poll_fn(|cx| Poll::Ready(dropped.as_mut().poll(cx))).await;
        if let Poll::Ready(ended) = now {
            world.expect(false, &ended);
            return Ok(ended.map(drop)?);
        }
    }
    drop(dropped);
    let adding = async {
        dpa.sleep(Duration::from_nanos(500)).await;
        event.add(1)
    };
    let (seen, added) = futures::join!(event.ge(1).into_future(), adding);
    assert_eq!((seen?, added?), (1, 0));
    world.saw("1.7");
    world.saw("1.3");
    Ok(())
}

/// Who waits for an event that is closed is told so; what was met before the close is met.
pub async fn closed_events(world: &World<'_>) -> Outcome {
    let dpa = &world.any().dpa;
    let event = SyncEvent::builder(dpa)
        .publisher(Location::Host)
        .subscriber(Location::Host | Location::Device)
        .create()?;
    let waiting = dpa.launch(nothing).wait_for(event.ge(10)).submit()?;
    event.add(1 + world.dice.below(5))?;
    let (met, unmet) = (event.ge(1), event.ge(11));
    if world.dice.one_in(2) {
        world.expect(event.close(), "it was open");
        assert!(!event.close(), "once");
        assert!(event.add(1).is_err());
        assert!(met.await? >= 1);
        assert!(unmet.await.is_err());
    } else {
        drop((met, unmet, event));
    }
    assert!(waiting.await.is_err());
    world.saw("1.9");
    Ok(())
}

/// Waiters of one event: all whose value comes are woken, in order of registration, and nobody else.
pub async fn order_of_waking(world: &World<'_>) -> Outcome {
    let dpa = &world.any().dpa;
    let (go, done) = (
        SyncEvent::host_to_device(dpa)?,
        SyncEvent::device_to_host(dpa)?,
    );
    let count = 1 + world.dice.below(6);
    let mut launches = Vec::new();
    for value in 1..=count {
        let args = RelayArgs {
            from: &go,
            value,
            to: &done,
        };
        launches.push(dpa.launch(relay).args(args).submit_async().await?);
    }
    let host = join_all((1..=count).map(|n| done.ge(n).into_future()));
    let adding = async {
        for _ in 0..count {
            go.add(1)?;
            dpa.sleep(Duration::from_nanos(world.dice.below(500))).await;
        }
        Ok::<_, EventError>(())
    };
    let (seen, added) = futures::join!(host, adding);
    added?;
    for (n, value) in (1..).zip(seen) {
        assert!(value? >= n);
    }
    world.saw("1.5");
    world.saw("1.6");
    join_all(launches)
        .await
        .into_iter()
        .collect::<Result<Vec<_>, _>>()?;
    Ok(())
}
