//! The kernel stack that a worker has entered, for the signal handlers and the panic hook.

use std::cell::Cell;

use crate::unit::Core;

/// What the handlers know of the kernel stack a worker has entered.
#[derive(Clone, Copy)]
pub(crate) struct Entered {
    pub(crate) core: *const Core,
    pub(crate) low: usize,
    pub(crate) limit: usize,
    pub(crate) high: usize,
    pub(crate) trap: corosensei::trap::CoroutineTrapHandler<crate::fiber::Exit>,
}

thread_local! {
    pub(super) static ENTERED: Cell<*const Entered> = const { Cell::new(std::ptr::null()) };
}

/// Says that this thread enters a kernel stack, until the guard is dropped.
pub(crate) fn enter(entered: &Entered) -> EnterGuard<'_> {
    let before = ENTERED.replace(entered);
    EnterGuard {
        before,
        of: std::marker::PhantomData,
    }
}

pub(crate) struct EnterGuard<'a> {
    before: *const Entered,
    of: std::marker::PhantomData<&'a Entered>,
}

impl Drop for EnterGuard<'_> {
    fn drop(&mut self) {
        ENTERED.set(self.before);
    }
}

/// The core of the kernel on whose stack the caller runs, if it runs on one.
#[inline(never)]
pub(crate) fn core_here() -> Option<*const Core> {
    let here = 0u8;
    let at = std::ptr::from_ref(&here) as usize;
    let entered = ENTERED.get();
    // SAFETY: the pointer is set only while its target lives on this worker's stack (see `enter`).
    let entered = unsafe { entered.as_ref() }?;
    (entered.low..entered.high)
        .contains(&at)
        .then_some(entered.core)
}
