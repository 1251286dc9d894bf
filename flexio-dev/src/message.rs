//! Messages and trace records of kernels.
//!
//! A message is formatted by the kernel's thread, in a buffer of fixed size on its stack, and handed to the host as
//! text. What the sink of its stream does with it happens elsewhere.

use core::fmt::{self, Write};
use core::panic::Location;

use dpa_abi::StreamHandle;
use dpa_abi::port::LogLevel;

use crate::context::ThreadContext;
use crate::errno::Errno;

/// Bytes a message may have. A longer one is cut at a character and ends with `…`.
pub const MAX_MESSAGE: usize = 512;

const CUT: &str = "\u{2026}";

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

    /// Cuts what is there so that the mark fits, and adds it.
    fn cut(&mut self) {
        self.len = self.text().floor_char_boundary(MAX_MESSAGE - CUT.len());
        self.push(CUT);
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

/// Hands formatted text to `to`; what is a literal already needs no buffer.
fn with_text<R>(text: fmt::Arguments<'_>, to: impl FnOnce(&str) -> R) -> R {
    match text.as_str() {
        Some(text) if text.len() <= MAX_MESSAGE => to(text),
        _ => format(text, to),
    }
}

#[inline(never)]
fn format<R>(text: fmt::Arguments<'_>, to: impl FnOnce(&str) -> R) -> R {
    let mut message = Message::new();
    if message.write_fmt(text).is_err() && !message.cut {
        message.cut();
    }
    to(message.text())
}

impl ThreadContext<'_> {
    /// Sends a message to a stream, or to all of them ([`StreamHandle::BROADCAST`]). It is formatted only if the stream
    /// lets its level through. `false` if nobody can get it, whatever its level: the handle refers to no stream of this
    /// process, the stream is off, or it goes to the host's `tracing` and nobody listens there.
    ///
    /// Where the stream is synchronous the call returns when the sink has the line, but never waits longer than the
    /// stream's patience. Longer text than [`MAX_MESSAGE`] is cut and ends with `…`.
    #[doc(alias = "flexio_dev_msg")]
    #[track_caller]
    pub fn message(&self, to: StreamHandle, level: LogLevel, text: fmt::Arguments<'_>) -> bool {
        let at = Location::caller();
        let found = if self.unit().message_enabled(to, level) {
            with_text(text, |text| self.unit().message(to, level, text, at))
        } else {
            // Only its level may keep it back: that of another level tells whether there is a stream.
            self.unit().message_enabled(to, LogLevel::Always)
        };
        if !found {
            self.refused(Errno::NoStream);
        }
        found
    }

    /// Sends a message to the default stream, whatever its level; only a stream that is off keeps it back.
    #[doc(alias = "flexio_dev_print")]
    #[doc(alias = "flexio_dev_puts")]
    #[track_caller]
    pub fn print(&self, text: fmt::Arguments<'_>) {
        self.log_line(LogLevel::Always, text);
    }

    /// Sends a message to the default stream.
    #[doc(alias = "doca_dpa_dev_log")]
    #[doc(alias = "flexio_dev_msg_dflt")]
    #[track_caller]
    pub fn log_line(&self, level: LogLevel, text: fmt::Arguments<'_>) {
        let at = Location::caller();
        if self.unit().message_enabled(StreamHandle::DEFAULT, level) {
            with_text(text, |text| self.log_str(level, text, at));
        }
    }

    /// Adds a record of five numbers to the trace of the process; the host adds time, launch and rank. Never waits.
    ///
    /// Records are sent when the buffer is full, when one of the process's threads calls
    /// [`ThreadContext::trace_flush`], and when the process ends.
    #[doc(alias = "doca_dpa_dev_trace")]
    pub fn trace(&self, a: u64, b: u64, c: u64, d: u64, e: u64) {
        self.unit().trace([a, b, c, d, e]);
    }

    /// Sends what the trace of the process has buffered, without waiting for it to arrive.
    #[doc(alias = "doca_dpa_dev_trace_flush")]
    pub fn trace_flush(&self) {
        self.unit().trace_flush();
    }
}

/// Sends a message to a stream: `msg!(thread, stream, Info, "{n} of {all}")`. The level is `Always`, `Error`, `Warn`,
/// `Info` or `Debug`; a stream passes on what its own level allows. `false` if there is no such stream, or it is off.
///
/// `StreamHandle::DEFAULT` is the default stream, `StreamHandle::BROADCAST` all of them; other handles come from the
/// host as arguments. The text is cut at 512 bytes, with `…` at its end.
#[doc(alias = "flexio_dev_msg")]
#[doc(alias = "flexio_dev_msg_broadcast")]
#[doc(alias = "flexio_dev_msg_err")]
#[doc(alias = "flexio_dev_msg_warn")]
#[doc(alias = "flexio_dev_msg_info")]
#[doc(alias = "flexio_dev_msg_dbg")]
#[macro_export]
macro_rules! msg {
    ($thread:expr, $stream:expr, $level:ident, $($text:tt)+) => {
        $thread.message($stream, $crate::LogLevel::$level, ::core::format_args!($($text)+))
    };
}

/// Sends a message to the default stream, whatever its level: `dpa_print!(thread, "{n} done")`. The text is cut at 512
/// bytes, with `…` at its end.
#[doc(alias = "flexio_dev_print")]
#[doc(alias = "flexio_dev_puts")]
#[macro_export]
macro_rules! dpa_print {
    ($thread:expr, $($text:tt)+) => {
        $thread.print(::core::format_args!($($text)+))
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
            let whole = text.strip_suffix('\u{2026}').unwrap();
            assert!(whole.chars().all(|c| "a\u{e4}\u{20ac}".contains(c)));
        }
    }

    #[test]
    fn a_message_that_just_fits_is_whole() {
        let mut message = Message::new();
        (0..MAX_MESSAGE).for_each(|_| message.write_str("x").unwrap());
        assert_eq!(message.text().len(), MAX_MESSAGE);
        assert!(!message.text().contains('\u{2026}'));
        message.write_str("").unwrap();
        assert!(!message.cut);
        message.write_str("y").unwrap();
        assert!(message.text().ends_with("xx\u{2026}"));
        message.write_str("z").unwrap();
        assert!(message.text().ends_with("xx\u{2026}"));
    }

    #[test]
    fn a_value_that_cannot_be_formatted_is_cut_off() {
        struct Fails;
        impl fmt::Display for Fails {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("half")?;
                Err(fmt::Error)
            }
        }
        with_text(format_args!("a {Fails} b"), |text| {
            assert_eq!(text, "a half\u{2026}");
        });
    }
}
