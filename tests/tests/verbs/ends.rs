//! How connections over verbs end, and what is left of their work.

use std::time::Duration;

use doca_dpa::rdma::{
    Connection, HostBuffer, Rdma, ReceiveOp, RemoteMemoryMap, RemoteSyncEvent, Rights,
};
use doca_dpa::{Dpa, Location, SyncEvent};

use tests::{PanicsArgs, panics};

use super::{HERE, Outcome, failed, libraries, receives};

/// What happens soon, happens within this.
const PATIENCE: Duration = Duration::from_secs(10);

/// The case of this name.
pub async fn case(name: &str) -> Outcome<String> {
    match name {
        "dropped at work" => dropped_at_work().await,
        "disconnected" => disconnected().await,
        "half arrived" => half_arrived(Duration::ZERO).await,
        "half arrived and lost" => half_arrived(Duration::from_millis(1500)).await,
        "half arrived after silence" => half_arrived_after_silence().await,
        "broken" => broken().await,
        "refused" => refused().await,
        "half arrived at work" => half_arrived_at_work().await,
        "failed receives" => failed_receives().await,
        "received before" => received_before().await,
        "broken again" => failed::broken_again().await,
        "posted to failed" => failed::posted().await,
        "numbers again" => numbers_again().await,
        "failed meanwhile" => failed_meanwhile().await,
        "without room" => without_room().await,
        "put into error" => receives::put_into_error().await,
        "put into error again" => receives::put_into_error_again().await,
        "dropped full" => receives::dropped_full().await,
        "a full device" => receives::without_room().await,
        "many contexts" => many_contexts().await,
        "faulted" => receives_of_a_faulted().await,
        "closed" => receives_of_a_closed().await,
        other => panic!("{other}"),
    }
}

/// A case over the device that is not there.
pub fn verbs(name: &str, lacks: &str) -> String {
    super::case(name, &libraries().device, lacks, Some("verbs"))
}

/// What comes of it, soon.
pub async fn soon<F: IntoFuture>(what: F) -> Outcome<F::Output> {
    Ok(tokio::time::timeout(PATIENCE, what.into_future()).await?)
}

/// A device, and a context whose receives are the host's.
pub fn open() -> Outcome<(Dpa, Rdma)> {
    open_at(HERE)
}

fn open_at(address: [u8; 4]) -> Outcome<(Dpa, Rdma)> {
    let dpa = Dpa::builder().workers(1).open()?;
    let rdma = dpa.rdma().address(address.into()).connections(4);
    let rdma = rdma.receive_queue(0).open()?;
    Ok((dpa, rdma))
}

/// Two connections that are each other's peer.
pub fn connected(rdma: &Rdma) -> Outcome<(Connection, Connection)> {
    let (one, other) = (rdma.export()?, rdma.export()?);
    one.connect(&other.blob())?;
    other.connect(&one.blob())?;
    Ok((one, other))
}

/// An event that peers publish, and the host waits for.
fn remote(dpa: &Dpa) -> Outcome<SyncEvent> {
    let event = SyncEvent::builder(dpa).publisher(Location::Remote);
    Ok(event.subscriber(Location::Host).create()?)
}

/// A message that nobody receives is under way.
async fn dropped_at_work() -> Outcome<String> {
    let (dpa, rdma) = open()?;
    let (one, _other) = connected(&rdma)?;
    let event = remote(&dpa)?;
    let _export = one.export_event(&event)?;
    let sent = one.send(HostBuffer::from_bytes(b"to nobody"));
    let sent = sent?;
    // The work keeps it.
    drop((sent, one));
    let waited = soon(event.ge(1)).await?.err().ok_or("it is closed")?;
    Ok(waited.to_string())
}

/// A signal has arrived when the host ends the connection, and this NIC has not looked.
async fn disconnected() -> Outcome<String> {
    let ((dpa, here), (_other, there)) = (open()?, open_at([10, 77, 0, 2])?);
    for _ in 0..50 {
        let (one, peer) = (here.export()?, there.export()?);
        one.connect(&peer.blob())?;
        peer.connect(&one.blob())?;
        let event = remote(&dpa)?;
        let export = one.export_event(&event)?;
        let theirs = RemoteSyncEvent::import(&export.export())?;
        soon(peer.signal_add(&theirs, 1)?).await??;
        one.disconnect();
        soon(event.ge(1)).await??;
    }
    Ok("signaled".into())
}

#[test]
fn rule_1_9_a_signal_before_the_end_of_its_connection_counts() {
    assert_eq!(verbs("disconnected", ""), "signaled");
}

/// The device that is not there lets messages with this beside them arrive half.
const HALF: u32 = 0xe0d;

/// A peer is gone in the middle of a message, and so is its connection. The receive that the message has taken is there for
/// others, after `pause`.
async fn half_arrived(pause: Duration) -> Outcome<String> {
    let (_dpa, rdma) = open()?;
    let (one, other) = connected(&rdma)?;
    let waiting = given(&rdma, &one).await?;
    let half = one.send_imm(HostBuffer::from_bytes(b"half"), HALF);
    drop(half?);
    drop((one, other));
    tokio::time::sleep(pause).await;
    let (one, _other) = connected(&rdma)?;
    let sent = one.send(HostBuffer::from_bytes(b"whole"));
    let sent = sent?;
    let received = soon(waiting).await??;
    soon(sent).await??;
    Ok(String::from_utf8_lossy(&received.buffer.to_vec()[..5]).into_owned())
}

/// The NIC has had nothing to do for longer than a queue pair may take to flush.
async fn half_arrived_after_silence() -> Outcome<String> {
    let (_dpa, rdma) = open()?;
    let (one, other) = connected(&rdma)?;
    let waiting = given(&rdma, &one).await?;
    for from in [&one, &other] {
        let half = from.send_imm(HostBuffer::from_bytes(b"half"), HALF);
        drop(half?);
    }
    tokio::time::sleep(Duration::from_millis(1500)).await;
    other.disconnect();
    let flushed = soon(waiting).await?.err().ok_or("it is flushed")?;
    Ok(flushed.to_string())
}

/// The connection has work of its own under way, and others live.
async fn half_arrived_at_work() -> Outcome<String> {
    let (_dpa, rdma) = open()?;
    let (_kept, _peer) = connected(&rdma)?;
    let (one, other) = connected(&rdma)?;
    let waiting = given(&rdma, &one).await?;
    let half = one.send_imm(HostBuffer::from_bytes(b"half"), HALF);
    drop(half?);
    let sent = other.send(HostBuffer::from_bytes(b"to nobody"));
    drop(sent?);
    drop(other);
    let flushed = soon(waiting).await?.err().ok_or("it is flushed")?;
    Ok(flushed.to_string())
}

#[test]
fn a_receive_that_a_message_had_begun_is_not_lost_with_a_connection_at_work() {
    let said = verbs("half arrived at work", "pace ends");
    assert!(said.starts_with("the receive failed: flushed"), "{said}");
}

#[test]
fn a_receive_that_a_lost_peer_had_begun_is_there_for_others() {
    // At once, after a while, or when no queue pair is left that could have it.
    assert_eq!(verbs("half arrived", "haste ends"), "whole");
    let said = verbs("half arrived and lost", "ends flush");
    assert_eq!(said, "whole");
}

#[test]
fn a_receive_is_flushed_however_long_there_was_silence_before() {
    let said = verbs("half arrived after silence", "haste ends");
    assert!(said.starts_with("the receive failed: flushed"), "{said}");
}

/// Messages with this beside them, and with the two numbers behind it, have a device without luck break.
pub const BREAKS: u32 = 0xbad0;

/// Polling fails, or a completion queue, or a receive queue: whose connections say so, and their work is over.
async fn broken() -> Outcome<String> {
    let mut said = Vec::new();
    for what in 0..3 {
        let (_dpa, rdma) = open()?;
        let (one, other) = connected(&rdma)?;
        let [_first, _second, third] = [receive(&rdma)?, receive(&rdma)?, receive(&rdma)?];
        let work = [BREAKS + what, BREAKS + 3].map(|beside| {
            let message = HostBuffer::from_bytes(b"a message");
            one.send_imm(message, beside)
        });
        let cause = soon(one.failed()).await?;
        assert_eq!(soon(other.failed()).await?, cause);
        for work in work {
            // Some may have been reported before.
            drop(soon(work?).await?);
        }
        if what == 2 {
            soon(third).await?.err().ok_or("nothing comes")?;
        }
        // What is made from now on works.
        drop((one, other));
        let (one, _other) = connected(&rdma)?;
        let _receive = receive(&rdma)?;
        let sent = one.send(HostBuffer::from_bytes(b"another"));
        soon(sent?).await??;
        said.push(cause.to_string());
    }
    Ok(said.join("; "))
}

#[test]
fn rule_6_7_queues_of_a_device_that_fail_fail_their_connections() {
    let said = verbs("broken", "luck");
    let failed = |what| format!("{what} of the device failed");
    let [completions, receives] = ["a completion queue", "a receive queue"].map(failed);
    assert_eq!(said, [&*completions, &*completions, &*receives].join("; "));
}

const BREAKS_RECEIVES: u32 = BREAKS + 2;

/// A message has come before the receive queue fails, and is reported when other receives have taken the places of those.
async fn failed_receives() -> Outcome<String> {
    let (_dpa, rdma) = open()?;
    let (one, other) = connected(&rdma)?;
    let all: Vec<_> = (0..300).map(|_| receive(&rdma)).collect::<Outcome<_>>()?;
    let sent = one.send_imm(HostBuffer::from_bytes(b"before"), BREAKS_RECEIVES);
    drop(soon(sent?).await?);
    soon(other.failed()).await?;
    tokio::time::sleep(Duration::from_millis(100)).await;
    drop((one, other));
    let (one, _other) = connected(&rdma)?;
    let sent = one.send(HostBuffer::from_bytes(b"behind"));
    drop(sent?);
    for receive in all {
        if let Ok(received) = soon(receive).await? {
            let bytes = received.buffer.to_vec();
            if bytes.starts_with(b"before") {
                // The NIC has seen it before it heard of the failure.
                continue;
            }
            return Ok(String::from_utf8_lossy(&bytes[..6]).into_owned());
        }
    }
    Err("nothing came".into())
}

/// The peer's receive queue fails when a message has come.
async fn received_before() -> Outcome<String> {
    for _ in 0..20 {
        let ((_dpa, here), (_other, there)) = (open()?, open_at([10, 77, 0, 2])?);
        let (one, other) = (here.export()?, there.export()?);
        one.connect(&other.blob())?;
        other.connect(&one.blob())?;
        let receive = receive(&there)?;
        let sent = one.send_imm(HostBuffer::from_bytes(b"a message"), BREAKS_RECEIVES);
        soon(sent?).await??;
        soon(receive).await??;
        soon(other.failed()).await?;
    }
    Ok("received".into())
}

#[test]
fn rule_6_7_what_came_before_a_receive_queue_failed_came_in_its_receive() {
    assert_eq!(verbs("received before", "luck"), "received");
    assert_eq!(verbs("failed receives", "luck speed"), "behind");
}

/// A device gives the numbers of queue pairs that it has no more to others, while the host has connections of them.
async fn numbers_again() -> Outcome<String> {
    let (_dpa, rdma) = open()?;
    let gone = connected(&rdma)?;
    let _first = receive(&rdma)?;
    let message = HostBuffer::from_bytes(b"a message");
    let sent = gone.0.send_imm(message, BREAKS_RECEIVES);
    drop(soon(sent?).await?);
    soon(gone.0.failed()).await?;
    soon(gone.1.failed()).await?;
    let (one, _other) = connected(&rdma)?;
    drop(gone);
    let _receive = receive(&rdma)?;
    let sent = one.send(HostBuffer::from_bytes(b"another"));
    soon(sent?).await??;
    Ok("sent".into())
}

#[test]
fn a_number_of_a_connection_is_no_others_before_it_is_dropped() {
    assert_eq!(verbs("numbers again", "luck thrift"), "sent");
}

/// A connection that fails because of its peer has work of its own under way, which is flushed first.
async fn refused() -> Outcome<String> {
    let (_dpa, rdma) = open()?;
    let memory = rdma.map_host(HostBuffer::new(8), Rights::REMOTE_READ)?;
    let theirs = RemoteMemoryMap::import(&memory.map().export())?;
    let mut said = Vec::new();
    for _ in 0..20 {
        let (one, peer) = connected(&rdma)?;
        let sent = one.send(HostBuffer::from_bytes(b"to nobody"));
        let sent = sent?;
        drop(soon(peer.fetch_add(&theirs, 0, 1)?).await?);
        let flushed = soon(sent).await?.err().ok_or("nobody receives")?;
        said.push(format!("{flushed}; {}", soon(one.failed()).await?));
    }
    said.dedup();
    Ok(said.join(" and "))
}

#[test]
fn rule_6_5_a_connection_says_that_its_peer_was_refused() {
    let said = verbs("refused", "");
    let expected = "flushed: the queue pair is in error (its outcome is unknown); \
                    the peer broke a rule: the peer does not allow the access";
    assert_eq!(said, expected);
}

/// Work of one connection fails while the queue pair of another is destroyed.
async fn failed_meanwhile() -> Outcome<String> {
    let (_dpa, rdma) = open()?;
    let ((one, _peer), (gone, _other)) = (connected(&rdma)?, connected(&rdma)?);
    let sent = one.send(HostBuffer::from_bytes(b"to nobody"));
    let sent = sent?;
    drop(gone);
    let failed = soon(sent).await?.err().ok_or("nobody receives")?;
    Ok(format!("{failed}; {}", soon(one.failed()).await?))
}

#[test]
fn rule_6_7_a_connection_that_fails_while_another_is_destroyed_says_so() {
    let said = verbs("failed meanwhile", "calm");
    assert!(said.contains("; "), "{said}");
}

/// A message in a receive that has no room for it.
async fn without_room() -> Outcome<String> {
    let (_dpa, rdma) = open()?;
    let (one, _other) = connected(&rdma)?;
    let none = rdma.receive(HostBuffer::new(0));
    let none = none?;
    let sent = one.send(HostBuffer::from_bytes(b"a message"));
    drop(soon(sent?).await?);
    let refused = soon(none).await?.err().ok_or("it has no room")?;
    Ok(refused.to_string())
}

#[test]
fn a_receive_without_bytes_has_no_room() {
    let said = verbs("without room", "");
    assert_eq!(
        said,
        "the receive failed: the message is longer than the receive"
    );
}

#[test]
fn what_has_arrived_in_a_receive_queue_is_reported_before_its_end() {
    let said = verbs("put into error", "haste speed");
    let expected = "Send, ReceiveSend 0, ReceiveError 1, ReceiveError 2";
    assert_eq!(said, expected);
}

#[test]
fn a_receive_queue_that_is_put_into_error_twice_flushes_all_that_was_posted() {
    let said = verbs("put into error again", "haste");
    assert_eq!(said, "399 flushed");
}

#[test]
fn a_device_that_has_no_room_is_asked_again_now_and_then() {
    assert_eq!(verbs("a full device", "room"), "Send");
}

/// Receives that the device has been given, while their context is kept by them.
async fn receives_of_a_faulted() -> Outcome<String> {
    let (dpa, rdma) = open()?;
    let (one, other) = connected(&rdma)?;
    let receive = given(&rdma, &one).await?;
    let panicked = dpa.launch(panics).args(PanicsArgs { number: 5 }).submit()?;
    soon(panicked).await?.err().ok_or("it panics")?;
    soon(other.failed()).await?;
    let ended = soon(receive).await?.err().ok_or("nothing comes")?;
    Ok(ended.to_string())
}

async fn receives_of_a_closed() -> Outcome<String> {
    let (dpa, rdma) = open()?;
    let (one, _other) = connected(&rdma)?;
    let receive = given(&rdma, &one).await?;
    // The connection is in use, so it is not closed in order.
    let _closed = soon(dpa.close_within(Duration::from_millis(100))).await?;
    let ended = soon(receive).await?.err().ok_or("nothing comes")?;
    Ok(ended.to_string())
}

/// A receive that the device has, for the one before it has got a message.
async fn given(rdma: &Rdma, from: &Connection) -> Outcome<ReceiveOp> {
    let [first, second] = [receive(rdma)?, receive(rdma)?];
    let sent = from.send(HostBuffer::from_bytes(b"a message"));
    soon(sent?).await??;
    soon(first).await??;
    Ok(second)
}

pub fn receive(rdma: &Rdma) -> Outcome<ReceiveOp> {
    let posted = rdma.receive(HostBuffer::new(64));
    Ok(posted?)
}

/// Contexts that come and go beside one that stays, each with an event that the device updates: how many.
async fn many_contexts() -> Outcome<String> {
    let (dpa, _stays) = open()?;
    for _ in 0..30 {
        let beside = dpa.open_beside()?;
        let rdma = beside.rdma().address(HERE.into()).open()?;
        let event = SyncEvent::builder(&beside)
            .publisher(Location::Host | Location::Remote)
            .subscriber(Location::Host)
            .create()?;
        let export = rdma.export_event(&event)?;
        event.add(3)?;
        // In between the protection domains of others go.
        let another = rdma.export()?;
        event.add(4)?;
        assert_eq!(event.get(), 7);
        // Before the context itself: then that has nothing at the NIC when it ends.
        drop((export, event, another, rdma));
        soon(beside.close()).await??;
    }
    Ok("30".into())
}

/// A device has few protection domains: there were as many in use as contexts had ever been there.
#[test]
fn contexts_that_are_gone_keep_nothing_of_a_device() {
    assert_eq!(verbs("many contexts", "domains"), "30");
}

#[test]
fn rule_5_2_receives_that_a_device_was_given_end_with_their_process() {
    for name in ["faulted", "closed"] {
        let ended = verbs(name, "");
        assert!(
            ended.contains("closed") || ended.contains("gone"),
            "{ended}"
        );
    }
}

#[test]
fn rule_6_7_a_connection_that_is_dropped_at_work_closes_its_events() {
    let closed = verbs("dropped at work", "");
    assert!(closed.contains("closed"), "{closed}");
    assert_eq!(verbs("dropped at work", "haste"), closed);
}
