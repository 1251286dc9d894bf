//! What made a process fatal, recorded once.

use std::any::Any;
use std::backtrace::Backtrace;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use dpa_abi::FaultKind;
use dpa_abi::handle::EventHandle;

use crate::crash::ENVIRONMENT;
use crate::crash::report::{CrashReport, Expected};
use crate::unit::PanicNote;

/// Bytes of a panic's message that are kept, at most: what a kernel says with it may be as long as memory, and is
/// kept as long as the host program keeps the fault.
const MESSAGE_BYTES: usize = 4 * 1024;

/// What is kept of a panic's message.
pub(crate) fn kept_of(message: &str) -> String {
    if message.len() <= MESSAGE_BYTES {
        return message.to_owned();
    }
    let kept = &message[..message.floor_char_boundary(MESSAGE_BYTES)];
    format!("{kept}.. ({} of {} bytes)", kept.len(), message.len())
}

/// What is kept of what a panic says.
pub(crate) fn message_of(payload: &(dyn Any + Send)) -> Option<String> {
    let text = payload.downcast_ref::<&str>().copied();
    let text = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    text.map(kept_of)
}

/// Where in the source something happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The file.
    pub file: String,
    /// The line, from 1.
    pub line: u32,
    /// The column, from 1.
    pub column: u32,
}

impl From<&std::panic::Location<'_>> for Place {
    fn from(at: &std::panic::Location<'_>) -> Self {
        Self {
            file: at.file().into(),
            line: at.line(),
            column: at.column(),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file, self.line, self.column)
    }
}

/// One thread of a deadlock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// Its kernel.
    pub kernel: String,
    /// Its launch's number, in order of submission.
    pub launch: u64,
    /// Its rank.
    pub rank: u32,
    /// Its device, if that is one of several of a simulation. They are numbered from 0 as they are opened.
    pub device: Option<u32>,
    /// What it waits for.
    pub on: WaitingOn,
}

/// What a thread waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WaitingOn {
    /// A condition of an event.
    Event {
        /// Which.
        event: EventHandle,
        /// The condition.
        condition: dpa_abi::Condition,
        /// The event's value when this was recorded.
        value: u64,
        /// Whether the wait ends by itself.
        timeout: bool,
    },
    /// The other threads of its launch.
    Meeting,
}

impl fmt::Display for Waiting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (launch, rank) = (self.launch, self.rank);
        write!(f, "{} (launch {launch}, rank {rank}", self.kernel)?;
        if let Some(device) = self.device {
            write!(f, ", device {device}")?;
        }
        f.write_str(") waits for ")?;
        match &self.on {
            WaitingOn::Event {
                event,
                condition,
                value,
                ..
            } => {
                write!(f, "event {}: {condition}, value is {value}", event.0.index)
            }
            WaitingOn::Meeting => f.write_str("the other threads of its launch"),
        }
    }
}

/// Why a process became fatal. The first cause is kept; later ones are consequences.
///
/// With `{:?}` it is in words too, and the kernel's stack only with `{:#?}`.
#[derive(Clone)]
#[non_exhaustive]
pub struct Fault {
    /// What went wrong.
    pub kind: FaultKind,
    /// The kernel, call or job that did it; empty for a deadlock.
    pub kernel: String,
    /// The number of its launch, in order of submission.
    pub launch: u64,
    /// The rank of the thread.
    pub rank: u32,
    /// The execution unit, of a DPA thread that asked for units by number: no others have one that is theirs.
    pub unit: Option<u32>,
    /// Where in the source, if known.
    pub place: Option<Place>,
    /// A panic's message. Of one that is longer than 4 KiB the beginning, and how long it was.
    pub message: Option<String>,
    /// The stack of the kernel, where there is one. Resolved when it is shown.
    pub backtrace: Option<Arc<Backtrace>>,
    /// The threads of a deadlock.
    pub waiting: Vec<Waiting>,
    pub(crate) crash: Expected,
}

impl Fault {
    /// Of a thread on this unit.
    pub(crate) fn on(self, unit: Option<u32>) -> Self {
        Self { unit, ..self }
    }

    /// With what a panic said.
    pub(crate) fn told(mut self, note: Option<&PanicNote>) -> Self {
        if let Some(note) = note {
            self.message = Some(note.message.clone());
            self.place.clone_from(&note.place);
            self.backtrace.clone_from(&note.backtrace);
        }
        self
    }

    /// The files of its crash report. `None`: they are not written yet, or none are.
    pub fn crash_report(&self) -> Option<&CrashReport> {
        self.crash.report()
    }

    /// As [`Fault::crash_report`], but waits, at most for `patience`, until they are written. `None` at once if none
    /// are. Blocks this thread.
    pub fn wait_for_crash_report(&self, patience: Duration) -> Option<&CrashReport> {
        self.crash.wait(patience)
    }

    /// The device address that was accessed, if it was an access.
    pub fn address(&self) -> Option<u64> {
        match self.kind {
            FaultKind::OutOfRange { addr, .. }
            | FaultKind::Unaligned { addr, .. }
            | FaultKind::NotWritable { addr } => Some(addr),
            _ => None,
        }
    }

    pub(crate) fn of(kind: FaultKind, kernel: &str, launch: u64, rank: u32) -> Self {
        let (place, message, backtrace) = (None, None, None);
        Self {
            kind,
            kernel: kernel.into(),
            launch,
            rank,
            unit: None,
            place,
            message,
            backtrace,
            waiting: Vec::new(),
            crash: Expected::Unknown,
        }
    }

    pub(crate) fn deadlock(waiting: Vec<Waiting>) -> Self {
        Self {
            waiting,
            ..Self::of(FaultKind::Deadlock, "", 0, 0)
        }
    }
}

/// What `fn main() -> Result<(), LaunchError>` prints is for people: some 50 frames in one line are not.
impl fmt::Debug for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fault({self})")?;
        match self.backtrace.as_ref().filter(|_| f.alternate()) {
            Some(backtrace) => write!(f, "\n{backtrace}"),
            None => Ok(()),
        }
    }
}

impl Fault {
    fn say_where_the_report_is(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Expected::Off { by_choice: false } = self.crash {
            return write!(f, " (for a crash report, set {ENVIRONMENT})");
        }
        match self.crash_report() {
            Some(CrashReport {
                text: Some(text), ..
            }) => write!(f, " (crash report: {})", text.display()),
            Some(CrashReport { problems, .. }) if !problems.is_empty() => {
                write!(f, " (no crash report: {})", problems[0])
            }
            _ => Ok(()),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.kernel.is_empty() {
            write!(f, "{}", self.kind)?;
        } else {
            write!(
                f,
                "kernel {} (launch {}, rank {}",
                self.kernel, self.launch, self.rank
            )?;
            if let Some(unit) = self.unit {
                write!(f, ", unit {unit}")?;
            }
            write!(f, "): {}", self.kind)?;
        }
        if let Some(message) = &self.message {
            write!(f, ": {message}")?;
        }
        if let Some(place) = &self.place {
            write!(f, " at {place}")?;
        }
        for waiting in &self.waiting {
            write!(f, "; {waiting}")?;
        }
        self.say_where_the_report_is(f)
    }
}

impl std::error::Error for Fault {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_kept_up_to_a_character_and_says_what_is_missing() {
        let short = "x".repeat(MESSAGE_BYTES);
        assert_eq!(kept_of(&short), short);
        // Three bytes each: the limit lies within one.
        let long = "\u{20ac}".repeat(MESSAGE_BYTES);
        let kept = kept_of(&long);
        let whole = MESSAGE_BYTES / 3;
        assert!(kept.starts_with(&long[..3 * whole]));
        assert_eq!(kept[3 * whole..], *".. (4095 of 12288 bytes)");
        assert_eq!(message_of(&long).as_ref(), Some(&kept));
        assert_eq!(message_of(&"short").as_deref(), Some("short"));
        assert_eq!(message_of(&1), None);
    }
}
