//! Nodes of one simulation: RDMA over a virtual network that loses, doubles, reorders, damages and delays, at many seeds.

#[path = "../../dpa-model/tests/seeds/mod.rs"]
mod seeds;

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use doca_dpa::rdma::{
    Cause, Connection, ConnectionState, HostBuffer, PathMtu, Rdma, RemoteMemoryMap,
    RemoteSyncEvent, RetryLimit, Rights, WorkError, WorkUnfinished,
};
use doca_dpa::{Chance, Dpa, Error, Location, NetworkCounters, NetworkSpec, Sim, SyncEvent};
use seeds::seeds;
use tests::rdma::*;

const A: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));
const B: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 2));

struct Node {
    connection: Connection,
    rdma: Rdma,
    dpa: Dpa,
}

fn node(dpa: &Dpa, address: IpAddr, retries: RetryLimit) -> Result<Node, Error> {
    let rdma = dpa
        .rdma()
        .address(address)
        .timeout(Duration::from_millis(1))
        .retries(retries)
        .open()?;
    Ok(Node {
        connection: rdma.export()?,
        rdma,
        dpa: dpa.clone(),
    })
}

fn pair(dpa: &Dpa) -> Result<(Node, Node), Error> {
    pair_with(dpa, RetryLimit::Times(7))
}

fn pair_with(dpa: &Dpa, retries: RetryLimit) -> Result<(Node, Node), Error> {
    let a = node(dpa, A, retries)?;
    let b = node(&dpa.open_beside()?, B, retries)?;
    a.connection.connect(&b.connection.blob())?;
    b.connection.connect(&a.connection.blob())?;
    Ok((a, b))
}

fn bad() -> NetworkSpec {
    NetworkSpec {
        loss: Chance::percent(5),
        duplicate: Chance::percent(5),
        reorder: Chance::percent(10),
        corrupt: Chance::percent(3),
        ..NetworkSpec::default()
    }
}

/// Kernels of A write and signal, the host of A counts; B sees all of it, each thing once.
async fn exactly_once(dpa: Dpa) -> Result<NetworkCounters, Error> {
    const ROUNDS: u64 = 6;
    const BYTES: usize = 10_000;
    let (a, b) = pair(&dpa)?;
    let source = a.dpa.zeroed::<u8>(BYTES).await?;
    let from = a.rdma.map(&source, Rights::empty())?;
    let target = b.dpa.zeroed::<u8>(BYTES).await?;
    let map = b.rdma.map(&target, Rights::REMOTE_WRITE)?;
    let to = RemoteMemoryMap::import(&map.export())?;
    let counter = b.rdma.map_host(HostBuffer::new(8), Rights::REMOTE_ATOMIC)?;
    let count = RemoteMemoryMap::import(&counter.map().export())?;
    let arrived = SyncEvent::builder(&b.dpa)
        .publisher(Location::Remote)
        .subscriber(Location::Host)
        .create()?;
    let export = b.connection.export_event(&arrived)?;
    let event = RemoteSyncEvent::import(&export.export())?;
    for round in 1..=ROUNDS {
        let bytes: Vec<u8> = (0..BYTES).map(|i| (i as u64 * 7 + round) as u8).collect();
        source.write(0, &bytes).await?;
        let args = WriteAndSignalArgs {
            rdma: &a.rdma,
            from: &from,
            to,
            event,
            value: round,
        };
        a.dpa.launch(write_and_signal).args(args).submit()?.await?;
        let added = a.connection.fetch_add(&count, 0, round)?;
        arrived.ge(round).await?;
        assert_eq!(target.copy_out().await?, bytes);
        assert_eq!(added.await?.original, round * (round - 1) / 2);
    }
    assert_eq!(counter.buffer().to_vec(), 21u64.to_ne_bytes());
    kernels_see_what_the_host_sees(&a).await?;
    Ok(dpa.network().expect("a simulation").counters())
}

async fn kernels_see_what_the_host_sees(node: &Node) -> Result<(), Error> {
    // What is still on its way would be counted between the two looks.
    node.dpa.sleep(Duration::from_secs(1)).await;
    let values = node.dpa.zeroed::<u64>(5).await?;
    let args = CountPacketsArgs {
        rdma: &node.rdma,
        values: &values,
    };
    node.dpa.launch(count_packets).args(args).submit()?.await?;
    let seen = node.connection.counters();
    let expected = [
        seen.resent,
        seen.duplicates,
        seen.sequence_naks_received,
        seen.timeouts,
        seen.dropped(),
    ];
    assert_eq!(values.copy_out().await?, expected);
    let network = node.dpa.network().expect("a simulation").counters();
    assert!(network.lost == 0 || seen.resent + seen.dropped() + seen.duplicates > 0);
    Ok(())
}

fn run(seed: u64, network: NetworkSpec) -> (NetworkCounters, u64) {
    let run = Sim::new(seed).network(network).run(exactly_once);
    let run = run.expect("ends").transpose().expect("no errors");
    (run.value, run.digest)
}

#[test]
fn rule_6_4_exactly_once_over_a_bad_network_at_any_seed() {
    let mut all = NetworkCounters::default();
    let seeds = seeds(30);
    let enough = seeds.clone().count() >= 30;
    for seed in seeds {
        let (seen, _) = run(seed, bad());
        all.sent += seen.sent;
        all.lost += seen.lost;
        all.duplicated += seen.duplicated;
        all.reordered += seen.reordered;
        all.corrupted += seen.corrupted;
    }
    for happened in [all.lost, all.duplicated, all.reordered, all.corrupted] {
        assert!(!enough || happened > 0, "{all:?}");
    }
}

#[test]
fn a_quiet_network_carries_everything_once() {
    for seed in seeds(10) {
        let (seen, _) = run(seed, NetworkSpec::default());
        assert_eq!((seen.lost, seen.unreachable, seen.cut), (0, 0, 0));
        assert!(seen.sent > 50, "{seen:?}");
    }
}

#[test]
fn the_same_seed_gives_the_same_packets() {
    for seed in [3, 4] {
        assert_eq!(run(seed, bad()), run(seed, bad()));
    }
    assert_ne!(run(3, bad()), run(4, bad()));
}

/// What a read brings that a write to the same place follows.
async fn read_before_a_write(dpa: Dpa, fenced: u64) -> Result<u64, Error> {
    let (a, b) = pair_with(&dpa, RetryLimit::Forever)?;
    let theirs = b.dpa.copy_in(&[1u64]).await?;
    let rights = Rights::REMOTE_READ | Rights::REMOTE_WRITE;
    let map = b.rdma.map(&theirs, rights)?;
    let word = a.dpa.zeroed::<u64>(1).await?;
    let into = a.rdma.map(&word, Rights::empty())?;
    let args = ReadAndOverwriteArgs {
        rdma: &a.rdma,
        done: a.rdma.completions(),
        into: &into,
        to: RemoteMemoryMap::import(&map.export())?,
        fenced,
    };
    let launch = a.dpa.launch(read_and_overwrite).args(args);
    launch.submit()?.await?;
    assert_eq!(theirs.copy_out().await?, [2]);
    Ok(word.copy_out().await?[0])
}

/// A read whose answer is lost is executed again, behind what was not told to wait for it.
#[test]
fn rule_6_3_a_kernels_fenced_write_waits_for_the_read_before_it() {
    let lossy = NetworkSpec {
        loss: Chance::percent(20),
        ..NetworkSpec::default()
    };
    let read = |seed, fenced| {
        let run = Sim::new(seed).network(lossy);
        let run = run.run(async |dpa| read_before_a_write(dpa, fenced).await);
        run.expect("ends").value.expect("no errors")
    };
    for seed in seeds(60) {
        assert_eq!(read(seed, 1), 1, "seed {seed}");
    }
    let late = (0..60).any(|seed| read(seed, 0) == 2);
    assert!(late, "nothing comes late without the fence");
}

#[test]
fn rule_6_7_a_cut_ends_work_in_time_and_a_mended_one_does_not() {
    for seed in seeds(10) {
        let run = Sim::new(seed).run(async |dpa: Dpa| {
            let (a, b) = pair(&dpa)?;
            let map = b.rdma.map_host(HostBuffer::new(8), Rights::REMOTE_ATOMIC)?;
            let count = RemoteMemoryMap::import(&map.map().export())?;
            let network = dpa.network().expect("a simulation");
            network.cut(B, A);
            let adding = a.connection.fetch_add(&count, 0, 1)?;
            dpa.sleep(Duration::from_millis(2)).await;
            network.mend(A, B);
            assert_eq!(adding.await?.original, 0, "a short cut is got over");
            network.cut(A, B);
            let began = dpa.now();
            let lost = a.connection.fetch_add(&count, 0, 1)?;
            assert!(lost.await.is_err());
            let cause = a.connection.failed().await;
            assert!(
                matches!(cause, Cause::Work(WorkError::RetriesExceeded { .. })),
                "{cause}"
            );
            let (retries, timeout) = (7, Duration::from_micros(1049));
            let bound = (retries + 1) * 4 * timeout + Duration::from_millis(50);
            assert!(dpa.now() - began <= bound, "{:?}", dpa.now() - began);
            assert!(network.counters().cut > 0);
            Ok::<_, Error>(())
        });
        run.expect("ends").value.expect("no errors");
    }
}

#[test]
fn rule_6_7_an_idle_connection_is_not_asked_by_default() {
    let run = Sim::new(1).run(async |dpa: Dpa| {
        let (_a, _b) = pair(&dpa)?;
        let sent = || dpa.network().expect("a simulation").counters().sent;
        let before = sent();
        dpa.sleep(Duration::from_secs(600)).await;
        Ok::<_, Error>(sent() - before)
    });
    assert_eq!(run.expect("ends").value.expect("no errors"), 0);
}

#[test]
fn rule_6_8_a_nic_is_bound_to_loopback_unless_an_address_is_given() {
    let run = Sim::new(1).run(async |dpa: Dpa| Ok::<_, Error>(dpa.rdma().open()?.address()));
    let address = run.expect("ends").value.expect("no errors");
    assert!(address.ip().is_loopback(), "{address}");
}

/// Peers know each other by the addresses in their blobs, where an address of IPv4 is one.
#[test]
fn a_nic_at_a_mapped_ipv4_address_connects() {
    let run = Sim::new(1).run(async |dpa: Dpa| {
        let mapped = std::net::Ipv4Addr::new(10, 0, 0, 7).to_ipv6_mapped();
        let rdma = dpa.rdma().address(mapped.into()).connections(2).open()?;
        let (one, other) = (rdma.export()?, rdma.export()?);
        one.connect(&other.blob())?;
        other.connect(&one.blob())?;
        Ok::<_, Error>(rdma.address().ip())
    });
    let address = run.expect("ends").value.expect("they connect");
    assert_eq!(address, std::net::Ipv4Addr::new(10, 0, 0, 7));
}

/// How many packets a write of so many bytes takes, its acknowledgement included, between nodes with these limits.
async fn packets_of_a_write(dpa: Dpa, mtus: [PathMtu; 2], bytes: usize) -> Result<u64, Error> {
    let open = |dpa: &Dpa, address, mtu| dpa.rdma().address(address).mtu(mtu).open();
    let other = dpa.open_beside()?;
    let (a, b) = (open(&dpa, A, mtus[0])?, open(&other, B, mtus[1])?);
    let (one, two) = (a.export()?, b.export()?);
    one.connect(&two.blob())?;
    two.connect(&one.blob())?;
    let target = b.map_host(HostBuffer::new(bytes), Rights::REMOTE_WRITE)?;
    let to = RemoteMemoryMap::import(&target.map().export())?;
    let sent = || dpa.network().expect("a simulation").counters().sent;
    let before = sent();
    let wrote = one.write(HostBuffer::new(bytes), &to, 0);
    wrote?.await?;
    Ok(sent() - before)
}

#[test]
fn rule_6_1_the_smaller_mtu_of_both_counts() {
    use PathMtu::{B256, B1024, B4096};
    for (mtus, packets) in [
        ([B4096, B4096], 2),
        ([B256, B4096], 17),
        ([B4096, B256], 17),
        ([B1024, B1024], 5),
    ] {
        let run = Sim::new(1).run(async |dpa| packets_of_a_write(dpa, mtus, 4096).await);
        let taken = run.expect("ends").value.expect("no errors");
        assert_eq!(taken, packets, "{mtus:?}");
    }
}

/// A send to a peer that posts no receive.
async fn unready(dpa: Dpa, retries: u32) -> Result<(WorkUnfinished, u64), Error> {
    let other = dpa.open_beside()?;
    let a = dpa
        .rdma()
        .address(A)
        .rnr_retries(RetryLimit::Times(retries));
    let a = a.open()?;
    let b = other.rdma().address(B).receive_queue(0).open()?;
    let (one, two) = (a.export()?, b.export()?);
    one.connect(&two.blob())?;
    two.connect(&one.blob())?;
    let sent = one.send(HostBuffer::from_bytes(b"too early"));
    let failed = sent?.await.expect_err("late");
    Ok((failed, one.counters().rnr_naks_received))
}

#[test]
fn rule_6_7_a_sender_gives_up_after_its_rnr_retries() {
    for retries in [0, 3] {
        let run = Sim::new(2).run(async |dpa| unready(dpa, retries).await);
        let (error, refusals) = run.expect("ends").value.expect("no errors");
        let said = format!("not ready to receive, {} times", retries + 1);
        assert!(error.to_string().contains(&said), "{error}");
        assert_eq!(refusals, u64::from(retries) + 1);
    }
}

#[test]
fn rule_6_7_who_disconnects_tells_its_peer_nothing() {
    let run = Sim::new(1).run(async |dpa: Dpa| {
        let (a, b) = pair(&dpa)?;
        a.connection.disconnect();
        a.connection.failed().await;
        let sent = || dpa.network().expect("a simulation").counters().sent;
        dpa.sleep(Duration::from_secs(10)).await;
        assert_eq!(b.connection.state(), ConnectionState::Connected);
        assert_eq!(sent(), 0, "not a packet");
        // It finds out when it asks for something.
        let buffer = b.rdma.map_host(HostBuffer::new(8), Rights::REMOTE_ATOMIC)?;
        let map = RemoteMemoryMap::import(&buffer.map().export())?;
        let asked = b.connection.fetch_add(&map, 0, 1)?.await;
        assert!(asked.is_err() && sent() > 0);
        let gave_up = |cause| matches!(cause, Cause::Work(WorkError::RetriesExceeded { .. }));
        assert!(gave_up(b.connection.failed().await));
        Ok::<_, Error>(())
    });
    run.expect("ends").value.expect("no errors");
}
