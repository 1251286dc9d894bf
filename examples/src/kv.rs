//! Both sides of `kv-server`, as a host sets them up. What their kernels do stands in [`examples_kernels::kv`].
//!
//! A client comes over TCP ([`crate::exchange`]); the server sends it a [`Welcome`], both connect, the client names its ring.
//! From then on their kernels speak RDMA, and the TCP connection only tells each that the other lives.

mod client;
mod server;
mod welcome;

use std::net::IpAddr;
use std::process::ExitStatus;
use std::time::Duration;

use doca_dpa::Error;
use thiserror::Error as ThisError;

use crate::exchange::{ExchangeError, Session};

pub use client::{Figures, Load, bench, node};
pub use server::{News, Server, ServerOptions};
pub use welcome::{Welcome, WelcomeError};

/// How server and clients know each other.
#[must_use]
pub fn session() -> Session {
    Session::new("kv-server")
}

/// How long a client may take to introduce itself.
const MEETING: Duration = Duration::from_secs(10);

/// Why a server or a client gave up.
#[derive(Debug, ThisError)]
#[non_exhaustive]
pub enum KvError {
    /// The device or the network.
    #[error(transparent)]
    Dpa(Error),
    /// The exchange beside it.
    #[error(transparent)]
    Exchange(#[from] ExchangeError),
    /// The server's welcome.
    #[error(transparent)]
    Welcome(#[from] WelcomeError),
    /// The other process could not be started.
    #[error("the bench could not be started: {0}")]
    Start(std::io::Error),
    /// The other process ended in error; if it could, it has said why.
    #[error("the bench has failed ({status}){}", reason(.why.as_deref()))]
    Bench {
        /// How it ended.
        status: ExitStatus,
        /// What the server knows of it.
        why: Option<String>,
    },
    /// Clients may come to any address of this machine, but packets go to one of them.
    #[error(
        "at {address} clients can come to any address of this machine: say by --rdma which one RDMA packets go to"
    )]
    NoOneAddress {
        /// Where clients come to.
        address: IpAddr,
    },
    /// Someone did not introduce himself in time.
    #[error("the client did not introduce itself within {} s", .0.as_secs())]
    Meeting(Duration),
    /// The server does not answer any more.
    #[error("the server was lost after {good} right answers: {why}")]
    Lost {
        /// Answers before that.
        good: u64,
        /// Why.
        why: String,
    },
    /// The server does not answer in time.
    #[error("no answer from the server within {} ms, after {good} right answers", .waited.as_millis())]
    Late {
        /// Answers before that.
        good: u64,
        /// The bound.
        waited: Duration,
    },
    /// An answer that is not right.
    #[error("the answer to request {request} is wrong: it is not what was stored")]
    Wrong {
        /// The request's number.
        request: u64,
    },
    /// A queue took no more, though there was room.
    #[error("a queue of the client took no more after {good} right answers")]
    Refused {
        /// Answers before that.
        good: u64,
    },
}

fn reason(why: Option<&str>) -> String {
    why.map(|why| format!(": {why}")).unwrap_or_default()
}

/// Every error of the device.
impl<E> From<E> for KvError
where
    Error: From<E>,
{
    fn from(error: E) -> Self {
        Self::Dpa(Error::from(error))
    }
}
