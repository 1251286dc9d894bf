//! Crash reports of faults that safe kernels cannot make.

mod common;

use std::path::PathBuf;
use std::time::Duration;

use common::*;
use dpa_model::crash::{CrashFiles, CrashSpec};
use dpa_model::launch::Outcome;

#[cfg(not(dpa_sanitize))]
kernel!(STRAY, |_unit, args| {
    // Nothing is there, and no view has checked it.
    bump(counter(args, 0));
});

struct Dir(PathBuf);

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[cfg(not(dpa_sanitize))]
#[test]
fn rule_5_2_a_stray_access_says_where_and_leaves_all_registers() {
    const ADDRESS: u64 = 0x10;
    let dir = Dir(std::env::temp_dir().join(format!("dpa-stray-{}", std::process::id())));
    std::fs::create_dir(&dir.0).expect("a directory");
    let (device, _other) = open(config(2));
    let spec_of = dpa_model::ProcessSpec {
        crash: CrashSpec {
            files: CrashFiles::At(dir.0.clone()),
            ..CrashSpec::default()
        },
        ..dpa_model::ProcessSpec::default()
    };
    let process = device.device().process_with(&spec_of).expect("a process");
    let launch = submit(&process, spec(&STRAY, &[ADDRESS]));
    assert_eq!(outcome(&launch), Outcome::Faulted);
    let fault = process.fault().expect("a fault");
    let signal = libc::SIGSEGV;
    assert_eq!(fault.kind, dpa_abi::FaultKind::Native { signal });
    let report = fault.wait_for_crash_report(LONG).expect("a report");
    assert!(report.problems.is_empty(), "{:?}", report.problems);
    let text = std::fs::read_to_string(report.text.as_ref().expect("a text")).expect("it");
    for expected in ["kernel: STRAY\n", "host address: 0x10\n", "thread 1: STRAY"] {
        assert!(text.contains(expected), "{expected} in {text}");
    }
    let core = std::fs::read(report.core.as_ref().expect("a core")).expect("it");
    let word = |at: usize| u64::from_le_bytes(core[at..at + 8].try_into().expect("eight"));
    // The first note is the status of the faulted thread: name and header take 20 bytes.
    let headers = u16::from_le_bytes([core[56], core[57]]);
    let status = 64 + 56 * usize::from(headers) + 20;
    assert_eq!(
        u16::from_le_bytes([core[status + 12], core[status + 13]]),
        11
    );
    let count = if cfg!(target_arch = "x86_64") { 27 } else { 34 };
    let registers: Vec<u64> = (0..count).map(|nth| word(status + 112 + nth * 8)).collect();
    assert!(registers.contains(&ADDRESS), "{registers:x?}");
    process.shut_down();
}

#[cfg(not(dpa_sanitize))]
const CHILD: &str = "DPA_CRASH_TEST_CHILD";

#[cfg(not(dpa_sanitize))]
kernel!(SENT, |_unit, _args| {
    send_to_self(libc::SIGSEGV);
});

#[cfg(not(dpa_sanitize))]
kernel!(NEWS, |_unit, _args| {
    send_news_of_broken_memory();
});

/// Not a test by itself: a program whose kernels get signals that are sent to them, with the standard library's handler or without
/// any.
#[cfg(not(dpa_sanitize))]
#[test]
fn child_that_is_sent_a_signal() {
    let Ok(asked) = std::env::var(CHILD) else {
        return;
    };
    let (handler, signal) = asked.split_once(' ').expect("two words");
    let (kernel, signal) = match signal {
        "sent" => (&SENT, libc::SIGSEGV),
        _ => (&NEWS, libc::SIGBUS),
    };
    if handler == "none" {
        end_by(signal);
    }
    let (device, process) = open(config(1));
    for _ in 0..3 {
        let launch = submit(&process, spec(kernel, &[]));
        assert_eq!(outcome(&launch), Outcome::Completed);
    }
    let other = device
        .device()
        .process_with(&dpa_model::ProcessSpec::default());
    let other = other.expect("a process");
    let launch = submit(&other, spec(&STRAY, &[16]));
    assert_eq!(outcome(&launch), Outcome::Faulted, "its own are caught");
}

/// It may come while something of ours is live on the kernel's stack. The program does with the first what it does without a device. So
/// with the news that memory is broken.
#[cfg(not(dpa_sanitize))]
#[test]
fn rule_5_1_a_signal_that_is_sent_is_no_fault_of_a_kernel() {
    use std::os::unix::process::ExitStatusExt;
    let program = std::env::current_exe().expect("this program");
    let run = |asked: String| {
        let mut child = std::process::Command::new(&program);
        child.args(["--exact", "child_that_is_sent_a_signal"]);
        child.env(CHILD, asked).output().expect("a child")
    };
    for (kind, signal) in [("sent", libc::SIGSEGV), ("news", libc::SIGBUS)] {
        let ignored = run(format!("std {kind}"));
        assert!(ignored.status.success(), "{ignored:?}");
        let killed = run(format!("none {kind}"));
        assert_eq!(killed.status.signal(), Some(signal), "{killed:?}");
    }
}

#[cfg(not(dpa_sanitize))]
kernel!(ABORTS, |_unit, args| {
    // It has panicked, and that is over.
    let caught = std::panic::catch_unwind(|| panic!("caught"));
    if caught.is_err() && word(args, 0) == 1 {
        std::process::abort();
    }
});

/// Not a test by itself: a program that aborts, by a kernel or beside one.
#[cfg(not(dpa_sanitize))]
#[test]
fn child_that_aborts() {
    let Ok(asked) = std::env::var(CHILD) else {
        return;
    };
    let (_device, process) = open(config(1));
    let by_kernel = u64::from(asked == "kernel");
    let launch = submit(&process, spec(&ABORTS, &[by_kernel]));
    outcome(&launch);
    if by_kernel == 0 {
        std::process::abort();
    }
}

#[cfg(not(dpa_sanitize))]
#[test]
fn rule_5_1_who_aborts_without_a_panic_ends_the_program() {
    use std::os::unix::process::ExitStatusExt;
    let program = std::env::current_exe().expect("this program");
    for who in ["kernel", "host"] {
        let mut child = std::process::Command::new(&program);
        child.args(["--exact", "child_that_aborts"]);
        let ended = child.env(CHILD, who).output().expect("a child");
        assert_eq!(ended.status.signal(), Some(libc::SIGABRT), "{ended:?}");
    }
}

#[test]
fn rule_5_2_thousands_of_faults_write_nothing_unless_asked() {
    kernel!(PANIC, |_unit, _args| {
        panic!("again");
    });
    let (device, _other) = open(config(2));
    let off = dpa_model::ProcessSpec {
        crash: CrashSpec {
            files: CrashFiles::Off,
            ..CrashSpec::default()
        },
        ..dpa_model::ProcessSpec::default()
    };
    for _ in 0..1000 {
        let process = device.device().process_with(&off).expect("a process");
        let launch = submit(&process, spec(&PANIC, &[]));
        assert_eq!(outcome(&launch), Outcome::Faulted);
        let fault = process.fault().expect("a fault").clone();
        assert!(
            fault
                .wait_for_crash_report(Duration::from_secs(20))
                .is_none()
        );
        process.shut_down();
    }
}
