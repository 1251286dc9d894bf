//! The trace of a context: records of five numbers that kernels make with `thread.trace(..)`.

use std::path::Path;

pub use flexio::trace::{TraceReadError, TraceReader, TraceRecord};

use crate::dpa::Dpa;
use crate::log::FlushError;

impl Dpa {
    /// The file that trace records go to, if it is not `tracing`. Set by
    /// [`Builder::trace_file`](crate::Builder::trace_file) before the context is open.
    #[doc(alias = "doca_dpa_trace_file_get_path")]
    pub fn trace_file(&self) -> Option<&Path> {
        self.process().trace_file()
    }

    /// How many trace records were lost, because the file did not keep up or could not be written.
    pub fn trace_lost(&self) -> u64 {
        self.process().trace_lost()
    }

    /// Writes the buffered trace records, blocking at most 5 s.
    ///
    /// # Errors
    /// The file did not keep up, or could not be written since the last flush.
    pub fn trace_flush(&self) -> Result<(), FlushError> {
        self.process().trace_flush()
    }
}
