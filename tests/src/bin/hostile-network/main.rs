//! A verified ping-pong while somebody sends malformed, replayed, spoofed and random packets at both its NICs, at full speed.
//!
//! Two nodes in this program throw a ball to and fro by RDMA, each write checked word by word and counted by an atomic in the
//! other's memory. The stranger knows everything but what is secret to two peers: numbers of queue pairs, keys, addresses, and which
//! packet numbers are over. A second, slower game goes through a box that records it: of that the stranger knows the packets
//! themselves, and sends them again. What must hold: every ball is right, the counts are exact, no connection fails, memory is
//! bounded, the game goes on, and the counters say of each kind of packet that it was dropped, and why.
#![forbid(unsafe_code)]

mod counted;
mod rally;
mod relay;
mod stranger;

use std::error::Error;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::ScopedJoinHandle;
use std::time::Duration;

use clap::Parser;
use rally::Rally;
use stranger::{Kind, Stranger};

type Outcome<T = ()> = Result<T, Box<dyn Error + Send + Sync>>;

/// What resident memory may grow by under attack, in KiB. A sanitizer keeps 256 MiB of what was freed.
const GROWTH: u64 = if cfg!(dpa_sanitize) { 512 } else { 16 } << 10;

#[derive(Debug, Parser)]
#[command(about = "A verified ping-pong under hostile packets")]
struct Options {
    /// Seconds under attack.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=3600))]
    seconds: u64,
    /// Threads that send.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=16))]
    strangers: u64,
    /// Only packets of this kind.
    #[arg(long, value_enum)]
    kind: Option<Kind>,
    /// The seed of what is sent.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("hostile-network: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Outcome {
    let mut rally = Rally::new()?;
    let quiet = rally.play(Duration::from_secs(1))?;
    println!("quiet: {quiet:.0} rounds a second, each ball verified");
    let (before, counted) = (resident()?, rally.counted());
    let time = Duration::from_secs(options.seconds);
    let over = AtomicBool::new(false);
    let (played, sent) = std::thread::scope(|scope| {
        let sending: Vec<_> = (0..options.strangers)
            .map(|n| {
                let stranger =
                    Stranger::new(rally.targets(), options.kind, options.seed.wrapping_add(n));
                let over = &over;
                scope.spawn(move || stranger?.attack(over))
            })
            .collect();
        let played = rally.play(time);
        over.store(true, Ordering::Relaxed);
        let sent: Vec<_> = sending.into_iter().map(ScopedJoinHandle::join).collect();
        (played, sent)
    });
    let mut all = stranger::Sent::default();
    for sent in sent {
        all.add(&sent.map_err(|_| "a stranger's thread panicked")??);
    }
    println!("sent: {all}");
    println!("{}", rally.counters());
    let played = played?;
    let after = resident()?;
    println!(
        "under attack: {played:.0} rounds a second beside {:.0} packets a second; resident {before} KiB before, {after} KiB after",
        all.total() as f64 / time.as_secs_f64()
    );
    if after > before + GROWTH {
        return Err(format!("memory grew from {before} to {after} KiB").into());
    }
    counted::check(options.kind, &all, &counted, &rally.counted())
}

/// Resident memory in KiB.
fn resident() -> Outcome<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let number = line.and_then(|line| line.trim().strip_suffix(" kB"));
    Ok(number
        .ok_or("no VmRSS in /proc/self/status")?
        .trim()
        .parse()?)
}
