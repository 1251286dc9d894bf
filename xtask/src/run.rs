//! Commands that xtask starts, and the places it knows.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Outcome;

/// The workspace's root.
pub fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_owned()
}

/// Where builds go: `CARGO_TARGET_DIR`, or `target`.
pub fn target() -> PathBuf {
    let named = std::env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into());
    root().join(named)
}

/// The cargo that runs us, in the workspace's root.
pub fn cargo() -> Command {
    command(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

/// A program in the workspace's root.
pub fn command(program: impl Into<OsString>) -> Command {
    let mut command = Command::new(program.into());
    command.current_dir(root());
    command
}

/// Runs to the end; an exit code other than 0 is an error.
pub fn check(command: &mut Command) -> Outcome {
    let status = command.status().map_err(|e| not_started(command, &e))?;
    if status.success() {
        Ok(())
    } else {
        Err(format!("`{}` failed ({status})", shown(command)))
    }
}

/// Runs to the end and returns what it printed on stdout.
///
/// # Errors
/// A sentence, when it cannot be started or fails.
pub fn output(command: &mut Command) -> Result<String, String> {
    let output = command
        .stderr(std::process::Stdio::inherit())
        .output()
        .map_err(|e| not_started(command, &e))?;
    if !output.status.success() {
        return Err(format!("`{}` failed ({})", shown(command), output.status));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Whether the command can be started and succeeds; prints nothing.
pub fn succeeds(command: &mut Command) -> bool {
    command.output().is_ok_and(|output| output.status.success())
}

/// The first of these programs that is not installed.
pub fn not_installed<'p>(programs: &[&'p str]) -> Option<&'p str> {
    let there = |program: &str| {
        let words = format!("command -v {program}");
        succeeds(command("sh").args(["-c", &words]))
    };
    programs.iter().copied().find(|program| !there(program))
}

/// Nothing may be left out for want of something on the machine, if this variable is set.
const NEEDED: &str = "DPA_NEEDED";

/// Says that a lane was left out, and why.
///
/// # Errors
/// Nothing may be left out.
pub fn skip(lane: &str, reason: &str) -> Outcome {
    if std::env::var_os(NEEDED).is_some_and(|value| !value.is_empty()) {
        return Err(format!("{lane}: {reason}, and {NEEDED} is set"));
    }
    println!("{lane}: skipped: {reason}");
    Ok(())
}

fn not_started(command: &Command, error: &std::io::Error) -> String {
    format!("cannot start `{}`: {error}", shown(command))
}

fn shown(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words
        .map(|word| word.to_string_lossy())
        .collect::<Vec<_>>()
        .join(" ")
}
