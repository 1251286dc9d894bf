//! Kernels that talk.

use doca_dpa_dev::prelude::*;

/// Sends so many numbered lines, then adds 1 to an event.
#[dpa_kernel]
pub fn say(thread: &Thread, stream: StreamHandle, lines: u64, said: DevEvent) {
    for n in 0..lines {
        msg!(thread, stream, Info, "{}/{n}", thread.rank());
    }
    let _ = said.add(1);
}

/// Sends one line at each level; the sum of the levels (as bits) that were not answered with `false`.
#[dpa_rpc]
pub fn every_level(thread: &Thread, stream: StreamHandle) -> u64 {
    let always = msg!(thread, stream, Always, "always");
    let error = msg!(thread, stream, Error, "error");
    let warn = msg!(thread, stream, Warn, "warn");
    let info = msg!(thread, stream, Info, "info");
    let debug = msg!(thread, stream, Debug, "debug");
    let answers = [always, error, warn, info, debug];
    answers
        .iter()
        .enumerate()
        .map(|(n, &a)| u64::from(a) << n)
        .sum()
}

/// Logs at each level.
#[dpa_kernel]
pub fn logs(thread: &Thread) {
    dpa_print!(thread, "printed\n");
    error!(thread, "an error");
    warn!(thread, "a warning");
    info!(thread, "rank {} of {}", thread.rank(), thread.threads());
    debug!(thread, "a detail");
}

/// Sends a line of so many characters of three bytes.
#[dpa_kernel]
pub fn rambles(thread: &Thread, stream: StreamHandle, chars: u64) {
    struct Euros(u64);
    impl core::fmt::Display for Euros {
        fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
            (0..self.0).try_for_each(|_| f.write_str("\u{20ac}"))
        }
    }
    msg!(thread, stream, Info, "{}", Euros(chars));
}

/// Panics, and its destructors send lines.
#[dpa_kernel]
pub fn last_words(thread: &Thread, stream: StreamHandle, lines: u64) {
    struct Will<'a, 't>(&'a Thread<'t>, StreamHandle, u64);
    impl Drop for Will<'_, '_> {
        fn drop(&mut self) {
            for n in 0..self.2 {
                msg!(self.0, self.1, Info, "last {n}");
            }
        }
    }
    let _will = Will(thread, stream, lines);
    panic!("on purpose");
}

/// Adds so many records to the trace: rank, number, and three constants.
#[dpa_kernel]
pub fn traces(thread: &Thread, records: u64, flush: u64) {
    for n in 0..records {
        thread.trace(thread.rank().into(), n, 7, 0, u64::MAX);
    }
    if flush == 1 {
        thread.trace_flush();
    }
}
