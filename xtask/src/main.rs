//! The project's own commands; `cargo xtask --help` lists them.

#![forbid(unsafe_code)]

use std::process::ExitCode;

use clap::{Parser, Subcommand};

mod asan;
mod callgrind;
mod ci;
mod coverage;
mod decoders;
mod deep;
mod fuzz;
mod hostile;
mod interop;
mod loom;
mod mishaps_cost;
mod mutants;
mod mutation;
mod replay;
mod riscv;
mod run;
mod simulate;
mod soak;
mod source;
mod tidy;
mod tsan;
mod verbs;

/// What a command ends with: nothing, or a sentence that says what is wrong.
type Outcome = Result<(), String>;

#[derive(Parser)]
#[command(name = "cargo xtask", about = "The project's own commands")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Every check that gates a change; stops at the first failing lane
    Ci {
        /// Only fmt, clippy, tests and tidy
        #[arg(long)]
        quick: bool,
    },
    /// The same without `cargo test --workspace`, which `.ci/run` calls itself
    Lanes,
    /// Rules about the sources that the compiler does not know
    Tidy,
    /// Explore the interleavings of every crate that has `tests/loom.rs`
    Loom {
        /// Three preemptions per execution instead of two
        #[arg(long)]
        full: bool,
        /// Check that each known mistake is caught by the model named for it
        #[arg(long, conflicts_with = "full")]
        mutants: bool,
    },
    /// Mistakes that cargo-mutants makes in a crate, one at a time: which do its tests see?
    Mutation {
        /// sync-event, dpa-model or rdma
        krate: String,
        /// Only part K of N, from 0: `0/4`
        #[arg(long, value_name = "K/N")]
        shard: Option<String>,
        /// Only in lines that changed since this revision
        #[arg(long, value_name = "REVISION")]
        since: Option<String>,
        /// How many at the same time
        #[arg(long, default_value_t = 1)]
        jobs: usize,
    },
    /// Compile the device crates for the device's instruction set
    Riscv,
    /// The tests of the concurrent crates under ThreadSanitizer
    Tsan,
    /// Tests that drop, cancel, fault and attack, under AddressSanitizer
    Asan,
    /// A process beside one that attacks, and a verified ping-pong under hostile packets
    Hostile {
        /// For how many seconds packets come
        #[arg(long, default_value_t = 10)]
        seconds: u64,
    },
    /// Programs of others (tshark, scapy) read what our NICs send
    Decoders,
    /// Hostile packets and blobs for our NIC, for a time
    Fuzz {
        /// For how many seconds
        #[arg(long, default_value_t = fuzz::SECONDS)]
        seconds: u64,
        /// The first seed
        #[arg(long, default_value_t = 0)]
        start: u64,
        /// The targets of `fuzz/` instead, each for so long: guided by coverage, under AddressSanitizer
        #[arg(long, conflicts_with = "start")]
        coverage: bool,
    },
    /// Our NIC opposite the kernel's soft-RoCE driver, in a small virtual machine
    Interop {
        /// Write the table into `docs/interop.md`
        #[arg(long)]
        keep: bool,
    },
    /// Instructions of the `chain` bench, with the code of fault injection and without
    MishapsCost,
    /// Whole systems under the seeded driver: what nodes do and what goes wrong, each seed another way
    Simulate {
        /// How many seeds
        #[arg(long, default_value_t = simulate::SEEDS)]
        seeds: u64,
        /// The first seed
        #[arg(long, default_value_t = 0)]
        start: u64,
    },
    /// Work, faults, kills and lost packets for a time; then everything is back
    Soak {
        /// For how many minutes
        #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..=1440))]
        minutes: u64,
    },
    /// The programs over verbs, on soft-RoCE devices in a small virtual machine
    Verbs {
        /// Only these parts of `xtask/src/verbs/inside.sh`; or without a machine, over a device that is not there: `here`
        /// tests, `cost` counts instructions
        parts: Vec<String>,
        /// Another kernel: a package or its file
        #[arg(long)]
        kernel: Option<String>,
    },
    /// Run one seeded test again with the seed that failed
    Replay {
        /// The test's name, or a part of it
        test: String,
        /// The seed the failing test printed
        #[arg(long)]
        seed: u64,
    },
    /// Many seeds of whole systems, seeded and property tests with many seeds, then `loom --full`
    Deep {
        /// Stop after this many minutes; what has not failed by then counts as passed
        #[arg(long, value_parser = clap::value_parser!(u64).range(1..=1440))]
        minutes: Option<u64>,
    },
}

fn main() -> ExitCode {
    match run(Arguments::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("xtask: {message}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Outcome {
    match command {
        Command::Ci { quick } => ci::run(if quick { ci::QUICK } else { ci::ALL }),
        Command::Lanes => ci::run(&ci::without_tests()),
        Command::Tidy => tidy::run(),
        Command::Loom { mutants: true, .. } => mutants::run(),
        Command::Loom { full, .. } => loom::run(full),
        Command::Mutation {
            krate,
            shard,
            since,
            jobs,
        } => mutation::run(&krate, &mutation::Options { shard, since, jobs }),
        Command::Riscv => riscv::run(),
        Command::Tsan => tsan::run(),
        Command::Decoders => decoders::run(),
        Command::Asan => asan::run(),
        Command::Hostile { seconds } => hostile::run(seconds),
        Command::Fuzz {
            seconds,
            coverage: true,
            ..
        } => coverage::run(seconds),
        Command::Fuzz { seconds, start, .. } => fuzz::run(seconds, start),
        Command::Verbs { parts, kernel } => verbs::run(&parts, kernel.as_deref()),
        Command::MishapsCost => mishaps_cost::run(),
        Command::Interop { keep } => interop::run(keep),
        Command::Simulate { seeds, start } => simulate::run(simulate::Until::Seeds(seeds), start),
        Command::Soak { minutes } => soak::run(minutes),
        Command::Replay { test, seed } => replay::run(&test, seed),
        Command::Deep { minutes } => deep::run(minutes),
    }
}
