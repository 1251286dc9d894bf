//! Rules of section 5, and the limits of section 2: what goes wrong becomes a fault of its process, and nothing else.

mod common;

use std::panic::Location;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use common::*;
use dpa_abi::port::Collective;
use dpa_abi::{Condition, EventError, FaultKind, Rights, Update};
use dpa_model::fault::WaitingOn;
use dpa_model::launch::Outcome;
use dpa_model::{DeviceConfig, Fault, Process, SubmitError};

kernel!(COUNT, |_unit, args| {
    bump(counter(args, 0));
});

kernel!(PANIC, |_unit, args| {
    assert!(
        args.is_empty(),
        "the kernel has {} bytes of arguments",
        args.len()
    );
});

kernel!(OUT_OF_RANGE, |unit, _args| {
    if let Err(kind) = unit.bind_cell(0x1230, 8, 8, Rights::Read) {
        unit.fault(kind, std::panic::Location::caller());
    }
});

kernel!(OVERFLOW, |_unit, args| {
    recurse(args.len() as u64);
});

kernel!(SPIN, |_unit, _args| {
    spin();
});

kernel!(WAIT, |unit, args| {
    let _ = unit.event_wait(handle(word(args, 1)), Condition::ge(1), None);
    bump(counter(args, 0));
});

kernel!(MEET_OR_PANIC, |unit, _args| {
    assert_ne!(unit.rank(), 3, "rank three never comes");
    unit.collective(Collective::Barrier, Location::caller());
});

kernel!(POLL, |unit, args| {
    while counter(args, 0).load(Ordering::SeqCst) == 0 {
        unit.safe_point();
    }
});

kernel!(WAIT_IN_DESTRUCTOR, |unit, args| {
    let _waits = WaitsOnDrop(unit, word(args, 1));
    panic!("and the destructor waits");
});

struct WaitsOnDrop<'t>(dpa_abi::UnitRef<'t>, u64);

impl Drop for WaitsOnDrop<'_> {
    fn drop(&mut self) {
        let answer = self.0.event_wait(handle(self.1), Condition::ge(1), None);
        assert!(matches!(answer, Err(EventError::Closed { .. })));
        self.0.collective(Collective::Barrier, Location::caller());
        self.0.safe_point();
    }
}

#[inline(never)]
fn recurse(n: u64) -> u64 {
    let big = std::hint::black_box([n; 64]);
    if n == u64::MAX {
        0
    } else {
        recurse(n + 1) + big[(n % 64) as usize]
    }
}

fn spin() {
    let forever = AtomicBool::new(true);
    while std::hint::black_box(&forever).load(Ordering::Relaxed) {
        std::hint::spin_loop();
    }
}

fn fault_of(process: &Arc<Process>, spec: dpa_model::Spec) -> Arc<Fault> {
    let launch = submit(process, spec);
    assert_eq!(outcome(&launch), Outcome::Faulted);
    process.fault().expect("recorded").clone()
}

#[test]
fn rule_5_1_a_panic_is_recorded_with_kernel_rank_message_and_line() {
    let (_device, process) = open(config(2));
    let fault = fault_of(&process, spec(&PANIC, &[7]));
    assert_eq!(
        (fault.kind, fault.kernel.as_str(), fault.rank),
        (FaultKind::Panic, "PANIC", 0)
    );
    assert_eq!(
        fault.message.as_deref(),
        Some("the kernel has 8 bytes of arguments")
    );
    let place = fault.place.as_ref().expect("a place");
    assert!(place.file.ends_with("faults.rs"), "{place}");
    assert!(fault.backtrace.is_some());
    process.shut_down();
}

#[test]
fn rule_5_1_an_access_out_of_range_names_address_and_place() {
    let (_device, process) = open(config(1));
    let fault = fault_of(&process, spec(&OUT_OF_RANGE, &[]));
    assert_eq!(
        fault.kind,
        FaultKind::OutOfRange {
            addr: 0x1230,
            len: 8
        }
    );
    assert!(fault.place.is_some());
    process.shut_down();
}

#[cfg(not(dpa_sanitize))]
#[test]
fn rule_5_1_a_stack_overflow_is_a_fault_again_and_again() {
    for round in 0..50 {
        let (_device, process) = open(config(2));
        let go = event(&process);
        let together = |_| {
            let mut spec = spec(&OVERFLOW, &[1]);
            spec.wait = Some((go.handle(), Condition::ge(1)));
            submit(&process, spec)
        };
        let launches: Vec<_> = (0..3).map(together).collect();
        go.update(Update::Add(1)).expect("open");
        for launch in &launches {
            assert_eq!(outcome(launch), Outcome::Faulted, "round {round}");
        }
        let fault = process.fault().expect("recorded");
        assert_eq!(fault.kind, FaultKind::StackOverflow { size: 128 * 1024 });
        process.shut_down();
    }
}

#[cfg(not(dpa_sanitize))]
#[test]
fn rule_2_9_a_kernel_that_spins_without_device_calls_is_stopped() {
    let limit = Duration::from_millis(200);
    let (device, process) = open(DeviceConfig {
        run_time_limit: Some(limit),
        ..config(2)
    });
    let other = device.device().process().expect("a process");
    let spinning = submit(&process, spec(&SPIN, &[]));
    let (number, address) = leaked();
    assert_eq!(
        outcome(&submit(&other, spec(&COUNT, &[address]))),
        Outcome::Completed
    );
    assert_eq!(outcome(&spinning), Outcome::Faulted);
    assert_eq!(
        process.fault().expect("recorded").kind,
        FaultKind::RunTimeExceeded { limit_ms: 200 }
    );
    assert_eq!(
        outcome(&submit(&other, spec(&COUNT, &[address]))),
        Outcome::Completed
    );
    assert_eq!(number.load(Ordering::SeqCst), 2);
    until("its unit is back", || other.snapshot().free_units == 190);
    process.shut_down();
    other.shut_down();
}

#[cfg(not(dpa_sanitize))]
#[test]
fn rule_2_9_a_host_that_blocks_all_signals_does_not_block_ours() {
    with_signals_blocked(|| {
        let (device, process) = open(DeviceConfig {
            run_time_limit: Some(Duration::from_millis(200)),
            ..config(1)
        });
        let spinning = submit(&process, spec(&SPIN, &[]));
        assert_eq!(outcome(&spinning), Outcome::Faulted);
        process.shut_down();
        let process = device.device().process().expect("a process");
        let fault = fault_of(&process, spec(&OVERFLOW, &[1]));
        assert_eq!(fault.kind, FaultKind::StackOverflow { size: 128 * 1024 });
        process.shut_down();
    });
}

#[cfg(not(dpa_sanitize))]
#[test]
fn rule_2_8_a_host_that_blocks_all_signals_does_not_block_slices() {
    with_signals_blocked(|| {
        let (device, spinning) = open(DeviceConfig {
            run_time_limit: None,
            ..config(1)
        });
        let other = device.device().process().expect("a process");
        let spins = submit(&spinning, spec(&SPIN, &[]));
        until("it has started", || spins.started());
        let counts = submit(&other, spec(&COUNT, &[leaked().1]));
        assert_eq!(outcome(&counts), Outcome::Completed);
        spinning.shut_down();
        other.shut_down();
    });
}

#[test]
fn rule_5_2_everything_that_waits_resolves_with_the_cause() {
    let (device, process) = open(config(2));
    let other = device.device().process().expect("a process");
    let gate = event(&process);
    let (number, address) = leaked();
    let blocked: Vec<_> = (0..5)
        .map(|_| submit(&process, spec(&WAIT, &[address, bits(&gate)])))
        .collect();
    let parked: Vec<_> = (0..5)
        .map(|_| {
            let mut spec = spec(&COUNT, &[address]);
            spec.wait = Some((gate.handle(), Condition::ge(1)));
            submit(&process, spec)
        })
        .collect();
    let waiting = std::thread::spawn({
        let gate = gate.clone();
        move || gate.wait_blocking(Condition::ge(1), Some(LONG))
    });
    until("all wait", || process.snapshot().waiting.len() == 5);
    fault_of(&process, spec(&PANIC, &[0]));
    for launch in blocked.iter().chain(&parked) {
        assert_eq!(outcome(launch), Outcome::Faulted);
    }
    assert!(waiting.join().expect("no panic").is_err());
    assert!(gate.update(Update::Add(1)).is_err());
    assert_eq!(
        process
            .submit(spec(&COUNT, &[address]))
            .expect_err("refused")
            .0,
        SubmitError::Faulted
    );
    until("all units are back", || other.snapshot().free_units == 190);
    assert_eq!(
        number.load(Ordering::SeqCst),
        0,
        "no stopped thread went on"
    );
    assert_eq!(
        outcome(&submit(&other, spec(&COUNT, &[address]))),
        Outcome::Completed
    );
    process.shut_down();
    other.shut_down();
}

#[test]
fn rule_5_2_threads_that_meet_are_stopped_when_one_never_comes() {
    let (device, process) = open(config(2));
    let other = device.device().process().expect("a process");
    let mut spec = spec(&MEET_OR_PANIC, &[]);
    spec.threads = 40;
    let fault = fault_of(&process, spec);
    assert_eq!((fault.kind, fault.rank), (FaultKind::Panic, 3));
    until("all units are back", || other.snapshot().free_units == 190);
    process.shut_down();
    other.shut_down();
}

#[test]
fn rule_5_2_a_polling_thread_stops_at_its_next_safe_point() {
    let (device, process) = open(config(2));
    let polling = submit(&process, spec(&POLL, &[leaked().1]));
    until("it has started", || polling.started());
    fault_of(&process, spec(&PANIC, &[0]));
    assert_eq!(outcome(&polling), Outcome::Faulted);
    until("all units are back", || {
        process.snapshot().free_units == 190
    });
    process.shut_down();
    drop(device);
}

#[test]
fn rule_5_2_during_an_unwind_device_calls_neither_block_nor_fault() {
    let (_device, process) = open(config(1));
    let gate = event(&process);
    let fault = fault_of(&process, spec(&WAIT_IN_DESTRUCTOR, &[0, bits(&gate)]));
    assert_eq!(fault.message.as_deref(), Some("and the destructor waits"));
    process.shut_down();
}

#[test]
fn rule_5_4_a_stale_handle_is_an_error_never_another_object() {
    let (_device, process) = open(config(1));
    let stale = event(&process).handle();
    let fresh: Vec<_> = (0..10).map(|_| event(&process)).collect();
    let mut spec = spec(&COUNT, &[leaked().1]);
    spec.wait = Some((stale, Condition::ge(0)));
    assert_eq!(
        process.submit(spec).expect_err("stale").0,
        SubmitError::NoWaitEvent
    );
    assert!(
        fresh
            .iter()
            .all(|event| event.handle() != stale && event.get() == 0)
    );
    process.shut_down();
}

#[test]
fn rule_2_10_a_deadlock_is_reported_with_who_waits_for_what() {
    let (_device, process) = open(DeviceConfig {
        deadlock_grace: Duration::from_millis(50),
        ..config(2)
    });
    let own = process.event(5, device_only()).expect("an event");
    let launch = submit(&process, spec(&WAIT, &[leaked().1, bits(&own)]));
    own.update(Update::Set(0))
        .expect_err("the host is no publisher");
    assert_eq!(outcome(&launch), Outcome::Completed, "5 >= 1 holds");
    let zero = process.event(0, device_only()).expect("an event");
    let launch = submit(&process, spec(&WAIT, &[leaked().1, bits(&zero)]));
    assert_eq!(outcome(&launch), Outcome::Faulted);
    let fault = process.fault().expect("recorded");
    assert_eq!(fault.kind, FaultKind::Deadlock);
    let [waiting] = &fault.waiting[..] else {
        panic!("one waits: {fault}")
    };
    assert_eq!((waiting.kernel.as_str(), waiting.rank), ("WAIT", 0));
    let WaitingOn::Event {
        event,
        condition,
        value,
        ..
    } = waiting.on
    else {
        panic!("for an event")
    };
    assert_eq!(
        (event, condition, value),
        (zero.handle(), Condition::ge(1), 0)
    );
    process.shut_down();
}

#[test]
fn rule_2_10_a_wait_that_the_host_could_end_is_no_deadlock() {
    let (_device, process) = open(DeviceConfig {
        deadlock_grace: Duration::from_millis(20),
        ..config(2)
    });
    let (host, own) = (
        event(&process),
        process.event(0, device_only()).expect("an event"),
    );
    let (number, address) = leaked();
    let waits = submit(&process, spec(&WAIT, &[address, bits(&own)]));
    let mut helper = spec(&COUNT, &[address]);
    helper.wait = Some((host.handle(), Condition::ge(1)));
    helper.then = Some((own.handle(), Update::Add(1)));
    let helper = submit(&process, helper);
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(waits.outcome(), None, "{:?}", process.fault());
    host.update(Update::Add(1)).expect("open");
    assert_eq!(
        (outcome(&waits), outcome(&helper)),
        (Outcome::Completed, Outcome::Completed)
    );
    assert_eq!(number.load(Ordering::SeqCst), 2);
    process.shut_down();
}
