//! A program from its beginning to its end.

use std::fmt::Display;
use std::pin::pin;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::runtime::Runtime;
use tokio::sync::oneshot;

use crate::child::kill_all;
use crate::signals::{Interruption, interrupted};

/// How long a program that is asked to end has for what it does just now, and to let go of what it holds.
const LAST: Duration = Duration::from_millis(500);

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
/// the program panics: they end with it. The program itself may be where nothing interrupts it, as in a write to a pipe that is
/// full: then it ends there, half a second later.
pub fn run(name: &'static str, body: impl Future<Output = ExitCode>) -> ExitCode {
    let runtime = match Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => {
            crate::complain!("{name}: there can be no runtime: {error}");
            return ExitCode::FAILURE;
        }
    };
    let handle = runtime.handle().clone();
    let _unwaited = Unwaited(Some(runtime));
    let said = Said(Arc::default());
    handle.block_on(async {
        let (ask, asked) = oneshot::channel();
        tokio::spawn(watch(name, said.clone(), interrupted(), ask));
        let mut body = pin!(body);
        tokio::select! {
            biased;
            Ok(asked) = asked => {
                // Before connections to them are dropped: they would say that they have lost this program.
                kill_all();
                said.say(name, asked).into()
            }
            code = &mut body => code,
        }
    })
}

/// Asks the program to end when somebody asks for it, and ends it if it does not.
async fn watch(
    name: &'static str,
    said: Said,
    interrupted: impl Future<Output = Interruption>,
    ask: oneshot::Sender<Interruption>,
) {
    let asked = interrupted.await;
    // A program that has ended by itself meanwhile does not listen any more.
    if ask.send(asked).is_ok() {
        tokio::time::sleep(LAST).await;
        kill_all();
        std::process::exit(said.say(name, asked).into());
    }
}

/// Whether it was said that the program was asked to end: once.
#[derive(Clone)]
struct Said(Arc<AtomicBool>);

impl Said {
    /// Says it, and returns the code to end with.
    fn say(&self, name: &str, asked: Interruption) -> u8 {
        if !self.0.swap(true, Ordering::Relaxed) {
            asked.say(name);
        }
        asked.code()
    }
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
