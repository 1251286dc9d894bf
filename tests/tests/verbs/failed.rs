//! What a device keeps of connections that have failed, and what may be posted to them.

use std::time::Duration;

use doca_dpa::rdma::HostBuffer;

use super::Outcome;
use super::ends::{BREAKS, connected, open, receive, soon, verbs};

const BREAKS_COMPLETIONS: u32 = BREAKS + 1;

/// One completion queue after the other fails: how many.
pub async fn broken_again() -> Outcome<String> {
    const TIMES: u32 = 12;
    let (_dpa, rdma) = open()?;
    for _ in 0..TIMES {
        let (one, other) = connected(&rdma)?;
        let _receive = receive(&rdma)?;
        let sent = one.send_imm(HostBuffer::from_bytes(b"a message"), BREAKS_COMPLETIONS);
        soon(one.failed()).await?;
        soon(other.failed()).await?;
        drop(soon(sent?).await?);
    }
    Ok(TIMES.to_string())
}

/// A device has few completion queues: those that had failed were never given back.
#[test]
fn completion_queues_that_have_failed_are_given_back() {
    assert_eq!(verbs("broken again", "luck queues"), "12");
}

/// Work for a connection that has failed, while its device has not flushed what was there before: as much as fits is taken, all of it
/// ends, and then there is room again.
pub async fn posted() -> Outcome<String> {
    let (_dpa, rdma) = open()?;
    let (one, _other) = connected(&rdma)?;
    let send = |bytes: &[u8]| one.send(HostBuffer::from_bytes(bytes));
    let mut taken = vec![send(b"too long")?, send(b"behind")?];
    let _without_room = rdma.receive(HostBuffer::new(0))?;
    // It is known by then that it has failed.
    tokio::time::sleep(Duration::from_millis(3)).await;
    let refused = loop {
        match send(b"more") {
            Ok(sent) => taken.push(sent),
            Err(refused) => break refused,
        }
        if taken.len() > 1 << 16 {
            return Err("it takes everything".into());
        }
    };
    soon(one.failed()).await?;
    for sent in taken {
        soon(sent).await?.err().ok_or("nobody receives it")?;
    }
    let again = send(b"again")?;
    soon(again).await?.err().ok_or("nobody receives it")?;
    Ok(refused.to_string())
}

#[test]
fn a_connection_that_has_failed_takes_no_more_than_another() {
    let said = verbs("posted to failed", "haste");
    assert!(said.contains("work requests are outstanding"), "{said}");
}

#[test]
fn all_entries_of_a_queue_pair_that_goes_end() {
    assert_eq!(verbs("dropped full", ""), "256");
    assert_eq!(verbs("dropped full", "haste"), "256");
}
