//! Programs that handle the signals of their end themselves.

#![cfg(not(dpa_sanitize))]

mod common;

use std::os::unix::process::ExitStatusExt;
use std::time::Duration;

use common::*;

const CHILD: &str = "DPA_HANDLERS_CHILD";

extern "C" fn tells_and_raises(signal: libc::c_int) {
    const TOLD: &[u8] = b"its own handler\n";
    // SAFETY: what a handler may do: it writes, puts the default back, and sends the signal again.
    unsafe {
        libc::write(2, TOLD.as_ptr().cast(), TOLD.len());
        libc::signal(signal, libc::SIG_DFL);
        libc::raise(signal);
    }
}

/// Not a test by itself: a program with a handler of the usual kind, which ends beside a device.
#[test]
fn child_with_a_handler_of_its_own() {
    let Ok(asked) = std::env::var(CHILD) else {
        return;
    };
    let signal = match asked.as_str() {
        "abort" => libc::SIGABRT,
        _ => libc::SIGSEGV,
    };
    let handler = tells_and_raises as extern "C" fn(libc::c_int);
    // SAFETY: a handler that may be called at any time.
    unsafe { libc::signal(signal, handler as usize) };
    let (_device, _process) = open(config(1));
    // Whatever goes wrong, it does not write for ever. SAFETY: touches no memory.
    unsafe { libc::alarm(20) };
    match asked.as_str() {
        "abort" => std::process::abort(),
        // SAFETY: touches no memory.
        _ => unsafe {
            libc::kill(libc::getpid(), signal);
        },
    }
    std::thread::sleep(Duration::from_secs(20));
}

#[test]
fn a_program_that_handles_its_end_itself_ends_beside_a_device_too() {
    let program = std::env::current_exe().expect("this program");
    for (how, signal) in [("abort", libc::SIGABRT), ("kill", libc::SIGSEGV)] {
        let mut child = std::process::Command::new(&program);
        child.args(["--exact", "child_with_a_handler_of_its_own", "--nocapture"]);
        let ended = child.env(CHILD, how).output().expect("a child");
        assert_eq!(ended.status.signal(), Some(signal), "{how}: {ended:?}");
        let said = String::from_utf8_lossy(&ended.stderr);
        assert_eq!(said.matches("its own handler").count(), 1, "{how}: {said}");
    }
}
