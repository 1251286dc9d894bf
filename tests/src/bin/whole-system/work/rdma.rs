//! Section 6: what nodes do to each other.

use std::time::Duration;

use doca_dpa::rdma::{
    BufferArray, Cause, Connection, HostBuffer, Rdma, RdmaBuilder, ReceivedKind, RemoteMemoryMap,
    RemoteSyncEvent, RetryLimit, Rights,
};
use doca_dpa::testing::{Chance, NetworkSpec};
use doca_dpa::{Error, Location, SyncEvent};
use examples_kernels::{AllToAllArgs, PeerWire, all_to_all};
use futures::future::join_all;
use tests::rdma::{OverrunArgs, WriteAndSignalArgs, overrun, write_and_signal};

use crate::cluster::{Node, Outcome, PATIENCE, World};

/// A peer that has come to grief says nothing by itself; who only waits for it waits no longer than that.
const LONG: Duration = Duration::from_secs(60);

/// A context and a connection of its own, beside those of the node.
pub struct End {
    pub rdma: Rdma,
    pub connection: Connection,
}

/// One end at each of two nodes, connected, with other figures than theirs.
pub fn pair(
    world: &World<'_>,
    figures: impl Fn(RdmaBuilder<'_>) -> RdmaBuilder<'_>,
) -> Result<(usize, usize, End, End), Error> {
    let (from, to) = world.two();
    let end = |node: &Node| {
        let rdma = node.dpa.rdma().address(node.rdma.address().ip());
        let rdma = rdma.timeout(Duration::from_millis(1)).retries(PATIENCE);
        let rdma = figures(rdma).open()?;
        Ok::<_, Error>(End {
            connection: rdma.export()?,
            rdma,
        })
    };
    let (here, there) = (end(&world.nodes[from])?, end(&world.nodes[to])?);
    here.connection.connect(&there.connection.blob())?;
    there.connection.connect(&here.connection.blob())?;
    Ok((from, to, here, there))
}

/// A kernel writes and signals; who sees the signal sees all that was written.
pub async fn signals(world: &World<'_>) -> Outcome {
    let (from, to, here, there) = pair(world, |rdma| rdma)?;
    world.saw("6.1");
    let (a, b) = (&world.nodes[from].dpa, &world.nodes[to].dpa);
    let len = 1 + world.dice.below(6000) as usize;
    let source = a.zeroed::<u8>(len).await?;
    let local = here.rdma.map(&source, Rights::empty())?;
    let target = b.zeroed::<u8>(len).await?;
    let map = there.rdma.map(&target, Rights::REMOTE_WRITE)?;
    let arrived = SyncEvent::builder(b)
        .publisher(Location::Remote)
        .subscriber(Location::Host)
        .create()?;
    let export = there.connection.export_event(&arrived)?;
    for value in 1..=1 + world.dice.below(3) {
        let bytes: Vec<u8> = (0..len as u64).map(|at| (at * 7 + value) as u8).collect();
        source.write(0, &bytes).await?;
        let args = WriteAndSignalArgs {
            rdma: &here.rdma,
            from: &local,
            to: RemoteMemoryMap::import(&map.export())?,
            event: RemoteSyncEvent::import(&export.export())?,
            value,
        };
        drop(a.launch(write_and_signal).args(args).submit_async().await?);
        arrived.ge(value).timeout(LONG).await?;
        assert_eq!(target.copy_out().await?, bytes);
    }
    world.saw("6.3");
    world.saw("1.5");
    Ok(())
}

/// All nodes add to one number; each has its turn, and the sum is exact.
pub async fn atomics(world: &World<'_>) -> Outcome {
    let home = world.dice.below(world.nodes.len() as u64) as usize;
    let map = world.nodes[home]
        .rdma
        .map_host(HostBuffer::new(8), Rights::REMOTE_ATOMIC)?;
    let number = RemoteMemoryMap::import(&map.map().export())?;
    let times = 1 + world.dice.below(12);
    let others = (0..world.nodes.len()).filter(|&node| node != home);
    let adding = others.map(async |node| {
        let mut before = Vec::new();
        for _ in 0..times {
            let added = world.between(node, home).fetch_add(&number, 0, 1)?;
            before.push(added.await?.original);
        }
        Ok::<_, Error>(before)
    });
    let before = join_all(adding)
        .await
        .into_iter()
        .collect::<Result<Vec<_>, _>>()?;
    let mut before = before.concat();
    before.sort_unstable();
    assert_eq!(before, (0..before.len() as u64).collect::<Vec<_>>());
    let sum = before.len() as u64;
    assert_eq!(map.buffer().to_vec(), sum.to_ne_bytes());
    world.saw("6.4");
    world.saw("6.2");
    Ok(())
}

/// Messages arrive once and in order, also where the receiver is late.
pub async fn messages(world: &World<'_>) -> Outcome {
    let (from, _, here, there) = pair(world, |rdma| {
        rdma.receive_queue(0).rnr_timer(Duration::from_micros(20))
    })?;
    let count = 1 + world.dice.below(8) as u32;
    let late = Duration::from_nanos(world.dice.below(100_000));
    let sending = async {
        for number in 0..count {
            let buffer = HostBuffer::from_bytes(&[number as u8; 100]);
            let sent = here.connection.send_imm(buffer, number);
            sent?.await?;
        }
        Ok::<_, Error>(())
    };
    let receiving = async {
        world.nodes[from].dpa.sleep(late).await;
        for number in 0..count {
            let received = there.rdma.receive(HostBuffer::new(128));
            let received = received?.await?;
            assert_eq!(received.kind, ReceivedKind::SendImmediate(number));
            assert_eq!(received.buffer.to_vec()[..100], [number as u8; 100]);
        }
        Ok::<_, Error>(())
    };
    futures::try_join!(sending, receiving)?;
    world.saw("6.6");
    if here.connection.counters().rnr_naks_received > 0 {
        world.saw("6.7");
    }
    Ok(())
}

/// A kernel sends the elements of a buffer array to every other node.
pub async fn buffer_arrays(world: &World<'_>) -> Outcome {
    let (from, to, here, there) = pair(world, |rdma| rdma)?;
    let (a, b) = (&world.nodes[from].dpa, &world.nodes[to].dpa);
    let (bytes, count) = (
        16 * (1 + world.dice.below(100) as u32),
        1 + world.dice.below(4) as u32,
    );
    let all: Vec<u8> = (0..bytes * count)
        .map(|at| (at * 13 + at / 251) as u8)
        .collect();
    let outbox = a.copy_in(&all).await?;
    let local = here.rdma.map(&outbox, Rights::empty())?;
    let blocks = BufferArray::new(&local, bytes, count, 0)?;
    let beyond = BufferArray::new(&local, bytes, count + 1, 0);
    assert!(beyond.is_err(), "there is no room for one more");
    let inbox = b.zeroed::<u8>(all.len()).await?;
    let open = there.rdma.map(&inbox, Rights::REMOTE_WRITE)?;
    let arrived = SyncEvent::builder(b)
        .publisher(Location::Remote)
        .subscriber(Location::Host)
        .create()?;
    let export = there.connection.export_event(&arrived)?;
    let own = SyncEvent::host_to_device(a)?;
    own.add(u64::from(count))?;
    let failed = a.zeroed::<u64>(1).await?;
    for block in 0..count {
        let peer = PeerWire {
            memory: RemoteMemoryMap::import(&open.export())?.handle(),
            event: RemoteSyncEvent::import(&export.export())?.handle(),
            connection: here.connection.id(),
            rank: block,
        };
        let peers = a.copy_in(&[peer]).await?;
        let args = AllToAllArgs {
            rdma: &here.rdma,
            peers: &peers,
            blocks: &blocks,
            me: block,
            arrived: &own,
            failed: &failed,
        };
        a.launch(all_to_all)
            .args(args)
            .submit_async()
            .await?
            .await?;
    }
    arrived.ge(count.into()).timeout(LONG).await?;
    assert_eq!(inbox.copy_out().await?, all);
    assert_eq!(failed.copy_out().await?, [0]);
    world.saw("4.5");
    Ok(())
}

/// An access without the right fails that connection and touches nothing.
pub async fn wrong_keys(world: &World<'_>) -> Outcome {
    let (_, to, here, there) = pair(world, |rdma| rdma)?;
    let memory = world.nodes[to].dpa.copy_in(&[7u64; 4]).await?;
    let map = there.rdma.map(&memory, Rights::REMOTE_READ)?;
    let remote = RemoteMemoryMap::import(&map.export())?;
    let refused = here.connection.fetch_add(&remote, 0, 1)?.await;
    let refused = refused.expect_err("there is no right");
    let denied = refused.to_string().contains("does not allow");
    world.expect(denied, refused);
    here.connection.failed().await;
    if !denied {
        // Its own process came to grief before; the peer may never have heard of it, and waits for nothing.
        return Ok(());
    }
    there.connection.failed().await;
    assert_eq!(memory.copy_out().await?, [7; 4]);
    let counters = world.nodes[to].rdma.counters();
    if counters != doca_dpa::rdma::Counters::default() {
        world.saw("6.8");
    }
    world.saw("6.5");
    Ok(())
}

/// A completion queue that nobody reads says that it has overrun.
pub async fn overruns(world: &World<'_>) -> Outcome {
    let (from, to, here, there) = pair(world, |rdma| rdma.completion_entries(4))?;
    let (a, b) = (&world.nodes[from].dpa, &world.nodes[to].dpa);
    let remote = b.zeroed::<u64>(1).await?;
    let map = there.rdma.map(&remote, Rights::REMOTE_WRITE)?;
    let read = a.zeroed::<u64>(1).await?;
    let args = OverrunArgs {
        rdma: &here.rdma,
        done: here.rdma.completions(),
        to: RemoteMemoryMap::import(&map.export())?,
        read: &read,
    };
    a.launch(overrun).args(args).submit_async().await?.await?;
    assert_eq!(read.copy_out().await?, [4]);
    assert!(here.rdma.completions().has_overrun());
    assert_eq!(here.connection.failed().await, Cause::Overrun);
    world.saw("6.9");
    Ok(())
}

/// Whether packets may be away for about as long as eight attempts of a millisecond.
fn is_slow(network: &NetworkSpec) -> bool {
    let fails = [network.outage, network.vanish, network.delay];
    let most = NetworkSpec::default().most_latency;
    network.most_latency > most || fails.iter().any(|chance| *chance != Chance::NEVER)
}

/// A node is out of reach for a time, and may come back in time or not.
pub async fn a_peer_that_vanishes(world: &World<'_>) -> Outcome {
    // What others do at this moment would fail too.
    if world.busy.get() > 1 {
        return Ok(());
    }
    let standard = RetryLimit::Times(7);
    let (from, to, here, there) = pair(world, |rdma| rdma.retries(standard))?;
    let network = world.nodes[from].dpa.network().expect("a simulation");
    let address = |node: usize| world.nodes[node].rdma.address().ip();
    let map = there
        .rdma
        .map_host(HostBuffer::new(8), Rights::REMOTE_ATOMIC)?;
    let number = RemoteMemoryMap::import(&map.map().export())?;
    let dpa = &world.nodes[from].dpa;
    let never = SyncEvent::builder(dpa)
        .publisher(Location::Remote)
        .subscriber(Location::Host)
        .create()?;
    let export = here.connection.export_event(&never)?;
    network.cut(address(from), address(to));
    world.struck("a peer vanishes");
    let began = dpa.now();
    let adding = match here.connection.fetch_add(&number, 0, 1) {
        Ok(adding) => adding,
        Err(refused) => {
            network.mend(address(from), address(to));
            return Err(refused.into());
        }
    };
    if world.dice.one_in(2) {
        dpa.sleep(Duration::from_micros(1 + world.dice.below(2000)))
            .await;
        network.mend(address(from), address(to));
        match adding.await {
            Ok(added) => assert_eq!(added.original, 0),
            // What the link does by itself may last longer than all attempts.
            Err(_) if is_slow(&network.spec()) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
        world.struck("a peer returns");
        return Ok(());
    }
    assert!(adding.await.is_err());
    here.connection.failed().await;
    let jumps = Duration::from_millis(300);
    let bound = 8 * 4 * Duration::from_micros(1049) + Duration::from_millis(50);
    assert!(
        dpa.now() - began <= bound + jumps,
        "{:?}",
        dpa.now() - began
    );
    assert!(
        never.ge(1).await.is_err(),
        "only the peer could have updated it"
    );
    drop(export);
    network.mend(address(from), address(to));
    world.saw("6.7");
    Ok(())
}
