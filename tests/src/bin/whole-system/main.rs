//! Simulates whole systems: nodes with their contexts, NICs and kernels in one virtual network, at one seed after the other.
//! Each seed chooses what the nodes do, what goes wrong, and every step of both.
//!
//! At the end a table says which rules of `docs/semantics.md` were seen to hold and which mishaps struck. One that should
//! have been and was not is a failure, like anything that came out wrong.

mod cluster;
mod coverage;
mod dice;
mod work;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use clap::Parser;
use cluster::CHOICES;
use coverage::Coverage;

#[derive(Debug, Parser)]
#[command(about = "Whole systems under the seeded driver")]
struct Options {
    /// How many seeds.
    #[arg(long, default_value_t = 2000)]
    seeds: u64,
    /// The first of them.
    #[arg(long, default_value_t = 0)]
    start: u64,
    /// As many seeds as fit into so many seconds, instead of `--seeds`.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=MOST_SECONDS))]
    seconds: Option<u64>,
    /// Prints what happens in the run of one seed; with `--seeds 1`.
    #[arg(long)]
    story: bool,
}

/// A day.
const MOST_SECONDS: u64 = 24 * 3600;
/// Seeds that must come to everything. What fewer have not come to is only said.
const ENOUGH: u64 = 1000;

/// What all threads have done.
#[derive(Debug, Default)]
struct Total {
    coverage: Mutex<Coverage>,
    next: AtomicU64,
    done: AtomicU64,
    choices: AtomicU64,
    fewest: Mutex<Option<u64>>,
    failed: AtomicBool,
}

fn main() -> ExitCode {
    let options = Options::parse();
    let total = Total::default();
    let began = Instant::now();
    let until = options.seconds.map(|s| began + Duration::from_secs(s));
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| run(&options, &total, until));
        }
    });
    report(&options, &total, began.elapsed())
}

/// Runs seeds until there are enough, time is over, or one fails.
fn run(options: &Options, total: &Total, until: Option<Instant>) {
    loop {
        let n = total.next.fetch_add(1, Ordering::Relaxed);
        let over = match until {
            Some(until) => Instant::now() >= until,
            None => n >= options.seeds,
        };
        if over || total.failed.load(Ordering::Relaxed) {
            return;
        }
        let seed = options.start.wrapping_add(n);
        let ran = catch_unwind(AssertUnwindSafe(|| cluster::run(seed, options.story)));
        match ran {
            Ok((coverage, choices)) => total.add(&coverage, choices),
            Err(_) => {
                total.failed.store(true, Ordering::Relaxed);
                let command = "cargo run -p tests --bin whole-system --";
                eprintln!("replay: {command} --seeds 1 --start {seed} --story");
            }
        }
    }
}

impl Total {
    fn add(&self, coverage: &Coverage, choices: u64) {
        let lock = "no thread panics with it";
        self.coverage.lock().expect(lock).add(coverage);
        self.done.fetch_add(1, Ordering::Relaxed);
        self.choices.fetch_add(choices, Ordering::Relaxed);
        let mut fewest = self.fewest.lock().expect(lock);
        *fewest = Some(fewest.map_or(choices, |fewest| fewest.min(choices)));
    }
}

fn report(options: &Options, total: &Total, took: Duration) -> ExitCode {
    let seeds = total.done.load(Ordering::Relaxed);
    let coverage = total.coverage.lock().expect("all threads have ended");
    let missing = coverage.table();
    let fewest = { *total.fewest.lock().expect("all threads have ended") }.unwrap_or(0);
    println!(
        "\n{seeds} seeds from {} on in {:.1} s, {} choices each at least, {} on average",
        options.start,
        took.as_secs_f64(),
        fewest,
        total.choices.load(Ordering::Relaxed) / seeds.max(1),
    );
    if total.failed.load(Ordering::Relaxed) {
        return ExitCode::FAILURE;
    }
    if seeds == 0 {
        eprintln!("whole-system: no seed was run");
        return ExitCode::FAILURE;
    }
    if fewest < CHOICES {
        eprintln!("whole-system: a seed made fewer than {CHOICES} choices");
        return ExitCode::FAILURE;
    }
    if missing.is_empty() {
        return ExitCode::SUCCESS;
    }
    eprintln!("never seen: {}", missing.join(", "));
    match seeds {
        ENOUGH.. => ExitCode::FAILURE,
        _ => ExitCode::SUCCESS,
    }
}
