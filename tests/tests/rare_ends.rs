//! Ends that come in the wrong moment: nothing waits for ever, nothing is taken for another, and nobody is kept from what is free.

mod drivers;
mod ends;
mod places;

use std::cell::Cell;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Wake, Waker};
use std::time::{Duration, Instant};

use doca_dpa::error::LaunchError;
use doca_dpa::rdma::{ConnectionState, HostBuffer};
use doca_dpa::{Dpa, FaultKind, Location, Sim, SyncEvent};
use dpa_abi::{Kernel, Update};
use drivers::on::seeds;
use drivers::{both, both_on};
use ends::ends;
use flexio::{Command, Device, DeviceConfig, HostMemory, Locations};
use futures::executor::block_on;
use tests::cmdq::{TallyArgs, tally};
use tests::*;

#[test]
fn rule_2_6_a_head_that_was_cancelled_keeps_no_units_from_others() {
    both_on(&Dpa::builder().partition_eus(4).workers(2), async |dpa| {
        let (flag, total) = (dpa.zeroed::<u64>(1).await?, dpa.zeroed::<u64>(1).await?);
        let polls = dpa.launch(poll).args(PollArgs { flag: &flag }).submit()?;
        while dpa.snapshot().started == 0 {
            dpa.sleep(Duration::from_micros(1)).await;
        }
        let wide = dpa.launch(count).args(CountArgs { total: &total });
        let wide = wide.threads(4).submit()?;
        let behind = dpa
            .launch(count)
            .args(CountArgs { total: &total })
            .submit()?;
        dpa.sleep(Duration::from_micros(50)).await;
        assert!(wide.cancel());
        behind.await?;
        assert_eq!(total.copy_out().await?, [1]);
        flag.write(0, &[1]).await?;
        polls.await?;
        Ok(())
    });
}

#[test]
fn rule_1_9_a_launch_in_a_stream_waits_for_its_event_and_no_other() {
    both(async |dpa| {
        let (gate, total) = (places::everywhere(&dpa)?, dpa.zeroed::<u64>(1).await?);
        let stream = dpa.stream();
        let counts = || stream.launch(count).args(CountArgs { total: &total });
        let gone = places::everywhere(&dpa)?;
        let first = counts().wait_for(gate.ge(1)).submit()?;
        let second = counts().wait_for(gone.ge(1)).submit()?;
        drop(gone);
        let others = [(); 3].map(|()| places::everywhere(&dpa));
        for other in others {
            other?.set(1)?;
        }
        gate.add(1)?;
        first.await?;
        let ended = second.await;
        assert!(
            matches!(ended, Err(LaunchError::WaitEventClosed { .. })),
            "{ended:?}"
        );
        assert_eq!(total.copy_out().await?, [1]);
        drop((gate, stream));
        dpa.wait_idle().await;
        assert_eq!(dpa.snapshot().events, 0, "no place is lost");
        Ok(())
    });
}

fn inbox(dpa: &Dpa) -> Result<SyncEvent, doca_dpa::Error> {
    SyncEvent::builder(dpa)
        .publisher(Location::Remote | Location::Host)
        .subscriber(Location::Host)
        .create()
}

#[test]
fn rule_5_4_a_connection_that_fails_closes_what_it_exports_and_nothing_else() {
    both(async |dpa| {
        let ends = ends(&dpa, 11)?;
        let exported = inbox(&ends.other)?;
        drop((ends.there.1.export_event(&exported)?, exported));
        let others = [inbox(&ends.other)?, inbox(&ends.other)?];
        assert_eq!(ends.here.1.state(), ConnectionState::Connected);
        let kept = inbox(&ends.other)?;
        let export = ends.there.1.export_event(&kept)?;
        ends.there.1.disconnect();
        assert!(kept.ge(1).await.is_err(), "its peer will never signal it");
        assert!(others.iter().all(|other| !other.is_closed()));
        drop(export);
        let late = inbox(&ends.other)?;
        let _export = ends.there.1.export_event(&late)?;
        assert!(
            late.ge(1).await.is_err(),
            "nor what is exported over it then"
        );
        Ok(())
    });
}

/// A task that lets go of an export and its event when it is woken, and makes another event.
struct Replaces {
    dpa: Dpa,
    old: Mutex<Option<(doca_dpa::rdma::EventExport, SyncEvent)>>,
    new: Mutex<Option<SyncEvent>>,
}

impl Wake for Replaces {
    fn wake(self: Arc<Self>) {
        let old = self.old.lock().expect("no panic").take();
        drop(old);
        *self.new.lock().expect("no panic") = inbox(&self.dpa).ok();
    }
}

#[test]
fn rule_5_4_a_connection_that_fails_closes_no_event_in_the_place_of_one_that_was_exported() {
    both(async |dpa| {
        let ends = ends(&dpa, 13)?;
        let old = inbox(&ends.other)?;
        let export = ends.there.1.export_event(&old)?;
        let replaces = Arc::new(Replaces {
            dpa: ends.other.clone(),
            old: Mutex::new(Some((export, old))),
            new: Mutex::default(),
        });
        let mut failed = pin!(ends.there.1.failed());
        let waker = Waker::from(replaces.clone());
        assert!(
            failed
                .as_mut()
                .poll(&mut Context::from_waker(&waker))
                .is_pending()
        );
        ends.there.1.disconnect();
        let new = replaces.new.lock().expect("no panic").take();
        let new = new.expect("it was woken, and there is room");
        assert!(!new.is_closed());
        new.set(1)?;
        assert_eq!(new.ge(1).await?, 1);
        Ok(())
    });
}

#[test]
fn rule_5_2_receives_and_queues_of_a_context_that_ends_are_over() {
    both(async |dpa| {
        for fails in [true, false] {
            let ends = ends(&dpa, 12)?;
            let receive = || ends.there.0.receive(HostBuffer::new(8));
            let received = receive()?;
            let words = ends.other.zeroed::<u64>(1).await?;
            let queue = ends.other.command_queue().open()?;
            let args = TallyArgs {
                at: words.addr(),
                index: 0,
            };
            queue.add(tally, args)?;
            let other = ends.other.clone();
            let end = async {
                dpa.sleep(Duration::from_micros(20)).await;
                if fails {
                    let failing = other.launch(gives_up).args(GivesUpArgs { code: 1 });
                    assert!(failing.submit()?.await.is_err());
                } else {
                    other.clone().close().await?;
                }
                Ok::<_, doca_dpa::Error>(())
            };
            let (received, idle, ended) = futures::join!(received, queue.idle(), end);
            ended?;
            assert!(received.is_err() && idle.is_err());
            let late = receive();
            if let Ok(late) = late {
                assert!(late.await.is_err());
            }
        }
        Ok(())
    });
}

/// The memory of a registration is free when that is gone, also of a process that has ended, while another uses the NIC.
#[test]
fn rule_7_host_memory_goes_with_its_registration() {
    let device = Device::open(DeviceConfig::default()).expect("a device");
    let [process, other] = [(); 2].map(|()| device.process().expect("a process"));
    let [nic, _in_use] = [&process, &other].map(|process| process.local_nic().expect("it"));
    for stopped in [false, true] {
        let memory = Arc::new(HostMemory::new(64).expect("room"));
        let registration = nic.register_host(&memory, 0..64, flexio::rdma::Rights::empty());
        let registration = registration.expect("room");
        let held = Arc::downgrade(&memory);
        drop(memory);
        assert!(held.strong_count() > 0);
        if stopped {
            process.shut_down();
        }
        drop(registration);
        assert_eq!(held.strong_count(), 0, "stopped: {stopped}");
    }
}

/// A step takes no unit, but a close waits for it as for a kernel.
#[test]
fn rule_7_a_close_waits_for_a_step_that_is_under_way() {
    let device = Device::open(DeviceConfig::default()).expect("a device");
    let process = device.process().expect("a process");
    let (begun, done) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicBool::new(false)),
    );
    let (begins, ends) = (begun.clone(), done.clone());
    let step = Command::step("long", move || {
        begins.store(true, Ordering::SeqCst);
        std::thread::sleep(Duration::from_millis(50));
        ends.store(true, Ordering::SeqCst);
    });
    drop(step.submit(&process).expect("room"));
    while !begun.load(Ordering::SeqCst) {
        std::thread::yield_now();
    }
    process.refuse();
    futures::executor::block_on(process.at_rest());
    assert!(done.load(Ordering::SeqCst));
    let refused = Command::kernel(nothing.entry(), ()).submit(&process);
    assert!(refused.is_err());
}

/// However short it is, and however late it was taken up.
#[test]
fn rule_7_a_close_waits_for_a_step_that_is_ready() {
    let config = DeviceConfig {
        heap_bytes: 1 << 16,
        ..DeviceConfig::default()
    };
    let device = Device::open(config).expect("a device");
    for round in 0..1000u32 {
        let process = device.process().expect("a process");
        let sides = Locations::new(Location::Device, Location::Host).expect("sides");
        let next = process.event(0, sides).expect("an event");
        let done = Arc::new(AtomicBool::new(false));
        let does = done.clone();
        let step = Command::step("short", move || does.store(true, Ordering::SeqCst));
        let step = step.then(next.handle(), Update::Add(1));
        let step = step.submit(&process).map_err(|(error, _)| error);
        let step = step.expect("room");
        for _ in 0..round % 500 {
            std::hint::spin_loop();
        }
        process.refuse();
        block_on(process.at_rest());
        assert!(done.load(Ordering::SeqCst), "round {round}");
        assert_eq!(next.get(), 1, "round {round}");
        drop(step);
        process.shut_down();
    }
}

/// A task that was woken while it was polled: in a simulation it has stepped aside, and does not wait yet.
#[derive(Default)]
struct Aside(AtomicBool);

impl Wake for Aside {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Release);
    }
}

/// A task that lets go of a context when it is woken.
struct LetsGo(Mutex<Option<Dpa>>);

impl Wake for LetsGo {
    fn wake(self: Arc<Self>) {
        let last = self.0.lock().expect("nobody panics").take();
        drop(last);
    }
}

/// The update of a step ends its context, and opens a launch of it behind that.
#[test]
fn rule_7_what_a_step_opens_in_a_context_that_ends_meanwhile_is_over() {
    both(async |dpa| {
        let other = dpa.open_beside()?;
        let (done, words) = (places::everywhere(&other)?, other.zeroed::<u64>(1).await?);
        let (stream, opens) = (other.stream(), other.launch(nothing));
        let mut wait = pin!(done.ge(1).into_future());
        let aside = Arc::new(Aside::default());
        loop {
            let waker = aside.clone().into();
            let polled = wait.as_mut().poll(&mut Context::from_waker(&waker));
            assert!(polled.is_pending());
            if !aside.0.swap(false, Ordering::AcqRel) {
                break;
            }
        }
        let ends = Arc::new(LetsGo(Mutex::new(Some(other)))).into();
        let polled = wait.as_mut().poll(&mut Context::from_waker(&ends));
        assert!(polled.is_pending());
        let opened = opens.wait_for(done.ge(1)).submit()?;
        stream.fill(&words, 1).then_add(&done, 1).submit()?;
        let ended = opened.await;
        assert!(
            matches!(ended, Err(LaunchError::ContextClosed)),
            "{ended:?}"
        );
        Ok(())
    });
}

/// No unit is free for it, so no worker comes by to see that it is over.
#[test]
fn rule_7_a_close_does_not_wait_for_what_was_cancelled() {
    both_on(&Dpa::builder().partition_eus(1).workers(2), async |dpa| {
        let [from, to] = [places::everywhere(&dpa)?, places::everywhere(&dpa)?];
        let args = RelayArgs {
            from: &from,
            value: 1,
            to: &to,
        };
        let waits = dpa.launch(relay).args(args).submit()?;
        while dpa.snapshot().started == 0 {
            dpa.sleep(Duration::from_micros(1)).await;
        }
        let other = dpa.open_beside()?;
        let cancelled = other.launch(nothing).submit()?;
        assert!(cancelled.cancel());
        let begun = dpa.now();
        other.close().await?;
        assert!(dpa.now() - begun < Duration::from_secs(1));
        from.add(1)?;
        waits.await?;
        Ok(())
    });
}

/// What is awaited takes no room any more, from the moment it is over.
#[test]
fn rule_2_1_who_awaits_a_launch_has_its_room() {
    let builder = Dpa::builder().workers(1).max_unfinished(1);
    let dpa = builder.open().expect("a device");
    let begun = Instant::now();
    for round in 0..20_000 {
        let launch = dpa.launch(nothing).submit();
        let launch = launch.unwrap_or_else(|error| panic!("round {round}: {error}"));
        launch.wait().expect("it runs");
        if begun.elapsed() > Duration::from_secs(10) {
            break;
        }
    }
}

/// Who submits again and again does not pass those who wait for room.
#[test]
fn rule_2_1_who_waits_for_room_is_passed_by_nobody_who_comes_later() {
    for seed in seeds(60) {
        let builder = Dpa::builder().max_unfinished(1);
        let run = Sim::new(seed).on(builder).run(async |dpa: Dpa| {
            let (rounds, passed) = (Cell::new(0u32), Cell::new(None));
            let greedy = async {
                for round in 1..=100 {
                    let launch = dpa.launch(nothing).submit_async().await?;
                    launch.await?;
                    rounds.set(round);
                }
                Ok::<_, doca_dpa::Error>(())
            };
            let patient = async {
                let launch = dpa.launch(nothing).submit_async().await?;
                passed.set(Some(rounds.get()));
                launch.await?;
                Ok::<_, doca_dpa::Error>(())
            };
            let (first, second) = futures::join!(greedy, patient);
            first.and(second).map(|()| passed.get())
        });
        let passed = run.expect("it ends").value.expect("no errors");
        assert!(matches!(passed, Some(..=1)), "seed {seed}: {passed:?}");
    }
}

/// Launches become ready on one thread while their context ends on another: all of them end.
#[test]
fn rule_7_what_becomes_ready_while_its_context_ends_is_over() {
    let dpa = Dpa::builder().workers(2).open().expect("a device");
    for round in 0..20u64 {
        let other = dpa.open_beside().expect("a context");
        let go = places::everywhere(&other).expect("an event");
        let launches: Vec<_> = (0..2000)
            .map(|_| {
                other
                    .launch(nothing)
                    .wait_for(go.ge(1))
                    .submit()
                    .expect("room")
            })
            .collect();
        std::thread::scope(|scope| {
            scope.spawn(|| go.set(1).is_ok());
            scope.spawn(|| {
                std::thread::sleep(Duration::from_micros(round * 20));
                let closing = other.clone().close_within(Duration::ZERO);
                let _ = block_on(closing);
            });
        });
        block_on(async {
            for launch in launches {
                // Completed or not: it is over.
                let _ = launch.await;
            }
        });
    }
}

/// What a step will do when it is over may be what a kernel waits for.
#[test]
fn rule_2_10_a_kernel_that_waits_for_a_long_step_is_not_deadlocked() {
    let builder = Dpa::builder()
        .workers(2)
        .deadlock_grace(Duration::from_millis(1));
    let dpa = builder.open().expect("a device");
    let done = block_on(async {
        let (from, to) = (
            SyncEvent::device_to_device(&dpa)?,
            places::everywhere(&dpa)?,
        );
        let args = RelayArgs {
            from: &from,
            value: 1,
            to: &to,
        };
        let words = dpa.zeroed::<u64>(16 << 20).await?;
        let stream = dpa.stream();
        stream.fill(&words, 1).submit()?;
        stream.fill(&words, 2).then_add(&from, 1).submit()?;
        let relayed = dpa.launch(relay).args(args).submit()?;
        relayed.await?;
        assert_eq!(to.get(), 1);
        Ok::<_, doca_dpa::Error>(())
    });
    done.expect("it waits for what will come");
}

/// What an error handler does wrong is not why its context is fatal, whatever it is.
#[test]
fn rule_5_5_the_first_cause_is_recorded_whatever_the_handler_does() {
    both(async |dpa| {
        // A sanitizer takes the signal of an overflow for itself.
        let first = usize::from(cfg!(dpa_sanitize));
        for wrong in first..3 {
            let other = dpa.open_beside()?;
            match wrong {
                0 => other.on_error(overflows, OverflowsArgs { depth: 0 })?,
                1 => other.on_error(panics, PanicsArgs { number: 7 })?,
                _ => other.on_error(gives_up, GivesUpArgs { code: 2 })?,
            }
            let failing = other.launch(gives_up).args(GivesUpArgs { code: 1 });
            assert!(failing.submit()?.await.is_err());
            let fault = other.last_error().expect("a fault");
            assert_eq!(fault.kind, FaultKind::User { code: 1 }, "{wrong}: {fault}");
        }
        let other = dpa.open_beside()?;
        other.on_error(gives_up, GivesUpArgs { code: 2 })?;
        let failing = other.launch(panics).args(PanicsArgs { number: 7 });
        assert!(failing.submit()?.await.is_err());
        let fault = other.last_error().expect("a fault");
        assert_eq!(fault.kind, FaultKind::Panic);
        assert!(
            fault
                .message
                .as_deref()
                .is_some_and(|said| said.contains('7')),
            "{fault}"
        );
        Ok(())
    });
}
