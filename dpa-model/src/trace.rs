//! Trace records: five numbers of a kernel, with time, launch and rank, buffered for each process.
//!
//! Records are collected and sent when the buffer is full, when a kernel flushes, and when the process ends. They go to
//! a file of the format in [`mod@format`], or to `tracing` at level TRACE.

pub mod format;

use std::fs::{File, TryLockError};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use thiserror::Error;

use crate::message::{
    Channel, Delivery, Figures, FileError, FlushError, Item, Lingering, Origin, Outlet, Overflow,
};
use crate::process::Process;
use format::{HEADER, TraceRecord};

/// The records that a buffer may have.
pub const BUFFER_RECORDS: std::ops::RangeInclusive<usize> = 1..=1 << 20;

/// How long a flush waits for the file.
const PATIENCE: Duration = Duration::from_secs(5);

/// The figures of a process's trace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceSpec {
    /// The file the records are written to, from its beginning; none: they go to `tracing`.
    pub file: Option<PathBuf>,
    /// Records of the buffer, at least 1 and at most 2^20. There is a second one for those on their way.
    pub records: usize,
}

impl Default for TraceSpec {
    fn default() -> Self {
        Self {
            file: None,
            records: 1024,
        }
    }
}

/// Why the trace of a process could not be made.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum TraceOpenError {
    /// A buffer of a size that no trace has.
    #[error("a trace buffer of {asked} records: it must have {} to {}", BUFFER_RECORDS.start(), BUFFER_RECORDS.end())]
    Records {
        /// What was asked for.
        asked: usize,
    },
    /// Its file.
    #[error(transparent)]
    File(#[from] FileError),
    /// The thread that writes its file could not be started.
    #[error("the thread of the trace could not be started: {0}")]
    Thread(#[source] io::Error),
}

/// The trace of a process.
#[derive(Debug)]
pub(crate) struct Tracer {
    channel: Arc<Channel<TraceRecord>>,
    file: Option<PathBuf>,
}

impl Item for TraceRecord {
    fn cost(&self) -> usize {
        1
    }
}

impl Tracer {
    pub fn open(
        spec: &TraceSpec,
        seeded: bool,
        lingering: &Arc<Lingering>,
    ) -> Result<Self, TraceOpenError> {
        if !BUFFER_RECORDS.contains(&spec.records) {
            let asked = spec.records;
            return Err(TraceOpenError::Records { asked });
        }
        let figures = Figures {
            name: "dpa-trace".into(),
            delivery: Delivery::Batch,
            overflow: Overflow::DropOldest,
            room: spec.records,
            patience: PATIENCE,
            seeded,
            lingering: lingering.clone(),
        };
        let with = |outlet| Self {
            channel: Channel::new(figures, outlet),
            file: spec.file.clone(),
        };
        let Some(path) = &spec.file else {
            return Ok(with(Box::new(ToTracing)));
        };
        let failed = |source| FileError {
            what: "trace",
            path: path.into(),
            source,
        };
        let file = open(path).and_then(alone).map_err(failed)?;
        let same = file.try_clone().map_err(failed)?;
        let tracer = with(Box::new(ToFile(BufWriter::new(file))));
        tracer.channel.start().map_err(TraceOpenError::Thread)?;
        // Last: what was in the file is lost by it.
        begin(same).map_err(failed)?;
        Ok(tracer)
    }

    /// Whether anybody would see a record, as far as can be told without asking a subscriber.
    #[inline]
    fn is_seen(&self) -> bool {
        self.file.is_some()
            || tracing::level_filters::LevelFilter::current() >= tracing::Level::TRACE
    }
}

impl Drop for Tracer {
    fn drop(&mut self) {
        self.channel.close();
    }
}

fn open(path: &Path) -> io::Result<File> {
    let mut options = File::options();
    options.write(true).create(true).truncate(false).open(path)
}

/// How long a context that has just ended may take to write the rest of its trace.
const LEAVING: Duration = Duration::from_secs(1);

/// The file, if nobody else writes a trace to it: each would write over what the other has written. A pipe takes several.
fn alone(file: File) -> io::Result<File> {
    let begun = Instant::now();
    while file.metadata()?.is_file()
        && let Err(TryLockError::WouldBlock) = file.try_lock()
    {
        if begun.elapsed() >= LEAVING {
            let taken = "another context writes its trace to it";
            return Err(io::Error::new(io::ErrorKind::ResourceBusy, taken));
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(file)
}

/// The file begins anew.
fn begin(mut file: File) -> io::Result<()> {
    // A pipe, or a terminal, has no length.
    if file.metadata()?.is_file() {
        file.set_len(0)?;
    }
    file.write_all(&HEADER)
}

struct ToFile<W>(W);

impl<W: Write + Send> Outlet<TraceRecord> for ToFile<W> {
    fn put(&mut self, record: &TraceRecord, lost: u64) -> io::Result<()> {
        self.0.write_all(&format::encode(record, lost))
    }

    fn lost(&mut self, lost: u64) -> io::Result<()> {
        self.0.write_all(&format::encode_loss(lost))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

struct ToTracing;

impl Outlet<TraceRecord> for ToTracing {
    fn put(&mut self, record: &TraceRecord, lost: u64) -> io::Result<()> {
        if lost > 0 {
            self.lost(lost)?;
        }
        let TraceRecord {
            time,
            launch,
            rank,
            args,
            ..
        } = *record;
        tracing::trace!(target: "doca_dpa::trace", ?time, launch, rank, ?args);
        Ok(())
    }

    fn lost(&mut self, lost: u64) -> io::Result<()> {
        tracing::trace!(target: "doca_dpa::trace", lost, "records lost");
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Process {
    /// Adds a record. Never waits: what the file does not take in time is lost, oldest first, and counted.
    pub(crate) fn trace(&self, origin: Origin, args: [u64; 5]) {
        if !self.tracer.is_seen() {
            return;
        }
        self.tracer.channel.push(TraceRecord {
            time: Duration::from_nanos(origin.time),
            launch: origin.launch,
            rank: origin.rank,
            lost_before: 0,
            args,
        });
        self.after_push(&self.tracer.channel);
    }

    /// A kernel sends what is buffered. Does not wait.
    pub(crate) fn trace_flush_by_kernel(&self) {
        self.tracer.channel.begin_flush();
        self.after_push(&self.tracer.channel);
    }

    /// The file of the trace.
    pub fn trace_file(&self) -> Option<&Path> {
        self.tracer.file.as_deref()
    }

    /// How many records were lost.
    pub fn trace_lost(&self) -> u64 {
        self.tracer.channel.lost()
    }

    /// Sends what is buffered, and waits at most five seconds for the file.
    ///
    /// # Errors
    /// The file did not keep up, or could not be written since the last flush.
    pub fn trace_flush(&self) -> Result<(), FlushError> {
        self.tracer.channel.flush()
    }

    /// It takes no more. What is buffered is still written; then the file is another context's to use, however long this one is held.
    pub fn trace_close(&self) {
        self.tracer.channel.close();
    }

    /// Has what is buffered sent, at once; until it is written. How it went is told to who flushes next.
    pub fn trace_settled(
        &self,
    ) -> impl Future<Output = Result<(), FlushError>> + Send + Unpin + use<> {
        self.tracer.channel.settled()
    }
}
