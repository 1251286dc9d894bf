//! `decoders`: programs of others read what our NICs send.
//!
//! The tests are `rdma/tests/decoders.rs`. Alone they skip what is missing on the machine; here each tool that was
//! found is named to them, and then they must use it.

use std::path::{Path, PathBuf};

use crate::Outcome;
use crate::run::{cargo, check, command, skip, succeeds, target};

const SCAPY: &str = "scapy==2.8.0";
const HAS_SCAPY: [&str; 2] = ["-c", "import scapy.contrib.roce"];

/// Runs the tests with the tools there are.
pub fn run() -> Outcome {
    let mut tests = cargo();
    tests.args([
        "test",
        "-p",
        "rdma",
        "--test",
        "decoders",
        "--",
        "--nocapture",
    ]);
    if succeeds(command("tshark").arg("--version")) {
        tests.env("DPA_TSHARK", "tshark");
    } else {
        skip("decoders", "tshark is not installed")?;
    }
    match python_with_scapy() {
        Some(python) => drop(tests.env("DPA_SCAPY_PYTHON", python)),
        None => skip("decoders", "there is no scapy, and it could not be fetched")?,
    }
    check(&mut tests)
}

/// The system's Python if it has scapy, else one of our own below `target`.
fn python_with_scapy() -> Option<PathBuf> {
    let own = target().join("scapy");
    let python = own.join("bin/python");
    let found = [PathBuf::from("python3"), python.clone()];
    if let Some(found) = found.into_iter().find(|python| has_scapy(python)) {
        return Some(found);
    }
    let made = succeeds(command("python3").args(["-m", "venv"]).arg(&own));
    let fetch = [
        "-m",
        "pip",
        "install",
        "-q",
        "--timeout",
        "20",
        "--retries",
        "1",
    ];
    (made && succeeds(command(&python).args(fetch).arg(SCAPY)) && has_scapy(&python))
        .then_some(python)
}

fn has_scapy(python: &Path) -> bool {
    succeeds(command(python).args(HAS_SCAPY))
}
