//! The smallest program: four threads of one kernel say hello through the host's log.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use clap::Parser;
use doca_dpa::{Dpa, Error};
use examples::program;
use examples::say;

/// Launches four threads that say hello through the host's log.
#[derive(Debug, Parser)]
#[command(version)]
struct Options {}

fn main() -> ExitCode {
    let Options {} = Options::parse();
    // That nobody reads the log any more is no reason to complain.
    tracing_subscriber::fmt()
        .without_time()
        .with_ansi(false)
        .log_internal_errors(false)
        .init();
    program::run("hello", async { program::end("hello", run().await) })
}

async fn run() -> Result<(), Error> {
    let dpa = Dpa::open()?;
    dpa.launch(examples_kernels::hello)
        .threads(4)
        .submit()?
        .await?;
    say!("all four have returned");
    Ok(())
}
