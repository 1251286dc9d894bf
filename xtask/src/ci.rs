//! `ci` and `lanes`: every check in turn, and a table at the end.

use std::time::{Duration, Instant};

use crate::run::{cargo, check, skip, succeeds};
use crate::{
    Outcome, coverage, decoders, fuzz, interop, loom, mutants, riscv, simulate, tidy, tsan,
};

/// A check with its name.
pub type Lane = (&'static str, fn() -> Outcome);

const FMT: Lane = ("fmt", || check(cargo().args(["fmt", "--all", "--check"])));
const CLIPPY: Lane = ("clippy", clippy);
const DOC: Lane = ("doc", doc);
const TEST: Lane = ("test", || check(cargo().args(["test", "--workspace"])));
const TIDY: Lane = ("tidy", tidy::run);
const LOOM: Lane = ("loom", || loom::run(false));
const MUTANTS: Lane = ("loom --mutants", mutants::run);
const RISCV: Lane = ("riscv", riscv::run);
const TSAN: Lane = ("tsan", tsan::run);
const DECODERS: Lane = ("decoders", decoders::run);
const FUZZ: Lane = ("fuzz", || fuzz::run(fuzz::SECONDS, 0));
const FUZZ_TARGETS: Lane = ("fuzz targets", coverage::lint);
const SIMULATE: Lane = ("simulate", || {
    simulate::run(simulate::Until::Seeds(simulate::SEEDS), 0)
});
const INTEROP: Lane = ("interop", || interop::run(false));
const DENY: Lane = ("deny", deny);

/// What `ci` runs.
pub const ALL: &[Lane] = &[
    FMT,
    CLIPPY,
    FUZZ_TARGETS,
    DOC,
    TEST,
    TIDY,
    DECODERS,
    FUZZ,
    SIMULATE,
    INTEROP,
    LOOM,
    MUTANTS,
    RISCV,
    TSAN,
    DENY,
];
/// What `ci --quick` runs.
pub const QUICK: &[Lane] = &[FMT, TIDY, CLIPPY, TEST];
/// What `lanes` runs: all but the tests.
pub fn without_tests() -> Vec<Lane> {
    let others = ALL.iter().filter(|(name, _)| *name != TEST.0);
    others.copied().collect()
}

/// Runs the lanes up to the first that fails, then prints the table.
pub fn run(lanes: &[Lane]) -> Outcome {
    let mut rows = Vec::new();
    let mut failure = Ok(());
    for (name, lane) in lanes {
        println!("== {name}");
        let (outcome, took) = timed(*lane);
        rows.push((*name, if outcome.is_ok() { "ok" } else { "FAILED" }, took));
        if let Err(message) = outcome {
            failure = Err(format!("lane {name}: {message}"));
            break;
        }
    }
    rows.extend(
        lanes[rows.len()..]
            .iter()
            .map(|(name, _)| (*name, "not run", Duration::ZERO)),
    );
    print_table(&rows);
    failure
}

fn timed(lane: fn() -> Outcome) -> (Outcome, Duration) {
    let start = Instant::now();
    (lane(), start.elapsed())
}

fn print_table(rows: &[(&str, &str, Duration)]) {
    println!("\n{:<16} {:<8} {:>8}", "lane", "result", "seconds");
    for (name, result, took) in rows {
        println!("{name:<16} {result:<8} {:>8.1}", took.as_secs_f64());
    }
}

fn clippy() -> Outcome {
    check(cargo().args([
        "clippy",
        "--workspace",
        "--all-targets",
        "--",
        "-D",
        "warnings",
    ]))
}

fn doc() -> Outcome {
    check(
        cargo()
            .args(["doc", "--workspace", "--no-deps"])
            .env("RUSTDOCFLAGS", "-D warnings"),
    )
}

fn deny() -> Outcome {
    if !succeeds(cargo().args(["deny", "--version"])) {
        return skip("deny", "cargo-deny is not installed");
    }
    check(cargo().args(["deny", "check"]))
}
