//! The out-of-band exchange: how programs that are to speak RDMA tell each other what they need before.
//!
//! A TCP connection between two programs of one [`Session`]. Both call the same *steps* in the same order; every
//! frame names its step, so that two programs out of step hear of it instead of misreading each other's bytes.
//!
//! * [`Listener`] waits for the other side, [`Exchange::connect`] goes to it.
//! * [`Exchange::swap`] hands over one blob and takes theirs; [`Exchange::barrier`] waits for the other side.
//! * [`Group`] is the same among any number of programs.
//!
//! ```no_run
//! # async fn example(connection_info: &[u8]) -> Result<(), examples::exchange::ExchangeError> {
//! use examples::exchange::{Exchange, Session};
//!
//! let session = Session::new("ping-pong");
//! let mut peer = Exchange::connect("192.0.2.7:7471", session, session.timeout()).await?;
//! let theirs = peer.swap("connection data", connection_info).await?;
//! // connect the queue pair to `theirs`, then:
//! peer.barrier("queue pair").await?;
//! # drop(theirs);
//! # Ok(())
//! # }
//! ```
//!
//! # What travels
//!
//! Each side opens with a hello of 28 bytes: `"dpa-oob\0"`, the protocol's version (`u32`, little-endian) and the
//! session's token. The listening side answers only after it has checked the other's, and shows its own token only
//! to who had the right one: 16 zeros mean "refused". Then frames: a `u32` in little-endian with the length of what
//! follows (at most [`MAX_FRAME`]), one byte with the length of the step's name, the name, the blob.
//!
//! # What it does not promise
//!
//! The token keeps programs of different sessions apart. It is no secret and nothing is encrypted: whoever can read
//! or change what travels can pose as the other side.

mod connecting;
mod error;
mod frame;
mod group;
mod hello;
mod listener;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::Instant;

pub use error::ExchangeError;
pub use frame::{MAX_BLOB, MAX_FRAME};
pub use group::Group;
pub use hello::VERSION;
pub use listener::{Listener, MAX_WAITING};

/// What two programs must have in common to be each other's peer, and how long they wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Session {
    /// Equal on both sides, and not zero.
    token: [u8; 16],
    /// The most that one step takes.
    timeout: Duration,
}

impl Session {
    /// The session of this name; a step takes 10 seconds at most.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self {
            token: token_of(name),
            timeout: Duration::from_secs(10),
        }
    }

    /// The same with another bound for a step: a blob out and in, a barrier.
    #[must_use]
    pub fn with_timeout(self, timeout: Duration) -> Self {
        Self { timeout, ..self }
    }

    /// The most that one step takes.
    #[must_use]
    pub fn timeout(&self) -> Duration {
        self.timeout
    }
}

impl Default for Session {
    /// The session without a name.
    fn default() -> Self {
        Self::new("")
    }
}

/// FNV-1a in 128 bits: the same in every build, and never zero for want of the lowest bit.
fn token_of(name: &str) -> [u8; 16] {
    let hash = name.bytes().fold(
        0x6c62_272e_07bb_0142_62b8_2175_6295_c58d_u128,
        |hash, byte| {
            (hash ^ u128::from(byte)).wrapping_mul(0x0000_0000_0100_0000_0000_0000_0000_013b)
        },
    );
    (hash | 1).to_le_bytes()
}

/// A connection to one program of the same session. Having one proves that the other side presented the same token
/// and speaks the same version.
///
/// A step that fails, or whose future is dropped before it is ready, may leave off in the middle of a frame. So it
/// closes the connection: the other side hears of it at once, and every later step is [`ExchangeError::GivenUp`].
#[derive(Debug)]
pub struct Exchange {
    /// The connection between steps; the step under way, or the one that failed, has taken it.
    stream: Result<TcpStream, &'static str>,
    timeout: Duration,
    ends: (SocketAddr, SocketAddr),
}

impl Exchange {
    /// Connects to a [`Listener`] at `address` (`host:port`); tries again while the connection is refused, until
    /// `timeout` has passed. Of several addresses of a host it takes the first that answers; one that does not may take its share of
    /// the time.
    ///
    /// # Errors
    /// `Address` if it names no address, `Connect` if nobody listens there, `Version`, `Session` or `NotAPeer` if who
    /// listens is someone else.
    ///
    /// # Cancel safety
    /// A dropped future closes the connection; nothing is left behind.
    pub async fn connect(
        address: &str,
        session: Session,
        timeout: Duration,
    ) -> Result<Self, ExchangeError> {
        let deadline = after(timeout);
        let mut stream = connecting::to(address, timeout, deadline).await?;
        let hello = hello::from_connecting(&mut stream, session.token);
        within(deadline, timeout, "hello", hello).await??;
        Self::over(stream, session.timeout)
    }

    /// An exchange over a stream on which both have said hello.
    fn over(stream: TcpStream, timeout: Duration) -> Result<Self, ExchangeError> {
        let failed = |source| ExchangeError::from_io("hello", source);
        stream.set_nodelay(true).map_err(failed)?;
        let local = canonical(stream.local_addr().map_err(failed)?);
        let peer = canonical(stream.peer_addr().map_err(failed)?);
        Ok(Self {
            stream: Ok(stream),
            timeout,
            ends: (local, peer),
        })
    }

    /// Hands over `mine` and takes the other side's blob of the same step; neither waits for the other to begin.
    ///
    /// # Errors
    /// `Closed`, `TimedOut`, `OutOfStep`, `Malformed`, `TooLong` (nothing is sent if `mine` is), `GivenUp`, `Io`.
    ///
    /// # Cancel safety
    /// Not cancel safe: a dropped future closes the connection, and the other side may have our blob.
    pub async fn swap(
        &mut self,
        step: &'static str,
        mine: &[u8],
    ) -> Result<Vec<u8>, ExchangeError> {
        let frame = frame::encode(step, mine)?;
        let (mut stream, deadline) = self.begin(step)?;
        let (mut reader, mut writer) = stream.split();
        let sending = frame::write(&mut writer, step, &frame);
        let both = futures::future::join(sending, frame::read(&mut reader, step));
        // What they sent says more than why they did not take ours.
        let (sent, theirs) = within(deadline, self.timeout, step, both).await?;
        let theirs = theirs?;
        sent?;
        self.stream = Ok(stream);
        Ok(theirs)
    }

    /// Hands over a blob, for which the other side calls [`receive`](Self::receive).
    ///
    /// Returns when the blob is on its way, which says nothing about its arrival.
    ///
    /// # Errors
    /// `Closed`, `TimedOut`, `TooLong` (nothing is sent), `GivenUp`, `Io`.
    ///
    /// # Cancel safety
    /// Not cancel safe: a dropped future closes the connection, and the other side may have the blob.
    pub async fn send(&mut self, step: &'static str, mine: &[u8]) -> Result<(), ExchangeError> {
        let frame = frame::encode(step, mine)?;
        let (mut stream, deadline) = self.begin(step)?;
        let sending = frame::write(&mut stream, step, &frame);
        within(deadline, self.timeout, step, sending).await??;
        self.stream = Ok(stream);
        Ok(())
    }

    /// Takes the blob that the other side gives to [`send`](Self::send).
    ///
    /// # Errors
    /// `Closed`, `TimedOut`, `OutOfStep`, `Malformed`, `TooLong`, `GivenUp`, `Io`.
    ///
    /// # Cancel safety
    /// Not cancel safe: a dropped future closes the connection, and the blob may be lost.
    pub async fn receive(&mut self, step: &'static str) -> Result<Vec<u8>, ExchangeError> {
        let (mut stream, deadline) = self.begin(step)?;
        let receiving = frame::read(&mut stream, step);
        let theirs = within(deadline, self.timeout, step, receiving).await??;
        self.stream = Ok(stream);
        Ok(theirs)
    }

    /// Returns when both sides have come to this step.
    ///
    /// # Errors
    /// As [`swap`](Self::swap).
    ///
    /// # Cancel safety
    /// Not cancel safe: a dropped future closes the connection, and the other side may have gone on.
    pub async fn barrier(&mut self, step: &'static str) -> Result<(), ExchangeError> {
        let theirs = self.swap(step, &[]).await?;
        if theirs.is_empty() {
            return Ok(());
        }
        self.give_up(step);
        let fault = "a blob where a barrier was expected";
        Err(ExchangeError::Malformed { step, fault })
    }

    /// As [`barrier`](Self::barrier), where the other side is at work and may come as late as this.
    ///
    /// # Errors
    /// As [`swap`](Self::swap).
    ///
    /// # Cancel safety
    /// As [`barrier`](Self::barrier).
    pub async fn barrier_within(
        &mut self,
        step: &'static str,
        most: Duration,
    ) -> Result<(), ExchangeError> {
        let timeout = std::mem::replace(&mut self.timeout, most);
        let met = self.barrier(step).await;
        self.timeout = timeout;
        met
    }

    /// Our end: an address at which the other side can reach this machine.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.ends.0
    }

    /// The other side's end: an address at which it can be reached.
    #[must_use]
    pub fn peer_addr(&self) -> SocketAddr {
        self.ends.1
    }

    /// Takes the connection for a step, and says when that must be over.
    fn begin(&mut self, step: &'static str) -> Result<(TcpStream, Instant), ExchangeError> {
        match std::mem::replace(&mut self.stream, Err(step)) {
            Ok(stream) => Ok((stream, after(self.timeout))),
            Err(earlier) => {
                self.give_up(earlier);
                Err(ExchangeError::GivenUp { earlier, step })
            }
        }
    }

    /// Closes the connection at this step.
    fn give_up(&mut self, step: &'static str) {
        self.stream = Err(step);
    }
}

/// So long from now. A time that no clock reaches is longer than any program runs.
fn after(timeout: Duration) -> Instant {
    let now = Instant::now();
    now.checked_add(timeout)
        .unwrap_or_else(|| now + Duration::from_secs(10 * 365 * 86_400))
}

/// The future's result, or `TimedOut` with `waited` as how long it was.
async fn within<T>(
    deadline: Instant,
    waited: Duration,
    step: &'static str,
    future: impl Future<Output = T>,
) -> Result<T, ExchangeError> {
    let result = tokio::time::timeout_at(deadline, future).await;
    result.map_err(|_| ExchangeError::TimedOut { step, waited })
}

/// An address of IPv4 as itself, where a listener for both families maps it into IPv6.
fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// The addresses a `host:port` stands for.
async fn resolve(address: &str) -> Result<Vec<SocketAddr>, ExchangeError> {
    let failed = |source| ExchangeError::Address {
        address: address.to_owned(),
        source,
    };
    let found: Vec<_> = tokio::net::lookup_host(address)
        .await
        .map_err(failed)?
        .collect();
    match found.is_empty() {
        true => Err(failed(std::io::ErrorKind::NotFound.into())),
        false => Ok(found),
    }
}
