//! Messages from kernels: the streams they go to, and which levels a stream lets through.

use crate::handle::Handle;
use crate::pod::{Load, Pod, Store};
use crate::port::LogLevel;

/// Streams that a process may have at a time, the default one included.
#[doc(alias = "FLEXIO_MSG_DEV_MAX_STREAMS_AMOUNT")]
pub const MAX_STREAMS: usize = 255;

/// The device's handle of a message stream: eight plain bytes that may lie. The index is the stream's number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(transparent)]
pub struct StreamHandle(pub Handle);

impl StreamHandle {
    /// The stream that every process has, number 0: log lines go there.
    #[doc(alias = "FLEXIO_MSG_DEV_DEFAULT_STREAM_ID")]
    pub const DEFAULT: Self = Self::of(0);
    /// All streams of the process.
    #[doc(alias = "FLEXIO_MSG_DEV_BROADCAST_STREAM")]
    pub const BROADCAST: Self = Self::of(MAX_STREAMS as u32);

    const fn of(index: u32) -> Self {
        Self(Handle {
            index,
            generation: 1,
        })
    }
}

impl Pod for StreamHandle {
    const SIZE: usize = 8;
    const ALIGN: usize = 8;
    #[inline]
    fn load<L: Load + ?Sized>(from: &L, at: usize) -> Self {
        Self(Handle::load(from, at))
    }
    #[inline]
    fn store<S: Store + ?Sized>(self, to: &mut S, at: usize) {
        self.0.store(to, at);
    }
}

/// The messages that a stream lets through: those of its own level and the more important ones.
#[doc(alias = "flexio_msg_dev_level")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
#[repr(u8)]
pub enum LogFilter {
    /// None.
    #[doc(alias = "FLEXIO_MSG_DEV_NO_PRINT")]
    #[doc(alias = "DOCA_DPA_DEV_LOG_LEVEL_DISABLE")]
    Off = 10,
    /// Only those that are to be seen whatever the level.
    #[doc(alias = "FLEXIO_MSG_DEV_ALWAYS_PRINT")]
    Always = 20,
    /// Errors.
    Error = 30,
    /// Warnings and errors.
    Warn = 40,
    /// All but the details.
    #[default]
    Info = 50,
    /// All.
    Debug = 60,
}

impl LogFilter {
    /// Whether a message of this level passes.
    #[inline]
    pub const fn allows(self, level: LogLevel) -> bool {
        level as u8 <= self as u8
    }
}

impl From<LogLevel> for LogFilter {
    fn from(level: LogLevel) -> Self {
        match level {
            LogLevel::Always => Self::Always,
            LogLevel::Error => Self::Error,
            LogLevel::Warn => Self::Warn,
            LogLevel::Info => Self::Info,
            LogLevel::Debug => Self::Debug,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_lets_its_own_level_and_the_more_important_ones_through() {
        use LogLevel::{Always, Debug, Error, Info, Warn};
        let levels = [Always, Error, Warn, Info, Debug];
        for (nth, of) in levels.into_iter().enumerate() {
            let filter = LogFilter::from(of);
            for (mth, level) in levels.into_iter().enumerate() {
                assert_eq!(filter.allows(level), mth <= nth, "{filter:?} {level:?}");
            }
            assert!(!LogFilter::Off.allows(of));
        }
    }
}
