//! A line on its way to the host, and how it looks there.

use std::fmt::{self, Write as _};
use std::io::{self, Write};
use std::panic::Location;
use std::time::Duration;

use dpa_abi::LogLevel;

use crate::message::channel::{Item, Outlet};

/// What a line costs in a buffer beside its text, in bytes.
pub(crate) const LINE_OVERHEAD: usize = 64;

/// Where a message or a record comes from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Origin {
    pub kernel: &'static str,
    pub launch: u64,
    pub rank: u32,
    /// Device time in nanoseconds.
    pub time: u64,
}

/// A message of a kernel.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    pub stream: u8,
    pub level: LogLevel,
    pub origin: Origin,
    pub at: &'static Location<'static>,
    pub text: Box<str>,
}

impl Item for Line {
    fn cost(&self) -> usize {
        LINE_OVERHEAD + self.text.len()
    }
}

/// How lines look in a text sink.
#[doc(alias = "flexio_msg_stream_attr")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum Layout {
    /// The text and nothing else. A loss stands in brackets before the next text: `[3 lines lost] text`.
    #[default]
    Plain,
    /// Device time in seconds, level, kernel, launch and rank, text, place:
    /// `0.000012345 INFO count #7.0: 3 samples (kernels/src/lib.rs:12)`. A loss has a line of its own.
    Full,
}

/// Lines as text, each with what was lost before it in one write.
pub(crate) struct Text<W> {
    to: W,
    layout: Layout,
    made: String,
}

impl<W: Write> Text<W> {
    pub fn new(to: W, layout: Layout) -> Self {
        Self {
            to,
            layout,
            made: String::new(),
        }
    }

    fn write(&mut self, make: impl FnOnce(&mut String) -> fmt::Result) -> io::Result<()> {
        self.made.clear();
        make(&mut self.made).map_err(io::Error::other)?;
        self.to.write_all(self.made.as_bytes())
    }
}

impl<W: Write + Send> Outlet<Line> for Text<W> {
    fn put(&mut self, line: &Line, lost: u64) -> io::Result<()> {
        let text = line.text.trim_end_matches('\n');
        match (self.layout, lost) {
            (Layout::Plain, 0) => self.write(|made| writeln!(made, "{text}")),
            (Layout::Plain, _) => self.write(|made| writeln!(made, "[{}] {text}", Lost(lost))),
            (Layout::Full, 0) => self.write(|made| full(made, line, text)),
            (Layout::Full, _) => self.write(|made| {
                writeln!(made, "[{}]", Lost(lost))?;
                full(made, line, text)
            }),
        }
    }

    fn lost(&mut self, lost: u64) -> io::Result<()> {
        self.write(|made| writeln!(made, "[{}]", Lost(lost)))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

struct Lost(u64);

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let s = if self.0 == 1 { "" } else { "s" };
        write!(f, "{} line{s} lost", self.0)
    }
}

/// A line break within the text is shown as such, so that one message stays one line and none can pose as another.
fn full(made: &mut String, line: &Line, text: &str) -> fmt::Result {
    let time = Duration::from_nanos(line.origin.time);
    let (secs, nanos) = (time.as_secs(), time.subsec_nanos());
    let level = level_name(line.level);
    let Origin {
        kernel,
        launch,
        rank,
        ..
    } = line.origin;
    write!(
        made,
        "{secs}.{nanos:09} {level} {kernel} #{launch}.{rank}: "
    )?;
    for (nth, part) in text.split('\n').enumerate() {
        made.push_str(if nth == 0 { "" } else { "\\n" });
        made.push_str(part);
    }
    writeln!(made, " ({}:{})", line.at.file(), line.at.line())
}

fn level_name(level: LogLevel) -> &'static str {
    match level {
        LogLevel::Always => "NOTE",
        LogLevel::Error => "ERROR",
        LogLevel::Warn => "WARN",
        LogLevel::Info => "INFO",
        LogLevel::Debug => "DEBUG",
    }
}

/// Lines as events of `tracing`, target `doca_dpa::kernel`.
pub(crate) struct Traced;

impl Outlet<Line> for Traced {
    fn put(&mut self, line: &Line, lost: u64) -> io::Result<()> {
        if lost > 0 {
            self.lost(lost)?;
        }
        emit(line);
        Ok(())
    }

    fn lost(&mut self, lost: u64) -> io::Result<()> {
        tracing::warn!(target: "doca_dpa::kernel", lost, "{}", Lost(lost));
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn emit(line: &Line) {
    let Origin {
        kernel,
        launch,
        rank,
        ..
    } = line.origin;
    let (stream, message) = (line.stream, &line.text);
    let (file, line_number) = (line.at.file(), line.at.line());
    macro_rules! at_level {
        ($level:ident) => {
            tracing::$level!(target: "doca_dpa::kernel", kernel, launch, rank, stream, file, line = line_number, "{message}")
        };
    }
    match line.level {
        LogLevel::Error => at_level!(error),
        LogLevel::Warn => at_level!(warn),
        LogLevel::Always | LogLevel::Info => at_level!(info),
        LogLevel::Debug => at_level!(debug),
    }
}

/// Whether nobody listens to `tracing` at this level, as far as can be told without asking a subscriber.
pub(crate) fn nobody_traces(level: LogLevel) -> bool {
    let level = match level {
        LogLevel::Error => tracing::Level::ERROR,
        LogLevel::Warn => tracing::Level::WARN,
        LogLevel::Always | LogLevel::Info => tracing::Level::INFO,
        LogLevel::Debug => tracing::Level::DEBUG,
    };
    level > tracing::level_filters::LevelFilter::current()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(text: &str) -> Line {
        Line {
            stream: 0,
            level: LogLevel::Warn,
            origin: Origin {
                kernel: "count",
                launch: 7,
                rank: 2,
                time: 1_000_000_023,
            },
            at: Location::caller(),
            text: text.into(),
        }
    }

    fn written(layout: Layout, text: &str, lost: u64) -> String {
        let mut out = Text::new(Vec::new(), layout);
        out.put(&line(text), lost).unwrap();
        String::from_utf8(out.to).unwrap()
    }

    #[test]
    fn a_plain_line_is_its_text_and_tells_what_was_lost_before_it() {
        assert_eq!(written(Layout::Plain, "a\nb\n", 0), "a\nb\n");
        assert_eq!(written(Layout::Plain, "a", 1), "[1 line lost] a\n");
        assert_eq!(written(Layout::Plain, "a", 20), "[20 lines lost] a\n");
    }

    #[test]
    fn a_full_line_stays_one_line() {
        let text = written(Layout::Full, "a\n9.000000000 ERROR x #1.0: b", 3);
        let (first, second) = text.split_once('\n').unwrap();
        assert_eq!(first, "[3 lines lost]");
        assert!(second.starts_with(
            "1.000000023 WARN count #7.2: a\\n9.000000000 ERROR x #1.0: b (dpa-model/"
        ));
        assert_eq!(second.matches('\n').count(), 1);
    }
}
