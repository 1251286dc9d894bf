//! A program from its beginning to its end.

use std::fmt::Display;
use std::process::ExitCode;

use tokio::runtime::Runtime;

use crate::signals::interrupted;

/// Waits for none of its threads when it goes, be it for a panic.
struct Unwaited(Option<Runtime>);

impl Drop for Unwaited {
    fn drop(&mut self) {
        self.0
            .take()
            .into_iter()
            .for_each(Runtime::shutdown_background);
    }
}

/// Runs the program of this name to its end, or until it is asked to end, and returns what it ends with.
///
/// A name may be looked up, a pipe opened or read, in a thread that nothing interrupts. Such threads are not waited for, nor where
/// the program panics: they end with it.
pub fn run(name: &str, body: impl Future<Output = ExitCode>) -> ExitCode {
    let runtime = match Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => {
            crate::complain!("{name}: there can be no runtime: {error}");
            return ExitCode::FAILURE;
        }
    };
    let handle = runtime.handle().clone();
    let _unwaited = Unwaited(Some(runtime));
    handle.block_on(async {
        tokio::select! {
            code = body => code,
            asked = interrupted() => asked.ends(name),
        }
    })
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
    use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
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

    #[test]
    fn nor_where_the_program_panics() {
        let (end_it, ends) = mpsc::channel::<()>();
        let (over, is_over) = mpsc::channel();
        std::thread::spawn(move || {
            let panics = async {
                tokio::task::spawn_blocking(move || ends.recv());
                resume_unwind(Box::new("on purpose"))
            };
            let ended = catch_unwind(AssertUnwindSafe(|| run("test", panics)));
            over.send(ended.is_err()).expect("somebody waits");
        });
        let panicked = is_over.recv_timeout(Duration::from_secs(10));
        assert_eq!(panicked, Ok(true));
        drop(end_it);
    }
}
