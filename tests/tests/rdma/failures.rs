//! What goes wrong: who is told, of what, and what stays as it was.

use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex};
use std::task::{Context, Wake};
use std::time::Duration;

use doca_dpa::rdma::{
    Cause, Connection, ConnectionState, HostBuffer, RemoteMemoryMap, Rights, WorkRefused,
};
use doca_dpa::{Dpa, Error, Location, SyncEvent};
use tests::rdma::*;
use tests::*;

use super::nodes::*;

/// A failure says whether anything was sent: to the host, and to a kernel.
#[tokio::test]
async fn rule_6_4_a_failure_says_whether_it_was_sent() -> Result<(), Error> {
    let (a, b) = pair(settings()).await?;
    let remote = b.dpa.zeroed::<u64>(1).await?;
    let map = b.rdma.map(&remote, Rights::REMOTE_READ)?;
    let to = RemoteMemoryMap::import(&map.export())?;
    let log = a.dpa.zeroed::<u64>(2).await?;
    a.dpa
        .launch(two_failures)
        .args(TwoFailuresArgs {
            rdma: &a.rdma,
            done: a.rdma.completions(),
            to,
            log: &log,
        })
        .submit()?
        .await?;
    assert_eq!(log.copy_out().await?, [1, 0], "sent, never sent");
    let late = a
        .connection
        .fetch_add(&to, 0, 1)?
        .await
        .expect_err("flushed");
    assert!(!late.may_have_been_sent());
    Ok(())
}

#[tokio::test]
async fn rule_6_5_a_wrong_key_fails_that_connection_and_no_memory() -> Result<(), Error> {
    let (a, b) = pair(settings()).await?;
    let remote = b.dpa.copy_in(&[7u64; 4]).await?;
    let map = b.rdma.map(&remote, Rights::REMOTE_READ)?;
    let to = RemoteMemoryMap::import(&map.export())?;
    let refused = a
        .connection
        .fetch_add(&to, 0, 1)?
        .await
        .expect_err("no right");
    assert!(refused.may_have_been_sent(), "{refused}");
    assert!(refused.to_string().contains("does not allow"), "{refused}");
    assert!(matches!(a.connection.state(), ConnectionState::Failed(_)));
    b.connection.failed().await;
    assert_eq!(remote.copy_out().await?, [7; 4]);
    Ok(())
}

/// What failed may be sent elsewhere.
#[tokio::test]
async fn a_buffer_comes_back_whatever_becomes_of_its_work() -> Result<(), Error> {
    let host = Settings {
        host_receives: true,
        ..settings()
    };
    let (a, b) = pair(host).await?;
    let remote = b.dpa.zeroed::<u64>(4).await?;
    let map = b.rdma.map(&remote, Rights::REMOTE_READ)?;
    let to = RemoteMemoryMap::import(&map.export())?;
    let message = HostBuffer::from_bytes(b"kept");

    let outside = a.connection.write(message, &to, 30).expect_err("30 to 34");
    assert!(matches!(outside.error, WorkRefused::OutOfRange { .. }));

    let mut receive = b.rdma.receive(HostBuffer::from_bytes(b"old"))?;
    let mut sent = a.connection.send(outside.into_buffer())?;
    assert!(sent.take_buffer().is_none(), "it is under way");
    (&mut sent).await.expect_err("no room for it");
    let message = sent.take_buffer().expect("nothing works on it any more");
    assert!(sent.take_buffer().is_none(), "there was one");
    (&mut receive).await.expect_err("no room in it");
    let received = receive.take_buffer().expect("nothing works on it any more");
    assert_eq!(received.len(), 3);

    let mut late = a.connection.send(message)?;
    let flushed = (&mut late).await.expect_err("the pair has failed");
    assert!(!flushed.may_have_been_sent());
    assert_eq!(late.take_buffer().expect("back").to_vec(), b"kept");
    Ok(())
}

#[tokio::test]
async fn rule_6_5_a_revoked_region_is_out_of_reach() -> Result<(), Error> {
    let (a, b) = pair(settings()).await?;
    let remote = b.dpa.copy_in(&[7u64; 4]).await?;
    let map = b.rdma.map(&remote, Rights::REMOTE_ATOMIC)?;
    let to = RemoteMemoryMap::import(&map.export())?;
    assert_eq!(a.connection.fetch_add(&to, 0, 1)?.await?.original, 7);
    drop(map);
    assert!(a.connection.fetch_add(&to, 0, 1)?.await.is_err());
    assert_eq!(remote.copy_out().await?, [8, 7, 7, 7]);
    Ok(())
}

#[tokio::test]
async fn rule_6_7_a_kernel_that_waits_for_a_lost_peer_is_told() -> Result<(), Error> {
    let quick = Settings {
        timeout: Duration::from_millis(4),
        keep_alive: Some(Duration::from_millis(20)),
        ..settings()
    };
    let (a, b) = pair(quick).await?;
    let never = remote_to(&a.dpa, Location::Device)?;
    let _export = a.connection.export_event(&never)?;
    let waiting = a
        .dpa
        .launch(wait_for_signal)
        .args(WaitForSignalArgs { event: &never })
        .submit()?;
    drop(b);
    let end = tokio::time::timeout(Duration::from_secs(20), waiting).await;
    end.expect("the kernel's wait ends")?;
    assert!(matches!(a.connection.state(), ConnectionState::Failed(_)));
    Ok(())
}

#[tokio::test]
async fn rule_6_9_an_overrun_is_said() -> Result<(), Error> {
    let small = Settings {
        completion_entries: 4,
        ..settings()
    };
    let (a, b) = pair(small).await?;
    let remote = b.dpa.zeroed::<u64>(1).await?;
    let map = b.rdma.map(&remote, Rights::REMOTE_WRITE)?;
    let to = RemoteMemoryMap::import(&map.export())?;
    let read = a.dpa.zeroed::<u64>(1).await?;
    a.dpa
        .launch(overrun)
        .args(OverrunArgs {
            rdma: &a.rdma,
            done: a.rdma.completions(),
            to,
            read: &read,
        })
        .submit()?
        .await?;
    assert_eq!(
        read.copy_out().await?,
        [4],
        "what came before the overrun can be read"
    );
    assert!(a.rdma.completions().has_overrun());
    assert_eq!(a.connection.failed().await, Cause::Overrun);
    Ok(())
}

#[tokio::test]
async fn rule_5_2_a_fatal_process_ends_its_connections_and_its_regions() -> Result<(), Error> {
    let host = Settings {
        host_receives: true,
        ..settings()
    };
    let (a, b) = pair(host).await?;
    let receive = b.rdma.receive(HostBuffer::new(8))?;
    let remote = b.dpa.zeroed::<u64>(1).await?;
    let map = b.rdma.map(&remote, Rights::REMOTE_ATOMIC)?;
    let to = RemoteMemoryMap::import(&map.export())?;
    assert_eq!(a.connection.fetch_add(&to, 0, 1)?.await?.original, 0);
    assert!(
        b.dpa
            .launch(panics)
            .args(PanicsArgs { number: 5 })
            .submit()?
            .await
            .is_err()
    );
    // Nobody closed anything.
    let why = b.connection.failed().await.to_string();
    assert!(why.contains("process"), "{why}");
    let ended = receive.await.expect_err("it is over").to_string();
    assert!(!ended.contains("closed"), "{ended}");
    let fails = a.connection.fetch_add(&to, 0, 1)?.await;
    assert!(fails.is_err());
    assert!(b.rdma.export().is_err(), "new work is refused");
    drop(map);
    Ok(())
}

/// What a task finds of its connection at the moment that it is woken.
struct Looks {
    connection: Connection,
    found: Mutex<Option<ConnectionState>>,
}

impl Wake for Looks {
    fn wake(self: Arc<Self>) {
        let state = self.connection.state();
        self.found.lock().expect("nobody panics").replace(state);
    }
}

impl Looks {
    fn at(connection: Connection) -> Arc<Self> {
        let found = Mutex::default();
        Arc::new(Self { connection, found })
    }

    /// It waits for this from now on.
    fn wait_for<F: Future>(self: &Arc<Self>, what: Pin<&mut F>) {
        let waker = self.clone().into();
        assert!(what.poll(&mut Context::from_waker(&waker)).is_pending());
    }

    fn has_found_a_failure(&self) {
        let found = self.found.lock().expect("nobody panics").take();
        assert!(
            matches!(found, Some(ConnectionState::Failed(_))),
            "{found:?}"
        );
    }
}

#[tokio::test]
async fn rule_5_2_queue_pairs_have_failed_before_waits_resolve() -> Result<(), Error> {
    let (_a, node) = pair(settings()).await?;
    let Node {
        connection,
        rdma: _rdma,
        dpa,
    } = node;
    let never = SyncEvent::device_to_host(&dpa)?;
    let looks = Looks::at(connection);
    let mut wait = pin!(never.ge(1).into_future());
    looks.wait_for(wait.as_mut());
    let fatal = dpa.launch(panics).args(PanicsArgs { number: 5 });
    assert!(fatal.submit()?.await.is_err());
    looks.has_found_a_failure();
    Ok(())
}

/// Also those that are ready.
#[tokio::test]
async fn rule_5_2_queue_pairs_have_failed_before_launches_resolve() -> Result<(), Error> {
    let peer = lone(&settings())?;
    let dpa = Dpa::builder().workers(1).partition_eus(1).open()?;
    let rdma = dpa.rdma().address(fresh_address()).open()?;
    let connection = rdma.export()?;
    connection.connect(&peer.connection.blob())?;
    let go_on = SyncEvent::host_to_device(&dpa)?;
    let fails = dpa.launch(waits_and_fails);
    let fails = fails.args(WaitsAndFailsArgs { go_on: &go_on }).submit()?;
    // Without a unit until the other ends.
    let ready = dpa.launch(panics).args(PanicsArgs { number: 5 });
    let mut ready = pin!(ready.submit()?);
    let looks = Looks::at(connection);
    looks.wait_for(ready.as_mut());
    go_on.add(1)?;
    assert!(fails.await.is_err());
    looks.has_found_a_failure();
    assert!(ready.await.is_err());
    Ok(())
}
