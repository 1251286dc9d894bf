//! Which thread this is, how it waits for its handler to be triggered again, and the errors of its process that it may
//! handle.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::NonNull;

use dpa_abi::port::Who;
use dpa_abi::{Condition, EventError, UnitRef};

use super::events::{find, wait};
use super::{begin, begin_small, core, end_safe_point, leave_for_good, unwind};
use crate::fault::Fault;
use crate::foreign::discard;
use crate::launch::Launch;
use crate::taking::InKernel;
use crate::unit::Core;
use crate::windows::Windows;
use crate::worker::Stop;

/// Bytes of stack that an error handler has at least, beside those of a device call.
const HANDLER_STACK: usize = 16 * 1024;

/// The launch of the thread that runs.
pub(super) fn launch(core: &Core) -> &Launch {
    let running = core.running.borrow();
    let running = running.as_ref().expect("a running thread");
    let launch = sync_event::sync::Arc::as_ptr(&running.launch);
    // SAFETY: the core holds a count of the launch until the thread is over.
    unsafe { &*launch }
}

pub(super) unsafe fn who(unit: NonNull<()>) -> Who {
    // SAFETY: the port's contract.
    let core = unsafe { core(unit) };
    begin_small(core);
    let launch = launch(core);
    let handler = launch.handler();
    let who = Who {
        kernel: launch.kernel_name(core.job.get()),
        launch: launch.seq,
        handler: handler.map(|handler| handler.handle()),
        continuable: handler.is_some_and(|handler| handler.resumes().is_some()),
    };
    core.enter_kernel();
    who
}

pub(super) unsafe fn await_trigger(unit: NonNull<()>) -> bool {
    // SAFETY: the port's contract.
    let core = unsafe { core(unit) };
    begin(core);
    core.release_all();
    let triggered = !core.unwinding() && triggered_again(core);
    core.acquire_all();
    end_safe_point(core);
    triggered
}

/// Waits at the event that triggers of a continuable handler count at. Whoever triggers it leaves its mark first and
/// counts then; this looks at the count first and for the mark then: a trigger is never missed.
fn triggered_again(core: &Core) -> bool {
    let Some(handler) = launch(core).handler() else {
        return false;
    };
    let Some(event) = handler.resumes() else {
        return false;
    };
    loop {
        let Ok(slot) = find(core, event) else {
            leave_for_good(core)
        };
        let count = slot.event.get();
        if handler.take_trigger() {
            return true;
        }
        // It is closed with its handler: nobody will ever trigger it.
        if let Err(EventError::Closed { .. }) = wait(core, event, slot, Condition::ne(count), None)
        {
            leave_for_good(core)
        }
    }
}

pub(super) unsafe fn data_ignore(unit: NonNull<()>, addr: u64) {
    // SAFETY: the port's contract.
    let core = unsafe { core(unit) };
    begin(core);
    if Windows::is_window(addr) && core.caches_windows() {
        let (windows, key) = (&core.process().windows, core.thread_key());
        core.switch().on_parent_stack(|| windows.ignore(key, addr));
    }
    end_safe_point(core);
}

/// An error handler that does something wrong, or leaves, ends; but not one that is unwound already.
pub(super) fn end_if_handling(core: &Core) {
    if core.handling.take() && !is_panicking() {
        unwind(core, Box::new(Stop));
    }
}

/// Whether the stack is being unwound in earnest. Not inlined, so that no thread-bound address is kept over a switch of stacks.
#[cold]
#[inline(never)]
fn is_panicking() -> bool {
    std::thread::panicking()
}

/// Runs the error handler of the process, if it has one that has not run, on the stack of the thread that did wrong.
///
/// It runs as code of an unwound thread does: it neither waits nor lets others run, until it is interrupted. What belongs to it stands
/// elsewhere, for its stack may be left under it.
pub(crate) fn handle_error(core: &Core, cause: impl FnOnce() -> Fault) {
    if core.stack_left() < super::RESERVE + HANDLER_STACK && cfg!(not(dpa_sanitize)) {
        return;
    }
    let process = core.process();
    if process.is_stopped() {
        return;
    }
    let Some(handler) = process.error_handler.begin() else {
        return;
    };
    // Whatever comes of the handler, and whatever others do meanwhile.
    core.switch()
        .on_parent_stack(|| process.note_cause(cause()));
    core.handled.set(core.take_note());
    // SAFETY: the core is what the functions of the port expect, and outlives the thread.
    let unit = unsafe { UnitRef::new(&super::PORT, NonNull::from(core).cast(), 0, 1) };
    let was = core.unwinding();
    core.set_unwinding(true);
    core.handling.set(true);
    core.has_error_handler.set(true);
    let ended = catch_unwind(AssertUnwindSafe(|| {
        // SAFETY: its process keeps it until it is told that it has run, at this thread's end at the latest.
        let handler = unsafe { handler.as_ref() };
        core.called.set(Some(handler.entry));
        let _in_kernel = InKernel::enter(core);
        handler.run(unit);
    }));
    core.handling.set(false);
    core.called.set(None);
    core.set_unwinding(was);
    core.put_note(core.handled.take());
    // A panic of the handler is the second thing that went wrong; the first is what is reported.
    if let Err(payload) = ended {
        core.switch().on_parent_stack(|| discard(payload));
    }
    core.has_error_handler.set(false);
    process.error_handler_ran(Some(core.switch()));
}
