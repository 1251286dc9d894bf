//! What can go wrong on the way to a peer and with it.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::time::Duration;

use thiserror::Error;

/// Why a step of the exchange did not happen. Steps are named as the program named them.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ExchangeError {
    /// The text names no address.
    #[error("`{address}` is no address to use, which is ADDRESS:PORT or NAME:PORT: {source}")]
    Address {
        /// What was given.
        address: String,
        /// Why it is none.
        source: io::Error,
    },
    /// The listening side cannot have this address.
    #[error("cannot listen at {address}: {source}")]
    Bind {
        /// What was given.
        address: String,
        /// What the system says.
        source: io::Error,
    },
    /// The connection could not be made.
    #[error("cannot connect to {address} within {}: {}", seconds(.waited), of_each(.refusals))]
    Connect {
        /// What was given.
        address: String,
        /// How long refused connections were tried again.
        waited: Duration,
        /// The addresses that it stands for, and what the system says of each.
        refusals: Vec<(SocketAddr, io::Error)>,
    },
    /// No program of this session came.
    #[error("nobody came within {}{}", seconds(.waited), refusals(*.refused, .last.as_deref()))]
    NobodyCame {
        /// How long the listener waited.
        waited: Duration,
        /// How many were turned away since it was bound.
        refused: u64,
        /// Why the last of them was; if none was, what the system refused.
        last: Option<Box<ExchangeError>>,
    },
    /// The other side is no program of this kind.
    #[error("peer does not speak this protocol")]
    NotAPeer,
    /// The other side is a newer or an older program.
    #[error("peer speaks version {theirs}, this program {ours}")]
    Version {
        /// The other side's version.
        theirs: u32,
        /// Our version.
        ours: u32,
    },
    /// The other side is another program, or of another session.
    #[error("peer is another program, or this one in another session")]
    Session,
    /// The other side has closed the connection, or ended.
    #[error("peer closed the connection while waiting for its {step}")]
    Closed {
        /// The step under way.
        step: &'static str,
    },
    /// The step was not over in time.
    #[error("no answer within {} while waiting for {step}", seconds(.waited))]
    TimedOut {
        /// The step under way.
        step: &'static str,
        /// The bound.
        waited: Duration,
    },
    /// The two sides are not at the same step.
    #[error("peer is at `{theirs}`, we are at `{ours}`")]
    OutOfStep {
        /// The other side's step, as it named it.
        theirs: String,
        /// Ours.
        ours: &'static str,
    },
    /// A frame that a peer does not send.
    #[error("peer sent {fault} for its {step}")]
    Malformed {
        /// The step under way.
        step: &'static str,
        /// What is wrong with it.
        fault: &'static str,
    },
    /// A frame that is longer than frames may be: ours, which was not sent, or theirs, which was not read.
    #[error("{len} bytes for {step} are more than a frame holds ({max})")]
    TooLong {
        /// The step under way.
        step: &'static str,
        /// Its length.
        len: usize,
        /// The most.
        max: usize,
    },
    /// An earlier step failed or was dropped half-way, and the connection cannot be used any more.
    #[error("no {step}: the connection was given up at {earlier}")]
    GivenUp {
        /// The step that did not end well.
        earlier: &'static str,
        /// The step asked for now.
        step: &'static str,
    },
    /// A rank that a group of this size does not have.
    #[error("there is no rank {rank} in a group of {size}")]
    NoSuchRank {
        /// The rank.
        rank: usize,
        /// The group's size.
        size: usize,
    },
    /// A member that cannot belong to the group.
    #[error("a peer says it is rank {rank} of {size}: {fault}")]
    Member {
        /// The rank it claims.
        rank: u32,
        /// The size of the group it claims.
        size: u32,
        /// Why that cannot be.
        fault: &'static str,
    },
    /// A step with one member of the group failed.
    #[error("rank {rank}: {source}")]
    Rank {
        /// Which one.
        rank: usize,
        /// How.
        source: Box<ExchangeError>,
    },
    /// The system failed.
    #[error("connection failed at {step}: {source}")]
    Io {
        /// The step under way.
        step: &'static str,
        /// What the system says.
        source: io::Error,
    },
}

impl ExchangeError {
    /// What the system says, as a step's error.
    pub(super) fn from_io(step: &'static str, source: io::Error) -> Self {
        match source.kind() {
            ErrorKind::UnexpectedEof
            | ErrorKind::ConnectionReset
            | ErrorKind::ConnectionAborted
            | ErrorKind::BrokenPipe
            | ErrorKind::NotConnected => Self::Closed { step },
            _ => Self::Io { step, source },
        }
    }
}

/// A duration as a person reads it.
fn seconds(duration: &Duration) -> String {
    format!("{} s", duration.as_secs_f64())
}

fn refusals(refused: u64, last: Option<&ExchangeError>) -> String {
    match last {
        Some(last) if refused == 0 => format!("; {last}"),
        Some(last) => format!("; {refused} turned away, the last because: {last}"),
        None => String::new(),
    }
}

/// Of one address: what is said of it. Of several: that of which.
fn of_each(refusals: &[(SocketAddr, io::Error)]) -> String {
    match refusals {
        [(_, error)] => error.to_string(),
        several => {
            let each = several.iter();
            let each = each.map(|(place, error)| format!("{place}: {error}"));
            each.collect::<Vec<_>>().join("; ")
        }
    }
}
