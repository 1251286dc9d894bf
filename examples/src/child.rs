//! Programs that start themselves once more, as another node.

use std::process::Stdio;
use std::time::Duration;
use std::{fs, io};

use rustix::process::{Pid, Signal, kill_process};
use tokio::process::Command;

/// Set for a program that another has started.
const VARIABLE: &str = "DPA_EXAMPLE_IS_A_CHILD";

/// How long a child that is asked to end leaves that to its parent. Ctrl-C in a terminal asks all at once: if each ended by
/// itself, each would say so, and some would report the others as lost.
pub const GRACE: Duration = Duration::from_secs(2);

/// This program once more. It shares the standard error and has no standard output; it is killed when its handle is dropped.
///
/// # Errors
/// The system does not say where the program is.
pub fn this_program() -> io::Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command.env(VARIABLE, "1").kill_on_drop(true);
    command.stdin(Stdio::null()).stdout(Stdio::null());
    Ok(command)
}

/// Whether this program is such a child.
#[must_use]
pub fn is_child() -> bool {
    std::env::var_os(VARIABLE).is_some()
}

/// Kills all children, for a program that is to end. Where the system does not list them, those whose handles are dropped are
/// killed with these, the others end by themselves; either may say before that it has lost this program.
pub fn kill_all() {
    let threads = fs::read_dir("/proc/self/task").into_iter().flatten();
    for thread in threads.flatten() {
        let children = fs::read_to_string(thread.path().join("children"));
        let children = children.unwrap_or_default();
        let children = children
            .split_whitespace()
            .filter_map(|child| child.parse().ok());
        for child in children.filter_map(Pid::from_raw) {
            // One that has just ended has no need of it.
            let _ = kill_process(child, Signal::KILL);
        }
    }
}
