//! Wakers and destructors are foreign code that runs on the device's threads. One that panics harms nobody but its own task: the
//! device goes on, and whoever waited behind it is woken.

mod drivers;
mod ends;
mod places;

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake};
use std::time::{Duration, Instant};

use doca_dpa::Dpa;
use doca_dpa::rdma::{HostBuffer, RemoteMemoryMap, Rights};
use dpa_abi::Kernel;
use drivers::{both, both_on};
use ends::ends;
use flexio::{Command, Device, DeviceConfig, Outcome};
use tests::cmdq::{TallyArgs, tally};
use tests::*;

/// Longer than any of this takes.
const PATIENCE: Duration = Duration::from_secs(20);

#[derive(Default)]
struct Spiteful(AtomicBool);

impl Wake for Spiteful {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Release);
        panic!("a waker that panics");
    }
}

/// A future that was polled with a waker that panics, and waits.
struct Spited<F> {
    future: Pin<Box<F>>,
    waker: Arc<Spiteful>,
}

impl<F: Future> Spited<F> {
    fn new(future: impl IntoFuture<IntoFuture = F>) -> Self {
        let (mut future, waker) = (
            Box::pin(future.into_future()),
            Arc::new(Spiteful::default()),
        );
        let spiteful = waker.clone().into();
        let polled = future.as_mut().poll(&mut Context::from_waker(&spiteful));
        assert!(polled.is_pending(), "it waits");
        Self { future, waker }
    }

    /// Until its waker has panicked.
    async fn woken(&self, dpa: &Dpa) {
        let begun = Instant::now();
        while !self.waker.0.load(Ordering::Acquire) {
            assert!(begun.elapsed() < PATIENCE, "nobody has woken it");
            dpa.sleep(Duration::from_micros(10)).await;
        }
    }

    /// What comes of it, once its waker has panicked.
    async fn end(self, dpa: &Dpa) -> F::Output {
        self.woken(dpa).await;
        let mut future = self.future;
        poll_fn(move |cx| match future.as_mut().poll(cx) {
            Poll::Ready(output) => Poll::Ready(output),
            Poll::Pending => panic!("it was woken for nothing"),
        })
        .await
    }
}

/// The device works.
async fn works(dpa: &Dpa) -> drivers::Outcome {
    let total = dpa.zeroed::<u64>(1).await?;
    for _ in 0..3 {
        dpa.launch(count)
            .args(CountArgs { total: &total })
            .threads(2)
            .submit()?
            .await?;
    }
    assert_eq!(total.copy_out().await?, [6]);
    Ok(())
}

#[test]
fn rule_1_7_of_a_wait_for_an_event() {
    both(async |dpa| {
        for by_kernel in [true, false] {
            let (go, from) = (places::everywhere(&dpa)?, places::everywhere(&dpa)?);
            let first = Spited::new(go.ge(1));
            let behind = Box::pin(go.ge(1).into_future());
            if by_kernel {
                let args = RelayArgs {
                    from: &from,
                    value: 1,
                    to: &go,
                };
                let relayed = dpa.launch(relay).args(args).submit()?;
                from.add(1)?;
                relayed.await?;
            } else {
                go.add(1)?;
            }
            assert_eq!((first.end(&dpa).await?, behind.await?), (1, 1));
        }
        works(&dpa).await
    });
}

#[test]
fn rule_1_7_of_a_wait_that_ends_by_time_or_with_the_event() {
    both(async |dpa| {
        let go = places::everywhere(&dpa)?;
        let late = Spited::new(go.ge(1).timeout(Duration::from_micros(50)));
        assert!(late.end(&dpa).await.is_err());
        Spited::new(dpa.sleep(Duration::from_micros(50)))
            .end(&dpa)
            .await;
        let closed = Spited::new(go.ge(1));
        go.close();
        assert!(closed.end(&dpa).await.is_err());
        works(&dpa).await
    });
}

#[test]
fn rule_2_1_of_launches_and_idleness() {
    both_on(&Dpa::builder().workers(1).max_unfinished(2), async |dpa| {
        let (go, total) = (places::everywhere(&dpa)?, dpa.zeroed::<u64>(1).await?);
        let parked = || {
            dpa.launch(count)
                .args(CountArgs { total: &total })
                .wait_for(go.ge(1))
        };
        let watched = Spited::new(parked().submit()?);
        drop(parked().submit()?);
        let idle = Spited::new(dpa.wait_idle());
        let room = Spited::new(parked().submit_async());
        go.add(1)?;
        watched.end(&dpa).await?;
        drop(room.end(&dpa).await?);
        idle.woken(&dpa).await;
        dpa.wait_idle().await;
        assert_eq!(total.copy_out().await?, [3]);
        works(&dpa).await
    });
}

#[test]
fn rule_7_of_a_close_and_a_failure() {
    both(async |dpa| {
        let other = dpa.open_beside()?;
        let failed = Spited::new(other.failed());
        let failing = other.launch(gives_up).args(GivesUpArgs { code: 1 });
        assert!(failing.submit()?.await.is_err());
        failed.end(&dpa).await;
        let other = dpa.open_beside()?;
        let (go, total) = (places::everywhere(&other)?, other.zeroed::<u64>(1).await?);
        let args = CountArgs { total: &total };
        let parked = other.launch(count).args(args).wait_for(go.ge(1)).submit()?;
        let parked = Spited::new(parked);
        other.close().await?;
        assert!(parked.end(&dpa).await.is_err());
        works(&dpa).await
    });
}

#[test]
fn rule_2_11_of_a_command_queue() {
    both(async |dpa| {
        let words = dpa.zeroed::<u64>(1).await?;
        let queue = dpa.command_queue().open()?;
        let args = TallyArgs {
            at: words.addr(),
            index: 0,
        };
        queue.add(tally, args)?;
        let idle = Spited::new(queue.idle());
        queue.run();
        idle.end(&dpa).await?;
        assert_eq!(words.copy_out().await?, [1]);
        works(&dpa).await
    });
}

#[test]
fn rule_6_2_of_work_over_a_connection() {
    both(async |dpa| {
        let ends = ends(&dpa)?;
        let map = ends
            .there
            .0
            .map_host(HostBuffer::new(64), Rights::REMOTE_ATOMIC)?;
        let remote = RemoteMemoryMap::import(&map.map().export())?;
        let receive = ends.there.0.receive(HostBuffer::new(8));
        let received = Spited::new(receive.map_err(|(error, _)| error)?);
        let counted = Spited::new(ends.here.1.fetch_add(&remote, 0, 1)?);
        let sent = ends.here.1.send(HostBuffer::from_bytes(&[5; 8]));
        sent.map_err(|(error, _)| error)?.await?;
        assert_eq!(counted.end(&dpa).await?.original, 0);
        assert_eq!(received.end(&dpa).await?.buffer.to_vec(), [5; 8]);
        assert_eq!(ends.here.1.fetch_add(&remote, 0, 1)?.await?.original, 1);
        works(&ends.other).await?;
        drop((map, ends));
        works(&dpa).await
    });
}

/// What panics when it is dropped.
struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        assert!(std::thread::panicking(), "a destructor that panics");
    }
}

#[test]
fn rule_2_7_of_what_launches_keep() {
    let device = Device::open(DeviceConfig::default()).expect("a device");
    let process = device.process().expect("a process");
    let submit = |kept: Option<Bomb>| {
        let command = Command::kernel(nothing.entry(), ()).keep(kept);
        let submitted = command.submit(&process).map_err(|(error, _)| error);
        submitted.expect("room")
    };
    for _ in 0..100 {
        // One whose end is booked with others, and one that is watched.
        drop(submit(Some(Bomb)));
        assert_eq!(submit(Some(Bomb)).wait(), Some(Outcome::Completed));
    }
    assert_eq!(submit(None).wait(), Some(Outcome::Completed));
    let report = process.shut_down();
    assert_eq!(report.launches_dropped, 0);
}
