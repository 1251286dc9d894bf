//! Rules of the shares, as scenarios.

use super::*;

fn places(homes: &[Option<usize>], served: &[usize]) -> Vec<Place> {
    let both = homes.iter().zip(served);
    both.map(|(&home, &served)| Place { home, served })
        .collect()
}

fn nowhere(served: &[usize]) -> Vec<Place> {
    places(&vec![None; served.len()], served)
}

#[test]
fn one_partition_with_work_has_all_workers_and_no_home() {
    assert_eq!(deal(&nowhere(&[0, 0]), &[0]), [None, None]);
    assert_eq!(
        deal(&places(&[Some(0), Some(1)], &[0, 1]), &[1]),
        [None, None]
    );
    assert_eq!(deal(&nowhere(&[0, 0]), &[]), [None, None]);
}

#[test]
fn every_partition_is_the_home_of_as_many_workers() {
    for workers in 1..12 {
        for partitions in 2..12 {
            let working: Vec<usize> = (0..partitions).map(|n| n * 3).collect();
            let served: Vec<usize> = (0..workers).map(|n| n * n % 7).collect();
            let homes = deal(&nowhere(&served), &working);
            let each = workers / partitions;
            for partition in &working {
                let of_it = homes.iter().filter(|home| **home == Some(*partition));
                assert_eq!(
                    of_it.count(),
                    each,
                    "{workers} workers, {partitions} partitions"
                );
            }
            let without = homes.iter().filter(|home| home.is_none());
            assert_eq!(without.count(), workers - each * partitions);
        }
    }
}

#[test]
fn a_worker_stays_with_what_it_does() {
    assert_eq!(deal(&nowhere(&[1, 0]), &[0, 1]), [Some(1), Some(0)]);
    assert_eq!(deal(&nowhere(&[1, 1]), &[0, 1]), [Some(1), Some(0)]);
    let at_home = places(&[Some(0), Some(1)], &[1, 0]);
    assert_eq!(deal(&at_home, &[0, 1]), [Some(0), Some(1)]);
    let of_three = places(&[Some(2), Some(0), Some(1)], &[2, 0, 1]);
    assert_eq!(deal(&of_three, &[0, 2]), [Some(2), Some(0), None]);
}

/// What a look finds of one who is busy or not and has come so far.
fn looks(of: &[(bool, u64)]) -> Vec<Found> {
    let mut active = Active::default();
    let look = |&(busy, progress): &(bool, u64)| {
        let found = active.look([(7, busy, progress, ())].into_iter());
        found[0].1
    };
    of.iter().map(look).collect()
}

#[test]
fn who_has_work_now_and_then_has_work_all_the_time() {
    use Found::{Begins, Idle, Works};
    assert_eq!(
        looks(&[(false, 0), (true, 0), (false, 0), (false, 1), (false, 1)]),
        [Idle, Begins, Works, Works, Works]
    );
    let mut rare = vec![(true, 0)];
    rare.extend(vec![(false, 0); LOOKS as usize]);
    rare.push((true, 0));
    let found = looks(&rare);
    assert_eq!(found[0], Begins);
    assert!(found[1..LOOKS as usize].iter().all(|found| *found == Works));
    assert_eq!(found[LOOKS as usize..], [Idle, Begins]);
}

#[test]
fn what_is_over_its_share_is_told_partition_by_partition() {
    let fairness = Fairness::new(2);
    fairness.partitions[0].least.store(100, Ordering::Relaxed);
    let much = 100 + ALLOWANCE + 1;
    assert!(!fairness.is_over(0, much), "nobody else has work");
    fairness.partitions[0]
        .contended
        .store(true, Ordering::Relaxed);
    assert!(fairness.is_over(0, much) && !fairness.is_over(0, much - 1));
    assert!(!fairness.is_over(1, much), "there it has no rival");
    let used = &fairness.partitions[1].used;
    used.store(ALLOWANCE + 1, Ordering::Relaxed);
    assert!(!fairness.is_over(1, 0), "homes keep them apart");
    fairness.mixed.store(true, Ordering::Relaxed);
    assert!(fairness.is_over(1, 0), "also in a new process");
    used.store(ALLOWANCE, Ordering::Relaxed);
    assert!(!fairness.is_over(1, 0));
}

#[test]
fn who_begins_to_have_work_has_saved_up_nothing() {
    let fairness = Fairness::new(2);
    let used = |n: usize, nanos| fairness.partitions[n].used.store(nanos, Ordering::Relaxed);
    used(0, 5_000);
    assert_eq!(
        level_partitions(&fairness, &[(0, Found::Works), (1, Found::Idle)]),
        [0]
    );
    let both = [(0, Found::Works), (1, Found::Begins)];
    assert_eq!(level_partitions(&fairness, &both), [0, 1]);
    assert_eq!(fairness.partitions[1].used.load(Ordering::Relaxed), 5_000);
}

#[test]
fn a_worker_without_a_home_takes_of_the_partition_that_has_used_least() {
    let fairness = Fairness::new(3);
    assert_eq!(fairness.first(|_| true), None, "nothing is measured");
    fairness.measured.store(true, Ordering::Relaxed);
    for (partition, used) in [5, 3, 4].into_iter().enumerate() {
        fairness.partitions[partition]
            .used
            .store(used, Ordering::Relaxed);
    }
    assert_eq!(fairness.first(|_| true), Some(1));
    assert_eq!(fairness.first(|partition| partition != 1), Some(2));
    assert_eq!(fairness.first(|_| false), None);
}

// ---- with workers ----

use std::sync::atomic::AtomicUsize;
use std::time::Instant;

use dpa_abi::{Handle, KernelEntry, LogLevel, StreamHandle};

use crate::config::DeviceConfig;
use crate::launch::{ArgBytes, Body, Step};
use crate::layout::{FunctionKind, FunctionSpec};
use crate::message::{Layout, Sink, StreamSpec};
use crate::process::ProcessSpec;
use crate::rig::kernel;
use crate::submit::Spec;
use crate::threads::Threads;

const LONG: Duration = Duration::from_secs(60);

fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < LONG, "never: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Two workers; two functions with half of the units each, and a process on each.
fn two_functions() -> (Threads, [Arc<Process>; 2]) {
    let function = |name: &str, units: &str| {
        FunctionSpec::with_units(name, FunctionKind::Virtual, units.parse().expect("units"))
    };
    let config = DeviceConfig {
        workers: 2,
        heap_bytes: 1 << 20,
        functions: vec![function("a", "0-94"), function("b", "95-189")],
        ..DeviceConfig::default()
    };
    let threads = Threads::open(config).expect("a device");
    let process = |name: &str| {
        let spec = ProcessSpec {
            function: Some(name.into()),
            ..ProcessSpec::default()
        };
        threads.device().process_with(&spec).expect("a process")
    };
    let both = ["a", "b"].map(process);
    (threads, both)
}

fn submit(process: &Arc<Process>, entry: &'static KernelEntry) {
    let spec = Spec::new(Body::Kernel(entry), ArgBytes::new());
    process
        .submit(spec)
        .map_err(|(error, _)| error)
        .expect("accepted");
}

fn homes(threads: &Threads) -> Vec<Option<usize>> {
    let workers = threads.device().workers.iter();
    workers.map(|worker| worker.home()).collect()
}

fn are_divided(threads: &Threads) -> bool {
    let mut homes = homes(threads);
    homes.sort_unstable();
    homes == [Some(0), Some(1)]
}

fn at_rest(process: &Process) -> bool {
    process.unfinished.is_none()
}

/// Under sanitizers kernels run on threads of their own: they are not interrupted, and know nothing of the worker's.
const KERNELS_ARE_THREADS: bool = cfg!(dpa_sanitize);

#[test]
fn each_of_two_partitions_has_a_worker_while_both_have_work() {
    static OVER: AtomicBool = AtomicBool::new(false);
    static SPINS: KernelEntry = kernel("spins", |_, _| {
        while !OVER.load(Ordering::Relaxed) {
            std::hint::spin_loop();
        }
    });
    static ENDS: KernelEntry = kernel("ends", |_, _| ());
    if KERNELS_ARE_THREADS {
        return;
    }
    let (threads, [one, other]) = two_functions();
    (0..6).for_each(|_| submit(&one, &SPINS));
    until("homes, while one spins and the other begins", || {
        submit(&other, &ENDS);
        are_divided(&threads)
    });
    for _ in 0..1_000 {
        submit(&other, &ENDS);
        until("short launches come through", || at_rest(&other));
    }
    OVER.store(true, Ordering::Relaxed);
    until("all are over", || at_rest(&one) && at_rest(&other));
    let none = [None, None];
    until("no home while nobody has work", || homes(&threads) == none);
    (0..100).for_each(|_| submit(&one, &ENDS));
    until("what comes later is done", || at_rest(&one));
}

/// A worker does what others have while its home has nothing, and is there for its home when that has something.
#[test]
fn a_worker_whose_home_has_nothing_helps_out() {
    static OVER: AtomicBool = AtomicBool::new(false);
    static SEEN: AtomicUsize = AtomicUsize::new(0);
    static SHOWS: KernelEntry = kernel("shows", |_, _| {
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_micros(300) {
            std::hint::spin_loop();
        }
        let here = std::thread::current();
        let of_one = here.name() == Some("dpa-worker-1");
        SEEN.fetch_or(1 << usize::from(of_one), Ordering::Relaxed);
    });
    static ENDS: KernelEntry = kernel("ends", |_, _| ());
    if KERNELS_ARE_THREADS {
        return;
    }
    let (threads, [one, other]) = two_functions();
    std::thread::scope(|scope| {
        // As much as two workers can do, all the time.
        scope.spawn(|| {
            while !OVER.load(Ordering::Relaxed) {
                let few = one.unfinished.count() < 20;
                (0..20).filter(|_| few).for_each(|_| submit(&one, &SHOWS));
                std::thread::sleep(Duration::from_millis(1));
            }
        });
        let mut counts = false;
        until("both workers do it, each with its home", || {
            submit(&other, &ENDS);
            let divided = are_divided(&threads);
            if divided && !std::mem::replace(&mut counts, divided) {
                SEEN.store(0, Ordering::Relaxed);
            }
            counts = divided;
            until("its home has its worker back", || at_rest(&other));
            std::thread::sleep(Duration::from_millis(10));
            counts && are_divided(&threads) && SEEN.load(Ordering::Relaxed) == 3
        });
        OVER.store(true, Ordering::Relaxed);
    });
}

/// One worker, and two processes on its only function.
fn one_worker() -> (Threads, [Arc<Process>; 2]) {
    let config = DeviceConfig {
        workers: 1,
        heap_bytes: 1 << 20,
        ..DeviceConfig::default()
    };
    let threads = Threads::open(config).expect("a device");
    let both = [(); 2].map(|()| threads.device().process().expect("a process"));
    (threads, both)
}

/// Kernels that pass no safe point, one behind the other, and a process that has used next to nothing: it waits for no slice.
#[test]
fn a_kernel_of_who_is_over_its_share_is_urged() {
    static GO: AtomicBool = AtomicBool::new(false);
    static SPINS: KernelEntry = kernel("spins", |_, _| {
        while !GO.load(Ordering::Relaxed) {
            std::hint::spin_loop();
        }
    });
    static ENDS: KernelEntry = kernel("ends", |_, _| GO.store(true, Ordering::Relaxed));
    if KERNELS_ARE_THREADS {
        return;
    }
    let (threads, [one, other]) = one_worker();
    let worker = &threads.device().workers[0];
    until("it is urged", || {
        GO.store(false, Ordering::Relaxed);
        submit(&one, &SPINS);
        until("it runs", || one.snapshot().started == 1);
        submit(&other, &ENDS);
        until("both are over", || at_rest(&one) && at_rest(&other));
        worker.urged_at.load(Ordering::Relaxed) != u64::MAX
    });
    one.shut_down();
    other.shut_down();
}

/// A step that takes a while.
fn submit_step(process: &Arc<Process>) {
    let step = Step::new("slow", || std::thread::sleep(Duration::from_millis(2)));
    let spec = Spec::new(Body::Step(Box::new(step)), ArgBytes::new());
    let submitted = process.submit(spec).map_err(|(error, _)| error);
    submitted.expect("accepted");
}

/// Steps come one after the other, and none of them can be interrupted: a worker whose home has something goes there behind the one
/// that it does.
#[test]
fn a_row_of_steps_keeps_no_worker_from_its_home() {
    static ENDS: KernelEntry = kernel("ends", |_, _| ());
    const STEPS: usize = 2_000;
    let (threads, [one, other]) = two_functions();
    (0..STEPS).for_each(|_| submit_step(&one));
    let mut divided = 0;
    while divided < 10 {
        submit(&other, &ENDS);
        until("its home has its worker back", || at_rest(&other));
        assert!(!at_rest(&one), "it waited for all steps");
        divided += usize::from(are_divided(&threads));
        std::thread::sleep(Duration::from_millis(4));
    }
    one.shut_down();
    other.shut_down();
}

/// One worker that does step after step goes on with threads that can.
#[test]
fn a_row_of_steps_keeps_no_thread_from_going_on() {
    static GO: AtomicBool = AtomicBool::new(false);
    static YIELDS: KernelEntry = kernel("yields", |unit, _| {
        while !GO.load(Ordering::Relaxed) {
            unit.yield_now();
        }
        (0..5).for_each(|_| unit.yield_now());
    });
    let (_threads, [one, other]) = one_worker();
    submit(&other, &YIELDS);
    (0..500).for_each(|_| submit_step(&one));
    GO.store(true, Ordering::Relaxed);
    until("its thread goes on", || at_rest(&other));
    assert!(!at_rest(&one), "it waited for all steps");
    one.shut_down();
    other.shut_down();
}

/// A kernel that waits for the sink of its message leaves its worker to others meanwhile.
#[test]
fn a_sink_that_is_slow_keeps_no_worker() {
    static OVER: AtomicBool = AtomicBool::new(false);
    static STREAM: AtomicU64 = AtomicU64::new(0);
    static SAYS: KernelEntry = kernel("says", |unit, _| {
        let stream = Handle::from_bits(STREAM.load(Ordering::Relaxed));
        let at = std::panic::Location::caller();
        unit.message(StreamHandle(stream), LogLevel::Info, "and waits", at);
    });
    static ENDS: KernelEntry = kernel("ends", |_, _| ());
    struct Slow;
    impl std::io::Write for Slow {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            let begun = Instant::now();
            while !OVER.load(Ordering::Relaxed) && begun.elapsed() < LONG {
                std::thread::sleep(Duration::from_millis(1));
            }
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let (_threads, [one, other]) = one_worker();
    let spec = StreamSpec {
        patience: LONG,
        ..StreamSpec::default()
    };
    let stream = one.open_stream(&spec, Sink::Writer(Box::new(Slow), Layout::Plain));
    let stream = stream.expect("a stream");
    STREAM.store(stream.handle().0.to_bits(), Ordering::Relaxed);
    submit(&one, &SAYS);
    until("it runs", || one.snapshot().started == 1);
    for _ in 0..20 {
        submit(&other, &ENDS);
        until("the worker is free", || at_rest(&other));
    }
    assert!(!at_rest(&one), "it waits for its sink");
    OVER.store(true, Ordering::Relaxed);
    until("the sink has it", || at_rest(&one));
    one.shut_down();
    other.shut_down();
}

/// What a process kept is let go of before another's launch runs on the same worker: that takes the time of its own process.
#[test]
fn the_time_of_an_end_is_that_of_its_process() {
    static GO: AtomicBool = AtomicBool::new(false);
    static WAITS: KernelEntry = kernel("waits", |_, _| {
        while !GO.load(Ordering::Relaxed) {
            std::hint::spin_loop();
        }
    });
    static ENDS: KernelEntry = kernel("ends", |_, _| ());
    struct Slow;
    impl Drop for Slow {
        fn drop(&mut self) {
            std::thread::sleep(END);
        }
    }
    const END: Duration = Duration::from_millis(20);
    const ROUNDS: u32 = 40;
    let (_threads, [one, other]) = one_worker();
    for _ in 0..ROUNDS {
        GO.store(false, Ordering::Relaxed);
        let mut spec = Spec::new(Body::Kernel(&WAITS), ArgBytes::new());
        spec.keep = Some(Box::new(Some(Slow)));
        let submitted = one.submit(spec).map_err(|(error, _)| error);
        submitted.expect("accepted").unwatch();
        until("it runs", || one.snapshot().started == 1);
        submit(&other, &ENDS);
        // Else no time is booked.
        let partition = one.tenancy.partition.index;
        until("both have work", || {
            one.device.fairness.is_contended(partition)
        });
        GO.store(true, Ordering::Relaxed);
        until("both are over", || at_rest(&one) && at_rest(&other));
    }
    let used = [&one, &other].map(|process| process.used.load(Ordering::Relaxed));
    assert!(used[0] > used[1], "in nanoseconds: {used:?}");
    one.shut_down();
    other.shut_down();
}
