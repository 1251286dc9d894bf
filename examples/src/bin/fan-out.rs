//! One event opens many launches at once.
#![forbid(unsafe_code)]

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use clap::builder::RangedI64ValueParser;
use doca_dpa::{DeviceBuffer, Dpa, Error, SyncEvent};
use examples::program;
use examples::say;
use examples_kernels::{FanOutArgs, fan_out};

/// Slots that the launches add to.
const SLOTS: usize = 64;

/// So many launches are parked in one go.
const TURN: u64 = 1 << 10;

/// Parks launches at one event, opens them all with one update, and checks that each ran once.
#[derive(Debug, Parser)]
#[command(version)]
struct Options {
    /// How many launches: 1 to 1000000.
    #[arg(long, default_value_t = 1000, allow_negative_numbers = true, value_parser = RangedI64ValueParser::<u64>::new().range(1..=1_000_000))]
    launches: u64,
}

struct Timing {
    submit: Duration,
    open: Duration,
    run: Duration,
}

fn main() -> ExitCode {
    let launches = Options::parse().launches;
    program::run("fan-out", async { report(launches, run(launches).await) })
}

async fn run(launches: u64) -> Result<(Timing, u64), Error> {
    let dpa = Dpa::open()?;
    let go = SyncEvent::host_to_device(&dpa)?;
    let done = SyncEvent::device_to_host(&dpa)?;
    let slots = dpa.zeroed::<u64>(SLOTS).await?;
    let begin = dpa.now();
    for id in 0..launches {
        park(&dpa, &slots, id, &go, &done)?;
        // Nothing here waits: whoever asks the program to end must have a turn.
        if id % TURN == TURN - 1 {
            tokio::task::yield_now().await;
        }
    }
    let submitted = dpa.now();
    go.add(1)?;
    let opened = dpa.now();
    done.ge(launches).await?;
    let timing = Timing {
        submit: submitted - begin,
        open: opened - submitted,
        run: dpa.now() - opened,
    };
    Ok((timing, slots.copy_out().await?.iter().sum()))
}

fn park(
    dpa: &Dpa,
    slots: &DeviceBuffer<u64>,
    id: u64,
    go: &SyncEvent,
    done: &SyncEvent,
) -> Result<(), Error> {
    dpa.launch(fan_out)
        .args(FanOutArgs { slots, id })
        .wait_for(go.ge(1))
        .then_add(done, 1)
        .submit()?;
    Ok(())
}

fn report(launches: u64, result: Result<(Timing, u64), Error>) -> ExitCode {
    let (timing, sum) = match result {
        Ok(result) => result,
        Err(error) => {
            examples::complain!("fan-out: {error}");
            return ExitCode::FAILURE;
        }
    };
    say!(
        "{launches} launches parked at one event in {:?}",
        timing.submit
    );
    say!("one update opened them in {:?}", timing.open);
    say!("all were over {:?} later", timing.run);
    // Each launch has one thread, of rank 0, and adds its id.
    if sum == launches * (launches - 1) / 2 {
        say!("verified");
        ExitCode::SUCCESS
    } else {
        examples::complain!("fan-out: the sum of all slots is {sum}");
        ExitCode::FAILURE
    }
}
