//! What happens to a worker while a kernel runs on it and something goes wrong below the language: a stack overflow,
//! a stray access, a run-time limit; or a panic that nothing can catch (one that leaves a destructor of a thread that is unwound, or
//! a function of another ABI), which the standard library answers with `abort`.
//!
//! A signal handler on an alternate stack acts only when the stack pointer lies in the kernel stack that this worker
//! has entered, else it hands the signal to the handler that was there before. It resets the kernel stack and lets it
//! return to its worker with what happened; the frames on it are abandoned, and their destructors do not run. The stack is not used
//! again until many others were left behind after it (`stack.rs`). So nothing of ours (lock, guard, count) may be live under a kernel's
//! frame.
//!
//! Of `SIGABRT` it acts only where the hook was told of such a panic: the standard library has left the hook by then, and does nothing
//! but abort. Who aborts otherwise, a library or the program, ends the program.
//!
//! Another handler interrupts a kernel for others to run. It runs on the kernel's own stack, and leaves it as a device call
//! does; when the thread goes on, on the same OS thread, the handler returns. It acts only where the kernel's crate has neither
//! the standard library nor an allocator in its reach: with them, it may be in the middle of changing what its OS thread has, which
//! is what others find that run meanwhile. Neither it nor the run-time limit acts in code of a library (`code.rs`).
//!
//! A thread that is unwound is interrupted and stopped as well, for a destructor may not end; but only in the program's own code, and
//! not at once (`unit/unwinding.rs`). The count of panics that the standard library keeps for the OS thread then includes its own: others on
//! that worker see [`std::thread::panicking`] say so meanwhile, or, if the thread does not go on, for good.

#[cfg(dpa_sanitize)]
use std::cell::Cell;
use std::sync::Once;

#[cfg(dpa_sanitize)]
use crate::unit::Core;

#[cfg(not(dpa_sanitize))]
mod code;
#[cfg(not(dpa_sanitize))]
mod entered;
#[cfg(all(test, not(dpa_sanitize)))]
mod tests;

/// Why a stack was reset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trapped {
    /// It overflowed.
    Overflow,
    /// A stray access: the signal's number.
    Native(i32),
    /// The run-time limit.
    RunTime,
    /// A panic that nothing can catch.
    Panic,
}

#[cfg(dpa_sanitize)]
thread_local! {
    static FIBER: Cell<*const Core> = const { Cell::new(std::ptr::null()) };
}

/// Says that this OS thread is a kernel's, for good.
#[cfg(dpa_sanitize)]
pub(crate) fn this_thread_is_a_fiber(core: *const Core) {
    FIBER.set(core);
}

/// Runs this as the worker would, on the kernel's OS thread.
#[cfg(dpa_sanitize)]
pub(crate) fn as_worker<R>(run: impl FnOnce() -> R) -> R {
    struct Again(*const Core);
    impl Drop for Again {
        fn drop(&mut self) {
            FIBER.set(self.0);
        }
    }
    let _again = Again(FIBER.replace(std::ptr::null()));
    run()
}

/// The core of the kernel whose OS thread the caller is, if it is one.
#[cfg(dpa_sanitize)]
pub(crate) fn core_here() -> Option<*const Core> {
    Some(FIBER.get()).filter(|core| !core.is_null())
}

/// Installs the panic hook and the signal handlers, once for the program. They are there when this returns, whoever installed them.
pub(crate) fn install() {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| {
        install_panic_hook_from_anywhere();
        #[cfg(not(dpa_sanitize))]
        {
            code::find_helpers();
            signals::install();
        }
    });
}

/// Also in a destructor of a thread that panics: that one may not change the hook.
fn install_panic_hook_from_anywhere() {
    if !std::thread::panicking() {
        return install_panic_hook();
    }
    std::thread::scope(|scope| {
        let other = std::thread::Builder::new();
        // Without a thread kernels' panics are printed, and faults do not say what they said.
        let _ = other.spawn_scoped(scope, install_panic_hook);
    });
}

/// A panic on a kernel stack is recorded for the fault report and not printed; any other goes to the hook before.
fn install_panic_hook() {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| match core_here() {
        // SAFETY: a core is valid while its stack is entered.
        Some(core) => unsafe { &*core }.note_panic(info),
        None => before(info),
    }));
}

#[cfg(not(dpa_sanitize))]
pub(crate) use entered::{Entered, core_here, enter};
#[cfg(not(dpa_sanitize))]
pub(crate) use signals::{interrupt, preempt, ready_thread};

#[cfg(dpa_sanitize)]
pub(crate) fn ready_thread() {}

#[cfg(not(dpa_sanitize))]
mod signals;
