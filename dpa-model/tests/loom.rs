//! Models of the device's races, checked by loom: one race each, named by it.
//!
//! `cargo xtask loom` runs them; `cargo xtask loom --mutants` shows that they bite (`mutants.txt`). What they do not
//! cover stands in `dpa_abi::sync`.
#![cfg(dpa_loom)]

#[path = "loom/epochs.rs"]
mod epochs;
#[path = "loom/events.rs"]
mod events;
#[path = "loom/homes.rs"]
mod homes;
#[path = "loom/nic.rs"]
mod nic;
#[path = "loom/post.rs"]
mod post;
#[path = "loom/ranks.rs"]
mod ranks;
#[path = "loom/rig.rs"]
mod rig;
#[path = "loom/ring.rs"]
mod ring;
#[path = "loom/soon.rs"]
mod soon;
#[path = "loom/unfinished.rs"]
mod unfinished;

use std::task::{Context, Poll};

use dpa_abi::port::{Collective, ReduceOp};
use dpa_abi::sync::loom;
use dpa_abi::{Condition, Update};
use dpa_model::activation::{Activation, Next};
use dpa_model::gate::{self, Gate};
use dpa_model::handover::Handover;
use dpa_model::launch::{Gang, Launch, Outcome};
use dpa_model::meeting::{Arrival, Meeting};
use homes::park_until_work;
use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::sync::atomic::{AtomicBool, AtomicU32, Ordering::SeqCst};
use loom::thread;
use rig::*;
use sync_event::CloseReason;

#[test]
fn gate_opening_vs_submit() {
    check(|| {
        let device = Device::new();
        let updater = thread::spawn({
            let device = device.clone();
            move || device.update(Update::Add(1))
        });
        let launch = launch(0, 1);
        device.submit(&launch, Condition::ge(1));
        updater.join().expect("no panic");
        assert_eq!(
            device.started(),
            Some(0),
            "whichever came first, it is opened once"
        );
        assert_eq!(device.started(), None);
    });
}

#[test]
fn cancel_vs_park() {
    check(|| {
        let device = Device::new();
        let launch = launch(0, 1);
        let canceller = thread::spawn({
            let (device, launch) = (device.clone(), launch.clone());
            move || gate::take_back(&launch, Outcome::Cancelled, |_| &device.event)
        });
        device.submit(&launch, Condition::ge(1));
        assert!(canceller.join().expect("no panic"), "it had not started");
        assert_eq!(
            device.event.waiters(),
            0,
            "no gate of a launch that is over stays behind"
        );
        assert_eq!(launch.outcome(), Some(Outcome::Cancelled));
    });
}

#[test]
fn cancel_vs_gate_opening() {
    check(|| {
        let device = Device::new();
        let launch = launch(0, 1);
        device.submit(&launch, Condition::ge(1));
        let canceller = thread::spawn({
            let (device, launch) = (device.clone(), launch.clone());
            move || gate::take_back(&launch, Outcome::Cancelled, |_| &device.event)
        });
        device.update(Update::Add(1));
        let started = device.started().is_some();
        let cancelled = canceller.join().expect("no panic");
        let started = started || device.started().is_some();
        assert_ne!(started, cancelled, "either it starts or it is taken back");
    });
}

#[test]
fn completion_exactly_once() {
    check(|| {
        let launch = launch(0, 2);
        let device = Device::new();
        device.opened(Gate::Launch(launch.clone()));
        assert_eq!(device.started(), Some(0));
        let written = Arc::new((UnsafeCell::new(0u32), UnsafeCell::new(0u32)));
        let completions = Arc::new(AtomicU32::new(0));
        let thread_of = |rank: u32| {
            let (launch, written, completions) =
                (launch.clone(), written.clone(), completions.clone());
            move || {
                let own = if rank == 0 { &written.0 } else { &written.1 };
                // SAFETY: each thread writes its own cell; loom sees it if the last one's reads race with a write.
                own.with_mut(|cell| unsafe { *cell = rank + 1 });
                if launch.gang().expect("two threads").returned(1) {
                    // SAFETY: the last one happens after everything all threads did.
                    let sum = written.0.with(|a| written.1.with(|b| unsafe { *a + *b }));
                    assert_eq!(sum, 3);
                    completions.fetch_add(1, SeqCst);
                    assert!(launch.finish(Outcome::Completed));
                }
            }
        };
        let other = thread::spawn(thread_of(1));
        thread_of(0)();
        other.join().expect("no panic");
        assert_eq!(completions.load(SeqCst), 1);
        assert!(
            !launch.take_back(Outcome::Cancelled),
            "what is over is not taken back"
        );
    });
}

#[test]
fn end_vs_poll_of_the_handle() {
    check(|| {
        let launch = launch(0, 1);
        assert!(launch.open() && launch.start());
        let finisher = thread::spawn({
            let launch = launch.clone();
            move || assert!(launch.finish(Outcome::Completed))
        });
        let outcome = loom::future::block_on(std::future::poll_fn(|cx: &mut Context<'_>| {
            match launch.poll(cx) {
                Poll::Ready(outcome) => Poll::Ready(outcome),
                Poll::Pending => Poll::Pending,
            }
        }));
        assert_eq!(outcome, Outcome::Completed);
        finisher.join().expect("no panic");
    });
}

#[test]
fn end_vs_two_threads_that_block_on_the_handle() {
    check(|| {
        let launch = launch(0, 1);
        assert!(launch.open() && launch.start());
        let blocks = |launch: Arc<Launch>| {
            let ended = std::future::poll_fn(move |cx: &mut Context<'_>| launch.poll_blocking(cx));
            assert_eq!(loom::future::block_on(ended), Outcome::Completed);
        };
        let other = thread::spawn({
            let launch = launch.clone();
            move || blocks(launch)
        });
        let finisher = thread::spawn({
            let launch = launch.clone();
            move || assert!(launch.finish(Outcome::Completed))
        });
        blocks(launch);
        finisher.join().expect("no panic");
        other.join().expect("no panic");
    });
}

/// A waker that must not be called where a plain launch ends: at the bottom of a kernel's stack.
struct Foreign {
    on_kernel_stack: AtomicBool,
}

impl std::task::Wake for Foreign {
    fn wake(self: std::sync::Arc<Self>) {
        assert!(!self.on_kernel_stack.load(SeqCst), "foreign code");
    }
}

#[test]
fn end_vs_drop_of_a_polled_handle() {
    check(|| {
        let launch = launch(0, 1);
        assert!(launch.open() && launch.start());
        let foreign = std::sync::Arc::new(Foreign {
            on_kernel_stack: AtomicBool::new(false),
        });
        let finisher = thread::spawn({
            let (launch, foreign) = (launch.clone(), foreign.clone());
            move || {
                foreign.on_kernel_stack.store(!launch.watched(), SeqCst);
                assert!(launch.finish(Outcome::Completed));
            }
        });
        let waker = foreign.into();
        let _ = launch.poll(&Context::from_waker(&waker));
        launch.unwatch();
        finisher.join().expect("no panic");
    });
}

#[test]
fn taking_back_vs_start() {
    check(|| {
        let launch = launch(0, 1);
        assert!(launch.open());
        let canceller = thread::spawn({
            let launch = launch.clone();
            move || launch.take_back(Outcome::Cancelled)
        });
        let started = launch.start();
        let finished = started && launch.finish(Outcome::Completed);
        let cancelled = canceller.join().expect("no panic");
        assert_eq!(started, finished, "what has started ends as completed");
        assert_ne!(started, cancelled);
    });
}

#[test]
fn park_vs_wake_of_a_worker() {
    check(|| {
        let device = Device::new();
        let worker = thread::spawn({
            let device = device.clone();
            move || park_until_work(&device)
        });
        let launch = launch(7, 1);
        assert!(launch.open());
        device.sched.push(launch);
        if device.idle.notify(|| false).is_some() {
            device.woken.unpark();
        }
        assert_eq!(worker.join().expect("no panic"), 7);
    });
}

/// A worker that finds work just as it is woken for it, and parks again: it is woken for what comes then, and the counts of
/// who looks and who is parked are right at the end. (Two preemptions are not enough to get it wrong.)
#[test]
fn work_found_vs_wake_up_under_way() {
    check_with(3, || {
        let device = Device::new();
        let hosts = [0, 1].map(|seq| {
            let device = device.clone();
            thread::spawn(move || {
                let launch = launch(seq, 1);
                assert!(launch.open());
                device.sched.push(launch);
                if device.idle.notify(|| false).is_some() {
                    device.woken.unpark();
                }
            })
        });
        let mut started = [park_until_work(&device), park_until_work(&device)];
        started.sort_unstable();
        assert_eq!(started, [0, 1]);
        hosts
            .into_iter()
            .for_each(|host| host.join().expect("no panic"));
        assert_eq!(device.idle.counts(), (0, 0));
    });
}

#[test]
fn two_pushers_vs_the_inbox() {
    check(|| {
        let device = Device::new();
        let push = |seq| {
            let device = device.clone();
            move || {
                let launch = launch(seq, 1);
                assert!(launch.open());
                device.sched.push(launch);
            }
        };
        let other = thread::spawn(push(0));
        let mut started: Vec<u64> = Vec::new();
        push(1)();
        started.extend(device.started());
        other.join().expect("no panic");
        started.extend(std::iter::from_fn(|| device.started()));
        started.sort_unstable();
        assert_eq!(started, [0, 1]);
    });
}

#[test]
fn hand_over_vs_an_idle_worker() {
    check(|| {
        let device = Device::new();
        let next = Handover::default();
        for seq in 0..2 {
            device.submit(&launch(seq, 1), Condition::ge(1));
        }
        let idle = thread::spawn({
            let device = device.clone();
            move || park_until_work(&device)
        });
        let mut queued = false;
        let _ = device.event.update_with(Update::Add(1), |gate, _| {
            if let Gate::Launch(launch) = gate {
                queued |= next.offer(launch, device.sched.looks_empty(), |launch| {
                    device.sched.push(launch)
                });
            }
        });
        if queued && device.idle.notify(|| false).is_some() {
            device.woken.unpark();
        }
        // Two were opened by one update, so both went to the queue: the idle worker gets one, this one the other.
        assert!(queued && next.take().is_none());
        let other = idle.join().expect("no panic");
        assert_eq!(device.started(), Some(1 - other));
    });
}

#[test]
fn fatal_process_vs_late_update() {
    check(|| {
        let device = Device::new();
        let launch = launch(0, 1);
        device.submit(&launch, Condition::ge(1));
        let stopped = Arc::new(AtomicBool::new(false));
        let failing = thread::spawn({
            let (device, stopped) = (device.clone(), stopped.clone());
            move || {
                stopped.store(true, SeqCst);
                device
                    .event
                    .close_with(CloseReason::Faulted, |gate, end| match (gate, end) {
                        (Gate::Launch(launch), Err(closed)) => {
                            launch.wait_closed(Outcome::Faulted, closed);
                        }
                        (gate, _) => device.opened(gate),
                    });
                device.sched.take_ready(0, |launch| {
                    launch.take_back(Outcome::Faulted);
                });
            }
        });
        device.update(Update::Add(1));
        let early = device.sched.next(None, None);
        failing.join().expect("no panic");
        // What was opened too late to be taken back is started by a worker, which sees the stop and ends it.
        if let Some(work) = early.or_else(|| device.sched.next(None, None)) {
            assert!(work.launch.finish(Outcome::Faulted));
        }
        assert_eq!(
            launch.outcome(),
            Some(Outcome::Faulted),
            "never lost, never twice"
        );
        assert!(stopped.load(SeqCst));
    });
}

#[test]
fn barrier() {
    check(|| {
        let meeting = Arc::new(Meeting::new(2));
        let sum = |value| Collective::Reduce {
            op: ReduceOp::Sum,
            value,
        };
        let arrive = |rank: u32| {
            let meeting = meeting.clone();
            move || {
                let mut released = 0;
                let what = sum(u64::from(rank) + 1);
                let arrival = match meeting.arrive_running(what) {
                    Arrival::MustWait => meeting.arrive(dpa_model::unit::Suspended(rank), what),
                    other => other,
                };
                if let Arrival::Last(own, others, value) = arrival {
                    assert_eq!(value, 3);
                    released = others.len() + usize::from(own.is_some());
                    assert_eq!(others.len(), 1);
                }
                released
            }
        };
        let other = thread::spawn(arrive(1));
        let here = arrive(0)();
        let there = other.join().expect("no panic");
        assert!(
            (here == 0) != (there == 0),
            "exactly one is the last and releases the other"
        );
        assert!(
            matches!(meeting.arrive_running(sum(1)), Arrival::MustWait),
            "the next meeting begins empty"
        );
    });
}

/// Of three threads one waits, one comes, and one returns instead.
#[test]
fn a_return_vs_who_meets() {
    check(|| {
        let meeting = Arc::new(Meeting::new(3));
        let what = Collective::Barrier;
        let come = |rank: u32| {
            let arrival = match meeting.arrive_running(what) {
                Arrival::MustWait => meeting.arrive(dpa_model::unit::Suspended(rank), what),
                other => other,
            };
            match arrival {
                Arrival::Missed(_) => 1,
                Arrival::Waits => 0,
                other => panic!("{other:?}"),
            }
        };
        let returns = thread::spawn({
            let meeting = meeting.clone();
            move || meeting.leave().len()
        });
        let told: usize = come(0) + come(1);
        let told = told + returns.join().expect("no panic");
        assert_eq!(told, 2, "both learn that they wait in vain");
    });
}

#[test]
fn event_and_gate_across_crates() {
    check(|| {
        let device = Device::new();
        let (first, second) = (launch(0, 1), launch(1, 1));
        device.submit(&second, Condition::ge(2));
        let updater = thread::spawn({
            let device = device.clone();
            move || device.update(Update::Add(1))
        });
        device.submit(&first, Condition::ge(1));
        device.update(Update::Add(1));
        updater.join().expect("no panic");
        let mut started: Vec<u64> = std::iter::from_fn(|| device.started()).collect();
        started.sort_unstable();
        assert_eq!(started, [0, 1], "both updates together open both");
    });
}

/// Each trigger is followed by a run that begins after it, and runs never overlap.
#[test]
fn trigger_vs_end_of_an_activation() {
    check(|| {
        let handler = Arc::new((Activation::new(), AtomicU32::new(0), AtomicU32::new(0)));
        fn activate(handler: &(Activation, AtomicU32, AtomicU32)) {
            let (activation, asked, seen) = handler;
            loop {
                seen.store(asked.load(SeqCst), SeqCst);
                if activation.goes_again() {
                    continue;
                }
                if activation.ended() == Next::Idle {
                    return;
                }
            }
        }
        fn trigger(handler: &(Activation, AtomicU32, AtomicU32)) {
            handler.1.fetch_add(1, SeqCst);
            if !handler.0.trigger_running() && handler.0.trigger() {
                activate(handler);
            }
        }
        assert_eq!(handler.0.run(), Some(false));
        let other = thread::spawn({
            let handler = handler.clone();
            move || trigger(&handler)
        });
        trigger(&handler);
        other.join().unwrap();
        assert_eq!(handler.2.load(SeqCst), 2, "the last run saw both");
    });
}
