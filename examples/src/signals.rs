//! How the programs end when they are asked to.

use std::fmt;

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
    /// Says it for a program of this name. For a child its parent says it.
    pub fn say(self, program: &str) {
        if !is_child() {
            crate::complain!("{program}: {self}");
        }
    }

    /// The exit code: 128 and the number of the signal, as shells have it.
    #[must_use]
    pub fn code(self) -> u8 {
        match self {
            Self::Interrupt => 130,
            Self::Terminate => 143,
        }
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
pub fn interrupted() -> impl Future<Output = Interruption> + Send {
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
