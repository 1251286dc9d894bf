//! Who is turned away, and who sends what a peer does not send.

use super::*;

const HELLO_LEN: usize = 28;

fn raw_hello(version: u32, token: [u8; 16]) -> Vec<u8> {
    [b"dpa-oob\0", &version.to_le_bytes()[..], &token].concat()
}

/// What a listener answers to these bytes, until it closes.
async fn answer_to(address: &str, bytes: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    let mut answer = Vec::new();
    let _closed_or_reset = stream.read_to_end(&mut answer).await;
    answer
}

#[tokio::test]
async fn a_wrong_token_is_refused_and_the_listener_goes_on() {
    let (mut listener, address) = listener(session()).await;
    let (stranger, peer) = (Session::new("another"), session());
    let (accepted, refused) = tokio::join!(listener.accept(LONG), async {
        let refused = Exchange::connect(&address, stranger, LONG)
            .await
            .unwrap_err();
        Exchange::connect(&address, peer, LONG).await.unwrap();
        refused
    });
    accepted.unwrap();
    let text = "peer is another program, or this one in another session";
    assert_eq!(refused.to_string(), text);
    assert_eq!(listener.refused(), 1);
}

#[tokio::test]
async fn the_token_is_shown_only_to_who_has_it() {
    let (mut listener, address) = listener(session()).await;
    let strange = raw_hello(VERSION, [7; 16]);
    let good = raw_hello(VERSION, session().token);
    let (accepted, answers) = tokio::join!(listener.accept(LONG), async {
        let refused = answer_to(&address, &strange).await;
        let mut stream = TcpStream::connect(&address).await.unwrap();
        stream.write_all(&good).await.unwrap();
        let mut answer = [0; HELLO_LEN];
        stream.read_exact(&mut answer).await.unwrap();
        (refused, answer)
    });
    accepted.unwrap();
    assert_eq!(answers.0, raw_hello(VERSION, [0; 16]));
    assert_eq!(answers.1[..], good);
}

#[tokio::test]
async fn another_version_is_refused_by_both_sides() {
    let (mut listener, address) = listener(session()).await;
    let newer = raw_hello(VERSION + 1, session().token);
    let (nobody, answer) = tokio::join!(
        listener.accept(Duration::from_millis(500)),
        answer_to(&address, &newer)
    );
    let nobody = nobody.unwrap_err().to_string();
    let text = "nobody came within 0.5 s; 1 turned away, the last because: \
                peer speaks version 2, this program 1";
    assert_eq!(nobody, text);
    assert_eq!(answer, raw_hello(VERSION, [0; 16]));

    let server = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = server.local_addr().unwrap().to_string();
    let (error, ()) = tokio::join!(Exchange::connect(&address, session(), LONG), async {
        let (mut stream, _) = server.accept().await.unwrap();
        stream.write_all(&newer).await.unwrap();
    });
    let error = error.unwrap_err().to_string();
    assert_eq!(error, "peer speaks version 2, this program 1");
}

#[tokio::test]
async fn garbage_instead_of_a_hello_gets_no_answer() {
    let (mut listener, address) = listener(session()).await;
    let garbage = b"GET / HTTP/1.1\r\nHost: example.org\r\n\r\n";
    let (accepted, answer) = tokio::join!(listener.accept(LONG), async {
        let answer = answer_to(&address, garbage).await;
        Exchange::connect(&address, session(), LONG).await.unwrap();
        answer
    });
    accepted.unwrap();
    assert_eq!((answer.len(), listener.refused()), (0, 1));
}

#[tokio::test]
async fn a_listener_that_is_no_peer_is_named() {
    let server = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = server.local_addr().unwrap().to_string();
    let (error, ()) = tokio::join!(Exchange::connect(&address, session(), LONG), async {
        let (mut stream, _) = server.accept().await.unwrap();
        stream.write_all(&[b'x'; HELLO_LEN]).await.unwrap();
    });
    assert_eq!(
        error.unwrap_err().to_string(),
        "peer does not speak this protocol"
    );
}

/// More than may wait at once, and none says anything: each is closed when its time is over, and the peer behind
/// them comes in.
#[tokio::test]
async fn strangers_that_say_nothing_do_not_keep_a_peer_out() {
    let (mut listener, address) = listener(session().with_timeout(SHORT)).await;
    let mut silent = Vec::new();
    for _ in 0..MAX_WAITING {
        silent.push(TcpStream::connect(&address).await.unwrap());
    }
    let peer = tokio::spawn(async move { Exchange::connect(&address, session(), LONG).await });
    listener.accept(LONG).await.unwrap();
    peer.await.unwrap().unwrap();
}

/// A byte now and then does not prolong the time a hello or a frame may take.
#[tokio::test]
async fn a_slow_trickle_does_not_prolong_a_step() {
    let (mut here, mut there) = with_raw_peer(session().with_timeout(SHORT * 3)).await;
    there.write_all(&1000u32.to_le_bytes()).await.unwrap();
    let trickle = async {
        for _ in 0..1000 {
            there.write_all(&[9]).await.unwrap();
            tokio::time::sleep(SHORT / 4).await;
        }
    };
    let error = tokio::select! {
        error = here.receive("memory map") => error.unwrap_err(),
        () = trickle => panic!("the step took as long as the trickle"),
    };
    assert!(matches!(error, ExchangeError::TimedOut { .. }), "{error}");
}

#[tokio::test]
async fn a_trickled_hello_is_given_up() {
    let (mut listener, address) = listener(session().with_timeout(SHORT)).await;
    let hello = raw_hello(VERSION, session().token);
    let trickle = async {
        let mut stream = TcpStream::connect(&address).await.unwrap();
        for byte in hello {
            if stream.write_all(&[byte]).await.is_err() {
                return;
            }
            tokio::time::sleep(SHORT).await;
        }
    };
    let (nobody, ()) = tokio::join!(listener.accept(SHORT * 5), trickle);
    assert!(matches!(
        nobody.unwrap_err(),
        ExchangeError::NobodyCame { refused: 1, .. }
    ));
}

#[tokio::test]
async fn frames_that_no_peer_sends() {
    let cases: [(&[u8], &str); 5] = [
        (
            &u32::MAX.to_le_bytes(),
            "4294967295 bytes for x are more than a frame holds (65536)",
        ),
        (
            &65_537u32.to_le_bytes(),
            "65537 bytes for x are more than a frame holds (65536)",
        ),
        (&0u32.to_le_bytes(), "peer sent an empty frame for its x"),
        (
            b"\x02\0\0\0\x02x",
            "peer sent a frame shorter than its step's name for its x",
        ),
        (
            b"\x03\0\0\0\x01\xffy",
            "peer sent a step that has no name for its x",
        ),
    ];
    for (bytes, text) in cases {
        let (mut here, mut there) = with_raw_peer(session()).await;
        there.write_all(bytes).await.unwrap();
        let error = here.receive("x").await.unwrap_err();
        assert_eq!(error.to_string(), text);
    }
}

#[tokio::test]
async fn a_frame_cut_short_is_a_closed_connection() {
    for cut in 0..6 {
        let (mut here, mut there) = with_raw_peer(session()).await;
        there.write_all(&b"\x03\0\0\0\x01xy"[..cut]).await.unwrap();
        drop(there);
        let error = here.swap("x", &[1]).await.unwrap_err();
        assert!(
            matches!(error, ExchangeError::Closed { .. }),
            "{cut}: {error}"
        );
    }
}
