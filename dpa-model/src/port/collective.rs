//! Where the threads of a launch meet.

use std::panic::Location;
use std::ptr::NonNull;

use dpa_abi::FaultKind;
use dpa_abi::port::{Collective, CollectiveKind};

use super::{begin, core, end_safe_point, placed, raise, stop};
use crate::fiber::Request;
use crate::meeting::{self, Arrival};
use crate::unit::{Core, Wake};

pub(super) unsafe fn collective(
    unit: NonNull<()>,
    what: Collective,
    at: &'static Location<'static>,
) -> u64 {
    // SAFETY: the port's contract.
    let core = unsafe { core(unit) };
    begin(core);
    core.release_all();
    let result = if core.unwinding() {
        0
    } else {
        meet(core, what, at)
    };
    core.acquire_all();
    end_safe_point(core);
    result
}

fn meet(core: &Core, what: Collective, at: &Location<'_>) -> u64 {
    let (launch, rank) = {
        let running = core.running.borrow();
        let running = running.as_ref().expect("a running thread");
        (sync_event::sync::Arc::as_ptr(&running.launch), running.rank)
    };
    // SAFETY: the core holds a count of the launch until the thread is over.
    let launch = unsafe { &*launch };
    let Some(gang) = launch.gang() else {
        return match launch.handler().map_or(1, |handler| handler.place().1) {
            1 => alone(what),
            threads => no_meeting(core, what, threads, at),
        };
    };
    match gang.meeting.arrive_running(meeting::own(rank, what)) {
        Arrival::Last(_, others, value) => {
            core.switch()
                .on_parent_stack(|| release(core, others, value));
            value
        }
        Arrival::Mismatch(_, others) => mismatch(core, what, others, at),
        Arrival::Missed(_) => missed(core, what, at),
        _ => wait_for_the_others(core, what, at),
    }
}

#[cold]
fn mismatch(core: &Core, what: Collective, others: CollectiveKind, at: &Location<'_>) -> ! {
    let called = what.kind();
    let kind = FaultKind::CollectiveMismatch { called, others };
    raise(core, || placed(core, kind, at), true)
}

/// A thread of the launch has returned, so the others wait for it in vain.
#[cold]
fn missed(core: &Core, what: Collective, at: &Location<'_>) -> ! {
    let called = what.kind();
    let kind = FaultKind::CollectiveMissed { called };
    raise(core, || placed(core, kind, at), true)
}

/// The threads of a group have ranks, and nowhere to meet.
#[cold]
fn no_meeting(core: &Core, what: Collective, threads: u32, at: &Location<'_>) -> ! {
    let called = what.kind();
    let kind = FaultKind::NoMeeting { called, threads };
    raise(core, || placed(core, kind, at), true)
}

fn release(core: &Core, others: Vec<crate::unit::Suspended>, value: u64) {
    for other in others {
        core.worker().opened_midway();
        core.process().wake_unit(other, Wake::Value(value));
    }
}

fn wait_for_the_others(core: &Core, what: Collective, at: &Location<'_>) -> u64 {
    core.may_panic_here();
    core.calls.set(0);
    let wake = core.suspend(Request::Meet(what));
    match wake {
        Wake::Value(value) if !core.process().is_stopped() => value,
        Wake::Mismatch(others) if !core.process().is_stopped() => mismatch(core, what, others, at),
        Wake::Missed if !core.process().is_stopped() => missed(core, what, at),
        _ => stop(core),
    }
}

fn alone(what: Collective) -> u64 {
    match what {
        Collective::Barrier => 0,
        Collective::Broadcast { value, .. } | Collective::Reduce { value, .. } => value,
    }
}
