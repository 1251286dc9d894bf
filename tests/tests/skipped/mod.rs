//! Tests that are skipped for want of something on the machine.

use std::io::Write;

/// Set where a test that is skipped would pass for one that ran: in a soak.
const NEEDED: &str = "DPA_NEEDED";

/// Says why one is skipped, past what holds back the output of tests that pass: else nobody would ever read it.
///
/// # Panics
/// Nothing may be skipped.
pub fn skipped(name: &str, why: &str) {
    let needed = std::env::var_os(NEEDED).is_some_and(|value| !value.is_empty());
    assert!(!needed, "{name}: {why}, and {NEEDED} is set");
    // With nobody to tell, the test passes all the same.
    let _ = writeln!(std::io::stderr(), "{name}: skipped: {why}");
}
