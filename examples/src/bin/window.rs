//! A kernel overwrites memory of the host, where it is: through a window.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use clap::Parser;
use doca_dpa::rdma::{HostBuffer, Returned};
use doca_dpa::{Dpa, Error, WindowError};
use examples::program;
use examples::say;
use examples_kernels::{ScrambleArgs, scramble};
use thiserror::Error as ThisError;

/// Lets a kernel overwrite a buffer of the host, checks every word of it, and lets it write the old words back.
#[derive(Debug, Parser)]
#[command(version)]
struct Options {
    /// KiB of host memory: 1 to 65536.
    #[arg(long, default_value_t = 1024, allow_negative_numbers = true, value_parser = clap::value_parser!(u32).range(1..=65536))]
    kib: u32,
    /// Threads of the kernel: 1 to 128.
    #[arg(long, default_value_t = 16, allow_negative_numbers = true, value_parser = clap::value_parser!(u32).range(1..=128))]
    threads: u32,
    /// What the words are overwritten with: each is XORed with this, 0 to 18446744073709551615, rotated by its place.
    #[arg(long, default_value_t = 0x5eed, allow_negative_numbers = true, value_parser = key)]
    key: u64,
}

fn key(text: &str) -> Result<u64, String> {
    let key = text.parse();
    key.map_err(|_| format!("allowed are whole numbers from 0 to {}", u64::MAX))
}

#[derive(Debug, ThisError)]
enum WindowExampleError {
    #[error(transparent)]
    Dpa(#[from] Error),
    #[error(transparent)]
    Window(#[from] Returned<WindowError>),
    #[error("word {index} is {found:#x}, not {expected:#x}")]
    Wrong {
        index: usize,
        found: u64,
        expected: u64,
    },
}

fn main() -> ExitCode {
    let options = Options::parse();
    program::run("window", async {
        program::end("window", run(&options).await)
    })
}

async fn run(options: &Options) -> Result<(), WindowExampleError> {
    let before: Vec<u64> = (0..u64::from(options.kib) * 128).map(|n| n * n).collect();
    let bytes: Vec<u8> = before.iter().flat_map(|word| word.to_ne_bytes()).collect();

    let dpa = Dpa::open()?;
    let window = dpa.window::<u64>(HostBuffer::from_bytes(&bytes))?;
    let scramble_all = async || {
        let args = ScrambleArgs {
            memory: &window,
            key: options.key,
        };
        let launch = dpa.launch(scramble).args(args).threads(options.threads);
        let launch = launch.submit().map_err(Error::from)?;
        launch.await.map_err(Error::from)
    };

    // No copy: when the launch is over, its stores are in the host's memory.
    scramble_all().await?;
    let key = |index: usize| options.key.rotate_left(index as u32 % 64);
    let scrambled = before.iter().enumerate().map(|(i, word)| word ^ key(i));
    check(window.buffer(), scrambled)?;

    scramble_all().await?;
    check(window.buffer(), before.iter().copied())?;
    say!(
        "{} words of the host, overwritten twice by {} threads\nverified",
        before.len(),
        options.threads
    );
    Ok(())
}

fn check(
    buffer: &HostBuffer,
    expected: impl Iterator<Item = u64>,
) -> Result<(), WindowExampleError> {
    let bytes = buffer.to_vec();
    let found = bytes
        .chunks_exact(8)
        .map(|word| u64::from_ne_bytes(word.try_into().expect("eight bytes")));
    for (index, (found, expected)) in found.zip(expected).enumerate() {
        if found != expected {
            return Err(WindowExampleError::Wrong {
                index,
                found,
                expected,
            });
        }
    }
    Ok(())
}
