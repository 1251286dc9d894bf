//! Waiting for the other side.
//!
//! Rules:
//! 1. A connection is *waiting* from the system's accept until its hello has come and been answered. At most
//!    [`MAX_WAITING`] wait at a time; more are left to the system's own queue, which is as long.
//! 2. A waiting connection that has not said hello after [`HELLO`], or the session's timeout if that is shorter, is
//!    closed. So strangers that say nothing hold up a peer for a bounded time, and not at all if there are few.
//! 3. A stranger (wrong protocol, version or token) is closed and counted; the listener goes on.
//! 4. Connections wait in the listener, not in the future of `accept`: dropping that loses none.
//! 5. What the system refuses at an accept (no descriptors, a connection that is over already) passes: it is noted, and after
//!    [`PAUSE`] the next is accepted.

use std::collections::VecDeque;
use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::time::Instant;

use super::{Exchange, ExchangeError, Session, hello, within};

/// Connections that wait for their hello to come or to be answered, at most.
pub const MAX_WAITING: usize = 16;

/// How long a connection may take for its hello.
const HELLO: Duration = Duration::from_secs(2);

/// How long nothing is accepted when the system has refused.
const PAUSE: Duration = Duration::from_millis(100);

/// Takes connections of programs of its session, and turns everyone else away.
pub struct Listener {
    socket: TcpListener,
    session: Session,
    waiting: FuturesUnordered<BoxFuture<'static, Result<Exchange, ExchangeError>>>,
    /// Who has been let in and not been asked for yet.
    admitted: VecDeque<Exchange>,
    refused: u64,
    last: Option<ExchangeError>,
    /// Before that nothing is accepted.
    paused: Option<Instant>,
}

impl Listener {
    /// Listens at `address` (`host:port`; port 0 takes a free one, see [`local_addr`](Self::local_addr)).
    ///
    /// # Errors
    /// `Address` if it names no address, `Bind` if it cannot be had.
    pub async fn bind(address: &str, session: Session) -> Result<Self, ExchangeError> {
        let deadline = super::after(session.timeout);
        let resolving = super::resolve(address);
        let addresses = within(deadline, session.timeout, "address", resolving).await??;
        let socket = listen(&addresses).map_err(|source| ExchangeError::Bind {
            address: address.to_owned(),
            source,
        })?;
        Ok(Self {
            socket,
            session,
            waiting: FuturesUnordered::new(),
            admitted: VecDeque::new(),
            refused: 0,
            last: None,
            paused: None,
        })
    }

    /// Where it listens.
    ///
    /// # Errors
    /// `Io`, if the system does not know it.
    pub fn local_addr(&self) -> Result<SocketAddr, ExchangeError> {
        let address = self.socket.local_addr();
        address.map_err(|source| ExchangeError::from_io("own address", source))
    }

    /// Whom it lets in.
    #[must_use]
    pub fn session(&self) -> Session {
        self.session
    }

    /// How many strangers have been turned away.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.refused
    }

    /// The next program of this session; strangers are turned away meanwhile.
    ///
    /// # Errors
    /// `NobodyCame` after `timeout`, with the reason why the last stranger was refused, or what the system refused last.
    ///
    /// # Cancel safety
    /// Cancel safe: a connection that was about to be returned is returned by the next call.
    pub async fn accept(&mut self, timeout: Duration) -> Result<Exchange, ExchangeError> {
        let admitting = tokio::time::timeout(timeout, self.admit()).await;
        admitting.unwrap_or_else(|_| {
            Err(ExchangeError::NobodyCame {
                waited: timeout,
                refused: self.refused,
                last: self.last.take().map(Box::new),
            })
        })
    }

    async fn admit(&mut self) -> Result<Exchange, ExchangeError> {
        loop {
            if let Some(exchange) = self.admitted.pop_front() {
                return Ok(exchange);
            }
            let paused = self.paused.is_some();
            let room = self.waiting.len() < MAX_WAITING && !paused;
            let over = self.paused.unwrap_or_else(Instant::now);
            tokio::select! {
                Some(introduced) = self.waiting.next() => self.settle(introduced),
                accepted = self.socket.accept(), if room => self.queue(accepted),
                () = tokio::time::sleep_until(over), if paused => self.paused = None,
            }
        }
    }

    fn settle(&mut self, introduced: Result<Exchange, ExchangeError>) {
        match introduced {
            Ok(exchange) => self.admitted.push_back(exchange),
            Err(error) => {
                tracing::debug!(%error, "turned a connection away");
                self.refused += 1;
                self.last = Some(error);
            }
        }
    }

    /// Lets a new connection wait; one that ended before it was accepted is nobody's error (rule 5).
    fn queue(&mut self, accepted: std::io::Result<(TcpStream, SocketAddr)>) {
        match accepted {
            Ok((stream, _)) => self.waiting.push(Box::pin(introduce(stream, self.session))),
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionAborted => {}
            Err(source) => {
                tracing::warn!(error = %source, "the system gave no connection");
                if self.refused == 0 {
                    self.last = Some(ExchangeError::from_io("connection", source));
                }
                self.paused = Some(Instant::now() + PAUSE);
            }
        }
    }
}

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listener")
            .field("socket", &self.socket)
            .field("waiting", &self.waiting.len())
            .field("refused", &self.refused)
            .finish_non_exhaustive()
    }
}

async fn introduce(mut stream: TcpStream, session: Session) -> Result<Exchange, ExchangeError> {
    let bound = HELLO.min(session.timeout);
    let hello = hello::from_listening(&mut stream, session.token);
    within(Instant::now() + bound, bound, "hello", hello).await??;
    Exchange::over(stream, session.timeout)
}

/// A socket at the first of the addresses that can be had.
fn listen(addresses: &[SocketAddr]) -> std::io::Result<TcpListener> {
    let mut last = std::io::ErrorKind::AddrNotAvailable.into();
    for address in addresses {
        match listen_at(*address) {
            Ok(socket) => return Ok(socket),
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn listen_at(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = if address.is_ipv4() {
        TcpSocket::new_v4()?
    } else {
        TcpSocket::new_v6()?
    };
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(MAX_WAITING as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(30);

    #[tokio::test]
    async fn what_the_system_refuses_passes() {
        let session = Session::new("refused").with_timeout(LONG);
        let bound = Listener::bind("127.0.0.1:0", session).await;
        let mut listener = bound.expect("a port");
        let no_descriptors = || std::io::Error::other("no descriptors are left");
        listener.queue(Err(no_descriptors()));
        let nobody = listener.accept(Duration::from_millis(1)).await;
        let nobody = nobody.expect_err("it pauses").to_string();
        assert!(nobody.contains(&no_descriptors().to_string()), "{nobody}");
        listener.queue(Err(no_descriptors()));
        let address = listener.local_addr().expect("it has one").to_string();
        let coming = Exchange::connect(&address, session, LONG);
        let (there, here) = tokio::join!(coming, listener.accept(LONG));
        there.and(here).expect("it goes on");
    }
}
