//! The message streams of a process, as the host and the device port use them.

use std::panic::Location;
use std::path::Path;
use std::sync::Arc;
use std::task::Waker;

use dpa_abi::{LogFilter, LogLevel, StreamHandle};
use smallvec::SmallVec;

use super::{Channel, Delivery, Item, Line, MessageStream, Origin, Sink, StreamError, StreamSpec};
use crate::process::Process;

/// Virtual nanoseconds after which a sink of the seeded driver gets what was sent, at most.
const SEEDED_DELAY: u64 = 20_000;

/// Sinks to be waited for, and below which number each.
pub(crate) type Waits = SmallVec<[(Arc<Channel<Line>>, u64); 1]>;

impl Process {
    /// A new message stream.
    ///
    /// # Errors
    /// A figure of it; there are as many as there may be; the process is stopped; no thread.
    pub fn open_stream(
        &self,
        spec: &StreamSpec,
        sink: Sink,
    ) -> Result<Arc<MessageStream>, StreamError> {
        spec.validate()?;
        if self.is_stopped() {
            return Err(StreamError::Stopped);
        }
        self.messages.add(spec, sink, self.device.is_seeded())
    }

    /// Ends a message stream: kernels no longer find it. What is buffered is still handed over.
    pub fn close_stream(&self, stream: &MessageStream) {
        self.messages.remove(stream);
        stream.channel.close();
    }

    /// Changes what a message stream lets through.
    pub fn set_stream_level(&self, stream: &MessageStream, level: LogFilter) {
        self.messages.set_level(stream, level);
    }

    /// All message streams, the default one first.
    pub fn message_streams(&self) -> Vec<Arc<MessageStream>> {
        self.messages.all()
    }

    /// The level of the default stream.
    pub fn log_level(&self) -> LogFilter {
        self.messages.level()
    }

    /// The file of the default stream.
    pub fn log_file(&self) -> Option<&Path> {
        self.messages.file()
    }

    /// Sends a message on its way; which sinks are to be waited for, and whether the handle refers to a stream. `may_wait`: in
    /// sync, for the sink. Called on a worker's own stack.
    pub(crate) fn message(
        &self,
        to: StreamHandle,
        level: LogLevel,
        origin: Origin,
        text: &str,
        at: &'static Location<'static>,
        may_wait: bool,
    ) -> (Waits, bool) {
        let (streams, exists) = self.messages.reached(to, level);
        let waits: Waits = streams
            .iter()
            .filter_map(|stream| {
                let line = Line {
                    stream: stream.number as u8,
                    level,
                    origin,
                    at,
                    text: text.into(),
                };
                let number = stream.channel.push(line)?;
                let waits = may_wait && self.waits_for_sink(&stream.channel);
                waits.then(|| (stream.channel.clone(), number))
            })
            .collect();
        for stream in &streams {
            self.after_push(&stream.channel);
        }
        (waits, exists)
    }

    /// Under the seeded driver there is no thread: a line that is due goes to its sink at once in sync, else at a
    /// time drawn from the seed.
    pub(crate) fn after_push<T: Item>(&self, channel: &Arc<Channel<T>>) {
        let Some(choices) = self.device.choices() else {
            return;
        };
        if channel.figures().delivery == Delivery::Sync {
            channel.drain();
        } else if channel.schedule() {
            let at = self.device.clock.now() + 1 + choices.below(SEEDED_DELAY);
            let waker = Waker::from(channel.clone());
            let _never_taken_back = self.device.clock.set_wake(at, self.number, waker);
        }
    }

    fn waits_for_sink(&self, channel: &Channel<Line>) -> bool {
        channel.figures().delivery == Delivery::Sync && !self.device.is_seeded()
    }
}
