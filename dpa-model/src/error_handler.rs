//! The error handler of a process: a kernel that runs once, on the thread that made the process fatal, before everything is
//! stopped.
//!
//! Rules:
//! 1. It runs for what a thread does wrong while it still has its stack: an error code, a bad access, a panic. A stack that
//!    overflowed or was taken away for its run time is gone, and a process that ends itself has done nothing wrong.
//! 2. It runs where the thread stood. It may do all a kernel may but wait, and its own faults and panics end it and
//!    nothing else: the cause that is recorded is the first.
//! 3. The other threads run on meanwhile; they stop when it is over.

use std::any::Any;
use std::ptr::NonNull;

use dpa_abi::UnitRef;
use dpa_abi::kernel::KernelEntry;
use parking_lot::Mutex;
use thiserror::Error;

use crate::fault::Fault;
use crate::fiber::Switch;
use crate::foreign::{let_go_in_turn, on_own_stack};
use crate::launch::ArgBytes;
use crate::process::Process;

/// Why an error handler was not set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ErrorHandlerError {
    /// The process has one.
    #[error("the process has an error handler already")]
    Taken,
    /// The arguments are not as many bytes as the kernel takes.
    #[error("{given} bytes of arguments were given, the kernel takes {takes}")]
    Arguments {
        /// How many were given.
        given: usize,
        /// How many it takes.
        takes: usize,
    },
    /// The process is fatal or closed.
    #[error("the process is stopped")]
    Stopped,
}

/// A kernel to be run when something went wrong.
pub struct ErrorHandler {
    /// The kernel.
    pub entry: &'static KernelEntry,
    /// Its packed arguments.
    pub args: ArgBytes,
    /// What must stay alive until it has run.
    pub keep: Option<Box<dyn Any + Send>>,
}

impl ErrorHandler {
    pub(crate) fn run(&self, unit: UnitRef<'_>) {
        (self.entry.run)(unit, &self.args);
    }
}

impl std::fmt::Debug for ErrorHandler {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.entry.name)
    }
}

/// Where a process keeps it.
#[derive(Debug, Default)]
pub(crate) struct ErrorHandlerSlot(Mutex<State>);

#[derive(Debug, Default)]
enum State {
    #[default]
    None,
    Set(Box<ErrorHandler>),
    /// It runs, and is used there.
    Runs(Box<ErrorHandler>),
    /// It has run; what it keeps alive is kept until everything is stopped.
    Over(Option<Box<ErrorHandler>>),
}

impl ErrorHandlerSlot {
    /// The handler, for the one who runs it: it stays where it is until [`Process::error_handler_ran`].
    pub(crate) fn begin(&self) -> Option<NonNull<ErrorHandler>> {
        let mut state = self.0.lock();
        match std::mem::replace(&mut *state, State::Over(None)) {
            State::Set(handler) => {
                *state = State::Runs(handler);
                match &*state {
                    State::Runs(handler) => Some(NonNull::from(&**handler)),
                    _ => None,
                }
            }
            other => {
                *state = other;
                None
            }
        }
    }

    /// The handler has run.
    fn end(&self) {
        let mut state = self.0.lock();
        match std::mem::replace(&mut *state, State::Over(None)) {
            State::Runs(handler) => *state = State::Over(Some(handler)),
            other => *state = other,
        }
    }

    /// The handler with everything that it keeps alive, if it does not run. None is set any more.
    fn take_kept(&self) -> Option<Box<ErrorHandler>> {
        let mut state = self.0.lock();
        if matches!(*state, State::Runs(_)) {
            return None;
        }
        match std::mem::replace(&mut *state, State::Over(None)) {
            State::Set(handler) | State::Runs(handler) => Some(handler),
            State::Over(kept) => kept,
            State::None => None,
        }
    }
}

impl Process {
    /// Sets the kernel that runs when a thread makes the process fatal, once.
    ///
    /// # Errors
    /// There is one already; the process is stopped.
    pub fn set_error_handler(&self, handler: ErrorHandler) -> Result<(), ErrorHandlerError> {
        let mut state = self.error_handler.0.lock();
        if self.is_stopped() {
            return Err(ErrorHandlerError::Stopped);
        }
        match *state {
            State::None => *state = State::Set(Box::new(handler)),
            _ => return Err(ErrorHandlerError::Taken),
        }
        Ok(())
    }

    /// The error handler is about to run, for this.
    pub(crate) fn note_cause(&self, fault: Fault) {
        let _ = self.cause.set(fault);
    }

    /// The error handler has run. What it keeps alive goes when everything is stopped, as that of one which never runs: what it
    /// could have published is closed by then, for the reason that everything is.
    pub(crate) fn error_handler_ran(&self, off: Option<&Switch>) {
        self.error_handler.end();
        if self.is_stopped() {
            // Another thread has stopped everything meanwhile, perhaps with this done already.
            on_own_stack(off, || self.drop_error_handler());
        }
    }

    /// Lets go of what the error handler keeps alive: it does not run any more.
    pub(crate) fn drop_error_handler(&self) {
        if let Some(kept) = self.error_handler.take_kept() {
            let_go_in_turn("an error handler", kept);
        }
    }
}
