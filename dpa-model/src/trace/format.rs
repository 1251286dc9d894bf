//! The format of trace files, version 1, and its reader.
//!
//! All numbers are little-endian. A file is a header of 16 bytes and records, one behind the other:
//!
//! ```text
//! header   0  8  the characters DPATRACE
//!          8  2  version, 1
//!         10  2  bytes of a record, 64; a later version may append fields, which readers pass over
//!         12  4  zero
//!
//! record   0  8  device time in nanoseconds
//!          8  8  launch
//!         16  4  rank
//!         20  4  records lost before this one (at most 2^32 - 1 are told)
//!         24 40  five numbers
//! ```
//!
//! A record with launch 2^64 - 1 is no record: it says how many were lost at the end.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;
use std::time::Duration;

use thiserror::Error;

/// What a file begins with.
pub const MAGIC: [u8; 8] = *b"DPATRACE";
/// The version that is written, and the latest that is read.
pub const VERSION: u16 = 1;
/// Bytes of a header.
pub const HEADER_BYTES: usize = 16;
/// Bytes of a record.
pub const RECORD_BYTES: usize = 64;

const NO_RECORD: u64 = u64::MAX;

/// The header of the files that are written.
pub(crate) const HEADER: [u8; HEADER_BYTES] = {
    let mut header = [0; HEADER_BYTES];
    header.split_at_mut(8).0.copy_from_slice(&MAGIC);
    header[8] = VERSION as u8;
    header[10] = RECORD_BYTES as u8;
    header
};

/// Five numbers of a kernel, and where they come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TraceRecord {
    /// Device time.
    pub time: Duration,
    /// The launch's number on its device.
    pub launch: u64,
    /// The thread's rank in its launch.
    pub rank: u32,
    /// Records lost before this one.
    pub lost_before: u32,
    /// The numbers.
    pub args: [u64; 5],
}

/// A trace file could not be read.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum TraceReadError {
    /// It does not begin like one.
    #[error("this is no trace file: it does not begin with DPATRACE")]
    NotATrace,
    /// It was written by a later version, or is damaged.
    #[error(
        "trace format {version} with records of {record_bytes} bytes; up to version {VERSION} is understood"
    )]
    Version {
        /// The format's version.
        version: u16,
        /// The bytes of a record.
        record_bytes: u16,
    },
    /// It ends within a record: the program that wrote it was cut short. All records before it are whole.
    #[error("the trace ends {bytes} bytes into a record")]
    Truncated {
        /// How many bytes of the record there are.
        bytes: usize,
    },
    /// It could not be read.
    #[error("the trace could not be read: {0}")]
    Io(#[from] io::Error),
}

/// The bytes of a record. `lost` takes the place of its `lost_before`.
pub(crate) fn encode(record: &TraceRecord, lost: u64) -> [u8; RECORD_BYTES] {
    let mut bytes = [0; RECORD_BYTES];
    let nanos = u64::try_from(record.time.as_nanos()).unwrap_or(u64::MAX);
    let lost = u32::try_from(lost).unwrap_or(u32::MAX);
    bytes[0..8].copy_from_slice(&nanos.to_le_bytes());
    bytes[8..16].copy_from_slice(&record.launch.to_le_bytes());
    bytes[16..20].copy_from_slice(&record.rank.to_le_bytes());
    bytes[20..24].copy_from_slice(&lost.to_le_bytes());
    for (arg, field) in record.args.iter().zip(bytes[24..].chunks_exact_mut(8)) {
        field.copy_from_slice(&arg.to_le_bytes());
    }
    bytes
}

/// What says that records were lost at the end.
pub(crate) fn encode_loss(lost: u64) -> [u8; RECORD_BYTES] {
    let nothing = TraceRecord {
        time: Duration::ZERO,
        launch: NO_RECORD,
        rank: 0,
        lost_before: 0,
        args: [0; 5],
    };
    encode(&nothing, lost)
}

fn number<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut field = [0; N];
    field.copy_from_slice(&bytes[at..at + N]);
    field
}

fn decode(bytes: &[u8]) -> TraceRecord {
    let wide = |at| u64::from_le_bytes(number(bytes, at));
    let narrow = |at| u32::from_le_bytes(number(bytes, at));
    TraceRecord {
        time: Duration::from_nanos(wide(0)),
        launch: wide(8),
        rank: narrow(16),
        lost_before: narrow(20),
        args: std::array::from_fn(|nth| wide(24 + 8 * nth)),
    }
}

/// Reads the records of a trace file, in the order in which they were made.
///
/// ```no_run
/// # use dpa_model::trace::format::TraceReader;
/// for record in TraceReader::open("run.trace")? {
///     let record = record?;
///     println!("{:?} #{}.{} {:?}", record.time, record.launch, record.rank, record.args);
/// }
/// # Ok::<(), dpa_model::trace::format::TraceReadError>(())
/// ```
#[derive(Debug)]
pub struct TraceReader<R> {
    from: R,
    record: Vec<u8>,
    lost: u64,
    over: bool,
}

impl TraceReader<BufReader<File>> {
    /// Of this file.
    ///
    /// # Errors
    /// It cannot be opened, or is no trace of a version that is understood.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, TraceReadError> {
        Self::new(BufReader::new(File::open(path)?))
    }
}

impl<R: Read> TraceReader<R> {
    /// Of whatever can be read.
    ///
    /// # Errors
    /// It cannot be read, or is no trace of a version that is understood.
    pub fn new(mut from: R) -> Result<Self, TraceReadError> {
        let mut header = [0; HEADER_BYTES];
        let read = read_up_to(&mut from, &mut header)?;
        if read < HEADER_BYTES || header[..8] != MAGIC {
            return Err(TraceReadError::NotATrace);
        }
        let version = u16::from_le_bytes(number(&header, 8));
        let record_bytes = u16::from_le_bytes(number(&header, 10));
        if version == 0 || version > VERSION || usize::from(record_bytes) < RECORD_BYTES {
            return Err(TraceReadError::Version {
                version,
                record_bytes,
            });
        }
        Ok(Self {
            from,
            record: vec![0; record_bytes.into()],
            lost: 0,
            over: false,
        })
    }

    /// How many records were lost before where the reader stands.
    pub fn lost(&self) -> u64 {
        self.lost
    }

    fn read(&mut self) -> Result<Option<TraceRecord>, TraceReadError> {
        loop {
            match read_up_to(&mut self.from, &mut self.record)? {
                0 => return Ok(None),
                read if read == self.record.len() => {}
                bytes => return Err(TraceReadError::Truncated { bytes }),
            }
            let record = decode(&self.record);
            self.lost += u64::from(record.lost_before);
            if record.launch != NO_RECORD {
                return Ok(Some(record));
            }
        }
    }
}

impl<R: Read> Iterator for TraceReader<R> {
    type Item = Result<TraceRecord, TraceReadError>;

    /// The next record. Ends behind the last one, and behind an error.
    fn next(&mut self) -> Option<Self::Item> {
        if self.over {
            return None;
        }
        let next = self.read().transpose();
        self.over = !matches!(next, Some(Ok(_)));
        next
    }
}

/// Fills the buffer as far as there is something to read.
fn read_up_to(from: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match from.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(n: u64) -> TraceRecord {
        TraceRecord {
            time: Duration::from_nanos(1000 * n + 7),
            launch: n,
            rank: 3,
            lost_before: 0,
            args: [n, n + 1, n + 2, 0, u64::MAX],
        }
    }

    fn file(records: &[(u64, u64)]) -> Vec<u8> {
        let mut bytes = HEADER.to_vec();
        for &(n, lost) in records {
            bytes.extend(encode(&record(n), lost));
        }
        bytes
    }

    #[test]
    fn the_bytes_of_version_1_do_not_change() {
        let bytes = file(&[(0x0102, 4)]);
        assert_eq!(&bytes[..16], b"DPATRACE\x01\x00\x40\x00\x00\x00\x00\x00");
        let time = 1000 * 0x0102 + 7u64;
        assert_eq!(&bytes[16..24], &time.to_le_bytes());
        assert_eq!(&bytes[24..32], b"\x02\x01\0\0\0\0\0\0");
        assert_eq!(&bytes[32..40], b"\x03\0\0\0\x04\0\0\0");
        assert_eq!(&bytes[40..48], b"\x02\x01\0\0\0\0\0\0");
        assert_eq!(&bytes[72..80], &[0xff; 8]);
        assert_eq!(bytes.len(), 80);
    }

    #[test]
    fn what_was_written_is_read() {
        let mut bytes = file(&[(1, 0), (2, 5)]);
        bytes.extend(encode_loss(2));
        let mut reader = TraceReader::new(&bytes[..]).unwrap();
        assert_eq!(reader.next().unwrap().unwrap(), record(1));
        let second = reader.next().unwrap().unwrap();
        assert_eq!((second.launch, second.lost_before), (2, 5));
        assert!(reader.next().is_none());
        assert_eq!(reader.lost(), 7);
    }

    #[test]
    fn fields_of_a_later_day_are_passed_over() {
        let mut bytes = HEADER.to_vec();
        bytes[10] = 72;
        for n in [1, 2] {
            bytes.extend(encode(&record(n), 0));
            bytes.extend([0xee; 8]);
        }
        let read: Result<Vec<_>, _> = TraceReader::new(&bytes[..]).unwrap().collect();
        assert_eq!(read.unwrap(), [record(1), record(2)]);
    }

    #[test]
    fn what_is_no_trace_or_is_cut_short_is_said_to_be() {
        let whole = file(&[(1, 0), (2, 0)]);
        for length in 0..HEADER_BYTES {
            let opened = TraceReader::new(&whole[..length]);
            assert!(matches!(opened, Err(TraceReadError::NotATrace)));
        }
        let mut newer = whole.clone();
        newer[8] = 2;
        let opened = TraceReader::new(&newer[..]);
        assert!(matches!(
            opened,
            Err(TraceReadError::Version { version: 2, .. })
        ));
        let mut reader = TraceReader::new(&whole[..100]).unwrap();
        assert!(reader.next().unwrap().is_ok());
        let cut = reader.next().unwrap();
        assert!(matches!(cut, Err(TraceReadError::Truncated { bytes: 20 })));
        assert!(reader.next().is_none());
    }
}
