//! Messages from kernels to the host: the streams of a process.
//!
//! A stream is a channel with a sink behind it, a level and a number. Number 0 is there from the beginning: log lines
//! go to it. A kernel names a stream by its handle; one that refers to no stream is answered, never another stream.

mod channel;
mod delivery;
mod line;
mod lingering;
mod process;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use dpa_abi::message::MAX_STREAMS;
use dpa_abi::{Handle, LogFilter, LogLevel, StreamHandle};
use parking_lot::Mutex;
use smallvec::SmallVec;
use thiserror::Error;

pub use delivery::{Delivery, FlushError, Overflow, SinkError};
pub use line::Layout;

pub(crate) use channel::{Channel, Figures, Item, Outlet};
pub(crate) use line::{Line, Origin};
pub(crate) use lingering::Lingering;

use line::{Text, Traced, nobody_traces};

/// The longest that a stream may wait for its sink.
pub const MAX_PATIENCE: Duration = Duration::from_secs(60);
/// The buffers that a stream may have, in bytes.
pub const BUFFER_BYTES: std::ops::RangeInclusive<usize> = 2048..=1 << 26;

/// The figures of a message stream.
#[doc(alias = "flexio_msg_stream_attr")]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamSpec {
    /// Its name, for the thread that serves it.
    pub name: String,
    /// What it lets through.
    pub level: LogFilter,
    /// When the host gets a line.
    pub delivery: Delivery,
    /// What is lost when the buffer is full.
    pub overflow: Overflow,
    /// Bytes of its buffer, a power of two; a line takes its text and 64 bytes. Batches have a second one.
    pub buffer_bytes: usize,
    /// How long a kernel (sync), a flush or a close waits for the sink; at most [`MAX_PATIENCE`].
    pub patience: Duration,
}

impl Default for StreamSpec {
    fn default() -> Self {
        Self {
            name: "dpa-messages".into(),
            level: LogFilter::Info,
            delivery: Delivery::Sync,
            overflow: Overflow::DropOldest,
            buffer_bytes: 1 << 16,
            patience: Duration::from_secs(1),
        }
    }
}

impl StreamSpec {
    fn validate(&self) -> Result<(), StreamError> {
        let asked = self.buffer_bytes;
        if asked.is_power_of_two() && BUFFER_BYTES.contains(&asked) {
            Ok(())
        } else {
            Err(StreamError::BufferBytes { asked })
        }
    }

    fn figures(&self, seeded: bool, lingering: &Arc<Lingering>) -> Figures {
        Figures {
            name: self.name.clone(),
            delivery: self.delivery,
            overflow: self.overflow,
            room: self.buffer_bytes,
            patience: self.patience.min(MAX_PATIENCE),
            seeded,
            lingering: lingering.clone(),
        }
    }
}

/// Why a message stream could not be made.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StreamError {
    /// Its buffer has a size that no stream has.
    #[error("a buffer of {asked} bytes: it must be a power of two from {} to {}", BUFFER_BYTES.start(), BUFFER_BYTES.end())]
    BufferBytes {
        /// What was asked for.
        asked: usize,
    },
    /// There are as many as there may be, those included that are closed and whose sinks have not returned: of the process, or of
    /// the device.
    #[error(
        "there are {limit} message streams, as many as there may be: those that wait for their sinks count"
    )]
    Full {
        /// How many there may be.
        limit: usize,
    },
    /// The process is fatal or closed.
    #[error("the process is closed or faulted")]
    Stopped,
    /// The thread that serves it could not be started.
    #[error("the thread of the stream could not be started: {0}")]
    Thread(#[source] std::io::Error),
}

/// Where lines go.
pub enum Sink {
    /// To a writer, as text.
    Writer(Box<dyn Write + Send>, Layout),
    /// To `tracing`, target `doca_dpa::kernel`.
    Tracing,
}

impl std::fmt::Debug for Sink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Writer(_, layout) => f.debug_tuple("Writer").field(layout).finish(),
            Self::Tracing => f.write_str("Tracing"),
        }
    }
}

impl Sink {
    fn outlet(self) -> Box<dyn Outlet<Line>> {
        match self {
            Self::Writer(to, layout) => Box::new(Text::new(to, layout)),
            Self::Tracing => Box::new(Traced),
        }
    }
}

/// The default stream of a process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogSpec {
    /// Its figures.
    pub stream: StreamSpec,
    /// The file its lines are appended to; none: they go to `tracing`.
    pub file: Option<PathBuf>,
}

/// A message stream, as its process and its owner on the host have it.
#[derive(Debug)]
pub struct MessageStream {
    number: usize,
    generation: u32,
    channel: Arc<Channel<Line>>,
}

/// A slot's generation (high half), whether its sink is `tracing` ([`TRACED`]), and its filter. 0: no stream.
type SlotWord = AtomicU64;

const TRACED: u64 = 1 << 8;
/// The slot of the broadcast stream: what any stream lets through.
const BROADCAST: usize = MAX_STREAMS;

/// The streams of a process.
pub(crate) struct Messages {
    words: [SlotWord; MAX_STREAMS + 1],
    table: Mutex<Table>,
    file: Option<PathBuf>,
    level: LogFilter,
    lingering: Arc<Lingering>,
}

#[derive(Debug, Default)]
struct Table {
    streams: Vec<Option<Arc<MessageStream>>>,
    generations: Vec<u32>,
}

impl std::fmt::Debug for Messages {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Messages").finish_non_exhaustive()
    }
}

/// What the host asked to be opened could not be.
#[derive(Debug, Error)]
#[error("the {what} file {} could not be opened: {source}", .path.display())]
pub struct FileError {
    /// What it was to hold: `"log"` or `"trace"`.
    pub what: &'static str,
    /// Which file.
    pub path: PathBuf,
    /// What the system said.
    pub source: std::io::Error,
}

impl Messages {
    /// With the default stream.
    pub fn open(
        spec: &LogSpec,
        seeded: bool,
        lingering: &Arc<Lingering>,
    ) -> Result<Self, LogOpenError> {
        spec.stream.validate()?;
        let sink = match &spec.file {
            Some(path) => Sink::Writer(Box::new(append_to(path)?), Layout::Full),
            None => Sink::Tracing,
        };
        let messages = Self {
            words: std::array::from_fn(|_| AtomicU64::new(0)),
            table: Mutex::default(),
            file: spec.file.clone(),
            level: spec.stream.level,
            lingering: lingering.clone(),
        };
        messages.add(&spec.stream, sink, seeded)?;
        Ok(messages)
    }

    /// The file of the default stream.
    pub fn file(&self) -> Option<&Path> {
        self.file.as_deref()
    }

    /// The level of the default stream.
    pub fn level(&self) -> LogFilter {
        self.level
    }

    fn add(
        &self,
        spec: &StreamSpec,
        sink: Sink,
        seeded: bool,
    ) -> Result<Arc<MessageStream>, StreamError> {
        let traced = matches!(sink, Sink::Tracing);
        let figures = spec.figures(seeded, &self.lingering);
        let channel = Channel::new(figures, sink.outlet());
        let mut table = self.table.lock();
        let open = table.streams.iter().flatten().count();
        if let Some(limit) = self.lingering.limit(open) {
            return Err(StreamError::Full { limit });
        }
        let (number, generation) = table
            .free_slot()
            .ok_or(StreamError::Full { limit: MAX_STREAMS })?;
        // The default stream's thread starts with its first line, as most programs log nothing; with a file it was asked for.
        if number > 0 || self.file.is_some() {
            channel.start().map_err(StreamError::Thread)?;
        }
        let stream = Arc::new(MessageStream {
            number,
            generation,
            channel,
        });
        table.put(&stream);
        let traced = if traced { TRACED } else { 0 };
        let word = u64::from(generation) << 32 | traced | spec.level as u64;
        self.words[number].store(word, Ordering::Relaxed);
        self.set_broadcast();
        Ok(stream)
    }

    /// With the table's lock held: what any stream lets through.
    fn set_broadcast(&self) {
        let filter = |word: &SlotWord| word.load(Ordering::Relaxed) & 0xff;
        let most = self.words[..BROADCAST].iter().map(filter).max();
        let word = 1 << 32 | most.unwrap_or(0);
        self.words[BROADCAST].store(word, Ordering::Relaxed);
    }

    /// Whether a message of this level would reach a stream, as far as can be told without asking its sink.
    #[inline]
    pub fn enabled(&self, stream: StreamHandle, level: LogLevel) -> bool {
        let Some(word) = self.words.get(stream.0.index as usize) else {
            return false;
        };
        lets_through(word.load(Ordering::Relaxed), stream.0.generation, level)
    }

    /// The streams that a message to this handle reaches, and whether the handle refers to any.
    fn reached(
        &self,
        handle: StreamHandle,
        level: LogLevel,
    ) -> (SmallVec<[Arc<MessageStream>; 1]>, bool) {
        let table = self.table.lock();
        let passes = |stream: &&Arc<MessageStream>| self.enabled(stream.handle(), level);
        if handle == StreamHandle::BROADCAST {
            let all = table.streams.iter().flatten();
            return (all.filter(passes).cloned().collect(), true);
        }
        let one = table.find(handle);
        (
            one.into_iter().filter(passes).cloned().collect(),
            one.is_some(),
        )
    }

    fn remove(&self, stream: &MessageStream) {
        let mut table = self.table.lock();
        if table.find(stream.handle()).is_some() {
            table.streams[stream.number] = None;
            self.words[stream.number].store(0, Ordering::Relaxed);
            self.set_broadcast();
        }
    }

    fn set_level(&self, stream: &MessageStream, level: LogFilter) {
        let table = self.table.lock();
        if table.find(stream.handle()).is_some() {
            let word = &self.words[stream.number];
            let others = word.load(Ordering::Relaxed) & !0xff;
            word.store(others | level as u64, Ordering::Relaxed);
            self.set_broadcast();
        }
    }

    fn all(&self) -> Vec<Arc<MessageStream>> {
        self.table
            .lock()
            .streams
            .iter()
            .flatten()
            .cloned()
            .collect()
    }
}

/// A process ends where no kernel of it runs, and under the seeded driver never on a kernel's stack: there each thread
/// leaves its stack before another process's begins.
impl Drop for Messages {
    fn drop(&mut self) {
        for stream in self.all() {
            stream.channel.close();
        }
    }
}

#[inline]
fn lets_through(word: u64, generation: u32, level: LogLevel) -> bool {
    (word >> 32) as u32 == generation
        && generation != 0
        && level as u64 <= word & 0xff
        && !(word & TRACED != 0 && nobody_traces(level))
}

impl Table {
    fn free_slot(&mut self) -> Option<(usize, u32)> {
        let free = self.streams.iter().position(Option::is_none);
        let number = match free {
            Some(number) => number,
            None if self.streams.len() < MAX_STREAMS => {
                self.streams.push(None);
                self.generations.push(0);
                self.streams.len() - 1
            }
            None => return None,
        };
        Some((number, self.generations[number].wrapping_add(1).max(1)))
    }

    fn put(&mut self, stream: &Arc<MessageStream>) {
        self.generations[stream.number] = stream.generation;
        self.streams[stream.number] = Some(stream.clone());
    }

    fn find(&self, handle: StreamHandle) -> Option<&Arc<MessageStream>> {
        let stream = self.streams.get(handle.0.index as usize)?.as_ref()?;
        (stream.generation == handle.0.generation).then_some(stream)
    }
}

fn append_to(path: &Path) -> Result<std::fs::File, FileError> {
    let file = std::fs::File::options()
        .append(true)
        .create(true)
        .open(path);
    file.map_err(|source| FileError {
        what: "log",
        path: path.into(),
        source,
    })
}

/// Why the default stream of a process could not be made.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum LogOpenError {
    /// A figure of it.
    #[error("the log: {0}")]
    Stream(#[from] StreamError),
    /// Its file.
    #[error(transparent)]
    File(#[from] FileError),
}

impl MessageStream {
    /// How kernels name it.
    pub fn handle(&self) -> StreamHandle {
        StreamHandle(Handle {
            index: self.number as u32,
            generation: self.generation,
        })
    }

    /// Hands over what is buffered, and waits for the sink as long as the stream's patience lasts.
    ///
    /// # Errors
    /// The sink did not keep up, or it failed since the last flush.
    pub fn flush(&self) -> Result<(), FlushError> {
        self.channel.flush()
    }

    /// Has what is buffered handed over, at once; until it has arrived.
    ///
    /// # Errors
    /// The sink failed since the last flush.
    pub fn flushed(&self) -> impl Future<Output = Result<(), FlushError>> + Send + Unpin + use<> {
        self.channel.flushed()
    }

    /// As [`MessageStream::flushed`], but how it went is told to who flushes next.
    pub fn settled(&self) -> impl Future<Output = Result<(), FlushError>> + Send + Unpin + use<> {
        self.channel.settled()
    }

    /// How many lines it has lost.
    pub fn lost(&self) -> u64 {
        self.channel.lost()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_stream_ends_no_other_of_its_number() {
        let messages = Messages::open(&LogSpec::default(), true, &Arc::default()).expect("a log");
        let add = || {
            let sink = Sink::Writer(Box::new(std::io::sink()), Layout::Plain);
            let added = messages.add(&StreamSpec::default(), sink, true);
            added.expect("a stream")
        };
        let old = add();
        messages.remove(&old);
        let new = add();
        assert_eq!(old.handle().0.index, new.handle().0.index);
        messages.remove(&old);
        messages.set_level(&old, LogFilter::Off);
        assert!(messages.enabled(new.handle(), LogLevel::Info));
        assert!(!messages.enabled(old.handle(), LogLevel::Info));
        let (reached, exists) = messages.reached(old.handle(), LogLevel::Info);
        assert!(reached.is_empty() && !exists);
    }

    #[test]
    fn what_the_log_holds_is_written_when_the_process_ends() {
        let name = format!("dpa-model-log-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        let spec = LogSpec {
            stream: StreamSpec {
                delivery: Delivery::Batch,
                ..StreamSpec::default()
            },
            file: Some(path.clone()),
        };
        let messages = Messages::open(&spec, true, &Arc::default()).expect("a log");
        let origin = Origin {
            kernel: "count",
            launch: 1,
            rank: 0,
            time: 0,
        };
        messages.all()[0].channel.push(Line {
            stream: 0,
            level: LogLevel::Info,
            origin,
            at: std::panic::Location::caller(),
            text: "held".into(),
        });
        drop(messages);
        let text = std::fs::read_to_string(&path);
        let _ = std::fs::remove_file(&path);
        assert!(text.expect("the log").contains(": held ("));
    }
}
