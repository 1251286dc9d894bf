//! The text of a crash report.

use std::fmt::{self, Write};
use std::time::{SystemTime, UNIX_EPOCH};

use super::capture::{Capture, MOST_EVENTS};
use super::stack::{Doing, StackCopy};
use crate::fault::Fault;
use crate::process::Process;

/// Bytes of a text at most.
const MOST_BYTES: usize = 256 << 10;
/// Waiting threads that are named.
const MOST_WAITING: usize = 256;

/// A text that is cut where it gets too long.
#[derive(Debug, Default)]
struct Bounded {
    text: String,
    cut: bool,
}

impl Write for Bounded {
    fn write_str(&mut self, s: &str) -> fmt::Result {
        if self.cut || self.text.len() + s.len() > MOST_BYTES {
            self.cut = true;
            return Err(fmt::Error);
        }
        self.text.push_str(s);
        Ok(())
    }
}

/// The report of this fault. `core` says where the core file is.
pub(crate) fn text(process: &Process, fault: &Fault, capture: &Capture, core: &str) -> String {
    let mut out = Bounded::default();
    // An error means that it is cut, which is said below.
    let _ = everything(&mut out, process, fault, capture, core);
    if out.cut {
        out.text
            .push_str("\n(the report was longer and is cut here)\n");
    }
    out.text
}

fn everything(
    out: &mut Bounded,
    process: &Process,
    fault: &Fault,
    capture: &Capture,
    core: &str,
) -> fmt::Result {
    heading(out, process, capture)?;
    cause(out, fault, capture)?;
    writeln!(out, "core file: {core}")?;
    doing(out, capture)?;
    memory(out, capture)?;
    stacks(out, capture)?;
    match &fault.backtrace {
        Some(backtrace) => writeln!(out, "\nbacktrace of the kernel:\n{backtrace}"),
        None => writeln!(out, "\nbacktrace of the kernel: see the core file"),
    }
}

fn heading(out: &mut Bounded, process: &Process, capture: &Capture) -> fmt::Result {
    let program = std::env::current_exe().unwrap_or_default();
    writeln!(out, "DPA crash report")?;
    writeln!(
        out,
        "time: {} (device time {} ns)",
        Utc(capture.time),
        capture.device_time
    )?;
    writeln!(
        out,
        "program: PID {}, {}",
        std::process::id(),
        program.display()
    )?;
    writeln!(
        out,
        "process: {} of device {}",
        process.number(),
        process.device.config.name
    )
}

fn cause(out: &mut Bounded, fault: &Fault, capture: &Capture) -> fmt::Result {
    writeln!(out, "\nfault: {}", fault.kind)?;
    let kernel = match fault.kernel.as_str() {
        "" => "(no single one)",
        kernel => kernel,
    };
    writeln!(out, "kernel: {kernel}")?;
    writeln!(out, "launch: {}", fault.launch)?;
    writeln!(out, "rank: {}", fault.rank)?;
    if let Some(unit) = fault.unit {
        writeln!(out, "unit: {unit}")?;
    }
    if let Some(address) = fault.address() {
        writeln!(out, "device address: {address:#x}")?;
    }
    if let Some(stray) = capture.stacks.first().and_then(|stack| stack.stray) {
        writeln!(out, "host address: {stray:#x}")?;
    }
    match &fault.place {
        Some(place) => writeln!(out, "place: {place}")?,
        None => writeln!(out, "place: not known; see the registers in the core file")?,
    }
    if let Some(message) = &fault.message {
        writeln!(out, "message: {message}")?;
    }
    for waiting in fault.waiting.iter().take(MOST_WAITING) {
        writeln!(out, "deadlocked: {waiting}")?;
    }
    Ok(())
}

fn doing(out: &mut Bounded, capture: &Capture) -> fmt::Result {
    let snapshot = &capture.snapshot;
    let blocked = snapshot.waiting.len();
    let running = (snapshot.started as usize).saturating_sub(blocked);
    writeln!(
        out,
        "\nunits: {running} running, {blocked} blocked, {} free",
        snapshot.free_units
    )?;
    for waiting in snapshot.waiting.iter().take(MOST_WAITING) {
        writeln!(out, "  {waiting}")?;
    }
    more(out, blocked, MOST_WAITING, "threads that wait")?;
    writeln!(
        out,
        "launches: {} not over, of them {} ready to start and {} parked",
        snapshot.unfinished, snapshot.ready, capture.parked
    )?;
    events(out, capture)
}

fn events(out: &mut Bounded, capture: &Capture) -> fmt::Result {
    writeln!(
        out,
        "events: {}; these are not 0 or have waiters:",
        capture.snapshot.events
    )?;
    for event in &capture.events {
        let (index, value, waiters) = (event.index, event.value, event.waiters);
        writeln!(out, "  event {index}: value {value}, {waiters} waiters")?;
    }
    if capture.events.len() == MOST_EVENTS {
        writeln!(out, "  (there may be more)")?;
    }
    Ok(())
}

fn more(out: &mut Bounded, all: usize, shown: usize, what: &str) -> fmt::Result {
    match all.checked_sub(shown) {
        None | Some(0) => Ok(()),
        Some(more) => writeln!(out, "  and {more} more {what}"),
    }
}

fn memory(out: &mut Bounded, capture: &Capture) -> fmt::Result {
    let heap = &capture.snapshot.heap;
    writeln!(
        out,
        "heap: {} bytes at {:#x}; {} allocations of {} bytes take {}",
        heap.size, heap.base, heap.allocations, heap.requested, heap.allocated
    )
}

fn stacks(out: &mut Bounded, capture: &Capture) -> fmt::Result {
    writeln!(out, "stacks in the core file:")?;
    for (stack, number) in capture.stacks.iter().zip(1..) {
        let StackCopy {
            kernel,
            launch,
            rank,
            address,
            bytes,
            registers,
            ..
        } = stack;
        let doing = match stack.doing {
            Doing::Faulted => "faulted",
            Doing::Waited => "waited",
        };
        let (pc, sp) = (registers.frame.pc, registers.frame.sp);
        let len = bytes.len();
        writeln!(
            out,
            "  thread {number}: {kernel} (launch {launch}, rank {rank}) {doing}; pc {pc:#x}, sp {sp:#x}, \
             {len} bytes at {address:#x}"
        )?;
    }
    if capture.stacks_left_out > 0 {
        let count = capture.stacks_left_out;
        writeln!(
            out,
            "  and {count} threads that waited, without their stacks"
        )?;
    }
    Ok(())
}

/// A time as `2026-11-23T13:45:10.123Z`.
struct Utc(SystemTime);

impl fmt::Display for Utc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let since = self.0.duration_since(UNIX_EPOCH).unwrap_or_default();
        let (days, second) = (since.as_secs() / 86_400, since.as_secs() % 86_400);
        let (year, month, day) = date(days);
        let (hour, minute) = (second / 3600, second / 60 % 60);
        let (second, milli) = (second % 60, since.subsec_millis());
        write!(
            f,
            "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{milli:03}Z"
        )
    }
}

/// The date so many days after 1970-01-01: years, months and days are taken off one after the other.
fn date(mut days: u64) -> (u64, u64, u64) {
    let leap = |year: u64| {
        year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
    };
    let mut year = 1970;
    while days >= 365 + u64::from(leap(year)) {
        days -= 365 + u64::from(leap(year));
        year += 1;
    }
    let february = 28 + u64::from(leap(year));
    let mut month = 1;
    for length in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31] {
        if days < length {
            break;
        }
        days -= length;
        month += 1;
    }
    (year, month, days + 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn times_are_those_of_the_calendar() {
        let at = |seconds| Utc(UNIX_EPOCH + Duration::from_secs(seconds)).to_string();
        assert_eq!(at(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(at(951_782_400), "2000-02-29T00:00:00.000Z");
        assert_eq!(at(1_735_689_599), "2024-12-31T23:59:59.000Z");
    }

    #[test]
    fn a_long_text_is_cut() {
        let mut out = Bounded::default();
        let line = "x".repeat(1000);
        let fitting = (0..1000)
            .filter(|_| writeln!(out, "{line}").is_ok())
            .count();
        assert!(out.cut && out.text.len() <= MOST_BYTES);
        assert_eq!(fitting, MOST_BYTES / 1001);
    }
}
