//! The product of two matrices: a job of a command queue for each of its cells.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use clap::Parser;
use doca_dpa::{CommandError, Dpa, Error};
use examples::program;
use examples::say;
use examples_kernels::matrix::{CELLS, SIDE};
use examples_kernels::{MultiplyCellArgs, multiply_cell};
use thiserror::Error as ThisError;

/// Multiplies two matrices of 5 x 5 numbers, each cell by a job of its own, and checks the product.
#[derive(Debug, Parser)]
#[command(version)]
struct Options {
    /// How many workers run jobs at a time: 1 to 190.
    #[arg(long, default_value_t = 4, allow_negative_numbers = true, value_parser = clap::value_parser!(u32).range(1..=190))]
    workers: u32,
    /// From which the numbers are made.
    #[arg(long, default_value_t = 1, allow_negative_numbers = true)]
    seed: i64,
}

#[derive(Debug, ThisError)]
enum MatrixError {
    #[error(transparent)]
    Dpa(#[from] Error),
    #[error(transparent)]
    Queue(#[from] CommandError),
    #[error("cell {index} of the product is {found}, not {expected}")]
    Wrong {
        index: usize,
        found: i64,
        expected: i64,
    },
}

fn main() -> ExitCode {
    let options = Options::parse();
    program::run("matrix", async {
        program::end("matrix", run(&options).await)
    })
}

async fn run(options: &Options) -> Result<(), MatrixError> {
    let dpa = Dpa::open()?;
    let matrix = |number: i64| -> Vec<i64> {
        let factor = options.seed % 19;
        let cell = |i: i64| (i * 7 + factor * (number + 3)) % 19 - 9;
        (0..CELLS as i64).map(cell).collect()
    };
    let (a, b) = (matrix(1), matrix(2));
    let all = [a.clone(), b.clone(), vec![0; CELLS]].concat();
    let all = dpa.copy_in(&all).await.map_err(Error::from)?;
    let queue = dpa.command_queue().workers(options.workers).open()?;
    for index in 0..CELLS as u64 {
        let at = all.addr();
        queue.add(multiply_cell, MultiplyCellArgs { at, index })?;
    }
    // Nothing has run yet: the queue is filled first, then let go.
    queue.run();
    queue.idle().await?;
    let product = all.copy_out().await.map_err(Error::from)?[2 * CELLS..].to_vec();
    for row in product.chunks(SIDE) {
        say!(
            "{}",
            row.iter().map(|n| format!("{n:>6}")).collect::<String>()
        );
    }
    check(&a, &b, &product)?;
    say!(
        "{} jobs, {} workers\nverified",
        queue.done(),
        options.workers
    );
    Ok(())
}

fn check(a: &[i64], b: &[i64], product: &[i64]) -> Result<(), MatrixError> {
    for (index, &found) in product.iter().enumerate() {
        let (row, column) = (index / SIDE, index % SIDE);
        let expected = (0..SIDE)
            .map(|k| a[row * SIDE + k] * b[k * SIDE + column])
            .sum();
        if found != expected {
            return Err(MatrixError::Wrong {
                index,
                found,
                expected,
            });
        }
    }
    Ok(())
}
