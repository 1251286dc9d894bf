//! A process that works, verified, beside one that attacks: what it reaches, against what it reaches beside a plain thread that
//! burns one core.
//!
//! One device with two workers and two functions, half of the execution units each. The victim is opened on the one, the
//! attacker on the other. Each attack is run beside a slice of the victim's work, in turns with a slice beside the plain
//! thread; what counts is the median of each.
#![forbid(unsafe_code)]

mod attack;
mod victim;

use std::error::Error;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use attack::Attack;
use clap::Parser;
use doca_dpa::{Dpa, FunctionKind, FunctionSpec, PartitionSpec};
use victim::Victim;

type Outcome<T = ()> = Result<T, Box<dyn Error + Send + Sync>>;

/// What the victim must reach of what it reaches beside a plain thread.
const SHARE: f64 = 0.8;

#[derive(Debug, Parser)]
#[command(about = "A process that works beside one that attacks")]
struct Options {
    /// Slices of each attack.
    #[arg(long, default_value_t = 5)]
    slices: usize,
    /// How long a slice is, in milliseconds.
    #[arg(long, default_value_t = 500)]
    milliseconds: u64,
    /// Only this attack.
    #[arg(long, value_enum)]
    attack: Option<Attack>,
    /// The seed of what the attacker guesses.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Fails if the victim's throughput beside an attack is below 0.8 of that beside a plain thread.
    #[arg(long)]
    check: bool,
}

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("hostile-kernel: {error}");
            ExitCode::FAILURE
        }
    }
}

fn function(name: &str, kind: FunctionKind, units: &str) -> Outcome<FunctionSpec> {
    Ok(FunctionSpec {
        name: name.into(),
        kind,
        address: None,
        partition: Some(PartitionSpec {
            units: units.parse()?,
            groups: Vec::new(),
        }),
    })
}

fn run(options: &Options) -> Outcome {
    let functions = [
        function("pf0", FunctionKind::Physical, "0-94")?,
        function("vf0", FunctionKind::Virtual, "95-189")?,
    ];
    let dpa = Dpa::builder().workers(2).functions(functions).open()?;
    let mut victim = Victim::new(&dpa)?;
    let slice = Duration::from_millis(options.milliseconds);
    victim.work(slice)?;
    println!(
        "victim: pf0, 95 units; attacker: vf0, 95 units; 2 workers; kernel launches a second, each verified"
    );
    println!(
        "{:<12} {:>12} {:>14} {:>7}",
        "attack", "beside it", "beside a thread", "ratio"
    );
    let mut worst = f64::INFINITY;
    for attack in Attack::all().filter(|each| options.attack.is_none_or(|one| one == *each)) {
        let (mut plain, mut beside) = (Vec::new(), Vec::new());
        for turn in 0..options.slices {
            let seed = options.seed + turn as u64;
            plain.push(beside_a_thread(&mut victim, slice)?);
            beside.push(beside_an_attack(&dpa, &mut victim, attack, seed, slice)?);
        }
        let (plain, beside) = (median(plain), median(beside));
        let ratio = beside / plain;
        println!(
            "{:<12} {beside:>12.0} {plain:>14.0} {ratio:>7.2}",
            attack.name()
        );
        worst = worst.min(ratio);
    }
    if options.check && worst < SHARE {
        return Err(format!("a ratio of {worst:.2}, at least {SHARE} must be reached").into());
    }
    Ok(())
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

/// What the victim does in a second while a thread of the operating system burns a core.
fn beside_a_thread(victim: &mut Victim, slice: Duration) -> Outcome<f64> {
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                std::hint::spin_loop();
            }
        });
        let reached = victim.work(slice);
        over.store(true, Ordering::Relaxed);
        reached
    })
}

/// The same while the attacker attacks.
fn beside_an_attack(
    dpa: &Dpa,
    victim: &mut Victim,
    attack: Attack,
    seed: u64,
    slice: Duration,
) -> Outcome<f64> {
    let over = AtomicBool::new(false);
    let (reached, attacked) = std::thread::scope(|scope| {
        let attacking = scope.spawn(|| attack::run(dpa, attack, seed, &over));
        let reached = victim.work(slice);
        over.store(true, Ordering::Relaxed);
        (reached, attacking.join())
    });
    attacked.map_err(|_| "the attacker's thread panicked")??;
    reached
}
