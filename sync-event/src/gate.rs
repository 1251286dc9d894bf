//! What an event opens, and with what it is opened.

use core::convert::Infallible;
use core::fmt;

use crate::WaiterId;

/// What is opened when a registered condition is met, or the event is closed.
///
/// A gate is called by whoever made the update, after the event's lock is released: it may use the event.
pub trait Gate: Send {
    /// The condition was met by this value, or the event was closed before it was.
    fn open(self, outcome: Outcome);
}

/// The gate of events on which only futures and threads wait: there is none.
#[derive(Debug)]
pub struct NoGate(Infallible);

impl Gate for NoGate {
    fn open(self, _: Outcome) {
        match self.0 {}
    }
}

/// How a wait ends: with a value that satisfied it, or with the end of the event.
pub type Outcome = Result<u64, Closed>;

/// The event is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[error("event closed at value {last}: {reason}")]
pub struct Closed {
    /// The value when it was closed, which no longer changes.
    pub last: u64,
    /// Why it was closed.
    pub reason: CloseReason,
}

/// Why an event was closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CloseReason {
    /// Someone asked for it.
    Explicit,
    /// Nobody is left who could update it.
    PublisherGone,
    /// The context it belongs to was closed.
    ContextClosed,
    /// A fault ended its process.
    Faulted,
}

impl fmt::Display for CloseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Explicit => "closed explicitly",
            Self::PublisherGone => "nobody is left to update it",
            Self::ContextClosed => "its context was closed",
            Self::Faulted => "its process faulted",
        })
    }
}

/// What became of a registration. The gate comes back unless it waits.
#[derive(Debug)]
#[must_use = "a gate that does not wait must be opened by the caller"]
pub enum Registered<G> {
    /// The condition holds already, with this value.
    Holds(G, u64),
    /// The gate waits.
    Waiting(WaiterId),
    /// The event is closed and the condition does not hold for its last value.
    Closed(G, Closed),
}
