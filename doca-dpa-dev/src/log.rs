//! Messages to the host.

use core::fmt::{self, Write};
use core::panic::Location;

use flexio_dev::{LogLevel, ThreadContext};

/// Bytes a message may have. A longer one is cut at a character and ends with `...`.
pub const MAX_MESSAGE: usize = 512;

const DOTS: &str = "...";

/// A message that is being formatted, on the kernel's stack.
struct Message {
    bytes: [u8; MAX_MESSAGE],
    len: usize,
    cut: bool,
}

impl Message {
    fn new() -> Self {
        Self {
            bytes: [0; MAX_MESSAGE],
            len: 0,
            cut: false,
        }
    }

    fn push(&mut self, text: &str) {
        self.bytes[self.len..self.len + text.len()].copy_from_slice(text.as_bytes());
        self.len += text.len();
    }

    fn text(&self) -> &str {
        core::str::from_utf8(&self.bytes[..self.len]).unwrap_or_default()
    }

    /// Cuts what is there so that the dots fit, and adds them.
    fn cut(&mut self) {
        self.len = self.text().floor_char_boundary(MAX_MESSAGE - DOTS.len());
        self.push(DOTS);
        self.cut = true;
    }
}

impl Write for Message {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if self.cut {
            return Ok(());
        }
        let fits = text.floor_char_boundary(MAX_MESSAGE - self.len);
        self.push(&text[..fits]);
        if fits < text.len() {
            self.cut();
        }
        Ok(())
    }
}

/// Formats and hands over; the macros call this.
#[track_caller]
pub fn log(thread: &ThreadContext<'_>, level: LogLevel, text: fmt::Arguments<'_>) {
    let at = Location::caller();
    match text.as_str() {
        Some(text) if text.len() <= MAX_MESSAGE => thread.log_str(level, text, at),
        _ => format(thread, level, text, at),
    }
}

#[inline(never)]
fn format(
    thread: &ThreadContext<'_>,
    level: LogLevel,
    text: fmt::Arguments<'_>,
    at: &'static Location<'static>,
) {
    let mut message = Message::new();
    if message.write_fmt(text).is_err() {
        message.cut();
    }
    thread.log_str(level, message.text(), at);
}

/// Tells the host that something went wrong: `error!(thread, "no entry {n}")`.
///
/// The message reaches the host's `tracing` at level ERROR. It is cut at 512 bytes.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_message_is_cut_at_a_character() {
        for shift in 0..4 {
            let mut message = Message::new();
            (0..shift).for_each(|_| message.write_str("a").unwrap());
            (0..300).for_each(|_| message.write_str("\u{e4}\u{20ac}").unwrap());
            let text = message.text();
            assert!(text.len() <= MAX_MESSAGE && text.len() > MAX_MESSAGE - 4);
            assert!(text.ends_with("..."));
            assert!(
                text.trim_end_matches('.')
                    .chars()
                    .all(|c| "a\u{e4}\u{20ac}".contains(c))
            );
        }
    }

    #[test]
    fn a_message_that_just_fits_is_whole() {
        let mut message = Message::new();
        (0..MAX_MESSAGE).for_each(|_| message.write_str("x").unwrap());
        assert_eq!(message.text().len(), MAX_MESSAGE);
        assert!(!message.text().contains('.'));
        message.write_str("").unwrap();
        assert!(!message.cut);
        message.write_str("y").unwrap();
        assert!(message.text().ends_with("xx..."));
        message.write_str("z").unwrap();
        assert!(message.text().ends_with("xx..."));
    }
}
