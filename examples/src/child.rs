//! Programs that start themselves once more, as another node.

use std::io;
use std::process::Stdio;
use std::time::Duration;

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
