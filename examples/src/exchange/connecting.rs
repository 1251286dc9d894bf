//! The way to who listens: a name may stand for several addresses, and there may be nobody yet.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::Instant;

use super::{ExchangeError, resolve, within};

/// The pause after a refused connection, at first; it doubles up to eight times that.
const RETRY: Duration = Duration::from_millis(20);

/// What addresses have said that did not connect.
type Refusals = Vec<(SocketAddr, io::Error)>;

/// Connects, and tries again while nobody listens.
pub(super) async fn to(
    address: &str,
    waited: Duration,
    deadline: Instant,
) -> Result<TcpStream, ExchangeError> {
    let resolving = resolve(address);
    let places = within(deadline, waited, "address", resolving).await??;
    let connected = to_any(&places, deadline).await;
    connected.map_err(|refusals| ExchangeError::Connect {
        address: address.to_owned(),
        waited,
        refusals,
    })
}

/// Connects to the first of these addresses that takes the connection; tries all of them again while one of them refuses.
async fn to_any(places: &[SocketAddr], deadline: Instant) -> Result<TcpStream, Refusals> {
    let mut pause = RETRY;
    loop {
        let refusals = match each(places, deadline).await {
            Ok(stream) => return Ok(stream),
            Err(refusals) => refusals,
        };
        let is_refused = |(_, error): &(_, io::Error)| error.kind() == ErrorKind::ConnectionRefused;
        if !refusals.iter().any(is_refused) || Instant::now() + pause >= deadline {
            return Err(refusals);
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(RETRY * 8);
    }
}

/// Tries each once. One that says nothing takes no more than its share of the time that is left.
async fn each(places: &[SocketAddr], deadline: Instant) -> Result<TcpStream, Refusals> {
    let mut refusals = Vec::new();
    for (left, &place) in (1..=places.len() as u32).rev().zip(places) {
        let now = Instant::now();
        let until = now + deadline.saturating_duration_since(now) / left;
        let connecting = tokio::time::timeout_at(until, TcpStream::connect(place));
        match connecting.await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => refusals.push((place, error)),
            Err(_) => refusals.push((place, io::Error::new(ErrorKind::TimedOut, "no answer"))),
        }
    }
    Err(refusals)
}

#[cfg(test)]
mod tests {
    use tokio::net::{TcpListener, TcpSocket};

    use super::*;

    const ANY: &str = "127.0.0.1:0";

    /// Where nobody listens.
    async fn nobody() -> SocketAddr {
        let listener = TcpListener::bind(ANY).await.expect("a port");
        listener.local_addr().expect("its address")
    }

    /// Where no connection leads to, as the system says at once.
    fn nowhere() -> SocketAddr {
        SocketAddr::from(([255; 4], 7471))
    }

    async fn to_these(places: &[SocketAddr], waited: Duration) -> Result<TcpStream, Refusals> {
        to_any(places, Instant::now() + waited).await
    }

    #[tokio::test]
    async fn an_address_that_leads_nowhere_does_not_end_the_wait_for_another() {
        for first in [true, false] {
            let early = nobody().await;
            let mut places = [nowhere(), early];
            if first {
                places.reverse();
            }
            let listens = async {
                tokio::time::sleep(RETRY * 3).await;
                TcpListener::bind(early).await.expect("it is free")
            };
            let connecting = to_these(&places, Duration::from_secs(30));
            let (connected, _listener) = tokio::join!(connecting, listens);
            let stream = connected.expect("somebody listens in the end");
            assert_eq!(stream.peer_addr().expect("a peer"), early);
        }
    }

    #[tokio::test]
    async fn each_address_has_its_share_of_the_time() {
        let full = TcpSocket::new_v4().expect("a socket");
        full.bind(ANY.parse().expect("an address")).expect("a port");
        let full = full.listen(1).expect("it listens");
        let silent = full.local_addr().expect("its address");
        let mut waiting = Vec::new();
        let little = Duration::from_millis(200);
        // So many that the next gets no answer.
        while let Ok(stream) = tokio::time::timeout(little, TcpStream::connect(silent)).await {
            waiting.push(stream);
        }
        let listener = TcpListener::bind(ANY).await.expect("a port");
        let listens = listener.local_addr().expect("its address");
        let connected = to_these(&[silent, listens], Duration::from_secs(4)).await;
        let stream = connected.expect("the second answers");
        assert_eq!(stream.peer_addr().expect("a peer"), listens);
    }

    #[tokio::test]
    async fn the_error_says_what_each_address_said() {
        let (one, other) = (nobody().await, nobody().await);
        let places = [one, nowhere(), other];
        let waited = RETRY * 3;
        let refusals = to_these(&places, waited).await;
        let error = ExchangeError::Connect {
            address: "name:7471".into(),
            waited,
            refusals: refusals.expect_err("nobody listens"),
        };
        let said = error.to_string();
        let begins = "cannot connect to name:7471 within 0.06 s: ";
        assert!(said.starts_with(begins), "{said}");
        for place in places {
            assert!(said.contains(&format!("{place}: ")), "{place}: {said}");
        }
        assert_eq!(said.matches("refused").count(), 2, "{said}");
    }
}
