//! A program from its beginning to its end.

use std::fmt::Display;
use std::process::ExitCode;

use tokio::runtime::Runtime;

use crate::signals::interrupted;

/// Runs the program of this name to its end, or until it is asked to end, and returns what it ends with.
///
/// A name may be looked up, a pipe opened or read, in a thread that nothing interrupts. Such threads are not waited for: they end
/// with the program.
pub fn run(name: &str, body: impl Future<Output = ExitCode>) -> ExitCode {
    let runtime = match Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => {
            crate::complain!("{name}: there can be no runtime: {error}");
            return ExitCode::FAILURE;
        }
    };
    let code = runtime.block_on(async {
        tokio::select! {
            code = body => code,
            asked = interrupted() => asked.ends(name),
        }
    });
    runtime.shutdown_background();
    code
}

/// What a program of this name ends with; why it failed is said.
pub fn end<E: Display>(name: &str, result: Result<(), E>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            crate::complain!("{name}: {error}");
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;
    use std::time::Duration;

    #[test]
    fn what_nothing_interrupts_is_not_waited_for() {
        let (end_it, ends) = mpsc::channel::<()>();
        let (over, is_over) = mpsc::channel();
        std::thread::spawn(move || {
            let looks_up = async {
                tokio::task::spawn_blocking(move || ends.recv());
                ExitCode::SUCCESS
            };
            over.send(run("test", looks_up)).expect("somebody waits");
        });
        let code = is_over.recv_timeout(Duration::from_secs(10));
        assert_eq!(code, Ok(ExitCode::SUCCESS));
        drop(end_it);
    }
}
