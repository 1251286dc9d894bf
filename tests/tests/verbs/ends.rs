//! How connections over verbs end, and what is left of their work.

use std::time::Duration;

use doca_dpa::rdma::{Connection, HostBuffer, Rdma};
use doca_dpa::{Dpa, Location, SyncEvent};

use super::{HERE, Outcome, libraries};

/// What happens soon, happens within this.
const PATIENCE: Duration = Duration::from_secs(10);

/// The case of this name.
pub async fn case(name: &str) -> Outcome<String> {
    match name {
        "dropped at work" => dropped_at_work().await,
        other => panic!("{other}"),
    }
}

/// A case over the device that is not there.
fn verbs(name: &str, lacks: &str) -> String {
    super::case(name, &libraries().device, lacks, Some("verbs"))
}

/// What comes of it, soon.
async fn soon<F: IntoFuture>(what: F) -> Outcome<F::Output> {
    Ok(tokio::time::timeout(PATIENCE, what.into_future()).await?)
}

/// A device, and a context whose receives are the host's.
fn open() -> Outcome<(Dpa, Rdma)> {
    let dpa = Dpa::builder().workers(1).open()?;
    let rdma = dpa.rdma().address(HERE.into()).connections(4);
    let rdma = rdma.receive_queue(0).open()?;
    Ok((dpa, rdma))
}

/// Two connections that are each other's peer.
fn connected(rdma: &Rdma) -> Outcome<(Connection, Connection)> {
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
    let sent = sent.map_err(|(error, _)| error)?;
    // The work keeps it.
    drop((sent, one));
    let waited = soon(event.ge(1)).await?.err().ok_or("it is closed")?;
    Ok(waited.to_string())
}

#[test]
fn rule_6_7_a_connection_that_is_dropped_at_work_closes_its_events() {
    let closed = verbs("dropped at work", "");
    assert!(closed.contains("closed"), "{closed}");
    assert_eq!(verbs("dropped at work", "haste"), closed);
}
