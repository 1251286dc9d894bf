//! A thread whose stack is being unwound, as far as is known, and an error handler, which is answered as if it were.

use super::{Core, PanicNote};
use crate::keeper::own_cpu_time;

/// CPU time, in nanoseconds, after which a thread that is unwound runs destructors for certain: the beginning takes microseconds.
#[cfg(not(dpa_sanitize))]
const BEGINNING_OF_UNWINDING: u64 = 2_000_000;

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
