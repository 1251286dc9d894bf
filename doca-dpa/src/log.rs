//! The log of a context, and message streams.

use std::path::Path;

pub use dpa_abi::{Handle, LogFilter, StreamHandle};
pub use flexio::message::{
    Delivery, FlushError, Layout, MessageStream, MessageStreamBuilder, MessageStreamError,
    Overflow, SinkError,
};

use crate::dpa::Dpa;

impl Dpa {
    /// What the log lets through. Set by [`Builder::log_level`](crate::Builder::log_level) before the context is open.
    #[doc(alias = "doca_dpa_get_log_level")]
    pub fn log_level(&self) -> LogFilter {
        self.process().log_level()
    }

    /// The file the log is appended to, if it is not `tracing`. Set by
    /// [`Builder::log_file`](crate::Builder::log_file) before the context is open.
    #[doc(alias = "doca_dpa_log_file_get_path")]
    pub fn log_file(&self) -> Option<&Path> {
        self.process().log_file()
    }

    /// How many lines of the log were lost.
    pub fn log_lost(&self) -> u64 {
        self.process().log_lost()
    }

    /// Begins a message stream beside the log: text of kernels, to a writer or to `tracing`.
    #[doc(alias = "flexio_msg_stream_create")]
    pub fn message_stream(&self) -> MessageStreamBuilder {
        self.process().message_stream()
    }

    /// Waits until the sinks of the log, of all message streams and of the trace have what was sent so far, or have
    /// failed. There is no limit in time: a sink that never returns keeps it waiting. That a sink failed is told to who flushes its
    /// stream next.
    ///
    /// Cancel safety: what is buffered is handed over all the same.
    pub async fn flush_messages(&self) {
        self.process().flush_all().await;
    }
}
