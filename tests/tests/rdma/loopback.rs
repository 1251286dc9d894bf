//! Two connections of one NIC.

use std::time::Duration;

use doca_dpa::rdma::{Connection, HostBuffer, Rdma, RemoteMemoryMap, Rights};
use doca_dpa::{Dpa, Error};

use super::nodes::*;

/// A context whose two connections are connected to each other.
fn both_ends(dpa: &Dpa) -> Result<(Rdma, Connection, Connection), Error> {
    let rdma = dpa
        .rdma()
        .address(fresh_address())
        .connections(2)
        .receive_queue(0)
        .open()?;
    let (one, other) = (rdma.export()?, rdma.export()?);
    one.connect(&other.blob())?;
    other.connect(&one.blob())?;
    Ok((rdma, one, other))
}

#[tokio::test]
async fn loopback_inside_one_nic_needs_no_socket() -> Result<(), Error> {
    let dpa = Dpa::builder().workers(2).open()?;
    let (rdma, one, _other) = both_ends(&dpa)?;
    let map = rdma.map_host(HostBuffer::new(64), Rights::REMOTE_WRITE)?;
    let to = RemoteMemoryMap::import(&map.map().export())?;
    let wrote = one.write(HostBuffer::from_bytes(b"to myself"), &to, 0);
    wrote?.await?;
    assert_eq!(map.buffer().to_vec()[..9], *b"to myself");
    assert_eq!(rdma.socket_counters().sent, 0);
    Ok(())
}

#[tokio::test]
async fn loopback_inside_one_nic_refuses_and_waits_as_the_network_does() -> Result<(), Error> {
    let dpa = Dpa::builder().workers(2).open()?;
    let (rdma, one, other) = both_ends(&dpa)?;
    let map = rdma.map_host(HostBuffer::from_bytes(&[5; 64]), Rights::REMOTE_READ)?;
    let to = RemoteMemoryMap::import(&map.map().export())?;
    let read = one.read(HostBuffer::new(5000), &to, 0);
    assert!(read.is_err(), "longer than the peer's memory");
    let read = one.read(HostBuffer::new(64), &to, 0);
    let read = read?.await?;
    assert_eq!(read.buffer.expect("it had one").to_vec(), [5; 64]);
    // A send that waits for a receive.
    let sent = one.send(HostBuffer::from_bytes(b"early"));
    let sent = sent?;
    tokio::time::sleep(Duration::from_millis(5)).await;
    let receive = rdma.receive(HostBuffer::new(8))?;
    assert_eq!(receive.await?.len, 5);
    sent.await?;
    // No right to write: the connection fails, the memory is as it was.
    let wrote = one.write(HostBuffer::from_bytes(&[9; 8]), &to, 0);
    let refused = wrote?.await.expect_err("no right");
    assert!(refused.to_string().contains("does not allow"), "{refused}");
    other.failed().await;
    assert_eq!(map.buffer().to_vec(), [5; 64]);
    Ok(())
}
