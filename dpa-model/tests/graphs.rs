//! Random graphs of launches and events, under the seeded driver, beside a sequential reference.
//!
//! A graph is a list of steps. Each step has an event of its own, waits for a threshold of the event of an earlier step
//! or of the start, has one to four threads that may meet, update, yield or wait in the middle, and adds to its event
//! when it is over. The reference knows what must come out: every step that is not behind a cancelled one runs once,
//! after the one it waits for; each event ends at the sum of its updates.

mod common;
mod seeds;

use std::panic::Location;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use common::*;
use dpa_abi::port::{Collective, ReduceOp};
use dpa_abi::{Condition, Update};
use dpa_model::launch::{Launch, Outcome};
use dpa_model::seeded::{self, Choices};
use dpa_model::{DeviceConfig, EventRef, Process};

// What a thread of a step does, from its arguments: the journal, the event, what it does in the middle.
kernel!(STEP, |unit, args| {
    let (journal, event, doing) = (counter(args, 0), word(args, 1), word(args, 2));
    if doing & 1 != 0 {
        unit.yield_now();
    }
    if doing & 2 != 0 {
        let threads = u64::from(unit.threads());
        let (op, value) = (ReduceOp::Sum, 1);
        let sum = unit.collective(Collective::Reduce { op, value }, Location::caller());
        assert_eq!(sum, threads);
    }
    if doing & 4 != 0 {
        let _ = unit.event_update(handle(event), Update::Add(1 << 32));
    }
    if doing & 8 != 0 {
        // All threads of this step have made their updates in the middle before any goes on.
        let all = u64::from(unit.threads()) << 32;
        let condition = Condition::ge(all).masked(!0xffff_ffff);
        unit.event_wait(handle(event), condition, None)
            .expect("open");
    }
    journal.fetch_add(1, Ordering::SeqCst);
});

#[derive(Clone, Debug)]
struct Step {
    after: Option<usize>,
    threads: u32,
    doing: u64,
    cancel: bool,
}

/// A small generator, so that a graph depends on its seed alone.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % n
    }
}

fn graph(seed: u64) -> Vec<Step> {
    let mut dice = Dice(seed ^ 0x5eed);
    let steps = 1 + dice.below(12) as usize;
    (0..steps)
        .map(|i| {
            let mut doing = dice.below(16);
            // Waiting for the updates in the middle needs them.
            doing |= if doing & 8 != 0 { 4 } else { 0 };
            let after = (i > 0 && dice.below(4) != 0).then(|| dice.below(i as u64) as usize);
            Step {
                after,
                threads: 1 + dice.below(4) as u32,
                doing,
                cancel: dice.below(8) == 0,
            }
        })
        .collect()
}

struct Running {
    launch: Arc<Launch>,
    event: EventRef,
    journal: &'static AtomicU64,
}

fn submit_step(
    process: &Arc<Process>,
    start: &EventRef,
    running: &[Running],
    step: &Step,
) -> Running {
    let event = event(process);
    let (journal, address) = leaked();
    let mut spec = spec(&STEP, &[address, bits(&event), step.doing]);
    spec.threads = step.threads;
    // The low half of an event counts ends of its step, the high half updates in the middle.
    let (before, mask) = step
        .after
        .map_or((start, u64::MAX), |i| (&running[i].event, 0xffff_ffff));
    spec.wait = Some((before.handle(), Condition::ge(1).masked(mask)));
    spec.then = Some((event.handle(), Update::Add(1)));
    Running {
        launch: submit(process, spec),
        event,
        journal,
    }
}

/// What the reference says: which steps run.
fn expected(steps: &[Step]) -> Vec<bool> {
    let mut runs: Vec<bool> = Vec::new();
    for step in steps {
        runs.push(!step.cancel && step.after.is_none_or(|i| runs[i]));
    }
    runs
}

async fn run(steps: &[Step], process: &Arc<Process>) {
    let start = event(process);
    let mut running: Vec<Running> = Vec::new();
    for step in steps {
        running.push(submit_step(process, &start, &running, step));
    }
    for (step, running) in steps.iter().zip(&running) {
        if step.cancel {
            assert!(process.cancel(&running.launch), "nothing has started yet");
        }
    }
    start.update(Update::Add(1)).expect("open");
    for ((step, running), runs) in steps.iter().zip(&running).zip(expected(steps)) {
        if runs {
            running
                .event
                .wait(Condition::ge(1).masked(0xffff_ffff))
                .expect("a subscriber")
                .await
                .expect("open");
        }
        check(step, running, runs);
    }
}

fn check(step: &Step, running: &Running, runs: bool) {
    let outcome = match (runs, step.cancel) {
        (true, _) => Some(Outcome::Completed),
        (false, true) => Some(Outcome::Cancelled),
        (false, false) => None,
    };
    if outcome == Some(Outcome::Completed) && running.launch.outcome().is_none() {
        // The update comes before the launch's own end.
        return;
    }
    assert_eq!(running.launch.outcome(), outcome, "{step:?}");
    let threads = u64::from(step.threads);
    let middle = if step.doing & 4 != 0 {
        threads << 32
    } else {
        0
    };
    let (ran, value) = if runs { (threads, middle + 1) } else { (0, 0) };
    assert_eq!(running.journal.load(Ordering::SeqCst), ran, "{step:?}");
    assert_eq!(running.event.get(), value, "{step:?}");
}

fn run_seed(seed: u64) -> (u64, u64) {
    let steps = graph(seed);
    let config = DeviceConfig {
        partition_eus: 4,
        heap_bytes: 4096,
        ..config(1)
    };
    let name = "random_graphs_run_as_the_reference_says";
    let plan = seeded::Plan {
        seed,
        config,
        ..seeded::Plan::default()
    };
    let result = seeded::run(plan, |device| async move {
        let process = device.process().expect("a process");
        run(&steps, &process).await;
        let choices: &Choices = device.choices().expect("seeded");
        assert!(process.fault().is_none(), "{:?}", process.fault());
        (choices.made(), choices.digest())
    });
    result
        .unwrap_or_else(|error| panic!("{error}; replay: cargo xtask replay {name} --seed {seed}"))
}

#[test]
fn random_graphs_run_as_the_reference_says() {
    for seed in seeds::seeds(1000) {
        let caught = std::panic::catch_unwind(|| run_seed(seed));
        if let Err(payload) = caught {
            eprintln!(
                "replay: cargo xtask replay random_graphs_run_as_the_reference_says --seed {seed}"
            );
            std::panic::resume_unwind(payload);
        }
    }
}
