//! What became of a crash report.

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use thiserror::Error;

/// Something of a crash report that could not be written. The fault itself is not touched by it.
#[derive(Clone, Debug, Error)]
#[non_exhaustive]
pub enum CrashProblem {
    /// A file could not be made.
    #[error("{} could not be made: {source}", .path.display())]
    Create {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: Arc<io::Error>,
    },
    /// A file could not be written to its end.
    #[error("{} could not be written: {source}", .path.display())]
    Write {
        /// Which. What there was of it is removed.
        path: PathBuf,
        /// What the system said.
        source: Arc<io::Error>,
    },
    /// There are as many reports of this program already as there may be.
    #[error("there are {limit} crash reports {}.* already, as many as there may be", .prefix.display())]
    TooMany {
        /// What their names begin with.
        prefix: PathBuf,
        /// How many there may be.
        limit: u32,
    },
    /// As many reports as may be are being written at the moment.
    #[error("{limit} crash reports are being written at the moment, as many as may be")]
    TooManyAtOnce {
        /// How many may be.
        limit: usize,
    },
    /// The core took too long, and ends where it was then.
    #[error("{} took longer than {after:?} and is not complete", .path.display())]
    TimeUp {
        /// Which.
        path: PathBuf,
        /// How long it may take.
        after: Duration,
    },
    /// No thread could be started to write it.
    #[error("no thread could be started to write a crash report: {0}")]
    Thread(#[source] Arc<io::Error>),
    /// Writing it panicked.
    #[error("writing a crash report panicked")]
    Panicked,
}

/// The files of a crash report that has been written, as far as it could be.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct CrashReport {
    /// The text.
    pub text: Option<PathBuf>,
    /// The core file.
    pub core: Option<PathBuf>,
    /// Bytes of memory that the core would have had beyond its limit.
    pub left_out: u64,
    /// What could not be written, and why.
    pub problems: Vec<CrashProblem>,
}

impl CrashReport {
    pub(crate) fn of(problem: CrashProblem) -> Self {
        Self {
            problems: vec![problem],
            ..Self::default()
        }
    }
}

/// What a fault knows of its report.
#[derive(Clone, Debug, Default)]
pub(crate) enum Expected {
    /// It is not yet the fault of any process.
    #[default]
    Unknown,
    /// None is written: because none is wanted, or because nothing says where.
    Off { by_choice: bool },
    /// It will be here.
    In(Arc<Slot>),
}

impl Expected {
    pub(crate) fn report(&self) -> Option<&CrashReport> {
        match self {
            Self::In(slot) => slot.report.get(),
            _ => None,
        }
    }

    pub(crate) fn wait(&self, patience: Duration) -> Option<&CrashReport> {
        match self {
            Self::In(slot) => slot.wait(patience),
            _ => None,
        }
    }
}

/// Where a report appears once it is written.
#[derive(Debug, Default)]
pub(crate) struct Slot {
    report: OnceLock<CrashReport>,
    lock: Mutex<()>,
    filled: Condvar,
}

impl Slot {
    pub(crate) fn fill(&self, report: CrashReport) {
        let _ = self.report.set(report);
        drop(self.lock.lock().unwrap_or_else(PoisonError::into_inner));
        self.filled.notify_all();
    }

    fn wait(&self, patience: Duration) -> Option<&CrashReport> {
        let guard = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self
            .filled
            .wait_timeout_while(guard, patience, |()| self.report.get().is_none());
        drop(waited);
        self.report.get()
    }
}
