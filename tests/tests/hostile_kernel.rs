//! Every attack of `hostile-kernel`, for a moment: it takes place, comes to nothing, and the victim's results are right. How much of its
//! throughput the victim keeps is measured by `cargo xtask hostile`.

use std::io::Read;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// No run takes as long.
const PATIENCE: Duration = Duration::from_secs(240);

/// Runs it with slices of so many milliseconds; what it says if it fails.
fn attacked(milliseconds: &str, also: &[&str]) -> Result<(), String> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hostile-kernel"));
    command.args(["--slices", "1", "--milliseconds", milliseconds]);
    command
        .args(also)
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    let mut child = command.spawn().expect("it runs");
    let until = Instant::now() + PATIENCE;
    let ended = loop {
        match child.try_wait().expect("it is ours") {
            Some(ended) => break ended,
            None if Instant::now() >= until => {
                child.kill().expect("it is ours");
                panic!("{also:?}: it does not end");
            }
            None => std::thread::sleep(Duration::from_millis(20)),
        }
    };
    let mut said = String::new();
    let mut errors = child.stderr.take().expect("a pipe");
    errors.read_to_string(&mut said).expect("text");
    if ended.success() { Ok(()) } else { Err(said) }
}

#[test]
fn every_attack_takes_place_and_comes_to_nothing() {
    for also in [&[][..], &["--one-function"]] {
        let failed = match attacked("200", also) {
            // Beside much else there was no time for it.
            Err(said) if said.contains("did not take place") => {
                eprintln!("{said}");
                attacked("1000", also)
            }
            ended => ended,
        };
        failed.unwrap_or_else(|said| panic!("{also:?}: {said}"));
    }
}
