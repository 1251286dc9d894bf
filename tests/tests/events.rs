//! Section 1: sync events, as a host program sees them.

mod drivers;
mod ends;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use doca_dpa::error::EventError;
use doca_dpa::rdma::RemoteSyncEvent;
use doca_dpa::{CloseReason, Dpa, Error, EventCondition, FaultKind, Location, Sim, SyncEvent};
use drivers::both;
use drivers::on::seeds;
use ends::ends;
use tests::*;

fn everywhere(dpa: &Dpa) -> SyncEvent {
    let places = Location::Host | Location::Device;
    SyncEvent::builder(dpa)
        .publisher(places)
        .subscriber(places)
        .create()
        .expect("an event")
}

#[test]
fn rule_1_1_get_set_add_give_the_previous_value_and_wrap() {
    both(async |dpa| {
        let event = everywhere(&dpa);
        assert_eq!(event.set(u64::MAX - 1).ok(), Some(0));
        assert_eq!(event.add(3).ok(), Some(u64::MAX - 1));
        assert_eq!(event.get(), 1);
        Ok(())
    });
}

#[test]
fn rule_1_2_conditions_mean_the_same_to_the_host_and_to_a_launch() {
    both(async |dpa| {
        let event = everywhere(&dpa);
        event.set(0x1205)?;
        for holds in [
            event.gt(0x1204),
            event.ge(0x1205),
            event.eq(5).masked(0xff),
            event.ne(0),
        ] {
            holds.clone().await?;
            dpa.launch(nothing).wait_for(holds).submit()?.await?;
        }
        let short = Duration::from_millis(5);
        for fails in [
            event.gt(0x1205),
            event.ge(0x1206),
            event.eq(5),
            event.ne(5).masked(0xff),
        ] {
            let waited = fails.clone().timeout(short).await;
            assert!(matches!(
                waited,
                Err(EventError::TimedOut { value: 0x1205 })
            ));
            let parked = dpa.launch(nothing).wait_for(fails).submit()?;
            assert!(!parked.is_over() && parked.cancel());
        }
        event.ge(0).await?;
        Ok(())
    });
}

#[test]
fn rule_1_3_a_value_that_passes_by_wakes_the_waiter() {
    for seed in seeds(200) {
        let run = Sim::new(seed).run(async |dpa: Dpa| {
            let event = everywhere(&dpa);
            let wait = std::pin::pin!(event.eq(7).into_future());
            let update = async {
                dpa.sleep(Duration::from_micros(1)).await;
                event.set(7)?;
                event.set(0)
            };
            let (waited, updated) = futures::join!(wait, update);
            (waited.ok(), updated.ok())
        });
        assert_eq!(run.expect("ends").value, (Some(7), Some(7)), "seed {seed}");
    }
}

/// A wait stands from its first poll on, whoever goes on then.
#[test]
fn rule_1_3_a_wait_that_was_polled_sees_what_passes_by() {
    for seed in seeds(60) {
        let run = Sim::new(seed).run(async |dpa: Dpa| {
            let event = everywhere(&dpa);
            let update = async {
                event.set(1)?;
                event.set(0)
            };
            let (waited, updated) = futures::join!(event.eq(1).into_future(), update);
            (waited.ok(), updated.ok())
        });
        assert_eq!(run.expect("ends").value, (Some(1), Some(1)), "seed {seed}");
    }
}

#[test]
fn rule_1_4_what_holds_already_completes_at_once_even_after_close() {
    both(async |dpa| {
        let event = everywhere(&dpa);
        event.set(3).expect("open");
        assert!(event.close());
        assert!(!event.close(), "only once");
        assert_eq!(event.ge(3).await.ok(), Some(3));
        let refused = event.ge(4).await;
        assert!(
            matches!(&refused, Err(EventError::Closed(c)) if c.last == 3),
            "{refused:?}"
        );
        Ok(())
    });
}

/// Whoever comes at the same time: one of them has closed it.
#[tokio::test]
async fn an_event_is_closed_by_one_of_those_who_close_it() -> Result<(), Error> {
    let dpa = Dpa::builder().workers(1).open()?;
    let events: Vec<_> = (0..2_000).map(|_| everywhere(&dpa)).collect();
    let (came, closed) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let close_all = || {
        for (number, event) in events.iter().enumerate() {
            // Both come to it at once, as nearly as can be; the other may need this very core.
            came.fetch_add(1, Ordering::SeqCst);
            let mut looks = 0;
            while came.load(Ordering::SeqCst) < 2 * (number + 1) {
                looks += 1;
                match looks % 2000 {
                    0 => std::thread::yield_now(),
                    _ => std::hint::spin_loop(),
                }
            }
            closed.fetch_add(event.close().into(), Ordering::SeqCst);
        }
    };
    std::thread::scope(|scope| {
        scope.spawn(close_all);
        close_all();
    });
    assert_eq!(closed.into_inner(), events.len());
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rule_1_5_a_wait_sees_what_all_publishers_wrote() -> Result<(), Error> {
    all_is_seen(Dpa::builder().workers(2).open()?).await
}

#[test]
fn rule_1_5_a_wait_sees_what_all_publishers_wrote_at_any_seed() {
    for seed in seeds(20) {
        let run = Sim::new(seed).run(all_is_seen);
        run.expect("ends").value.expect("all well");
    }
}

async fn all_is_seen(dpa: Dpa) -> Result<(), Error> {
    for _ in 0..50 {
        let done = everywhere(&dpa);
        let out = dpa.zeroed::<u64>(16).await?;
        let sum = dpa.zeroed::<u64>(1).await?;
        let added = dpa
            .launch(add_up)
            .args(AddUpArgs {
                values: &out,
                sum: &sum,
            })
            .wait_for(done.ge(16))
            .submit()?;
        dpa.launch(write_and_publish)
            .args(WriteAndPublishArgs {
                out: &out,
                done: &done,
            })
            .threads(16)
            .submit()?;
        done.ge(16).await?;
        assert_eq!(out.copy_out().await?, (1..=16).collect::<Vec<u64>>());
        added.await?;
        assert_eq!(sum.copy_out().await?, [136]);
    }
    Ok(())
}

#[test]
fn rule_1_7_a_timed_out_or_dropped_wait_leaves_nothing_behind() {
    both(async |dpa| {
        let event = everywhere(&dpa);
        let waited = event.ge(1).timeout(Duration::from_millis(2)).await;
        assert!(matches!(waited, Err(EventError::TimedOut { value: 0 })));
        let blocked = event.ge(1).timeout(Duration::from_millis(2)).blocking();
        assert!(matches!(blocked, Err(EventError::TimedOut { value: 0 })));
        drop(event.ge(1).into_future());
        event.add(1).expect("open");
        assert_eq!(event.ge(1).blocking().ok(), Some(1));
        Ok(())
    });
}

#[test]
fn rule_1_7_an_update_before_the_unlinking_wins_over_the_timeout() {
    let run = Sim::new(3).run(async |dpa: Dpa| {
        let event = everywhere(&dpa);
        let hour = Duration::from_secs(3600);
        let mut wait = std::pin::pin!(event.eq(1).timeout(hour).into_future());
        assert!(futures::poll!(wait.as_mut()).is_pending());
        event.set(1).expect("open");
        event.set(2).expect("open");
        dpa.sleep(2 * hour).await;
        wait.await.ok()
    });
    assert_eq!(run.expect("ends").value, Some(1));
}

/// Updates an event when its last waker goes: a poll with another drops it between the look at the wait and the unlinking.
struct Passes(SyncEvent);

impl Wake for Passes {
    fn wake(self: Arc<Self>) {}
}

impl Drop for Passes {
    fn drop(&mut self) {
        for value in [1, 2] {
            self.0.set(value).expect("open");
        }
    }
}

#[test]
fn rule_1_7_an_update_between_the_last_look_and_the_unlinking_wins() {
    let run = Sim::new(3).run(async |dpa: Dpa| {
        let event = everywhere(&dpa);
        let hour = Duration::from_secs(3600);
        let mut wait = std::pin::pin!(event.eq(1).timeout(hour).into_future());
        let waker = Waker::from(Arc::new(Passes(event.clone())));
        let first = wait.as_mut().poll(&mut Context::from_waker(&waker));
        assert!(first.is_pending());
        drop(waker);
        dpa.sleep(2 * hour).await;
        assert_eq!(event.get(), 0, "a waker is left");
        match wait.poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(ended) => (ended.ok(), event.get()),
            Poll::Pending => panic!("its time has come"),
        }
    });
    assert_eq!(run.expect("ends").value, (Some(1), 2));
}

#[test]
fn rule_1_8_the_wrong_side_is_a_typed_error_that_names_both() {
    both(async |dpa| {
        let inwards = SyncEvent::host_to_device(&dpa)?;
        let outwards = SyncEvent::device_to_host(&dpa)?;
        match outwards.add(1) {
            Err(EventError::NotPublisher(error)) => {
                assert_eq!(error.place, Location::Host);
                assert_eq!(error.allowed, Location::Device.into());
            }
            other => panic!("{other:?}"),
        }
        let short = |condition: EventCondition| condition.timeout(Duration::from_millis(5));
        // What holds already is refused as what never will: the place is what counts.
        for waited in [
            inwards.ge(1).await,
            inwards.ge(0).await,
            inwards.ge(0).blocking(),
            short(inwards.ge(0)).blocking(),
            short(inwards.ge(1)).blocking(),
        ] {
            match waited {
                Err(EventError::NotSubscriber(error)) => {
                    assert_eq!(error.place, Location::Host);
                    assert_eq!(error.allowed, Location::Device.into());
                }
                other => panic!("{other:?}"),
            }
        }
        assert!(
            dpa.launch(nothing)
                .wait_for(outwards.ge(1))
                .submit()
                .is_err()
        );
        assert!(dpa.launch(nothing).then_add(&inwards, 1).submit().is_err());
        assert_eq!(
            (inwards.get(), outwards.get()),
            (0, 0),
            "reading is allowed from everywhere"
        );
        Ok(())
    });
}

#[test]
fn rule_1_8_the_wrong_side_in_a_kernel_is_a_fault() {
    both(async |dpa| {
        let inwards = SyncEvent::host_to_device(&dpa)?;
        let out = dpa.zeroed::<u64>(1).await?;
        let launch = dpa
            .launch(write_and_publish)
            .args(WriteAndPublishArgs {
                out: &out,
                done: &inwards,
            })
            .submit()?;
        assert!(launch.await.is_err());
        let fault = dpa.last_error().expect("a fault");
        let FaultKind::EventSide { event, .. } = fault.kind else {
            panic!("{fault}");
        };
        assert_eq!(event, inwards.handle());
        let text = format!("sync event {}: ", event.0.index);
        let text = text + "the device is not among its publishers (host)";
        assert!(fault.to_string().contains(&text), "{fault}");
        Ok(())
    });
}

#[test]
fn rule_1_8_a_wait_from_the_wrong_side_in_a_kernel_says_who_may() {
    both(async |dpa| {
        // Also where the condition holds.
        for value in [1u64, 0] {
            let dpa = dpa.open_beside()?;
            let outwards = SyncEvent::builder(&dpa)
                .publisher(Location::Device | Location::Remote)
                .subscriber(Location::Host)
                .create()?;
            let total = dpa.zeroed::<u64>(1).await?;
            let args = WaitThenCountArgs {
                event: &outwards,
                value,
                total: &total,
            };
            let launch = dpa.launch(wait_then_count).args(args).submit()?;
            assert!(launch.await.is_err());
            let fault = dpa.last_error().expect("a fault").to_string();
            assert!(fault.contains("among its subscribers (host)"), "{fault}");
        }
        Ok(())
    });
}

#[test]
fn rule_1_9_waiters_resolve_when_nobody_is_left_to_publish() {
    both(async |dpa| {
        let event = everywhere(&dpa);
        event.set(5)?;
        let wait = event.ge(6).into_future();
        let mut wait = std::pin::pin!(wait);
        assert!(futures::poll!(wait.as_mut()).is_pending());
        drop(event);
        match wait.await {
            Err(EventError::Closed(closed)) => {
                assert_eq!(
                    (closed.last, closed.reason),
                    (5, CloseReason::PublisherGone)
                );
            }
            other => panic!("{other:?}"),
        }
        Ok(())
    });
}

#[test]
fn rule_1_9_an_unfinished_launch_keeps_its_event_open() {
    both(async |dpa| {
        let gate = everywhere(&dpa);
        let done = everywhere(&dpa);
        let out = dpa.zeroed::<u64>(1).await?;
        let wait = done.ge(2).into_future();
        dpa.launch(write_and_publish)
            .args(WriteAndPublishArgs {
                out: &out,
                done: &done,
            })
            .wait_for(gate.ge(1))
            .then_add(&done, 1)
            .submit()?;
        drop(done);
        gate.add(1)?;
        assert_eq!(wait.await?, 2);
        Ok(())
    });
}

#[test]
fn rule_1_9_a_kernel_that_may_update_an_event_keeps_it_open() {
    both(async |dpa| {
        let gate = everywhere(&dpa);
        for started in [false, true] {
            let (go, done) = (everywhere(&dpa), everywhere(&dpa));
            if started {
                go.add(1)?;
            }
            let wait = done.ge(1).into_future();
            let args = RelayArgs {
                from: &gate,
                value: 1 + u64::from(started),
                to: &done,
            };
            let launch = dpa.launch(relay).args(args).wait_for(go.ge(1)).submit()?;
            while started && dpa.snapshot().waiting.is_empty() {
                dpa.sleep(Duration::from_micros(1)).await;
            }
            drop(done);
            go.add(1)?;
            gate.add(1)?;
            assert_eq!(wait.await?, 1);
            launch.await?;
        }
        Ok(())
    });
}

#[test]
fn rule_1_9_an_event_is_open_as_long_as_it_is_exported() {
    both(async |dpa| {
        let ends = ends(&dpa, 1)?;
        let event = SyncEvent::builder(&ends.other)
            .publisher(Location::Remote | Location::Host)
            .subscriber(Location::Host)
            .create()?;
        let export = ends.there.1.export_event(&event)?;
        let theirs = RemoteSyncEvent::import(&export.export())?;
        let (first, second) = (event.ge(1).into_future(), event.ge(2).into_future());
        drop(event);
        ends.here.1.signal_add(&theirs, 1)?.await?;
        assert_eq!(first.await?, 1);
        drop(export);
        match second.await {
            Err(EventError::Closed(closed)) => {
                assert_eq!(
                    (closed.last, closed.reason),
                    (1, CloseReason::PublisherGone)
                );
            }
            other => panic!("{other:?}"),
        }
        Ok(())
    });
}

#[test]
fn rule_1_9_a_kernel_is_told_the_last_value_of_a_closed_event() {
    both(async |dpa| {
        let (event, seen) = (everywhere(&dpa), dpa.zeroed::<u64>(6).await?);
        event.set(7)?;
        let args = AsksAClosedEventArgs {
            event: &event,
            seen: &seen,
        };
        let launch = dpa.launch(asks_a_closed_event).args(args).submit()?;
        while dpa.snapshot().waiting.is_empty() {
            dpa.sleep(Duration::from_micros(1)).await;
        }
        assert!(event.close());
        launch.await?;
        assert_eq!(seen.copy_out().await?, [7; 6]);
        assert!(dpa.last_error().is_none(), "an answer, and no fault");
        Ok(())
    });
}
