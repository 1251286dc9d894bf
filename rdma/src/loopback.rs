//! Work between two queue pairs of one NIC: a copy, without packets.
//!
//! Only what cannot fail half-way is done here, and only while nothing else of the queue pair is on its way: a write, a
//! read or an atomic whose keys, ranges and rights are good. Everything else takes the way of packets inside the NIC,
//! which has an answer to all that can go wrong.

use crate::memory::{Atomic, COPY_PIECE, EventUpdate, Memory, Target};
use crate::queue_pair::Io;
use crate::region::{Access, Domain, Intent, Range, RegionKind};
use crate::work::{Data, Operation, RemoteAddress, Segment, WorkError};

/// The two ends.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ends {
    /// Whose work it is.
    pub(crate) ours: Domain,
    /// Whose memory the remote keys are of.
    pub(crate) theirs: Domain,
}

/// Does the work if it can; the word before an atomic, else 0. `None`: nothing was done.
pub(crate) fn perform(operation: &Operation, ends: Ends, io: &Io<'_>) -> Option<u64> {
    match *operation {
        Operation::Write {
            data,
            to,
            immediate: None,
        } => write(&data, to, ends, io),
        Operation::Read { from, into } => read(from, into, ends, io),
        Operation::Atomic {
            at,
            operation,
            result,
        } => atomic(at, operation, result, ends, io),
        Operation::Send { .. } | Operation::Write { .. } => None,
    }
}

fn theirs<'a>(
    at: RemoteAddress,
    len: u32,
    intent: Intent,
    ends: Ends,
    io: &Io<'a>,
) -> Option<Access<'a>> {
    let range = Range {
        address: at.address,
        len: len.into(),
    };
    io.regions.remote(ends.theirs, at.key, range, intent).ok()
}

fn ours<'a>(segment: Segment, intent: Intent, ends: Ends, io: &Io<'a>) -> Option<Access<'a>> {
    let range = Range {
        address: segment.address,
        len: segment.len.into(),
    };
    io.regions.local(ends.ours, segment.key, range, intent).ok()
}

fn write(data: &Data, to: RemoteAddress, ends: Ends, io: &Io<'_>) -> Option<u64> {
    if data.is_empty() {
        // A write of nothing needs no key.
        return Some(0);
    }
    let into = theirs(to, data.len(), Intent::Write, ends, io)?;
    let from = match data {
        Data::Inline(_) => None,
        Data::Local(segment) => Some(ours(*segment, Intent::Read, ends, io)?),
    };
    match (into.kind(), data, from) {
        (RegionKind::Bytes, _, Some(from)) => {
            copy(io.memory, from.target(), into.target(), data.len());
        }
        (RegionKind::Bytes, Data::Inline(inline), _) => {
            io.memory.write(into.target(), inline.bytes());
        }
        (RegionKind::Event, Data::Inline(inline), _) => {
            let value = u64::from_ne_bytes(inline.bytes().try_into().ok()?);
            set(io, into.target(), value)?;
        }
        (RegionKind::Event, _, Some(from)) => {
            let mut value = [0; 8];
            io.memory.read(from.target(), &mut value);
            set(io, into.target(), u64::from_ne_bytes(value))?;
        }
        (_, Data::Local(_), None) => return None,
    }
    Some(0)
}

fn set(io: &Io<'_>, at: Target, value: u64) -> Option<u64> {
    io.memory.event_update(at, EventUpdate::Set(value)).ok()
}

fn read(from: RemoteAddress, into: Segment, ends: Ends, io: &Io<'_>) -> Option<u64> {
    if into.len == 0 {
        return Some(0);
    }
    let from = theirs(from, into.len, Intent::Read, ends, io)?;
    let to = ours(into, Intent::Write, ends, io)?;
    copy(io.memory, from.target(), to.target(), into.len);
    Some(0)
}

fn atomic(
    at: RemoteAddress,
    operation: Atomic,
    result: Option<Segment>,
    ends: Ends,
    io: &Io<'_>,
) -> Option<u64> {
    let access = theirs(at, 8, Intent::Atomic, ends, io)?;
    let result = match result {
        Some(segment) => Some(ours(segment, Intent::Write, ends, io)?),
        None => None,
    };
    let original = match access.kind() {
        RegionKind::Bytes => io.memory.atomic(access.target(), operation),
        RegionKind::Event => {
            let update = EventUpdate::Atomic(operation);
            io.memory.event_update(access.target(), update).ok()?
        }
    };
    if let Some(result) = result {
        io.memory.write(result.target(), &original.to_ne_bytes());
    }
    Some(original)
}

/// Copies from one region to another, both named by local keys, as if through a buffer: they may overlap, also where two
/// regions of one memory do.
///
/// # Errors
/// [`WorkError::LocalProtection`]: a key, a range or a right is wrong, or a region is no memory. Nothing was copied.
pub fn copy_local(
    domain: Domain,
    from: Segment,
    to: Segment,
    io: &Io<'_>,
) -> Result<(), WorkError> {
    if from.len == 0 {
        return Ok(());
    }
    let (read, written) = both(domain, from, to, io)?;
    let (source, target) = (read.target(), written.target());
    // Two names of one memory count its bytes alike. If they are of two, backwards is as good.
    let may_overlap_behind =
        source.offset < target.offset && target.offset < source.offset + u64::from(from.len);
    match may_overlap_behind {
        true => copy_backwards(io.memory, source, target, from.len),
        false => copy(io.memory, source, target, from.len),
    }
    Ok(())
}

/// A matrix, row after row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Bytes of an element.
    pub element: usize,
    /// Elements of a row.
    pub columns: usize,
    /// Rows.
    pub rows: usize,
}

/// Copies a matrix from one region to another, both named by local keys, its rows becoming columns. Where the two overlap
/// the result is any mixture.
///
/// # Errors
/// [`WorkError::LocalProtection`]: a key, a range or a right is wrong, or a region is no memory. [`WorkError::LocalLength`]:
/// the matrix is longer or shorter than the data. Nothing was copied.
pub fn transpose_local(
    domain: Domain,
    from: Segment,
    to: Segment,
    shape: Shape,
    io: &Io<'_>,
) -> Result<(), WorkError> {
    let Shape {
        element,
        columns,
        rows,
    } = shape;
    if element * columns * rows != from.len as usize || element > COPY_PIECE {
        return Err(WorkError::LocalLength);
    }
    if from.len == 0 {
        return Ok(());
    }
    let (read, written) = both(domain, from, to, io)?;
    let (source, target) = (read.target(), written.target());
    let at = |place: Target, index: usize| place.plus((index * element) as u64);
    let mut bytes = [0; COPY_PIECE];
    let bytes = &mut bytes[..element];
    for row in 0..rows {
        for column in 0..columns {
            io.memory.read(at(source, row * columns + column), bytes);
            io.memory.write(at(target, column * rows + row), bytes);
        }
    }
    Ok(())
}

/// Two ranges of memory of this node, of the same length.
fn both<'r>(
    domain: Domain,
    from: Segment,
    to: Segment,
    io: &Io<'r>,
) -> Result<(Access<'r>, Access<'r>), WorkError> {
    let ends = Ends {
        ours: domain,
        theirs: domain,
    };
    let to = Segment {
        len: from.len,
        ..to
    };
    let read = ours(from, Intent::Read, ends, io).ok_or(WorkError::LocalProtection)?;
    let written = ours(to, Intent::Write, ends, io).ok_or(WorkError::LocalProtection)?;
    let kinds = [read.kind(), written.kind()];
    if kinds != [RegionKind::Bytes; 2] {
        return Err(WorkError::LocalProtection);
    }
    Ok((read, written))
}

fn copy_backwards(memory: &dyn Memory, from: Target, to: Target, len: u32) {
    let mut piece = [0; COPY_PIECE];
    let mut left = u64::from(len);
    while left > 0 {
        let bytes = left.min(COPY_PIECE as u64) as usize;
        left -= bytes as u64;
        memory.read(from.plus(left), &mut piece[..bytes]);
        memory.write(to.plus(left), &piece[..bytes]);
    }
}

fn copy(memory: &dyn Memory, from: Target, to: Target, len: u32) {
    const SHORT: usize = 64;
    if len as usize <= SHORT {
        let mut bytes = [0; SHORT];
        let bytes = &mut bytes[..len as usize];
        memory.read(from, bytes);
        memory.write(to, bytes);
        return;
    }
    let mut piece = [0; COPY_PIECE];
    let len = u64::from(len);
    let mut done = 0;
    while done < len {
        let bytes = (len - done).min(COPY_PIECE as u64) as usize;
        memory.read(from.plus(done), &mut piece[..bytes]);
        memory.write(to.plus(done), &piece[..bytes]);
        done += bytes as u64;
    }
}
