//! Two programs and many, good peers and bad ones; all on 127.0.0.1.

mod groups;
mod strangers;

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::*;

/// Longer than any test should take: reached only when something hangs.
const LONG: Duration = Duration::from_secs(30);
/// For what is to run out of time.
const SHORT: Duration = Duration::from_millis(100);

fn session() -> Session {
    Session::new("tests").with_timeout(LONG)
}

async fn listener(session: Session) -> (Listener, String) {
    let listener = Listener::bind("127.0.0.1:0", session).await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    (listener, address)
}

/// Both ends, ours with this session's timeout.
async fn pair(ours: Session) -> (Exchange, Exchange) {
    let (mut listener, address) = listener(ours).await;
    let connecting = Exchange::connect(&address, session(), LONG);
    let (there, here) = tokio::join!(connecting, listener.accept(LONG));
    (here.unwrap(), there.unwrap())
}

/// An end of ours, and a bare stream at which a peer has said hello and may now say anything.
async fn with_raw_peer(ours: Session) -> (Exchange, TcpStream) {
    let (here, there) = pair(ours).await;
    (here, there.stream.unwrap())
}

#[tokio::test]
async fn both_get_what_the_other_gave() {
    let (mut here, mut there) = pair(session()).await;
    for len in [0, 1, 4096, MAX_BLOB] {
        let (mine, theirs) = (vec![1; len], vec![2; len / 2]);
        let both = tokio::join!(here.swap("blob", &mine), there.swap("blob", &theirs));
        assert_eq!((both.0.unwrap(), both.1.unwrap()), (theirs, mine), "{len}");
    }
    here.send("memory map", b"one way").await.unwrap();
    assert_eq!(there.receive("memory map").await.unwrap(), b"one way");
    let both = tokio::join!(here.barrier("end"), there.barrier("end"));
    both.0.and(both.1).unwrap();
    assert_eq!(here.local_addr(), there.peer_addr());
}

#[tokio::test]
async fn a_timeout_may_be_longer_than_time() {
    let for_ever = session().with_timeout(Duration::MAX);
    let (mut listener, address) = listener(for_ever).await;
    let connecting = Exchange::connect(&address, for_ever, Duration::MAX);
    let (there, here) = tokio::join!(connecting, listener.accept(Duration::MAX));
    let (mut here, mut there) = (here.unwrap(), there.unwrap());
    let both = tokio::join!(here.swap("blob", b"1"), there.swap("blob", b"2"));
    assert_eq!(
        (both.0.unwrap(), both.1.unwrap()),
        (b"2".into(), b"1".into())
    );
}

#[tokio::test]
async fn a_barrier_waits_for_the_other_for_the_timeout() {
    let (mut here, mut there) = pair(session().with_timeout(SHORT)).await;
    let alone = here.barrier("start").await.unwrap_err();
    assert!(matches!(alone, ExchangeError::TimedOut { .. }), "{alone}");
    there.barrier("start").await.expect("the other had come");
    let closed = there.barrier("end").await.unwrap_err();
    assert!(matches!(closed, ExchangeError::Closed { .. }), "{closed}");
}

#[tokio::test]
async fn a_blob_is_no_barrier() {
    let (mut here, mut there) = pair(session()).await;
    let both = tokio::join!(here.barrier("x"), there.swap("x", b"blob"));
    let error = both.0.unwrap_err().to_string();
    assert_eq!(
        error,
        "peer sent a blob where a barrier was expected for its x"
    );
    let error = here.barrier("y").await.unwrap_err().to_string();
    assert_eq!(error, "no y: the connection was given up at x");
}

#[tokio::test]
async fn two_out_of_step_hear_where_the_other_is() {
    let (mut here, mut there) = pair(session()).await;
    let both = tokio::join!(
        here.swap("memory map", b"1"),
        there.swap("queue pair", b"2")
    );
    assert_eq!(
        both.0.unwrap_err().to_string(),
        "peer is at `queue pair`, we are at `memory map`"
    );
    assert_eq!(
        both.1.unwrap_err().to_string(),
        "peer is at `memory map`, we are at `queue pair`"
    );
}

#[tokio::test]
async fn a_peer_that_closes_is_named_with_the_step() {
    let (mut here, there) = pair(session()).await;
    drop(there);
    let error = here.receive("memory map").await.unwrap_err();
    let text = "peer closed the connection while waiting for its memory map";
    assert_eq!(error.to_string(), text);
    let later = here.barrier("end").await.unwrap_err();
    assert!(matches!(later, ExchangeError::GivenUp { .. }), "{later}");
}

#[tokio::test]
async fn a_peer_that_says_nothing_costs_the_timeout() {
    let (mut here, _there) = pair(session().with_timeout(SHORT)).await;
    let error = here.swap("memory map", b"mine").await.unwrap_err();
    let text = "no answer within 0.1 s while waiting for memory map";
    assert_eq!(error.to_string(), text);
}

#[tokio::test]
async fn a_dropped_step_spoils_the_connection_and_says_so() {
    let (mut here, _there) = pair(session()).await;
    let dropped = tokio::time::timeout(SHORT, here.receive("one")).await;
    dropped.unwrap_err();
    let error = here.receive("two").await.unwrap_err().to_string();
    assert_eq!(error, "no two: the connection was given up at one");
}

#[tokio::test]
async fn a_blob_too_long_is_not_sent_and_spoils_nothing() {
    let (mut here, mut there) = pair(session()).await;
    for blob in [MAX_FRAME, 1 << 20] {
        let error = here.send("x", &vec![0; blob]).await.unwrap_err();
        assert!(
            matches!(error, ExchangeError::TooLong { .. }),
            "{blob}: {error}"
        );
    }
    here.send("x", b"short").await.unwrap();
    assert_eq!(there.receive("x").await.unwrap(), b"short");
}

#[tokio::test]
async fn who_connects_waits_for_who_listens() {
    let (early, address) = listener(session()).await;
    drop(early);
    let connecting = tokio::spawn({
        let address = address.clone();
        async move { Exchange::connect(&address, session(), LONG).await }
    });
    tokio::time::sleep(SHORT).await;
    let mut late = Listener::bind(&address, session()).await.unwrap();
    late.accept(LONG).await.unwrap();
    connecting.await.unwrap().unwrap();
}

#[tokio::test]
async fn an_address_where_nobody_listens_or_that_is_none() {
    let (listener, address) = listener(session()).await;
    drop(listener);
    let session = session();
    let error = Exchange::connect(&address, session, SHORT)
        .await
        .unwrap_err();
    let text = format!("cannot connect to {address} within 0.1 s: ");
    assert!(error.to_string().starts_with(&text), "{error}");
    for none in ["1.2.3.4:77777", "1.2.3.4", ""] {
        let text = format!("`{none}` is no address to use, which is ADDRESS:PORT or NAME:PORT: ");
        let error = Exchange::connect(none, session, SHORT).await.unwrap_err();
        assert!(error.to_string().starts_with(&text), "{error}");
        let error = Listener::bind(none, session).await.unwrap_err();
        assert!(error.to_string().starts_with(&text), "{error}");
    }
}

#[tokio::test]
async fn an_address_in_use_says_so() {
    let (_first, address) = listener(session()).await;
    let error = Listener::bind(&address, session()).await.unwrap_err();
    let text = format!("cannot listen at {address}: ");
    assert!(error.to_string().starts_with(&text), "{error}");
}

#[test]
fn a_token_follows_from_the_name_and_never_means_refused() {
    assert_eq!(Session::new("a"), Session::new("a"));
    assert_ne!(Session::new("a"), Session::new("b"));
    for name in ["", "a", "ping-pong"] {
        assert_ne!(Session::new(name).token, [0; 16]);
    }
}

/// The body of the process that [`a_killed_peer_is_a_closed_connection`] starts and kills; else nothing.
#[tokio::test]
async fn the_one_that_is_killed() {
    let Ok(address) = std::env::var("EXCHANGE_TEST_KILLED_BY") else {
        return;
    };
    let mut exchange = Exchange::connect(&address, session(), LONG).await.unwrap();
    exchange.barrier("ready").await.unwrap();
    let _ = exchange.receive("nothing that ever comes").await;
}

#[tokio::test]
async fn a_killed_peer_is_a_closed_connection() {
    let (mut listener, address) = listener(session()).await;
    let mut victim = tokio::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "exchange::tests::the_one_that_is_killed"])
        .env("EXCHANGE_TEST_KILLED_BY", address)
        .stdout(std::process::Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut exchange = listener.accept(LONG).await.unwrap();
    exchange.barrier("ready").await.unwrap();
    let (error, killed) = tokio::join!(exchange.receive("memory map"), victim.kill());
    killed.unwrap();
    let error = error.unwrap_err();
    assert!(matches!(error, ExchangeError::Closed { .. }), "{error}");
}
