//! What is asked of the NIC: doorbells and its counters.

use std::ptr::NonNull;

use dpa_abi::Handle;
use dpa_abi::queue::NicCounter;
use dpa_abi::queue::bell::{OutboxHandle, Ring, RingError};

use super::{begin, core, end_safe_point};
use crate::nic::doorbell::counter;

pub(super) unsafe fn doorbell(unit: NonNull<()>, queue: Handle) -> bool {
    // SAFETY: the port's contract.
    let core = unsafe { core(unit) };
    begin(core);
    core.note_stores();
    let device = core.worker().device();
    let rung = core
        .switch()
        .on_parent_stack(|| core.process().doorbells.ring(queue, || device.clock.now()));
    if rung == Some(true) {
        core.worker().opened_midway();
    }
    end_safe_point(core);
    rung.is_some()
}

pub(super) unsafe fn nic_counters(
    unit: NonNull<()>,
    queue: Handle,
    which: &[NicCounter],
    values: &mut [u64],
) -> bool {
    // SAFETY: the port's contract.
    let core = unsafe { core(unit) };
    begin(core);
    let found = core
        .switch()
        .on_parent_stack(|| core.process().doorbells.counters(queue));
    for (value, which) in values.iter_mut().zip(which) {
        *value = found.as_ref().map_or(0, |all| counter(all, *which));
    }
    end_safe_point(core);
    found.is_some()
}

pub(super) unsafe fn ring(
    unit: NonNull<()>,
    outbox: OutboxHandle,
    ring: Ring,
) -> Result<(), RingError> {
    // SAFETY: the port's contract.
    let core = unsafe { core(unit) };
    begin(core);
    core.note_stores();
    let rung = core
        .switch()
        .on_parent_stack(|| core.process().ring(outbox, ring));
    if rung == Ok(true) {
        core.worker().opened_midway();
    }
    end_safe_point(core);
    rung.map(drop)
}
