//! Wakers and destructors are foreign code that runs on the device's threads. One that panics harms nobody but its own task: the
//! device goes on, and whoever waited behind it is woken.

mod drivers;
mod ends;
mod places;

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake};
use std::thread::ThreadId;
use std::time::{Duration, Instant};

use doca_dpa::error::LaunchError;
use doca_dpa::rdma::{HostBuffer, RemoteMemoryMap, Rights};
use doca_dpa::{Dpa, Location, SyncEvent};
use dpa_abi::Kernel;
use drivers::{both, both_on};
use ends::ends;
use flexio::{Command, Device, DeviceConfig, Locations, Outcome};
use tests::async_ops::{CopyOverArgs, copy_over};
use tests::cmdq::{TallyArgs, tally};
use tests::*;

/// Longer than any of this takes.
const PATIENCE: Duration = Duration::from_secs(20);

#[derive(Default)]
struct Spiteful {
    woken: AtomicBool,
    /// Who polls with it. What wakes it there is the future itself, which gives way in a simulation: it is polled again.
    polling: Mutex<Option<ThreadId>>,
    again: AtomicBool,
}

impl Spiteful {
    fn polling(&self, by: Option<ThreadId>) {
        *self.polling.lock().expect("nobody panics with it") = by;
    }

    fn is_polling(&self) -> bool {
        let by = *self.polling.lock().expect("nobody panics with it");
        by == Some(std::thread::current().id())
    }
}

impl Wake for Spiteful {
    fn wake(self: Arc<Self>) {
        if self.is_polling() {
            self.again.store(true, Ordering::Release);
            return;
        }
        self.woken.store(true, Ordering::Release);
        panic!("a waker that panics");
    }
}

/// A future that was polled with a waker that panics, and waits; or what it gave at once, as work does that was quick.
struct Spited<F: Future> {
    future: Pin<Box<F>>,
    waker: Arc<Spiteful>,
    at_once: Option<F::Output>,
}

impl<F: Future> Spited<F> {
    fn new(future: impl IntoFuture<IntoFuture = F>) -> Self {
        let (mut future, waker) = (
            Box::pin(future.into_future()),
            Arc::new(Spiteful::default()),
        );
        let spiteful = waker.clone().into();
        waker.polling(Some(std::thread::current().id()));
        let at_once = loop {
            match future.as_mut().poll(&mut Context::from_waker(&spiteful)) {
                Poll::Ready(output) => break Some(output),
                Poll::Pending if waker.again.swap(false, Ordering::AcqRel) => {}
                Poll::Pending => break None,
            }
        };
        waker.polling(None);
        Self {
            future,
            waker,
            at_once,
        }
    }

    /// Until its waker has panicked.
    async fn woken(&self, dpa: &Dpa) {
        let begun = Instant::now();
        while !self.waker.woken.load(Ordering::Acquire) {
            assert!(begun.elapsed() < PATIENCE, "nobody has woken it");
            dpa.sleep(Duration::from_micros(10)).await;
        }
    }

    /// What comes of it, once its waker has panicked.
    async fn end(mut self, dpa: &Dpa) -> F::Output {
        if let Some(output) = self.at_once.take() {
            return output;
        }
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
        let late = Spited::new(go.ge(1).timeout(Duration::from_millis(20)));
        assert!(late.end(&dpa).await.is_err());
        Spited::new(dpa.sleep(Duration::from_millis(20)))
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
        let ends = ends(&dpa, 7)?;
        let map = ends
            .there
            .0
            .map_host(HostBuffer::new(64), Rights::REMOTE_ATOMIC)?;
        let remote = RemoteMemoryMap::import(&map.map().export())?;
        let receive = ends.there.0.receive(HostBuffer::new(8));
        let received = Spited::new(receive?);
        let counted = Spited::new(ends.here.1.fetch_add(&remote, 0, 1)?);
        let sent = ends.here.1.send(HostBuffer::from_bytes(&[5; 8]));
        sent?.await?;
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

#[test]
fn rule_2_7_of_a_step() {
    let device = Device::open(DeviceConfig::default()).expect("a device");
    let process = device.process().expect("a process");
    let submit = |command: Command| {
        let submitted = command.submit(&process).map_err(|(error, _)| error);
        submitted.expect("room")
    };
    let (gate, bomb) = (
        process.event(0, Locations::HOST_TO_DEVICE).expect("room"),
        Bomb,
    );
    let parked = Command::step("parked", move || drop(bomb));
    let parked = submit(parked.wait_for(gate.handle(), dpa_abi::Condition::ge(1)));
    let failing = submit(Command::step("failing", || panic!("a step that panics")));
    assert_eq!(failing.wait(), Some(Outcome::Faulted));
    assert_eq!(parked.wait(), Some(Outcome::Faulted));
    let fault = process.fault().expect("a fault").to_string();
    assert!(
        fault.contains("a step that panics") && fault.contains("failing"),
        "{fault}"
    );
    let other = device.process().expect("others go on");
    let command = Command::kernel(nothing.entry(), ());
    let submitted = command.submit(&other).map_err(|(error, _)| error);
    assert_eq!(submitted.expect("room").wait(), Some(Outcome::Completed));
}

/// What a launch keeps may be the last that somebody has of a NIC: of another one than that which ends the launch.
#[test]
fn rule_7_a_nic_is_let_go_of_by_what_another_ends() {
    both(async |dpa| {
        for fails in [false, true] {
            let ends = ends(&dpa, 8)?;
            let inbox = SyncEvent::builder(&ends.other).publisher(Location::Remote);
            let inbox = inbox.subscriber(Location::Device).create()?;
            let export = ends.there.1.export_event(&inbox)?;
            let ops = ends.other.async_ops().open()?;
            let (from, to) = (
                ends.other.zeroed::<u8>(8).await?,
                ends.other.zeroed::<u8>(8).await?,
            );
            let (from, to) = (ops.map(&from)?, ops.map(&to)?);
            let args = CopyOverArgs {
                ops: &ops,
                done: ops.completions(),
                to: &to,
                from: &from,
                shift: 0,
            };
            let parked = ends.other.launch(copy_over).args(args);
            let parked = parked.wait_for(inbox.ge(1)).submit()?;
            drop((ops, from, to));
            if fails {
                let failing = ends.other.launch(gives_up).args(GivesUpArgs { code: 1 });
                assert!(failing.submit()?.await.is_err());
            } else {
                drop((ends.here, ends.there));
                ends.other.close().await?;
            }
            assert!(parked.await.is_err());
            drop((export, inbox));
        }
        works(&dpa).await
    });
}

/// What an error handler keeps is there until everything is stopped: nothing ends for want of it.
#[test]
fn rule_5_what_an_error_handler_keeps_outlasts_what_waits() {
    both(async |dpa| {
        for runs in [true, false] {
            let other = dpa.open_beside()?;
            let (gate, never) = (places::everywhere(&other)?, places::everywhere(&other)?);
            let args = RelayArgs {
                from: &never,
                value: 0,
                to: &gate,
            };
            other.on_error(relay, args)?;
            let parked = other.launch(nothing).wait_for(gate.ge(2)).submit()?;
            drop((gate, never));
            if runs {
                let failing = other.launch(gives_up).args(GivesUpArgs { code: 1 });
                assert!(failing.submit()?.await.is_err());
                assert!(matches!(parked.await, Err(LaunchError::Faulted(_))));
            } else {
                other.close().await?;
                assert!(matches!(parked.await, Err(LaunchError::ContextClosed)));
            }
        }
        works(&dpa).await
    });
}

/// A waker that does not come back until it is let go.
struct Slow {
    begun: AtomicBool,
    let_go: Mutex<Receiver<()>>,
    ended: AtomicBool,
}

impl Wake for Slow {
    fn wake(self: Arc<Self>) {
        self.begun.store(true, Ordering::SeqCst);
        let let_go = self.let_go.lock().expect("nobody panics");
        let _ = let_go.recv_timeout(PATIENCE);
        self.ended.store(true, Ordering::SeqCst);
    }
}

/// Timers, the run-time limit and everything else that has its time goes on for others while a waker takes long.
#[test]
fn a_waker_that_takes_long_holds_up_nobody_else() {
    let limit = Some(Duration::from_millis(100));
    let slow = Dpa::builder().workers(1).run_time_limit(limit).open();
    let slow = slow.expect("a device");
    let other = slow.open_beside().expect("a context");
    let (let_go, gate) = channel();
    let waker = Arc::new(Slow {
        begun: AtomicBool::new(false),
        let_go: Mutex::new(gate),
        ended: AtomicBool::new(false),
    });
    let mut sleeps = Box::pin(slow.sleep(Duration::from_millis(1)));
    let as_waker = waker.clone().into();
    let polled = sleeps.as_mut().poll(&mut Context::from_waker(&as_waker));
    assert!(polled.is_pending(), "a millisecond takes longer");
    let begun = Instant::now();
    while !waker.begun.load(Ordering::SeqCst) {
        assert!(begun.elapsed() < PATIENCE, "its time comes");
        std::thread::yield_now();
    }
    futures::executor::block_on(async {
        other.sleep(Duration::from_millis(1)).await;
        // Under sanitizers kernels run on threads of their own, which nothing stops.
        if cfg!(not(dpa_sanitize)) {
            let args = SpinsArgs { from: 0 };
            let spins_on = other.launch(spins).args(args).submit();
            let ended = spins_on.expect("accepted").await;
            assert!(matches!(ended, Err(LaunchError::Faulted(_))), "{ended:?}");
        }
    });
    assert!(!waker.ended.load(Ordering::SeqCst), "all waited for it");
    let_go.send(()).expect("it waits");
    futures::executor::block_on(sleeps);
}
