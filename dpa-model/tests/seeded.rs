//! The seeded driver: the same seed gives the same run, and virtual time passes.

mod common;
mod seeds;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use common::*;
use dpa_abi::{Condition, FaultKind, Update};
use dpa_model::launch::Outcome;
use dpa_model::seeded::{self, Plan, SimError};
use dpa_model::{DeviceConfig, EventRef, OpenError};

kernel!(HOP, |unit, args| {
    wait(unit, word(args, 1), word(args, 2));
    unit.safe_point();
    bump(counter(args, 0));
    let _ = unit.event_update(handle(word(args, 3)), Update::Add(1));
});

kernel!(WAIT_WITH_TIMEOUT, |unit, args| {
    let answer = unit.event_wait(
        handle(word(args, 1)),
        Condition::ge(1),
        Some(3_600_000_000_000),
    );
    assert!(matches!(
        answer,
        Err(dpa_abi::EventError::TimedOut { value: 0 })
    ));
    counter(args, 0).store(unit.counter(dpa_abi::port::Counter::Time), Ordering::SeqCst);
});

struct Bumps(&'static AtomicU64);

impl Drop for Bumps {
    fn drop(&mut self) {
        bump(self.0);
    }
}

kernel!(HOLD, |unit, args| {
    bump(counter(args, 0));
    let _held = Bumps(counter(args, 0));
    let _ = unit.event_wait(handle(word(args, 1)), Condition::ge(1), None);
});

fn plan(seed: u64) -> Plan {
    Plan {
        seed,
        config: config(1),
        ..Plan::default()
    }
}

async fn awaited(event: &EventRef, at_least: u64) -> u64 {
    event
        .wait(Condition::ge(at_least))
        .expect("a subscriber")
        .await
        .expect("open")
}

/// Threads hop over two events; the digest of the choices and the virtual time of the end.
fn hops(seed: u64) -> (u64, u64, u64) {
    let run = seeded::run(plan(seed), |device| async move {
        let process = device.process().expect("a process");
        let (a, b) = (event(&process), event(&process));
        let (number, address) = leaked();
        for i in 0..20 {
            let (from, to) = if i % 2 == 0 { (&a, &b) } else { (&b, &a) };
            submit(
                &process,
                spec(&HOP, &[address, bits(from), i / 2, bits(to)]),
            );
        }
        awaited(&a, 10).await;
        awaited(&b, 10).await;
        let choices = device.choices().expect("seeded");
        (
            number.load(Ordering::SeqCst),
            choices.digest(),
            device.clock.now(),
        )
    });
    run.unwrap_or_else(|error| panic!("{error}; replay: cargo xtask replay hops --seed {seed}"))
}

#[test]
fn the_same_seed_replays_the_same_run() {
    let mut different = std::collections::HashSet::new();
    for seed in seeds::seeds(200) {
        let first = hops(seed);
        assert_eq!(
            first,
            hops(seed),
            "replay: cargo xtask replay the_same_seed_replays_the_same_run --seed {seed}"
        );
        assert_eq!(first.0, 20);
        different.insert(first.1);
    }
    assert!(
        different.len() > 1 || seeds::seeds(200).count() == 1,
        "all seeds took the same way"
    );
}

#[test]
fn virtual_time_passes_to_the_next_timer() {
    let time = seeded::run(plan(1), |device| async move {
        let process = device.process().expect("a process");
        let (number, address) = leaked();
        let never = event(&process);
        let launch = submit(&process, spec(&WAIT_WITH_TIMEOUT, &[address, bits(&never)]));
        let ended = device.step_until(|| launch.outcome());
        assert_eq!(ended, Some(Outcome::Completed));
        number.load(Ordering::SeqCst)
    })
    .expect("ends");
    assert!(time >= 3_600_000_000_000, "an hour has passed: {time}");
}

#[test]
fn rule_1_7_a_blocking_wait_steps_the_model() {
    seeded::run(plan(3), |device| async move {
        let process = device.process().expect("a process");
        let (go, done) = (event(&process), event(&process));
        submit(
            &process,
            spec(&HOP, &[leaked().1, bits(&go), 1, bits(&done)]),
        );
        let late = done.wait_blocking(Condition::ge(1), Some(Duration::from_secs(5)));
        assert!(late.is_err(), "virtual seconds pass at once");
        go.update(Update::Add(1)).expect("open");
        assert_eq!(done.wait_blocking(Condition::ge(1), None), Ok(1));
    })
    .expect("ends");
}

#[test]
fn a_program_that_can_never_end_is_reported_with_its_seed() {
    let error = seeded::run(plan(77), |device| async move {
        let process = device.process().expect("a process");
        awaited(&event(&process), 1).await
    })
    .expect_err("nothing updates it");
    let SimError::Stuck(stuck) = error else {
        panic!("{error}")
    };
    assert_eq!(stuck.seed, 77);
}

#[test]
fn rule_2_10_a_deadlock_is_reported_at_once_when_nothing_else_can_happen() {
    seeded::run(plan(5), |device| async move {
        let process = device.process().expect("a process");
        let own = process.event(0, device_only()).expect("an event");
        let launch = submit(
            &process,
            spec(&HOP, &[leaked().1, bits(&own), 1, bits(&own)]),
        );
        assert_eq!(
            device.step_until(|| launch.outcome()),
            Some(Outcome::Faulted)
        );
        assert_eq!(process.fault().expect("recorded").kind, FaultKind::Deadlock);
    })
    .expect("ends");
}

#[test]
fn rule_2_10_a_wait_with_a_timeout_is_no_deadlock() {
    seeded::run(plan(6), |device| async move {
        let process = device.process().expect("a process");
        let own = process.event(0, device_only()).expect("an event");
        let spec = spec(&WAIT_WITH_TIMEOUT, &[leaked().1, bits(&own)]);
        let launch = submit(&process, spec);
        let ended = device.step_until(|| launch.outcome());
        assert_eq!(ended, Some(Outcome::Completed));
        assert!(process.fault().is_none());
    })
    .expect("ends");
}

#[test]
fn nothing_is_left_when_a_run_ends() {
    for seed in seeds::seeds(20) {
        let device = seeded::run(
            Plan {
                config: DeviceConfig {
                    partition_eus: 8,
                    ..config(1)
                },
                ..plan(seed)
            },
            |device| async move {
                let process = device.process().expect("a process");
                let never = event(&process);
                for _ in 0..10 {
                    submit(
                        &process,
                        spec(&HOP, &[leaked().1, bits(&never), 1, bits(&never)]),
                    );
                }
                device.step();
                device
            },
        )
        .expect("ends");
        assert_eq!(device.stacks_in_use(), 0, "seed {seed}");
        assert!(device.sched.processes().is_empty(), "seed {seed}");
    }
}

/// Started kernels end with their destructors, and launches let go of what they keep.
#[test]
fn nothing_is_left_of_a_program_that_panics() {
    for seed in seeds::seeds(20) {
        let (kept, left) = (Arc::new(()), OnceLock::new());
        let (started, address) = leaked();
        let program = async |device: &Arc<dpa_model::Device>| {
            let process = device.process().expect("a process");
            let never = event(&process);
            for condition in [None, Some((never.handle(), Condition::ge(1)))] {
                let mut spec = spec(&HOLD, &[address, bits(&never)]);
                spec.keep = Some(Box::new(Some(kept.clone())));
                spec.wait = condition;
                submit(&process, spec);
            }
            while started.load(Ordering::SeqCst) == 0 {
                assert!(device.step());
            }
            panic!("the program is wrong");
        };
        let ran = catch_unwind(AssertUnwindSafe(|| {
            seeded::run(plan(seed), async |device| {
                program(left.get_or_init(|| device)).await;
            })
        }));
        assert!(ran.is_err(), "seed {seed}");
        assert_eq!(started.load(Ordering::SeqCst), 2, "seed {seed}: it ends");
        assert_eq!(Arc::strong_count(&kept), 1, "seed {seed}");
        let device = left.get().expect("it ran");
        assert_eq!(device.stacks_in_use(), 0, "seed {seed}");
        assert!(device.sched.processes().is_empty(), "seed {seed}");
    }
}

/// A program may open one device after the other: what is over is let go of by then.
#[test]
fn a_device_that_is_over_is_let_go_of_when_another_is_opened() {
    let run = seeded::run(plan(1), |device| async move {
        let opened = || device.open_beside(config(1)).expect("a device");
        let first = opened();
        let process = first.device().process().expect("a process");
        let (_, address) = leaked();
        let done = event(&process);
        let spec = spec(&HOP, &[address, bits(&done), 0, bits(&done)]);
        let launch = submit(&process, spec);
        let ended = device.step_until(|| launch.outcome());
        assert_eq!(
            ended,
            Some(Outcome::Completed),
            "any device of them steps all"
        );
        let left = Arc::downgrade(first.device());
        drop((launch, done));
        process.shut_down();
        drop((process, first));
        while device.step() {}
        drop(opened());
        assert!(left.upgrade().is_none());
        assert!(device.sched.processes().is_empty());
    });
    run.expect("ends");
}

#[test]
fn a_device_with_threads_has_none_beside_it() {
    let threads = dpa_model::threads::Threads::open(config(1)).expect("a device");
    let refused = threads.device().open_beside(config(1));
    assert!(matches!(refused, Err(OpenError::NotSimulating)));
}

/// Opens a device where it is dropped.
struct OpensAtTheEnd(Arc<dpa_model::Device>, Arc<OnceLock<bool>>);

impl Drop for OpensAtTheEnd {
    fn drop(&mut self) {
        let opened = self.0.open_beside(config(1)).is_ok();
        self.1.set(opened).expect("once");
    }
}

#[test]
fn what_a_program_leaves_behind_opens_no_devices() {
    let opened = Arc::<OnceLock<bool>>::default();
    let run = seeded::run(plan(1), |device| {
        let opened = opened.clone();
        async move {
            let process = device.process().expect("a process");
            let never = event(&process);
            let mut spec = spec(&HOLD, &[leaked().1, bits(&never)]);
            spec.keep = Some(Box::new(Some(OpensAtTheEnd(device, opened))));
            spec.wait = Some((never.handle(), Condition::ge(1)));
            submit(&process, spec);
            // Without its last handle the event would be closed, and what it keeps would go with the program.
            never
        }
    });
    assert!(opened.get().is_some() && run.is_ok());
    assert_eq!(opened.get(), Some(&false));
}
