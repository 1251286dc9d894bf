//! Message streams: text from kernels to the host.

use std::fmt;
use std::io::Write;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use dpa_abi::{LogFilter, StreamHandle};

use crate::backend::{self, Sink, StreamSpec};
use crate::process::ProcessRef;

pub use crate::backend::{Delivery, FlushError, Layout, MessageStreamError, Overflow, SinkError};

/// Begins a message stream of a process; see [`ProcessRef::message_stream`].
#[doc(alias = "flexio_msg_stream_attr")]
#[derive(Clone, Debug)]
#[must_use = "a builder makes nothing until it is told where the lines go"]
pub struct MessageStreamBuilder {
    process: ProcessRef,
    spec: StreamSpec,
    layout: Layout,
}

impl MessageStreamBuilder {
    /// Its name, for the thread that serves it. Default `dpa-messages`.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.spec.name = name.into();
        self
    }

    /// What it lets through. Default: all but [`LogFilter::Debug`].
    pub fn level(mut self, level: impl Into<LogFilter>) -> Self {
        self.spec.level = level.into();
        self
    }

    /// When the host gets a line. Default [`Delivery::Sync`].
    pub fn delivery(mut self, delivery: Delivery) -> Self {
        self.spec.delivery = delivery;
        self
    }

    /// Bytes of its buffer: a power of two from 2 KiB to 64 MiB, default 64 KiB. A line takes its text and 64 bytes.
    /// In batches there is a second buffer of the same size for the batch that is on its way.
    #[doc(alias = "data_bsize")]
    pub fn buffer_bytes(mut self, bytes: usize) -> Self {
        self.spec.buffer_bytes = bytes;
        self
    }

    /// What is lost when the buffer is full. Default [`Overflow::DropOldest`].
    pub fn overflow(mut self, overflow: Overflow) -> Self {
        self.spec.overflow = overflow;
        self
    }

    /// How long a kernel's call (in sync) and a flush wait for the sink. Default 1 s, at most 60 s. While one call has
    /// waited in vain and the sink has not moved, no other waits.
    pub fn patience(mut self, patience: Duration) -> Self {
        self.spec.patience = patience;
        self
    }

    /// How lines look in a writer. Default [`Layout::Plain`].
    pub fn layout(mut self, layout: Layout) -> Self {
        self.layout = layout;
        self
    }

    /// Makes the stream, its lines going to a writer. The writer is called on the stream's own thread (under the seeded
    /// driver on its only one) and may be slow, fail, block or panic: the stream loses lines then, nothing else.
    ///
    /// # Errors
    /// The buffer has no such size, there are 255 streams already, the process is closed or faulted, or no thread.
    #[doc(alias = "flexio_msg_stream_create")]
    pub fn to_writer(
        self,
        writer: impl Write + Send + 'static,
    ) -> Result<MessageStream, MessageStreamError> {
        let layout = self.layout;
        self.open(Sink::Writer(Box::new(writer), layout))
    }

    /// Makes the stream, its lines going to `tracing` (target `doca_dpa::kernel`).
    ///
    /// # Errors
    /// As [`MessageStreamBuilder::to_writer`].
    pub fn to_tracing(self) -> Result<MessageStream, MessageStreamError> {
        self.open(Sink::Tracing)
    }

    fn open(self, sink: Sink) -> Result<MessageStream, MessageStreamError> {
        let raw = self.process.raw().open_stream(&self.spec, sink)?;
        Ok(MessageStream {
            raw,
            process: self.process,
        })
    }
}

/// A message stream. Kernels name it by its [handle](MessageStream::handle), which goes to them as a plain argument.
///
/// Dropping it ends it without waiting: kernels find it no longer, and what is buffered is still handed to the sink.
#[doc(alias = "flexio_msg_stream")]
#[derive(Debug)]
pub struct MessageStream {
    raw: Arc<backend::RawStream>,
    process: ProcessRef,
}

impl MessageStream {
    /// How kernels name it. A handle of a stream that has ended refers to none, also when the number is used again.
    pub fn handle(&self) -> StreamHandle {
        self.raw.handle()
    }

    /// Its number in its process, from 1. Number 0 is the default stream.
    #[doc(alias = "flexio_msg_stream_get_id")]
    pub fn id(&self) -> u8 {
        self.handle().0.index as u8
    }

    /// Changes what it lets through, from the next message on.
    #[doc(alias = "flexio_msg_stream_level_set")]
    pub fn set_level(&self, level: impl Into<LogFilter>) {
        self.process.raw().set_stream_level(&self.raw, level.into());
    }

    /// How many lines it has lost, because its buffer was full or its sink refused them.
    pub fn lost(&self) -> u64 {
        self.raw.lost()
    }

    /// Hands what is buffered to the sink, blocking until the sink has it and at most for the stream's patience.
    ///
    /// # Errors
    /// The sink did not keep up (nothing is lost by that), or it failed since the last flush.
    #[doc(alias = "flexio_msg_stream_flush")]
    pub fn flush(&self) -> Result<(), FlushError> {
        self.raw.flush()
    }

    /// As [`MessageStream::flush`], as a future without a limit in time.
    ///
    /// Cancel safety: what is buffered is handed over all the same.
    ///
    /// # Errors
    /// The sink failed since the last flush.
    pub async fn flushed(&self) -> Result<(), FlushError> {
        self.raw.flushed().await
    }

    /// Ends it: flushes, blocking at most for the stream's patience.
    ///
    /// # Errors
    /// As [`MessageStream::flush`]. The stream has ended all the same.
    #[doc(alias = "flexio_msg_stream_destroy")]
    pub fn close(self) -> Result<(), FlushError> {
        self.process.raw().close_stream(&self.raw);
        self.flush()
    }
}

impl Drop for MessageStream {
    fn drop(&mut self) {
        self.process.raw().close_stream(&self.raw);
    }
}

/// One of the flushes.
type Flush = Box<dyn Future<Output = Result<(), FlushError>> + Send + Unpin>;

/// A flush of all message streams and the trace of a process, begun; see [`ProcessRef::flush_all`]. It is over when every sink
/// has what it was sent, or has failed. What a sink refused is counted as lost, and its error is told to who flushes its stream next.
#[must_use = "futures do nothing unless awaited"]
pub struct Flushing {
    flushes: Vec<Flush>,
}

impl fmt::Debug for Flushing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let under_way = self.flushes.len();
        f.debug_struct("Flushing")
            .field("under_way", &under_way)
            .finish()
    }
}

impl Future for Flushing {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.flushes
            .retain_mut(|flush| Pin::new(flush).poll(cx).is_pending());
        match self.flushes.is_empty() {
            true => Poll::Ready(()),
            false => Poll::Pending,
        }
    }
}

impl ProcessRef {
    /// Begins a message stream.
    ///
    /// ```
    /// use flexio::{Device, DeviceConfig, message::Delivery};
    /// let device = Device::open(DeviceConfig { heap_bytes: 1 << 20, ..DeviceConfig::default() })?;
    /// let process = device.process()?;
    /// let lines = process.message_stream().delivery(Delivery::Async).to_writer(std::io::stderr())?;
    /// assert_eq!(lines.id(), 1);
    /// lines.close()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn message_stream(&self) -> MessageStreamBuilder {
        MessageStreamBuilder {
            process: self.clone(),
            spec: StreamSpec::default(),
            layout: Layout::default(),
        }
    }

    /// The level of the default stream. It is set before the process is opened.
    #[doc(alias = "doca_dpa_get_log_level")]
    pub fn log_level(&self) -> LogFilter {
        self.raw().log_level()
    }

    /// The file that the lines of the default stream go to; without one they go to `tracing`.
    #[doc(alias = "doca_dpa_log_file_get_path")]
    pub fn log_file(&self) -> Option<&Path> {
        self.raw().log_file()
    }

    /// How many lines of the default stream were lost.
    pub fn log_lost(&self) -> u64 {
        let streams = self.raw().message_streams();
        streams.first().map_or(0, |log| log.lost())
    }

    /// The file that trace records go to; without one they go to `tracing`.
    #[doc(alias = "doca_dpa_trace_file_get_path")]
    pub fn trace_file(&self) -> Option<&Path> {
        self.raw().trace_file()
    }

    /// How many trace records were lost.
    pub fn trace_lost(&self) -> u64 {
        self.raw().trace_lost()
    }

    /// Writes the buffered trace records, blocking at most 5 s.
    ///
    /// # Errors
    /// The file did not keep up, or could not be written since the last flush.
    pub fn trace_flush(&self) -> Result<(), FlushError> {
        self.raw().trace_flush()
    }

    /// Ends the trace: it takes no more records, and its file is another process's to use when the rest is written. Else that is so
    /// when it is shut down and nothing of it runs.
    pub fn close_trace(&self) {
        self.raw().trace_close();
    }

    /// Begins to flush all message streams and the trace, at once.
    pub fn flush_all(&self) -> Flushing {
        let streams = self.raw().message_streams();
        let flushes = streams
            .iter()
            .map(|stream| -> Flush { Box::new(stream.settled()) });
        let trace: Flush = Box::new(self.raw().trace_settled());
        Flushing {
            flushes: flushes.chain([trace]).collect(),
        }
    }
}
