//! A DPA thread that is started by completions: it copies a buffer of the host block by block, and holds no execution unit
//! while a block is under way.
#![forbid(unsafe_code)]

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use doca_dpa::rdma::{HostBuffer, MapError, RdmaOpenError, Returned};
use doca_dpa::{Dpa, Error, SyncEvent, ThreadError};
use examples::program;
use examples::say;
use examples_kernels::{CopyBlocksArgs, copy_blocks};
use thiserror::Error as ThisError;

/// Copies a host buffer to device memory, block by block, by a thread that is started by the completion of each block.
#[derive(Debug, Parser)]
#[command(version)]
struct Options {
    /// KiB to copy: 1 to 65536.
    #[arg(long, default_value_t = 4096, allow_negative_numbers = true, value_parser = clap::value_parser!(u32).range(1..=65536))]
    kib: u32,
    /// Bytes of a block: 64 to 1048576.
    #[arg(long, default_value_t = 16384, allow_negative_numbers = true, value_parser = clap::value_parser!(u32).range(64..=1 << 20))]
    block: u32,
}

#[derive(Debug, ThisError)]
enum HandlerError {
    #[error(transparent)]
    Dpa(#[from] Error),
    #[error(transparent)]
    Thread(#[from] ThreadError),
    #[error(transparent)]
    Queue(#[from] RdmaOpenError),
    #[error(transparent)]
    Map(#[from] MapError),
    #[error("block {block} is not what was copied")]
    Wrong { block: usize },
}

fn main() -> ExitCode {
    let options = Options::parse();
    program::run("event-handler", async {
        program::end("event-handler", run(&options).await)
    })
}

async fn run(options: &Options) -> Result<(), HandlerError> {
    let dpa = Dpa::open()?;
    let bytes: Vec<u8> = (0..options.kib << 10)
        .map(|i| (i * 31 + (i >> 12)) as u8)
        .collect();
    let blocks = bytes.len().div_ceil(options.block as usize) as u64;
    let to = dpa.zeroed::<u8>(bytes.len()).await.map_err(Error::from)?;
    let counts = dpa.zeroed::<u64>(2).await.map_err(Error::from)?;
    let progress = SyncEvent::device_to_host(&dpa)?;
    let ops = dpa.async_ops().open()?;
    let source = ops.map_host(HostBuffer::from_bytes(&bytes));
    let source = source.map_err(Returned::into_error)?;
    let target = ops.map(&to)?;
    let args = CopyBlocksArgs {
        ops: &ops,
        done: ops.completions(),
        from: source.map(),
        to: &target,
        block: options.block,
        progress: &progress,
    };
    let thread = dpa.thread(copy_blocks, args).storage(&counts).start()?;
    thread.attach_to(ops.completions())?;
    thread.run()?;
    let begin = dpa.now();
    // The first start; the completions do the rest.
    thread.notify();
    let all = progress.ge(blocks).timeout(Duration::from_secs(60));
    all.await.map_err(Error::from)?;
    let took = dpa.now() - begin;
    let found = to.copy_out().await.map_err(Error::from)?;
    let block = options.block as usize;
    if let Some(block) = found
        .chunks(block)
        .zip(bytes.chunks(block))
        .position(|(a, b)| a != b)
    {
        return Err(HandlerError::Wrong { block });
    }
    let starts = thread.activations();
    say!("blocks: {blocks}; the thread was started {starts} times, in {took:.1?}");
    say!("verified");
    Ok(())
}
