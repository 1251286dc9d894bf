//! Messages and trace records. What they are made into runs on the worker's stack, and their sinks elsewhere.

use std::panic::Location;
use std::ptr::NonNull;
use std::time::{Duration, Instant};

use dpa_abi::StreamHandle;
use dpa_abi::port::LogLevel;

use super::{begin, begin_small, core, end_safe_point, stop, switch_away};
use crate::message::{Channel, Line, Origin};
use crate::unit::Core;

/// How long a worker waits for a sink before it looks whether others want it.
const AT_A_TIME: Duration = Duration::from_micros(250);

/// A log line is a message to the default stream.
pub(super) unsafe fn log(
    unit: NonNull<()>,
    level: LogLevel,
    text: &str,
    at: &'static Location<'static>,
) {
    // SAFETY: the port's contract, the same for both.
    unsafe { message(unit, StreamHandle::DEFAULT, level, text, at) };
}

pub(super) unsafe fn enabled(unit: NonNull<()>, stream: StreamHandle, level: LogLevel) -> bool {
    // SAFETY: the port's contract.
    let core = unsafe { core(unit) };
    begin_small(core);
    let enabled = core.process().messages.enabled(stream, level);
    core.enter_kernel();
    enabled
}

pub(super) unsafe fn message(
    unit: NonNull<()>,
    stream: StreamHandle,
    level: LogLevel,
    text: &str,
    at: &'static Location<'static>,
) -> bool {
    // SAFETY: the port's contract.
    let core = unsafe { core(unit) };
    begin(core);
    let may_wait = !core.unwinding();
    let (waits, found) = core.switch().on_parent_stack(|| {
        // While it waits for the sink, another worker runs what this one owes.
        core.worker().pay_owed();
        let process = core.process();
        process.message(stream, level, origin(core), text, at, may_wait)
    });
    for (channel, number) in waits {
        wait_for_sink(core, &channel, number);
    }
    end_safe_point(core);
    found
}

/// Waits for a sink, which may take its time: meanwhile others run, if there are any, and a stop is seen.
fn wait_for_sink(core: &Core, channel: &Channel<Line>, number: u64) {
    let since = Instant::now();
    let wait = || channel.wait_for(number, since, AT_A_TIME);
    while !core.switch().on_parent_stack(wait) {
        if core.process().is_stopped() {
            stop(core);
        }
        let worker = core.worker();
        if worker.shared().is_recalled() || worker.others_wait() {
            switch_away(core);
        }
    }
}

fn origin(core: &Core) -> Origin {
    let running = core.running.borrow();
    let running = running.as_ref().expect("a running thread");
    Origin {
        kernel: running.launch.kernel_name(core.job.get()),
        launch: running.launch.seq,
        rank: running.rank,
        time: core.worker().device().clock.now(),
    }
}

pub(super) unsafe fn trace(unit: NonNull<()>, args: [u64; 5]) {
    // SAFETY: the port's contract.
    let core = unsafe { core(unit) };
    begin(core);
    core.switch()
        .on_parent_stack(|| core.process().trace(origin(core), args));
    end_safe_point(core);
}

pub(super) unsafe fn trace_flush(unit: NonNull<()>) {
    // SAFETY: the port's contract.
    let core = unsafe { core(unit) };
    begin(core);
    core.switch()
        .on_parent_stack(|| core.process().trace_flush_by_kernel());
    end_safe_point(core);
}
