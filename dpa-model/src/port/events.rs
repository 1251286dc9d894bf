//! Events: what they hold, updates, and waits.

use std::ptr::NonNull;

use dpa_abi::{Condition, EventError, EventHandle, Update};

use super::{begin, core, end_safe_point, stop};
use crate::events::Slot;
use crate::fiber::Request;
use crate::unit::{Core, Wake};

pub(super) fn find(core: &Core, event: EventHandle) -> Result<Slot<'_>, EventError> {
    core.process().events.find(event).ok_or(EventError::Stale)
}

pub(super) unsafe fn event_get(unit: NonNull<()>, event: EventHandle) -> Result<u64, EventError> {
    // SAFETY: the port's contract.
    let core = unsafe { core(unit) };
    begin(core);
    let value = find(core, event).map(|slot| match slot.is_far() {
        // What the NIC has brought may wake tasks.
        true => core
            .switch()
            .on_parent_stack(|| core.process().value_of(slot)),
        false => slot.event.get(),
    });
    end_safe_point(core);
    value
}

pub(super) unsafe fn event_update(
    unit: NonNull<()>,
    event: EventHandle,
    update: Update,
) -> Result<u64, EventError> {
    // SAFETY: the port's contract.
    let core = unsafe { core(unit) };
    begin(core);
    core.release_all();
    let result = find(core, event).and_then(|slot| {
        if !slot.device_publishes() {
            let allowed = slot.publishers();
            return Err(EventError::NotPublisher { allowed });
        }
        core.process()
            .note_update(event.0.index, update, slot.event);
        match slot.event.try_update_fast(update) {
            Ok(previous) => Ok(previous),
            Err(reached) => core
                .switch()
                .on_parent_stack(|| finish_update(core, slot, reached)),
        }
    });
    end_safe_point(core);
    result
}

#[cold]
fn finish_update(
    core: &Core,
    slot: Slot<'_>,
    reached: sync_event::Reached,
) -> Result<u64, EventError> {
    let process = core.process.borrow();
    let process = process.as_ref().expect("a running thread has one");
    let result = slot.event.finish_update(reached, |gate, value| {
        core.worker().opened_midway();
        process.opened(gate, value);
    });
    result.map_err(|closed| EventError::Closed { last: closed.last })
}

pub(super) unsafe fn event_wait(
    unit: NonNull<()>,
    event: EventHandle,
    condition: Condition,
    timeout: Option<u64>,
) -> Result<u64, EventError> {
    // SAFETY: the port's contract.
    let core = unsafe { core(unit) };
    begin(core);
    let result = find(core, event).and_then(|slot| {
        if !slot.device_subscribes() {
            let allowed = slot.subscribers();
            return Err(EventError::NotSubscriber { allowed });
        }
        let value = slot.event.get();
        if condition.holds(value) {
            return Ok(value);
        }
        if core.unwinding() {
            return Err(EventError::Closed { last: value });
        }
        wait(core, event, slot, condition, timeout)
    });
    core.acquire_all();
    end_safe_point(core);
    result
}

pub(super) fn wait(
    core: &Core,
    event: EventHandle,
    slot: Slot<'_>,
    condition: Condition,
    timeout: Option<u64>,
) -> Result<u64, EventError> {
    let until = timeout.map(|nanos| core.worker().device().clock.now().saturating_add(nanos));
    core.may_panic_here();
    core.calls.set(0);
    let wake = core.suspend(Request::Wait(event, condition, until));
    if core.process().is_stopped() {
        stop(core);
    }
    match wake {
        Wake::Value(value) => Ok(value),
        Wake::Closed(last) => Err(EventError::Closed { last }),
        Wake::TimedOut => Err(EventError::TimedOut {
            value: slot.event.get(),
        }),
        Wake::Mismatch(_) | Wake::Missed => unreachable!("only a meeting ends so"),
    }
}
