//! When lines are delivered, what is lost when they cannot be, and how that is said.

use std::io;
use std::time::Duration;

use thiserror::Error;

/// When the host gets what a kernel sends.
#[doc(alias = "flexio_msg_dev_sync_mode")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum Delivery {
    /// The kernel's call returns when the sink has the line, or has not taken it within the stream's patience.
    #[doc(alias = "FLEXIO_MSG_DEV_SYNC_MODE_SYNC")]
    #[default]
    Sync,
    /// The kernel goes on at once; the line is handed over as soon as the sink is free.
    #[doc(alias = "FLEXIO_MSG_DEV_SYNC_MODE_ASYNC")]
    Async,
    /// Lines are collected, and handed over when the buffer is full or flushed.
    #[doc(alias = "FLEXIO_MSG_DEV_SYNC_MODE_BATCH")]
    Batch,
}

/// What is lost when the buffer is full and the sink has not kept up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum Overflow {
    /// What waits longest: the sink sees the latest lines.
    #[default]
    DropOldest,
    /// What comes: the sink sees the first lines.
    DropNewest,
}

/// A sink did not take what it was given.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SinkError {
    /// It said so.
    #[error("the sink refused a line: {0}")]
    Io(#[from] io::Error),
    /// It panicked; it gets nothing any more.
    #[error("the sink panicked")]
    Panicked,
    /// There was no thread to call it on. What is queued stays so until there is one, and is lost if there is none at the end.
    #[error("the thread that calls the sink could not be started: {0}")]
    Thread(#[source] io::Error),
}

/// What was sent has not all arrived.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum FlushError {
    /// The sink did not keep up. What is left is not lost: it stays queued.
    #[error("the sink has not taken {left} lines within {waited:?}")]
    TimedOut {
        /// How long was waited.
        waited: Duration,
        /// How many lines are still queued.
        left: usize,
    },
    /// The sink failed since the last flush, and what it refused is counted as lost; or there is no thread to call it on.
    #[error(transparent)]
    Sink(#[from] SinkError),
}
