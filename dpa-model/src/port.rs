//! The device port of the model: what a kernel's device calls do.
//!
//! These functions run on the kernel's stack. Rules:
//! 1. Each begins with [`begin`], or with [`begin_small`] if it is no safe point: a check that [`RESERVE`] bytes of stack are left, so
//!    that nothing of ours overflows.
//! 2. What locks for long, calls foreign code (wakers, subscribers of `tracing`) or needs much stack runs on the
//!    worker's stack.
//! 3. While the thread's stack is being unwound, no call blocks, faults or switches, and none is a safe point: a destructor that does
//!    not end is interrupted and stopped, whatever it calls. The same holds for an error handler.
//! 4. What counts as a safe point also lets others run when it is time ([`take_turns`]): a thread that makes such calls is
//!    neither interrupted nor stopped at its run-time limit.

mod collective;
mod events;
pub(crate) mod handler;
mod message;
mod nic;
#[cfg(test)]
mod tests;

use std::any::Any;
use std::panic::{Location, resume_unwind};
use std::ptr::NonNull;
use std::sync::atomic::{Ordering, fence as native_fence};

use dpa_abi::global::AnyGlobal;
use dpa_abi::port::{Counter, Leaving, Ops, PortVtable, READS_PER_SAFE_POINT, Space};
use dpa_abi::{FaultKind, Handle, Rights};

use crate::crash::stack::Frame;
use crate::fault::{Fault, Place};
use crate::fiber::Request;
use crate::launch::Body;
use crate::seeded::Choices;
use crate::unit::Core;
use crate::windows::Windows;
use crate::worker::{Leave, Stop};

/// Bytes of stack that are left when a device call begins, or it is an overflow.
pub const RESERVE: usize = 16 * 1024;

/// The same while the stack is being unwound, perhaps from such an overflow: what a device call needs.
const UNWINDING_RESERVE: usize = RESERVE / 2;

/// Device calls of a thread after which it lets others run, if others wait.
const CALLS_PER_TURN: u32 = 16;

/// The table.
pub static PORT: PortVtable = PortVtable {
    bind,
    fault,
    safe_point,
    out_of_reads,
    yield_now,
    event_get: events::event_get,
    event_update: events::event_update,
    event_wait: events::event_wait,
    collective: collective::collective,
    log: message::log,
    fence,
    counter,
    doorbell: nic::doorbell,
    nic_counters: nic::nic_counters,
    ring: nic::ring,
    leave,
    local_storage,
    who: handler::who,
    await_trigger: handler::await_trigger,
    data_ignore: handler::data_ignore,
    trigger,
    global,
    message_enabled: message::enabled,
    message: message::message,
    trace: message::trace,
    trace_flush: message::trace_flush,
};

/// The core behind a unit pointer.
///
/// # Safety
/// `unit` was made from a core by the worker that runs the calling thread.
#[inline]
unsafe fn core<'a>(unit: NonNull<()>) -> &'a Core {
    // SAFETY: promised by the caller; the core outlives the thread.
    unsafe { unit.cast().as_ref() }
}

/// Begins a device call.
#[inline]
fn begin(core: &Core) {
    begin_small(core);
    if core.unwinding() && core.still_unwinds() {
        return;
    }
    core.worker().safe_point();
    if core.process().is_stopped() {
        stop(core);
    }
}

/// Begins a device call that is no safe point.
#[inline]
fn begin_small(core: &Core) {
    core.leave_kernel();
    if cfg!(not(dpa_sanitize)) && core.stack_left() < RESERVE {
        little_stack(core);
    }
}

/// Ends a device call.
#[inline(always)]
fn end(core: &Core) {
    core.worker().call_over(core);
    core.enter_kernel();
}

/// Unwinds the thread, because its process is stopped.
#[cold]
fn stop(core: &Core) -> ! {
    unwind(core, Box::new(Stop))
}

/// Unwinds the thread. From here on its destructors run.
#[cold]
fn unwind(core: &Core, payload: Box<dyn Any + Send>) -> ! {
    core.begin_unwinding();
    core.enter_kernel();
    resume_unwind(payload)
}

/// Leaves the stack of a thread for good that is being unwound already, where it does something wrong once more: there is nothing to
/// go back to.
#[cold]
fn abandon(core: &Core) -> ! {
    core.switch().suspend(Request::Abandon);
    unreachable!("what was abandoned does not go on")
}

#[cold]
fn little_stack(core: &Core) {
    if !core.unwinding() {
        match core.process().is_stopped() {
            true => stop(core),
            false => overflow(core),
        }
    }
    if core.stack_left() < UNWINDING_RESERVE {
        handler::end_if_handling(core);
        abandon(core);
    }
}

#[cold]
fn overflow(core: &Core) -> ! {
    let size = core.worker().device().config.stack_bytes as u64;
    raise(core, || core.fault(FaultKind::StackOverflow { size }), true)
}

#[cold]
fn raise(core: &Core, cause: impl Fn() -> Fault, is_error: bool) -> ! {
    if is_error {
        handler::handle_error(core, &cause);
    }
    report(core, Frame::here(), cause);
    stop(core)
}

/// A fault of the thread that runs, at this place of its source.
fn placed(core: &Core, kind: FaultKind, at: &Location<'_>) -> Fault {
    let mut fault = core.fault(kind);
    fault.place = Some(Place::from(at));
    fault
}

/// Makes the process of a thread fatal that did wrong here.
fn report(core: &Core, here: Frame, cause: impl Fn() -> Fault) {
    core.switch().on_parent_stack(|| {
        let process = core
            .process
            .borrow()
            .clone()
            .expect("a running thread has one");
        process.fail_on(process.crash.copy_stack(core, here), cause());
    });
}

/// Ends a device call that was a safe point (rule 4).
#[inline]
fn end_safe_point(core: &Core) {
    if !core.unwinding() {
        take_turns(core, false);
    }
    end(core);
}

/// Lets others run if they wait and it is time.
#[inline]
fn take_turns(core: &Core, now: bool) {
    // A kernel alone on its worker may never be switched.
    let calls = core.calls.get().saturating_add(1);
    core.calls.set(calls);
    let device = core.worker().device();
    let switch = match device.choices() {
        Some(choices) => {
            core.may_panic(choices);
            now || choices.switch_here()
        }
        None if core.worker().shared().is_recalled() => true,
        None => {
            let is_time = now || calls >= CALLS_PER_TURN;
            if is_time {
                poll_nics(core);
            }
            is_time && core.worker().others_wait()
        }
    };
    if switch {
        switch_away(core);
    }
}

/// A kernel that polls for what the NIC brings works the NIC.
#[inline]
fn poll_nics(core: &Core) {
    if !core.worker().device().nics.is_empty() {
        poll_nics_off(core);
    }
}

#[cold]
fn poll_nics_off(core: &Core) {
    core.calls.set(0);
    let device = core.worker().device();
    // Those of others have threads of their own, and workers that look.
    let of = Some(core.process().tenancy.partition.index);
    let looked = core
        .switch()
        .on_parent_stack(|| device.nics.poll(device.clock.now(), of, &|| false));
    if looked.opened {
        core.worker().opened_midway();
    }
}

#[cold]
fn switch_away(core: &Core) {
    core.calls.set(0);
    core.suspend(Request::Yield);
    if core.process().is_stopped() {
        stop(core);
    }
}

unsafe fn bind(
    unit: NonNull<()>,
    addr: u64,
    len: u64,
    align: u32,
    rights: Rights,
) -> Result<NonNull<u8>, FaultKind> {
    // SAFETY: the port's contract.
    let core = unsafe { core(unit) };
    begin_small(core);
    let process = core.process();
    let bound = match Windows::is_window(addr) {
        false => {
            let bound = process.heap.bind_again(&core.recent, addr, len, align);
            if bound.is_ok() {
                core.note_bound(addr..addr + len, rights);
            }
            bound
        }
        true => {
            let cached_for = core.caches_windows().then(|| core.thread_key());
            let windows = &process.windows;
            windows.bind(cached_for, addr, len, align, rights)
        }
    };
    core.enter_kernel();
    bound
}

unsafe fn fault(unit: NonNull<()>, kind: FaultKind, at: &'static Location<'static>) -> ! {
    // SAFETY: the port's contract.
    let core = unsafe { core(unit) };
    core.leave_kernel();
    handler::end_if_handling(core);
    let cause = || placed(core, kind, at);
    if core.unwinding() && core.still_unwinds() {
        if !core.has_note() && !core.process().is_stopped() {
            report(core, Frame::here(), cause);
        }
        abandon(core);
    }
    raise(core, cause, kind != FaultKind::Finished)
}

unsafe fn safe_point(unit: NonNull<()>) {
    // SAFETY: the port's contract.
    let core = unsafe { core(unit) };
    begin(core);
    end_safe_point(core);
}

unsafe fn out_of_reads(unit: NonNull<()>) -> u32 {
    // SAFETY: the port's contract.
    let core = unsafe { core(unit) };
    begin(core);
    let choices = core.worker().device().choices();
    let reads = choices.map_or(READS_PER_SAFE_POINT, Choices::reads_to_safe_point);
    end_safe_point(core);
    reads
}

unsafe fn yield_now(unit: NonNull<()>) {
    // SAFETY: the port's contract.
    let core = unsafe { core(unit) };
    begin(core);
    if !core.unwinding() {
        take_turns(core, true);
    }
    end(core);
}

/// This machine's memory is coherent: a fence of whatever space orders all accesses, as strongly as asked. The seeded
/// driver makes weaker memory of it.
unsafe fn fence(unit: NonNull<()>, space: Space, pred: Ops, succ: Ops) {
    // SAFETY: the port's contract.
    let core = unsafe { core(unit) };
    begin(core);
    core.order(space, pred, succ);
    match (pred, succ) {
        (Ops::R, _) => native_fence(Ordering::Acquire),
        (Ops::W, Ops::W) => native_fence(Ordering::Release),
        _ => native_fence(Ordering::SeqCst),
    }
    end_safe_point(core);
}

/// Nanoseconds of a cycle at 1.8 GHz, as a fraction.
const CYCLES_PER_FIVE_NANOS: u64 = 9;

unsafe fn counter(unit: NonNull<()>, which: Counter) -> u64 {
    // SAFETY: the port's contract.
    let core = unsafe { core(unit) };
    begin_small(core);
    let nanos = core.worker().device().clock.now();
    core.enter_kernel();
    let cycles = nanos / 5 * CYCLES_PER_FIVE_NANOS + nanos % 5 * CYCLES_PER_FIVE_NANOS / 5;
    match which {
        Counter::Time => nanos,
        // The model has no instruction counter: it takes one instruction a cycle.
        Counter::Cycles | Counter::Retired => cycles,
    }
}

unsafe fn leave(unit: NonNull<()>, how: Leaving, at: &'static Location<'static>) -> ! {
    // SAFETY: the port's contract.
    let core = unsafe { core(unit) };
    begin(core);
    handler::end_if_handling(core);
    if core.unwinding() {
        abandon(core);
    }
    let launch = handler::launch(core);
    if matches!(launch.body, Body::Rpc(_)) {
        raise(core, || placed(core, FaultKind::NoResult, at), true);
    }
    if let Some(handler) = launch.handler() {
        match how {
            Leaving::Reschedule => {}
            Leaving::Retrigger => handler.retrigger(),
            Leaving::Finish => handler.finish(),
        }
    }
    unwind(core, Box::new(Leave))
}

/// Ends a thread that nobody will ever go on with.
fn leave_for_good(core: &Core) -> ! {
    if let Some(handler) = core
        .running
        .borrow()
        .as_ref()
        .and_then(|r| r.launch.handler())
    {
        handler.finish();
    }
    unwind(core, Box::new(Leave))
}

unsafe fn local_storage(unit: NonNull<()>) -> u64 {
    // SAFETY: the port's contract.
    let core = unsafe { core(unit) };
    begin_small(core);
    let handler = handler::launch(core).handler();
    let storage = handler.map_or(0, |handler| handler.storage().raw());
    core.enter_kernel();
    storage
}

unsafe fn trigger(unit: NonNull<()>, handler: Handle) -> bool {
    // SAFETY: the port's contract.
    let core = unsafe { core(unit) };
    begin(core);
    core.release_all();
    let found = core.switch().on_parent_stack(|| {
        let process = core.process.borrow();
        let process = process.as_ref().expect("a running thread has one");
        process.trigger_by(handler)
    });
    core.worker().opened_midway();
    end_safe_point(core);
    found
}

unsafe fn global(unit: NonNull<()>, global: &'static dyn AnyGlobal) -> Result<u64, FaultKind> {
    // SAFETY: the port's contract.
    let core = unsafe { core(unit) };
    begin(core);
    let process = core.process();
    let found = core
        .switch()
        .on_parent_stack(|| process.known_global(global));
    let found = match found {
        Ok(None) => {
            let initial = initial_of(core, global);
            core.switch()
                .on_parent_stack(move || process.put_global(global, &initial))
        }
        Ok(Some(addr)) => Ok(addr),
        Err(none) => Err(none),
    };
    end_safe_point(core);
    found.map_err(FaultKind::from)
}

/// What a global begins with: made by code of the program, which may panic and may not end, as kernel code. If its stack is left
/// meanwhile, these bytes are, too.
fn initial_of(core: &Core, global: &'static dyn AnyGlobal) -> Vec<u8> {
    let mut initial = core.switch().on_parent_stack(|| vec![0; global.size()]);
    core.enter_kernel();
    global.initial(&mut initial);
    core.leave_kernel();
    initial
}
