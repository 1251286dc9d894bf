//! Analysis of a file in three kernels, chained by one event: func1 -> func2 -> func3.
//!
//! The host copies the file to the device in portions that fit one buffer, and launches for each portion
//!
//! 1. [`digest_blocks`]: many threads count the portion's bytes by value and compute the CRC-32 of its blocks,
//! 2. [`cumulate`]: prefix sums of the counts, so that the host can read off medians and shares,
//! 3. [`join_crcs`]: the blocks' CRCs become that of the file so far.
//!
//! Counts and CRC go on from portion to portion, so a file of any length needs only the memory of one.

use doca_dpa_dev::prelude::*;

use crate::crc;

/// Values a byte can have.
const VALUES: usize = 256;
/// Bytes that a thread takes out of device memory at a time.
const PORTION: usize = 512;

/// A stretch of the file: its CRC-32 and its length in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod)]
pub struct Piece {
    /// CRC-32 of the stretch, 0 if it is empty.
    pub crc: u32,
    /// Bytes.
    pub len: u64,
}

impl Piece {
    /// This piece and the next, as one.
    fn then(self, next: Self) -> Self {
        Self {
            crc: crc::join(self.crc, next.crc, crc::step_over(next.len)),
            len: self.len + next.len,
        }
    }
}

/// func1: adds the bytes of the portion to the counts, and computes the CRC of each block.
///
/// * `data`: the buffer; the portion is its first `len` bytes.
/// * `block`: bytes in a block, at least 1; the last one may be shorter.
/// * `counts`: 256 counts, added to.
/// * `crcs`: one for each block, overwritten.
///
/// Threads take turns with the blocks, and count on their own stack, so that they meet only once, at the end.
#[dpa_kernel]
pub fn digest_blocks(
    thread: &Thread,
    data: DevSlice<u8>,
    len: u64,
    block: u32,
    counts: AtomicSlice<u64>,
    crcs: DevSliceMut<u32>,
) {
    let (portion, block) = (data.part(0, len as usize), block.max(1) as usize);
    let mut own = [0u64; VALUES];
    for number in thread.strided(portion.len().div_ceil(block)) {
        let first = number * block;
        let bytes = portion.part(first, block.min(portion.len() - first));
        crcs.write(number, digest(thread, bytes, &mut own));
    }
    for (value, &count) in own.iter().enumerate().filter(|(_, count)| **count > 0) {
        counts.at(value).add(count);
    }
}

/// The CRC of a block, with its bytes counted.
fn digest(thread: &Thread, block: DevSlice<'_, u8>, counts: &mut [u64; VALUES]) -> u32 {
    let mut buffer = [0u8; PORTION];
    let mut crc = 0;
    for first in (0..block.len()).step_by(PORTION) {
        let bytes = &mut buffer[..PORTION.min(block.len() - first)];
        block.read_into(first, bytes);
        crc = crc::update(crc, bytes);
        bytes.iter().for_each(|&b| counts[usize::from(b)] += 1);
        thread.safe_point();
    }
    crc
}

/// func2: prefix sums. `sums[v]` becomes the number of bytes whose value is at most `v`.
///
/// * `counts`: the counts so far.
/// * `sums`: as many sums, overwritten.
/// * `shares`: one number for each thread, for its use.
///
/// Each thread adds up its share of the counts; when all have (the barrier), each begins with what is before its share.
#[dpa_kernel]
pub fn cumulate(
    thread: &Thread,
    counts: DevSlice<u64>,
    sums: DevSliceMut<u64>,
    shares: DevSliceMut<u64>,
) {
    let mine = thread.chunk(counts.len());
    let rank = thread.rank() as usize;
    shares.write(rank, mine.clone().map(|i| counts.read(i)).sum());
    thread.barrier();
    let mut sum: u64 = (0..rank).map(|i| shares.read(i)).sum();
    for i in mine {
        sum += counts.read(i);
        sums.write(i, sum);
    }
}

/// func3: appends the portion to the file's CRC.
///
/// * `crcs`: those of the blocks, in order, as [`digest_blocks`] left them.
/// * `len`, `block`: as there.
/// * `pieces`: one for each thread, for its use.
/// * `file`: one piece, the file so far; the portion is appended.
///
/// Each thread joins a contiguous run of blocks; then the first one joins the runs.
#[dpa_kernel]
pub fn join_crcs(
    thread: &Thread,
    crcs: DevSlice<u32>,
    len: u64,
    block: u32,
    pieces: DevSliceMut<Piece>,
    file: DevSliceMut<Piece>,
) {
    pieces.write(
        thread.rank() as usize,
        own_piece(thread, crcs, len, block.max(1).into()),
    );
    thread.barrier();
    if thread.rank() == 0 {
        let runs = (0..thread.threads() as usize).map(|rank| pieces.read(rank));
        file.write(0, runs.fold(file.read(0), Piece::then));
    }
}

/// This thread's run of blocks, joined.
fn own_piece(thread: &Thread, crcs: DevSlice<'_, u32>, len: u64, block: u64) -> Piece {
    let step = crc::step_over(block);
    let mut piece = Piece::default();
    for number in thread.chunk(len.div_ceil(block) as usize) {
        let next = Piece {
            crc: crcs.read(number),
            len: block.min(len - number as u64 * block),
        };
        piece = if next.len == block {
            Piece {
                crc: crc::join(piece.crc, next.crc, step),
                len: piece.len + block,
            }
        } else {
            piece.then(next)
        };
        thread.safe_point();
    }
    piece
}
