//! Works for a time under faults and kills, and then has as much as it had before: threads, descriptors, memory.
//!
//! One thread drives a device on which one process works, verified, while another comes to grief again and again. One serves a
//! counter to a node in a process of its own, which is killed at random: every operation that was acknowledged is there.
//! No wait may take longer than its limit. `cargo xtask soak` runs this beside a key-value store and nodes in lossy network
//! namespaces.
#![forbid(unsafe_code)]

mod left;
mod limits;
mod load;
mod node;
mod resources;

use std::error::Error;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Parser;
use resources::{Resources, Samples};

type Outcome<T = ()> = Result<T, Box<dyn Error + Send + Sync>>;

/// After its end a device's threads and descriptors are gone within this time.
const GONE: Duration = Duration::from_secs(2);
/// The memory of the last quarter is at most so much of the second's.
const GROWTH: f64 = 1.05;
/// Quarters of less than this say nothing about memory.
const LEAST: Duration = Duration::from_secs(20);

#[derive(Debug, Parser)]
#[command(about = "Load, faults and kills for a time; then everything is back")]
struct Options {
    /// For how many seconds.
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    seconds: u64,
    /// The seed of what is done when.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// What this program starts and kills: a node that adds to a counter.
    #[arg(long, hide = true)]
    node: bool,
}

fn main() -> ExitCode {
    let options = Options::parse();
    let ended = match options.node {
        true => block_on(node::child()),
        false => soak(&options),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("soak: {error}");
            ExitCode::FAILURE
        }
    }
}

fn soak(options: &Options) -> Outcome {
    let (seed, work) = (options.seed, Duration::from_secs(options.seconds));
    // What is made once and kept is made before anything is counted.
    let warm = Instant::now() + Duration::from_secs(1);
    block_on(load::run(warm, seed))?;
    block_on(node::run(warm + Duration::from_secs(1), seed))?;
    let before = Resources::settled(None, GONE)?;
    let until = Instant::now() + work;
    let samples = Samples::begin();
    let (load, node) = std::thread::scope(|scope| {
        let load = scope.spawn(|| block_on(load::run(until, seed)));
        let node = scope.spawn(|| block_on(node::run(until, seed)));
        (load.join(), node.join())
    });
    let memory = samples.end();
    let lost = "a thread of the soak itself panicked";
    println!("{}", load.map_err(|_| lost)??);
    println!("{}", node.map_err(|_| lost)??);
    let after = Resources::settled(Some(before), GONE)?;
    println!("before: {before}; after: {after}");
    grown(&memory, work)
}

/// Compares the second quarter's memory with the last's.
fn grown(samples: &[u64], work: Duration) -> Outcome {
    let quarter = samples.len() / 4;
    let median = |part: &[u64]| {
        let mut part = part.to_vec();
        part.sort_unstable();
        part.get(part.len() / 2).copied().unwrap_or(0)
    };
    let (second, last) = (
        median(&samples[quarter..2 * quarter]),
        median(&samples[3 * quarter..]),
    );
    let ratio = last as f64 / second.max(1) as f64;
    println!("resident: {second} KiB in the second quarter, {last} KiB in the last, {ratio:.3}");
    if work / 4 >= LEAST && ratio > GROWTH {
        return Err(format!("memory grows: {ratio:.3}, at most {GROWTH} is allowed").into());
    }
    Ok(())
}

fn block_on<T>(future: impl Future<Output = Outcome<T>>) -> Outcome<T> {
    let runtime = tokio::runtime::Builder::new_current_thread();
    { runtime }.enable_all().build()?.block_on(future)
}
