//! Crash reports: what is written when a process becomes fatal (SEMANTICS 5.2).
//!
//! Two files with one name: a text for people, and an ELF core for a debugger. The fault path itself only takes down
//! what would be gone a moment later (figures, values of events, stacks of threads that wait), in memory and bounded.
//! Everything that can block, fail or take long is done by a thread of its own, once the process is stopped; under the
//! seeded driver, where time is virtual, by the driver before it goes on. Nothing of it runs on a kernel's stack, but
//! for the copy of a panicking kernel's own stack.
//!
//! | file | what |
//! |---|---|
//! | `report` | what became of a report, and the errors |
//! | `capture` | what is taken down on the fault path |
//! | `stack` | registers, and copies of kernel stacks |
//! | `parts` | which parts of a heap are worth writing |
//! | `text` | the text |
//! | `elf` | the layout of a core file |
//! | `notes` | what its notes say |
//! | `file` | names, and files that are never overwritten |
//! | `write` | all of it together |
//! | `pending` | the end of the program waits a little for reports on their way |

pub(crate) mod capture;
mod elf;
mod file;
mod notes;
mod parts;
mod pending;
pub mod report;
pub(crate) mod stack;
mod text;
mod write;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;

use crate::foreign;
use crate::process::Process;
use crate::unit::Core;
use capture::Capture;
use pending::Writing;
use report::{CrashProblem, CrashReport, Expected, Slot};
use stack::{Frame, StackCopy};

/// Names the files of crash reports, for processes that are opened with [`CrashFiles::Environment`].
pub const ENVIRONMENT: &str = "DPA_CRASH_PATH";

/// Where the crash reports of a process go.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum CrashFiles {
    /// Where the environment variable `DPA_CRASH_PATH` says, when the process is opened; nowhere if it is not set, or
    /// empty.
    #[default]
    Environment,
    /// Nowhere, whatever the environment says.
    Off,
    /// To files whose names begin so: `.PID.crash` and `.PID.core` are appended. In a directory they are called
    /// `doca_dpa_fatal`. Those of a function that is not the device's first have its name before the PID.
    At(PathBuf),
}

/// The figures of a process's crash reports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CrashSpec {
    /// Where they go.
    pub files: CrashFiles,
    /// Bytes that a core file has at most. Below [`CrashSpec::LEAST_CORE_BYTES`]: none is written, only the text.
    pub core_bytes: u64,
}

impl CrashSpec {
    /// Bytes that a core file has at most, unless told otherwise.
    pub const CORE_BYTES: u64 = 64 << 20;
    /// The least bytes a core file can do with. A smaller limit means that none is written.
    pub const LEAST_CORE_BYTES: u64 = 64 << 10;
}

impl Default for CrashSpec {
    fn default() -> Self {
        Self {
            files: CrashFiles::default(),
            core_bytes: Self::CORE_BYTES,
        }
    }
}

/// Where the reports of one process go.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub(crate) prefix: PathBuf,
    pub(crate) core_bytes: u64,
}

/// What the end of the program waits for; nothing under the seeded driver, where a report is written at once. Or how many reports are on
/// their way already, if no more may be.
type Announced = Result<Option<Writing>, usize>;

/// A report whose process is being stopped.
#[derive(Debug)]
enum Begun {
    Captured(Box<Capture>, Option<Writing>),
    Refused(usize),
}

/// The crash report of one process, before, while and after it is written.
#[derive(Debug)]
pub(crate) struct Crash {
    target: Option<Target>,
    /// Whether there is no target because none is wanted.
    by_choice: bool,
    slot: Arc<Slot>,
    begun: Mutex<Option<Begun>>,
    parked: AtomicUsize,
}

impl Crash {
    /// Of these figures.
    pub(crate) fn new(spec: &CrashSpec) -> Self {
        let prefix = match &spec.files {
            CrashFiles::At(path) => Some(path.clone()),
            CrashFiles::Off => None,
            CrashFiles::Environment => std::env::var_os(ENVIRONMENT).map(PathBuf::from),
        };
        let prefix = prefix.filter(|path| !path.as_os_str().is_empty());
        let core_bytes = spec.core_bytes;
        Self {
            target: prefix.map(|path| Target {
                prefix: file::prefix(path),
                core_bytes,
            }),
            by_choice: spec.files == CrashFiles::Off,
            slot: Arc::default(),
            begun: Mutex::default(),
            parked: AtomicUsize::new(0),
        }
    }

    /// The figures, with the place found; [`CrashFiles::Environment`] if the environment named none.
    pub(crate) fn spec(&self) -> CrashSpec {
        let figures = |target: &Target| CrashSpec {
            files: CrashFiles::At(target.prefix.clone()),
            core_bytes: target.core_bytes,
        };
        let none = || CrashSpec {
            files: if self.by_choice {
                CrashFiles::Off
            } else {
                CrashFiles::Environment
            },
            ..CrashSpec::default()
        };
        self.target.as_ref().map_or_else(none, figures)
    }

    /// Whether there will be a core: only then are stacks worth a copy.
    pub(crate) fn wants_core(&self) -> bool {
        self.target
            .as_ref()
            .is_some_and(|target| target.core_bytes >= CrashSpec::LEAST_CORE_BYTES)
    }

    /// What a fault says of its report.
    pub(crate) fn expected(&self) -> Expected {
        match self.target {
            Some(_) => Expected::In(self.slot.clone()),
            None => Expected::Off {
                by_choice: self.by_choice,
            },
        }
    }

    /// The stack of the thread that runs, or of one that has just been reset: of the caller, or of whoever waits for it.
    pub(crate) fn copy_stack(&self, core: &Core, at: Frame) -> Option<StackCopy> {
        self.wants_core().then(|| StackCopy::of(core, at))
    }

    /// Before anybody can know of the fault: from here on the end of the program waits for the report, if there will be one.
    pub(crate) fn announce(&self, process: &Process) -> Option<Announced> {
        self.target.as_ref()?;
        let seeded = process.device.is_seeded();
        let writing = (!seeded).then(|| Writing::begin(&process.tenancy.function));
        Some(writing.transpose())
    }

    /// The process has become fatal; what would be gone once it is stopped is taken down. Nothing of it waits long.
    pub(crate) fn begin(
        &self,
        process: &Process,
        announced: Option<Announced>,
        stack: Option<StackCopy>,
    ) {
        *self.begun.lock() = announced.map(|announced| match announced {
            Ok(writing) => Begun::Captured(Box::new(Capture::new(process, stack)), writing),
            Err(limit) => Begun::Refused(limit),
        });
    }

    /// A thread that waited is taken out of its wait, and not yet resumed.
    pub(crate) fn saw_blocked(&self, core: &Core) {
        if let Some(Begun::Captured(capture, _)) = &mut *self.begun.lock()
            && self.wants_core()
        {
            capture.add_blocked(core);
        }
    }

    /// A parked launch is taken back.
    pub(crate) fn saw_parked(&self) {
        self.parked.fetch_add(1, Ordering::Relaxed);
    }

    /// The process is stopped: the report is sent on its way.
    pub(crate) fn finish(&self, process: &Arc<Process>) {
        let begun = self.begun.lock().take();
        let (mut capture, writing) = match begun {
            None => return,
            Some(Begun::Captured(capture, writing)) => (*capture, writing),
            Some(Begun::Refused(limit)) => {
                self.settle(CrashReport::of(CrashProblem::TooManyAtOnce { limit }));
                return;
            }
        };
        capture.parked = self.parked.load(Ordering::Relaxed);
        let Some(writing) = writing else {
            self.write(process, capture);
            return;
        };
        let of = process.clone();
        let helper = std::thread::Builder::new().name("dpa-crash".into());
        let started = helper.spawn(move || {
            of.crash.write(&of, capture);
            drop(writing);
        });
        if let Err(error) = started {
            self.settle(CrashReport::of(CrashProblem::Thread(Arc::new(error))));
        }
    }

    fn write(&self, process: &Process, capture: Capture) {
        let (Some(target), Some(fault)) = (&self.target, process.fault()) else {
            return;
        };
        let written = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            write::write(process, fault, &capture, target)
        }));
        self.settle(written.unwrap_or_else(|_| CrashReport::of(CrashProblem::Panicked)));
    }

    fn settle(&self, report: CrashReport) {
        let told = report.clone();
        self.slot.fill(report);
        // Last: who listens is foreign.
        foreign::tell(|| {
            for problem in &told.problems {
                tracing::warn!(target: "doca_dpa::fault", %problem, "a crash report is not complete");
            }
            if let Some(text) = &told.text {
                tracing::info!(target: "doca_dpa::fault", text = %text.display(), "a crash report was written");
            }
        });
    }
}
