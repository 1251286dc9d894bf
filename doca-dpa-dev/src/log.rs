//! Log lines: messages to the default stream.

use core::fmt;

use flexio_dev::{LogLevel, ThreadContext};

/// Formats and hands over; the macros call this.
#[track_caller]
pub fn log(thread: &ThreadContext<'_>, level: LogLevel, text: fmt::Arguments<'_>) {
    thread.log_line(level, text);
}

/// Tells the host that something went wrong: `error!(thread, "no entry {n}")`.
///
/// The message goes to the log of the context: a file, or the host's `tracing` at level ERROR. It is cut at 512 bytes,
/// and then ends with `…`. Lines above the context's log level are not even formatted.
#[doc(alias = "DOCA_DPA_DEV_LOG_ERR")]
#[macro_export]
macro_rules! error {
    ($thread:expr, $($text:tt)+) => {
        $crate::__log!($thread, Error, $($text)+)
    };
}

/// Tells the host that something may go wrong. See [`error!`](crate::error!).
#[doc(alias = "DOCA_DPA_DEV_LOG_WARN")]
#[macro_export]
macro_rules! warn {
    ($thread:expr, $($text:tt)+) => {
        $crate::__log!($thread, Warn, $($text)+)
    };
}

/// Tells the host what happens. See [`error!`](crate::error!).
#[doc(alias = "DOCA_DPA_DEV_LOG_INFO")]
#[macro_export]
macro_rules! info {
    ($thread:expr, $($text:tt)+) => {
        $crate::__log!($thread, Info, $($text)+)
    };
}

/// Tells the host what happens, in detail. See [`error!`](crate::error!).
#[doc(alias = "DOCA_DPA_DEV_LOG_DBG")]
#[macro_export]
macro_rules! debug {
    ($thread:expr, $($text:tt)+) => {
        $crate::__log!($thread, Debug, $($text)+)
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __log {
    ($thread:expr, $level:ident, $($text:tt)+) => {
        $crate::__private::log(
            $thread,
            $crate::LogLevel::$level,
            ::core::format_args!($($text)+),
        )
    };
}
