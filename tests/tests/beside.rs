//! Section 6 between two contexts of one device, each with a NIC of its own, on both drivers: over sockets, and over the
//! virtual network of a simulation.

mod drivers;

use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use doca_dpa::rdma::{
    Cause, Connection, ConnectionState, HostBuffer, Rdma, RemoteMemoryMap, RemoteSyncEvent, Rights,
};
use doca_dpa::{Dpa, Error, Location, SyncEvent};
use drivers::both;
use tests::rdma::*;
use tests::*;

/// A context with a NIC, and one connection.
struct Node {
    connection: Connection,
    rdma: Rdma,
    dpa: Dpa,
}

fn fresh_address() -> IpAddr {
    static NEXT: AtomicU16 = AtomicU16::new(1);
    let [high, low] = (std::process::id() as u16).to_be_bytes();
    let [more, last] = NEXT.fetch_add(1, Ordering::Relaxed).to_be_bytes();
    Ipv4Addr::new(127, high | 1, low.wrapping_add(more), last).into()
}

fn node(dpa: &Dpa, completion_entries: u32) -> Result<Node, Error> {
    let rdma = { dpa.rdma() }
        .address(fresh_address())
        .completion_entries(completion_entries)
        .timeout(Duration::from_millis(16))
        .keep_alive(Duration::from_millis(50))
        .open()?;
    Ok(Node {
        connection: rdma.export()?,
        rdma,
        dpa: dpa.clone(),
    })
}

/// This context and one beside it, connected.
fn pair(dpa: &Dpa, completion_entries: u32) -> Result<(Node, Node), Error> {
    let beside = dpa.open_beside()?;
    let (a, b) = (
        node(dpa, completion_entries)?,
        node(&beside, completion_entries)?,
    );
    a.connection.connect(&b.connection.blob())?;
    b.connection.connect(&a.connection.blob())?;
    Ok((a, b))
}

fn remote_to(dpa: &Dpa, subscriber: Location) -> Result<SyncEvent, Error> {
    SyncEvent::builder(dpa)
        .publisher(Location::Remote)
        .subscriber(subscriber)
        .create()
}

#[test]
fn rule_6_3_whoever_sees_the_signal_sees_the_whole_write() {
    both(async |dpa| {
        let (a, b) = pair(&dpa, 256)?;
        let mine: Vec<u8> = (0..20_000).map(|i| (i * 7 + i / 251) as u8).collect();
        let source = a.dpa.copy_in(&mine).await?;
        let source = a.rdma.map(&source, Rights::empty())?;
        let target = b.dpa.zeroed::<u8>(mine.len()).await?;
        let map = b.rdma.map(&target, Rights::REMOTE_WRITE)?;
        let arrived = remote_to(&b.dpa, Location::Host)?;
        let export = b.connection.export_event(&arrived)?;
        for round in 1..=3 {
            let args = WriteAndSignalArgs {
                rdma: &a.rdma,
                from: &source,
                to: RemoteMemoryMap::import(&map.export())?,
                event: RemoteSyncEvent::import(&export.export())?,
                value: round,
            };
            a.dpa.launch(write_and_signal).args(args).submit()?.await?;
            arrived.ge(round).await?;
            assert_eq!(target.copy_out().await?, mine);
            target.fill(0).await?;
        }
        Ok(())
    });
}

#[test]
fn rule_6_2_kernels_detect_the_end_of_each_kind_of_work() {
    both(async |dpa| {
        let (a, b) = pair(&dpa, 256)?;
        let local = a.dpa.copy_in(&[1u64, 2, 3, 4, 5, 6, 7, 8]).await?;
        let remote = b.dpa.copy_in(&[100u64, 200, 300, 400]).await?;
        let map = a.rdma.map(&local, Rights::empty())?;
        let rights = Rights::REMOTE_READ | Rights::REMOTE_WRITE | Rights::REMOTE_ATOMIC;
        let theirs = b.rdma.map(&remote, rights)?;
        let results = a.dpa.zeroed::<u64>(8).await?;
        let args = AllKindsArgs {
            rdma: &a.rdma,
            done: a.rdma.completions(),
            local: &map,
            to: RemoteMemoryMap::import(&theirs.export())?,
            results: &results,
        };
        a.dpa.launch(all_kinds).args(args).submit()?.await?;
        // A write of 1, 2; a read of 300, 400; 10 added to the first; the second swapped from 2 to 77.
        assert_eq!(remote.copy_out().await?, [11, 77, 300, 400]);
        assert_eq!(local.copy_out().await?[4..6], [300, 400]);
        assert_eq!(results.copy_out().await?, [4, 1, 2, 0, 0, 0, 0, 0]);
        Ok(())
    });
}

#[test]
fn rule_6_2_messages_arrive_in_the_receives_of_a_kernel() {
    both(async |dpa| {
        let (a, b) = pair(&dpa, 256)?;
        let words: Vec<u64> = (0..64).collect();
        let local = a.dpa.copy_in(&words).await?;
        let map = a.rdma.map(&local, Rights::empty())?;
        let inbox = b.dpa.zeroed::<u64>(64).await?;
        let theirs = b.rdma.map(&inbox, Rights::empty())?;
        let log = b.dpa.zeroed::<u64>(16).await?;
        let receiving = ReceiveMessagesArgs {
            rdma: &b.rdma,
            done: b.rdma.completions(),
            inbox: &theirs,
            log: &log,
            count: 8,
        };
        let receiver = b.dpa.launch(receive_messages).args(receiving).submit()?;
        let sending = SendMessagesArgs {
            rdma: &a.rdma,
            done: a.rdma.completions(),
            from: &map,
            count: 8,
        };
        a.dpa.launch(send_messages).args(sending).submit()?.await?;
        receiver.await?;
        assert_eq!(inbox.copy_out().await?, words);
        let log = log.copy_out().await?;
        assert_eq!(log[..8], [1000, 1001, 1002, 1003, 1004, 1005, 1006, 1007]);
        assert_eq!(log[8..], [64; 8]);
        Ok(())
    });
}

#[test]
fn rule_6_4_a_failure_says_whether_it_was_sent() {
    both(async |dpa| {
        let (a, b) = pair(&dpa, 256)?;
        let remote = b.dpa.zeroed::<u64>(1).await?;
        let map = b.rdma.map(&remote, Rights::REMOTE_READ)?;
        let to = RemoteMemoryMap::import(&map.export())?;
        let log = a.dpa.zeroed::<u64>(2).await?;
        let args = TwoFailuresArgs {
            rdma: &a.rdma,
            done: a.rdma.completions(),
            to,
            log: &log,
        };
        a.dpa.launch(two_failures).args(args).submit()?.await?;
        assert_eq!(log.copy_out().await?, [1, 0], "sent, never sent");
        let late = a.connection.fetch_add(&to, 0, 1)?.await;
        assert!(!late.expect_err("flushed").may_have_been_sent());
        Ok(())
    });
}

#[test]
fn rule_6_5_a_region_without_the_right_and_a_revoked_one_are_out_of_reach() {
    both(async |dpa| {
        for rights in [Rights::REMOTE_READ, Rights::REMOTE_ATOMIC] {
            let (a, b) = pair(&dpa, 256)?;
            let remote = b.dpa.copy_in(&[7u64; 4]).await?;
            let map = b.rdma.map(&remote, rights)?;
            let to = RemoteMemoryMap::import(&map.export())?;
            let mut expected = [7; 4];
            if rights == Rights::REMOTE_ATOMIC {
                assert_eq!(a.connection.fetch_add(&to, 0, 1)?.await?.original, 7);
                drop(map);
                expected[0] = 8;
            }
            let refused = a.connection.fetch_add(&to, 0, 1)?.await;
            assert!(refused.expect_err("refused").may_have_been_sent());
            assert!(matches!(a.connection.state(), ConnectionState::Failed(_)));
            b.connection.failed().await;
            assert_eq!(remote.copy_out().await?, expected);
        }
        Ok(())
    });
}

#[test]
fn rule_6_7_a_kernel_that_waits_for_a_lost_peer_is_told() {
    both(async |dpa| {
        let (a, b) = pair(&dpa, 256)?;
        let never = remote_to(&a.dpa, Location::Device)?;
        let _export = a.connection.export_event(&never)?;
        let args = WaitForSignalArgs { event: &never };
        let waiting = a.dpa.launch(wait_for_signal).args(args).submit()?;
        drop(b);
        waiting.await?;
        assert!(matches!(a.connection.state(), ConnectionState::Failed(_)));
        Ok(())
    });
}

#[test]
fn rule_6_9_an_overrun_is_said() {
    both(async |dpa| {
        let (a, b) = pair(&dpa, 4)?;
        let remote = b.dpa.zeroed::<u64>(1).await?;
        let map = b.rdma.map(&remote, Rights::REMOTE_WRITE)?;
        let read = a.dpa.zeroed::<u64>(1).await?;
        let args = OverrunArgs {
            rdma: &a.rdma,
            done: a.rdma.completions(),
            to: RemoteMemoryMap::import(&map.export())?,
            read: &read,
        };
        a.dpa.launch(overrun).args(args).submit()?.await?;
        assert_eq!(read.copy_out().await?, [4], "what came before can be read");
        assert!(a.rdma.completions().has_overrun());
        assert_eq!(a.connection.failed().await, Cause::Overrun);
        Ok(())
    });
}

#[test]
fn rule_5_2_a_fatal_process_ends_its_connections_and_nobody_elses() {
    both(async |dpa| {
        let (a, b) = pair(&dpa, 256)?;
        let (c, d) = pair(&dpa, 256)?;
        let (remote, other) = (b.dpa.zeroed::<u64>(1).await?, d.dpa.zeroed::<u64>(1).await?);
        let map = b.rdma.map(&remote, Rights::REMOTE_ATOMIC)?;
        let to = RemoteMemoryMap::import(&map.export())?;
        let kept = d.rdma.map(&other, Rights::REMOTE_ATOMIC)?;
        let beside = RemoteMemoryMap::import(&kept.export())?;
        assert_eq!(a.connection.fetch_add(&to, 0, 1)?.await?.original, 0);
        let fatal = b.dpa.launch(panics).args(PanicsArgs { number: 5 });
        assert!(fatal.submit()?.await.is_err());
        b.connection.failed().await;
        assert!(a.connection.fetch_add(&to, 0, 1)?.await.is_err());
        assert!(b.rdma.export().is_err(), "new work is refused");
        for before in 0..3 {
            let added = c.connection.fetch_add(&beside, 0, 1)?.await?;
            assert_eq!(added.original, before);
        }
        Ok(())
    });
}

#[test]
fn rule_6_2_the_host_writes_reads_and_counts() {
    both(async |dpa| {
        let (a, b) = pair(&dpa, 256)?;
        let rights = Rights::REMOTE_READ | Rights::REMOTE_WRITE | Rights::REMOTE_ATOMIC;
        let map = b.rdma.map_host(HostBuffer::new(4096), rights)?;
        let theirs = RemoteMemoryMap::import(&map.map().export())?;
        let from = &a.connection;
        let wrote = from.write(HostBuffer::from_bytes(&[9; 3000]), &theirs, 8);
        wrote?.await?;
        assert_eq!(from.fetch_add(&theirs, 0, 5)?.await?.original, 0);
        assert_eq!(from.compare_swap(&theirs, 0, 5, 6)?.await?.original, 5);
        let read = from.read(HostBuffer::new(3008), &theirs, 0);
        let read = read?.await?;
        let read = read.buffer.expect("it had one").to_vec();
        assert_eq!((read[0], &read[8..]), (6, &[9; 3000][..]));
        assert_eq!(map.buffer().to_vec()[8..3008], [9; 3000]);
        Ok(())
    });
}

#[test]
fn packets_have_a_service_level() {
    both(async |dpa| {
        let at = |level| {
            let rdma = dpa.rdma().address(fresh_address());
            rdma.receive_queue(0).service_level(level).open()
        };
        let (a, b) = (at(5)?, at(6)?);
        let (to_b, to_a) = (a.export()?, b.export()?);
        to_b.connect(&to_a.blob())?;
        to_a.connect(&to_b.blob())?;
        let map = b.map_host(HostBuffer::new(8), Rights::REMOTE_ATOMIC)?;
        let word = RemoteMemoryMap::import(&map.map().export())?;
        assert_eq!(to_b.fetch_add(&word, 0, 3)?.await?.original, 0);
        assert_eq!(map.buffer().to_vec(), 3u64.to_ne_bytes());
        let refused = at(16).expect_err("there are 16").to_string();
        assert_eq!(
            refused,
            "service level 16 was asked for, allowed are 0 to 15"
        );
        Ok(())
    });
}
