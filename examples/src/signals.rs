//! How the programs end when they are asked to.

use std::fmt;
use std::process::ExitCode;

use tokio::signal::unix::{SignalKind, signal};

use crate::child::{GRACE, is_child};

/// What asked a program to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interruption {
    /// Ctrl-C.
    Interrupt,
    /// SIGTERM.
    Terminate,
}

impl Interruption {
    /// What a program of this name says, and its exit code: 128 and the number of the signal, as shells have it. For a child
    /// its parent has said it.
    pub fn ends(self, program: &str) -> ExitCode {
        if !is_child() {
            crate::complain!("{program}: {self}");
        }
        ExitCode::from(match self {
            Self::Interrupt => 130,
            Self::Terminate => 143,
        })
    }
}

impl fmt::Display for Interruption {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Interrupt => "interrupted",
            Self::Terminate => "terminated",
        })
    }
}

/// Waits until the program is asked to end; a child, until its parent has had time to end it. From the call on signals do not
/// end it by themselves, unless the system gives no handlers.
pub fn interrupted() -> impl Future<Output = Interruption> {
    let handlers = [SignalKind::interrupt(), SignalKind::terminate()].map(signal);
    async {
        let [Ok(mut interrupt), Ok(mut terminate)] = handlers else {
            return std::future::pending().await;
        };
        let asked = tokio::select! {
            _ = interrupt.recv() => Interruption::Interrupt,
            _ = terminate.recv() => Interruption::Terminate,
        };
        if is_child() {
            tokio::time::sleep(GRACE).await;
        }
        asked
    }
}
