//! `soak`: work, faults, kills and lost packets for a time, all at once.
//!
//! * `tests/src/bin/soak`: a device with a process that works and one that comes to grief; nodes that are killed.
//! * The example `kv-server`: a server and a client in two processes, every answer verified.
//! * The tests `netns`: two nodes in network namespaces that lose, delay, reorder and damage packets.

use std::time::{Duration, Instant};

use crate::Outcome;
use crate::run::{cargo, check, command, target};

/// How long one run of the store takes, in seconds.
const STORE: u64 = 20;

/// Runs all of it for so many minutes.
pub fn run(minutes: u64) -> Outcome {
    let seconds = minutes * 60;
    build()?;
    let until = Instant::now() + Duration::from_secs(seconds);
    let failures: Vec<String> = std::thread::scope(|scope| {
        let work = || check(program("soak").args(["--seconds", &seconds.to_string()]));
        let running = [
            scope.spawn(work),
            scope.spawn(|| again_and_again("kv-server", until, store)),
            scope.spawn(|| again_and_again("netns", until, namespaces)),
        ];
        let lost = || Err("a thread panicked".to_owned());
        let ended = running.map(|thread| thread.join().unwrap_or_else(|_| lost()));
        ended.into_iter().filter_map(Result::err).collect()
    });
    match failures.is_empty() {
        true => Ok(()),
        false => Err(failures.join("; ")),
    }
}

fn build() -> Outcome {
    let tests = ["--bins", "--test", "netns"];
    check(
        cargo()
            .args(["build", "--release", "-p", "tests"])
            .args(tests),
    )?;
    check(cargo().args(["build", "--release", "-p", "examples", "--bin", "kv-server"]))
}

fn program(name: &str) -> std::process::Command {
    command(target().join("release").join(name))
}

fn store() -> Outcome {
    let seconds = STORE.to_string();
    let requests = 100_000_000.to_string();
    check(program("kv-server").args(["--seconds", &seconds, "--requests", &requests]))
}

fn namespaces() -> Outcome {
    let mut tests = cargo();
    tests.args(["test", "--release", "-q", "-p", "tests", "--test", "netns"]);
    // One that is skipped has not passed.
    check(tests.env("DPA_NEEDED", "1"))
}

/// Runs it until it is time, and says how often.
fn again_and_again(what: &str, until: Instant, once: fn() -> Outcome) -> Outcome {
    let mut times = 0;
    while times == 0 || Instant::now() < until {
        once()?;
        times += 1;
    }
    println!("soak: {what} ran {times} times");
    Ok(())
}
