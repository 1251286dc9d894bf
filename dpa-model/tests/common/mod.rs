//! A device and kernels for the tests of this crate, which knows neither `doca-dpa` nor its macros.
#![allow(dead_code, reason = "each test file uses a part of this")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use dpa_abi::{Condition, KernelEntry, UnitRef};
use dpa_model::launch::{ArgBytes, Body, Launch, Outcome};
use dpa_model::threads::Threads;
use dpa_model::{DeviceConfig, EventRef, Process, Spec};
use sync_event::{Location, Locations};

/// Long enough for anything on a busy machine; only a hang reaches it.
pub const LONG: Duration = Duration::from_secs(20);

pub fn config(workers: usize) -> DeviceConfig {
    DeviceConfig {
        workers,
        heap_bytes: 1 << 20,
        ..DeviceConfig::default()
    }
}

pub fn open(config: DeviceConfig) -> (Threads, Arc<Process>) {
    let threads = Threads::open(config).expect("a device");
    let process = threads.device().process().expect("a process");
    (threads, process)
}

/// Runs this on a thread that has blocked all signals, as programs do that handle them on one thread.
pub fn with_signals_blocked<T: Send>(run: impl FnOnce() -> T + Send) -> T {
    let masked = || {
        // SAFETY: all zero is a valid value; it is filled in below.
        let mut all: libc::sigset_t = unsafe { std::mem::zeroed() };
        // SAFETY: fills in the set, and blocks signals of this thread only.
        unsafe {
            libc::sigfillset(&mut all);
            libc::pthread_sigmask(libc::SIG_BLOCK, &all, std::ptr::null_mut());
        }
        run()
    };
    std::thread::scope(|scope| scope.spawn(masked).join().expect("no panic"))
}

pub fn everywhere() -> Locations {
    Locations::new(
        Location::Host | Location::Device,
        Location::Host | Location::Device,
    )
    .expect("locations")
}

pub fn device_only() -> Locations {
    Locations::new(Location::Device, Location::Device).expect("locations")
}

pub fn event(process: &Arc<Process>) -> EventRef {
    process.event(0, everywhere()).expect("an event")
}

/// Sends this thread a signal.
pub fn send_to_self(signal: i32) {
    // SAFETY: it touches no memory.
    unsafe { libc::raise(signal) };
}

/// Tells this thread that memory is broken which it does not access just now.
pub fn send_news_of_broken_memory() {
    // SAFETY: all zero is a valid value.
    let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
    info.si_signo = libc::SIGBUS;
    info.si_code = libc::BUS_MCEERR_AO;
    // SAFETY: only asks for two numbers.
    let (process, thread) = unsafe { (libc::getpid(), libc::gettid()) };
    // SAFETY: to itself a thread may send anything.
    let sent = unsafe {
        libc::syscall(
            libc::SYS_rt_tgsigqueueinfo,
            process,
            thread,
            libc::SIGBUS,
            &raw const info,
        )
    };
    assert_eq!(sent, 0, "{}", std::io::Error::last_os_error());
}

/// From now on the program has no handler for this signal, which ends it.
pub fn end_by(signal: i32) {
    // SAFETY: the default is a handler of every signal.
    unsafe { libc::signal(signal, libc::SIG_DFL) };
}

/// A kernel that can move between workers.
#[macro_export]
macro_rules! kernel {
    ($name:ident, |$unit:ident, $args:ident| $body:block) => {
        static $name: dpa_abi::KernelEntry = dpa_abi::KernelEntry {
            name: stringify!($name),
            file: file!(),
            line: line!(),
            arg_bytes: 0,
            reach: {
            // SAFETY: it keeps nothing across device calls, and calls nothing that does.
            unsafe { dpa_abi::kernel::Reach::new(|| true, || true) }
        },
            run: {
                fn run($unit: dpa_abi::UnitRef<'_>, $args: &[u8]) $body
                run
            },
            promise: {
                // SAFETY: it keeps nothing.
                unsafe { dpa_abi::kernel::Promise::new() }
            },
        };
    };
}

pub fn spec(entry: &'static KernelEntry, words: &[u64]) -> Spec {
    let mut args = ArgBytes::new();
    words
        .iter()
        .for_each(|word| args.extend_from_slice(&word.to_le_bytes()));
    Spec::new(Body::Kernel(entry), args)
}

pub fn word(args: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(args[at * 8..at * 8 + 8].try_into().expect("eight bytes"))
}

/// A number in host memory, as an argument.
pub fn counter(args: &[u8], at: usize) -> &'static AtomicU64 {
    // SAFETY: the tests pass the address of a leaked number.
    unsafe { &*(word(args, at) as *const AtomicU64) }
}

pub fn leaked() -> (&'static AtomicU64, u64) {
    let number: &'static AtomicU64 = Box::leak(Box::new(AtomicU64::new(0)));
    (number, std::ptr::from_ref(number) as u64)
}

pub fn submit(process: &Arc<Process>, spec: Spec) -> Arc<Launch> {
    process
        .submit(spec)
        .map_err(|(error, _)| error)
        .expect("accepted")
}

pub fn wait_for(event: &EventRef, at_least: u64) {
    event
        .wait_blocking(Condition::ge(at_least), Some(LONG))
        .expect("the event comes");
}

pub fn outcome(launch: &Launch) -> Outcome {
    let until = std::time::Instant::now() + LONG;
    loop {
        if let Some(outcome) = launch.outcome() {
            return outcome;
        }
        assert!(std::time::Instant::now() < until, "{launch:?} never ends");
        std::thread::yield_now();
    }
}

pub fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let until = std::time::Instant::now() + LONG;
    while !holds() {
        assert!(std::time::Instant::now() < until, "never: {what}");
        std::thread::yield_now();
    }
}

pub fn bump(number: &AtomicU64) {
    number.fetch_add(1, Ordering::SeqCst);
}

pub fn handle(bits: u64) -> dpa_abi::EventHandle {
    dpa_abi::EventHandle(dpa_abi::Handle::from_bits(bits))
}

pub fn bits(event: &EventRef) -> u64 {
    event.handle().0.to_bits()
}

pub fn wait(unit: UnitRef<'_>, event: u64, at_least: u64) -> u64 {
    unit.event_wait(handle(event), Condition::ge(at_least), None)
        .expect("open")
}
