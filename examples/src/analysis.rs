//! The device's part of `pipeline`: three kernels for each portion, chained by one event.
//!
//! ```text
//! host         func1              func2        func3         host
//! copies in -> digest_blocks ---> cumulate --> join_crcs --> the next portion
//!        chain = 4n + 1        + 2          + 3           + 4
//! ```
//!
//! The event's value says how far the portion has come. The host adds 1 when the portion is there, each kernel adds 1
//! when all its threads have returned, and each waits for the one before it.

use doca_dpa::{DeviceBuffer, Dpa, Error, Location, SyncEvent};
use examples_kernels::{
    CumulateArgs, DigestBlocksArgs, JoinCrcsArgs, Piece, cumulate, digest_blocks, join_crcs,
};

use crate::portions::PORTION;

/// Bytes in a block, whose CRC one thread computes.
const BLOCK: usize = 16 << 10;
/// Threads of func1.
const DIGESTERS: u32 = 128;
/// Threads of func2 and func3.
const JOINERS: u32 = 16;
/// Steps of the event for each portion.
const STEPS: u64 = 4;

/// What is found in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Findings {
    /// Its length.
    pub bytes: u64,
    /// CRC-32 of it.
    pub crc: u32,
    /// How often each byte value occurs.
    pub counts: Vec<u64>,
    /// How many bytes have at most each value.
    pub sums: Vec<u64>,
}

/// An analysis on its way: the event that chains the kernels, and their memory.
#[derive(Debug)]
pub struct Analysis {
    dpa: Dpa,
    chain: SyncEvent,
    data: DeviceBuffer<u8>,
    counts: DeviceBuffer<u64>,
    sums: DeviceBuffer<u64>,
    shares: DeviceBuffer<u64>,
    crcs: DeviceBuffer<u32>,
    pieces: DeviceBuffer<Piece>,
    file: DeviceBuffer<Piece>,
    portions: u64,
}

impl Analysis {
    /// Allocates what the kernels need.
    ///
    /// # Errors
    /// No room for the event or the memory.
    pub async fn new(dpa: &Dpa) -> Result<Self, Error> {
        let everyone = Location::Host | Location::Device;
        let most = dpa.max_threads_per_kernel() as usize;
        Ok(Self {
            dpa: dpa.clone(),
            chain: SyncEvent::builder(dpa)
                .publisher(everyone)
                .subscriber(everyone)
                .create()?,
            data: dpa.zeroed(PORTION).await?,
            counts: dpa.zeroed(256).await?,
            sums: dpa.zeroed(256).await?,
            shares: dpa.zeroed(most).await?,
            crcs: dpa.zeroed(PORTION / BLOCK).await?,
            pieces: dpa.zeroed(most).await?,
            file: dpa.zeroed(1).await?,
            portions: 0,
        })
    }

    fn threads(&self, wanted: u32) -> u32 {
        wanted.min(self.dpa.max_threads_per_kernel())
    }

    /// Hands a portion over: copies it in, launches the three kernels, and lets the first of them start. Does not wait
    /// for them.
    ///
    /// # Errors
    /// The portion before is not done, or the device has faulted.
    pub async fn begin(&mut self, portion: &[u8]) -> Result<(), Error> {
        let done = self.portions * STEPS;
        self.launch(portion.len() as u64, done)?;
        self.data.write(0, portion).await?;
        self.chain.add(1)?;
        self.portions += 1;
        Ok(())
    }

    /// The three kernels for one portion, each parked at the chain's event until its turn comes.
    fn launch(&self, len: u64, done: u64) -> Result<(), Error> {
        let block = BLOCK as u32;
        self.dpa
            .launch(digest_blocks)
            .args(DigestBlocksArgs {
                data: &self.data,
                len,
                block,
                counts: &self.counts,
                crcs: &self.crcs,
            })
            .threads(self.threads(DIGESTERS))
            .wait_for(self.chain.ge(done + 1))
            .then_add(&self.chain, 1)
            .submit()?;
        self.dpa
            .launch(cumulate)
            .args(CumulateArgs {
                counts: &self.counts,
                sums: &self.sums,
                shares: &self.shares,
            })
            .threads(self.threads(JOINERS))
            .wait_for(self.chain.ge(done + 2))
            .then_add(&self.chain, 1)
            .submit()?;
        self.dpa
            .launch(join_crcs)
            .args(JoinCrcsArgs {
                crcs: &self.crcs,
                len,
                block,
                pieces: &self.pieces,
                file: &self.file,
            })
            .threads(self.threads(JOINERS))
            .wait_for(self.chain.ge(done + 3))
            .then_add(&self.chain, 1)
            .submit()?;
        Ok(())
    }

    /// Waits until every portion that was handed over is done.
    ///
    /// # Errors
    /// The device has faulted.
    pub async fn done(&self) -> Result<(), Error> {
        self.chain.ge(self.portions * STEPS).await?;
        Ok(())
    }

    /// Waits, and takes the results out of device memory.
    ///
    /// # Errors
    /// The device has faulted.
    pub async fn findings(self) -> Result<Findings, Error> {
        self.done().await?;
        let file = self.file.copy_out().await?;
        let file = file.first().copied().unwrap_or_default();
        Ok(Findings {
            bytes: file.len,
            crc: file.crc,
            counts: self.counts.copy_out().await?,
            sums: self.sums.copy_out().await?,
        })
    }
}
