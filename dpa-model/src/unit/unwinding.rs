//! A thread whose stack is being unwound, as far as is known, and an error handler, which is answered as if it were.

use std::panic::PanicHookInfo;

use super::{Core, PanicNote};
use crate::keeper::own_cpu_time;

/// CPU time, in nanoseconds, after which a thread that is unwound runs destructors for certain: the beginning takes microseconds.
#[cfg(not(dpa_sanitize))]
const BEGINNING_OF_UNWINDING: u64 = 2_000_000;

/// What the standard library says of a panic that leaves a destructor which another panic has run.
const IN_CLEANUP: &str = "panic in a destructor during cleanup";

/// What it says of a panic that comes to a function which cannot pass it on.
const AT_A_BORDER: &str = "panic in a function that cannot unwind";

/// Whether nothing can catch this panic: behind the hook the standard library aborts. It says so nowhere else on stable Rust; one that
/// said it in other words would end the program.
pub(super) fn is_uncatchable(info: &PanicHookInfo<'_>) -> bool {
    let shown = format!("{info:?}");
    let said = shown.rsplit_once("can_unwind: ");
    said.is_some_and(|(_, said)| said.starts_with("false"))
}

impl PanicNote {
    /// Of a thread that ended itself, and whose destructors did so again.
    pub(crate) fn left_again() -> Self {
        Self {
            message: "a destructor ended the kernel that was ending".into(),
            place: None,
            backtrace: None,
            stack: None,
        }
    }
}

impl Core {
    /// Whether the thread's stack is being unwound.
    #[inline]
    pub fn unwinding(&self) -> bool {
        self.unwinding.get()
    }

    /// The stack is being unwound from now on.
    pub(crate) fn begin_unwinding(&self) {
        self.unwinding.set(true);
        self.unwinds_since.set(own_cpu_time().max(1));
        self.interruptions.set(0);
    }

    /// Calls are answered as to one who is unwound, or no longer; nothing is unwound here.
    pub fn set_unwinding(&self, on: bool) {
        self.unwinding.set(on);
        self.unwinds_since.set(0);
    }

    /// For a panic that nothing can catch: whether it only ends another, which is what is told then. That is the last one, or where a
    /// destructor has panicked the one before, if there was one.
    pub(super) fn keeps_first_note(&self, info: &PanicHookInfo<'_>) -> bool {
        let said = info.payload_as_str().unwrap_or_default();
        if said == IN_CLEANUP
            && let Some(first) = self.noted_before.take()
        {
            *self.note.borrow_mut() = Some(first);
        }
        [IN_CLEANUP, AT_A_BORDER].contains(&said) && self.unwinding() && self.has_note()
    }

    /// For the signal handler: whether it is kernel code that the standard library aborts the program for.
    #[cfg(not(dpa_sanitize))]
    pub(crate) fn is_to_be_aborted(&self) -> bool {
        self.uncatchable.get() && self.in_kernel.load(std::sync::atomic::Ordering::Relaxed)
    }

    /// A thread begins. The one before may have caught a panic of its own.
    #[inline]
    pub(crate) fn forget_unwinding(&self) {
        if self.unwinding() {
            self.set_unwinding(false);
            self.put_note(None);
        }
    }

    /// Whether a thread that was unwound, as far as is known, still is: kernels of std crates may catch a panic of their own. Not
    /// inlined, so that no thread-bound address is kept over a switch of stacks.
    #[cold]
    #[inline(never)]
    pub(crate) fn still_unwinds(&self) -> bool {
        let still = self.handling.get() || std::thread::panicking();
        if !still {
            self.forget_unwinding();
        }
        still
    }

    /// Whether a thread that is unwound is past the beginning of that. The panic hook holds a lock of the standard library until
    /// shortly after [`Core::note_panic`], and a panic takes memory: neither is seen from here, but both are over soon.
    #[cfg(not(dpa_sanitize))]
    pub(super) fn is_in_destructor(&self) -> bool {
        let since = self.unwinds_since.get();
        since == 0 || own_cpu_time().saturating_sub(since) > BEGINNING_OF_UNWINDING
    }
}
