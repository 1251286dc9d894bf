//! Analyses files on the device: three kernels for each portion, chained by one event, checked against the host.
#![forbid(unsafe_code)]

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;
use doca_dpa::Dpa;
use examples::analysis::{Analysis, Findings};
use examples::portions::{FileError, Portions};
use examples::program;
use examples::reference::Reference;
use examples::say;
use examples::table::Table;
use indicatif::{ProgressBar, ProgressStyle};
use thiserror::Error;

/// From this length on there is a progress bar, in bytes.
const LARGE: u64 = 32 << 20;

/// Byte histogram, prefix sums and CRC-32 of files, by three chained kernels on the device model.
#[derive(Debug, Parser)]
#[command(version)]
struct Options {
    /// The files.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
}

#[derive(Debug, Error)]
enum Failure {
    #[error(transparent)]
    File(#[from] FileError),
    #[error("the device failed: {0}")]
    Device(#[from] doca_dpa::Error),
    #[error("{name}: device and host disagree")]
    Disagree { name: String },
}

fn main() -> ExitCode {
    let options = Options::parse();
    program::run("pipeline", analyse_all(&options.files))
}

/// Every file in turn; one that cannot be read does not keep the others from their turn.
async fn analyse_all(files: &[PathBuf]) -> ExitCode {
    let mut failed = false;
    for path in files {
        if let Err(failure) = analyse(path).await {
            examples::complain!("pipeline: {failure}");
            failed = true;
        }
    }
    if failed {
        return ExitCode::FAILURE;
    }
    say!("verified");
    ExitCode::SUCCESS
}

async fn analyse(path: &Path) -> Result<(), Failure> {
    let mut portions = Portions::open(path).await?;
    let name = path.display().to_string();
    let bar = progress(portions.expected());
    let (found, expected) = run(&mut portions, &bar).await?;
    bar.finish_and_clear();
    examples::output::put(format_args!(
        "{}",
        Table {
            name: &name,
            findings: &found
        }
    ));
    if found == expected {
        Ok(())
    } else {
        Err(Failure::Disagree { name })
    }
}

/// While the device works on a portion, the host reads the next one and does its own sums.
async fn run(portions: &mut Portions, bar: &ProgressBar) -> Result<(Findings, Findings), Failure> {
    let mut next = portions.next().await?;
    let dpa = Dpa::open()?;
    let mut analysis = Analysis::new(&dpa).await?;
    let mut reference = Reference::default();
    while let Some(portion) = next {
        analysis.begin(&portion).await?;
        reference.add(&portion);
        next = portions.next().await?;
        analysis.done().await?;
        bar.inc(portion.len() as u64);
    }
    Ok((analysis.findings().await?, reference.findings()))
}

fn progress(bytes: u64) -> ProgressBar {
    if bytes < LARGE || !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{bar:40} {bytes}/{total_bytes} {bytes_per_sec}");
    ProgressBar::new(bytes).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}
