//! Section 6: RDMA, from kernels and from the host, between two nodes in one process over loopback sockets.

#[path = "rdma/failures.rs"]
mod failures;
#[path = "rdma/loopback.rs"]
mod loopback;
mod nodes;

use std::collections::HashSet;
use std::time::Duration;

use doca_dpa::rdma::{HostBuffer, ReceivedKind, RemoteMemoryMap, RemoteSyncEvent, Rights};
use doca_dpa::{Dpa, Error, Location, SyncEvent};
use nodes::*;
use tests::rdma::*;
use tests::threads::*;

#[tokio::test]
async fn rule_6_3_whoever_sees_the_signal_sees_the_whole_write() -> Result<(), Error> {
    let (a, b) = pair(settings()).await?;
    const BYTES: usize = 100_000;
    let mine: Vec<u8> = (0..BYTES).map(|i| (i * 7 + i / 251) as u8).collect();
    let source = a.dpa.copy_in(&mine).await?;
    let source = a.rdma.map(&source, Rights::empty())?;
    let target = b.dpa.zeroed::<u8>(BYTES).await?;
    let map = b.rdma.map(&target, Rights::REMOTE_WRITE)?;
    let to = RemoteMemoryMap::import(&map.export())?;
    let arrived = remote_to(&b.dpa, Location::Host)?;
    let export = b.connection.export_event(&arrived)?;
    let signal = RemoteSyncEvent::import(&export.export())?;
    for round in 1..=3 {
        a.dpa
            .launch(write_and_signal)
            .args(WriteAndSignalArgs {
                rdma: &a.rdma,
                from: &source,
                to,
                event: signal,
                value: round,
            })
            .submit()?
            .await?;
        arrived.ge(round).await?;
        assert_eq!(target.copy_out().await?, mine);
        target.fill(0).await?;
    }
    Ok(())
}

/// How many different steps there are from one of these numbers of 24 bits to the next.
fn steps(numbers: impl Iterator<Item = u32>) -> usize {
    let numbers: Vec<u32> = numbers.collect();
    let steps = numbers.windows(2);
    let steps = steps.map(|two| two[1].wrapping_sub(two[0]) & 0xff_ffff);
    steps.collect::<HashSet<_>>().len()
}

#[tokio::test]
async fn rule_6_5_numbers_follow_no_pattern_and_addresses_begin_at_0() -> Result<(), Error> {
    let dpa = Dpa::builder().workers(1).open()?;
    let rdma = dpa.rdma().address(fresh_address()).connections(8).open()?;
    let all: Vec<_> = (0..8).map(|_| rdma.export()).collect::<Result<_, _>>()?;
    // Of seven steps: that two pairs are equal, or three steps, happens less than once in a thousand million.
    let first = all.iter().map(|one| one.info().first_psn.value());
    assert!(steps(first) > 5);
    // A device behind verbs has numbers and bases of its own choice.
    if rdma.provider().device.is_some() {
        return Ok(());
    }
    let pairs = all.iter().map(|one| one.info().queue_pair.value());
    assert!(steps(pairs) > 5);
    let buffer = dpa.zeroed::<u64>(4).await?;
    let of_device = rdma.map(&buffer, Rights::REMOTE_READ)?;
    let of_host = rdma.map_host(HostBuffer::new(64), Rights::REMOTE_READ)?;
    for map in [&of_device, of_host.map()] {
        assert_eq!(RemoteMemoryMap::import(&map.export())?.handle().base, 0);
    }
    Ok(())
}

#[tokio::test]
async fn rule_6_2_kernels_detect_the_end_of_each_kind_of_work() -> Result<(), Error> {
    let (a, b) = pair(settings()).await?;
    let local = a.dpa.copy_in(&[1u64, 2, 3, 4, 5, 6, 7, 8]).await?;
    let remote = b.dpa.copy_in(&[100u64, 200, 300, 400]).await?;
    let map = a.rdma.map(&local, Rights::empty())?;
    let rights = Rights::REMOTE_READ | Rights::REMOTE_WRITE | Rights::REMOTE_ATOMIC;
    let theirs = b.rdma.map(&remote, rights)?;
    let to = RemoteMemoryMap::import(&theirs.export())?;
    let results = a.dpa.zeroed::<u64>(8).await?;
    a.dpa
        .launch(all_kinds)
        .args(AllKindsArgs {
            rdma: &a.rdma,
            done: a.rdma.completions(),
            local: &map,
            to,
            results: &results,
        })
        .submit()?
        .await?;
    // One write of 1, 2 over 100, 200; a read of 300, 400 into the places 4 and 5; 10 added to the first; the second
    // swapped from 2 to 77.
    assert_eq!(remote.copy_out().await?, [11, 77, 300, 400]);
    assert_eq!(local.copy_out().await?[4..6], [300, 400]);
    assert_eq!(results.copy_out().await?, [4, 1, 2, 0, 0, 0, 0, 0]);
    Ok(())
}

#[tokio::test]
async fn rule_6_2_messages_arrive_in_the_receives_of_a_kernel() -> Result<(), Error> {
    let (a, b) = pair(settings()).await?;
    let words: Vec<u64> = (0..64).collect();
    let local = a.dpa.copy_in(&words).await?;
    let map = a.rdma.map(&local, Rights::empty())?;
    let inbox = b.dpa.zeroed::<u64>(64).await?;
    let theirs = b.rdma.map(&inbox, Rights::empty())?;
    let log = b.dpa.zeroed::<u64>(16).await?;
    let receiver = b
        .dpa
        .launch(receive_messages)
        .args(ReceiveMessagesArgs {
            rdma: &b.rdma,
            done: b.rdma.completions(),
            inbox: &theirs,
            log: &log,
            count: 8,
        })
        .submit()?;
    a.dpa
        .launch(send_messages)
        .args(SendMessagesArgs {
            rdma: &a.rdma,
            done: a.rdma.completions(),
            from: &map,
            count: 8,
        })
        .submit()?
        .await?;
    receiver.await?;
    assert_eq!(inbox.copy_out().await?, words);
    let log = log.copy_out().await?;
    assert_eq!(log[..8], [1000, 1001, 1002, 1003, 1004, 1005, 1006, 1007]);
    assert_eq!(log[8..], [64; 8]);
    Ok(())
}

#[tokio::test]
async fn rule_6_2_the_host_sends_writes_reads_and_counts() -> Result<(), Error> {
    let host = Settings {
        host_receives: true,
        ..settings()
    };
    let (a, b) = pair(host).await?;
    let receive = b.rdma.receive(HostBuffer::new(64))?;
    let sent = a
        .connection
        .send_imm(HostBuffer::from_bytes(b"a message"), 7);
    let back = sent?.await?;
    assert_eq!(back.buffer.expect("it had one").to_vec(), b"a message");
    let message = receive.await?;
    assert_eq!(message.len, 9);
    assert_eq!(message.buffer.to_vec()[..9], *b"a message");
    assert_eq!(message.connection, b.connection.id());

    let rights = Rights::REMOTE_READ | Rights::REMOTE_WRITE | Rights::REMOTE_ATOMIC;
    let map = b.rdma.map_host(HostBuffer::new(4096), rights)?;
    let theirs = RemoteMemoryMap::import(&map.map().export())?;
    let wrote = a
        .connection
        .write(HostBuffer::from_bytes(&[9; 100]), &theirs, 8);
    wrote?.await?;
    assert_eq!(a.connection.fetch_add(&theirs, 0, 5)?.await?.original, 0);
    assert_eq!(
        a.connection.compare_swap(&theirs, 0, 5, 6)?.await?.original,
        5
    );
    let read = a.connection.read(HostBuffer::new(108), &theirs, 0);
    let read = read?.await?;
    let read = read.buffer.expect("it had one").to_vec();
    assert_eq!((read[0], &read[8..]), (6, &[9; 100][..]));
    assert_eq!(map.buffer().to_vec()[8..108], [9; 100]);

    let told = b.rdma.receive(HostBuffer::new(0))?;
    let wrote = a
        .connection
        .write_imm(HostBuffer::from_bytes(&[3; 10]), &theirs, 1000, 42);
    wrote?.await?;
    let told = told.await?;
    assert_eq!(told.kind, ReceivedKind::WriteImmediate(42));
    assert_eq!(told.len, 10);
    assert_eq!(map.buffer().to_vec()[1000..1010], [3; 10]);
    Ok(())
}

/// What peers may write, and what a receive may fill, is only ever copied; a completed receive gives its buffer back.
#[tokio::test]
async fn rule_6_6_a_buffer_in_use_is_copied_and_comes_back_by_value() -> Result<(), Error> {
    let host = Settings {
        host_receives: true,
        ..settings()
    };
    let (a, b) = pair(host).await?;
    let map = b.rdma.map_host(HostBuffer::new(64), Rights::REMOTE_WRITE)?;
    let theirs = RemoteMemoryMap::import(&map.map().export())?;
    let mut before = [1; 8];
    map.buffer().read(0, &mut before).expect("in range");
    let wrote = a
        .connection
        .write(HostBuffer::from_bytes(&[5; 8]), &theirs, 0);
    wrote?.await?;
    assert_eq!(before, [0; 8], "a copy does not change");
    map.buffer().write(8, &[6; 8]).expect("in range");
    assert!(map.buffer().read(60, &mut before).is_err(), "out of range");
    assert_eq!(map.into_buffer().to_vec()[..16], [[5; 8], [6; 8]].concat());

    // The receive owns its buffer, also when nobody waits for it any more.
    let first = b.rdma.receive(HostBuffer::new(16));
    drop(first?);
    let second = b.rdma.receive(HostBuffer::from_bytes(b"before"));
    let second = second?;
    for text in [b"first", b"other"] {
        let sent = a.connection.send(HostBuffer::from_bytes(text));
        sent?.await?;
    }
    let received = second.await?;
    assert_eq!(received.len, 5);
    assert_eq!(received.buffer.to_vec(), b"othere");
    Ok(())
}

/// Handles are index and generation (R 5.4): so is a connection that a kernel keeps.
#[tokio::test]
async fn rule_5_4_a_connection_that_a_kernel_keeps_is_never_the_next_one_with_its_id()
-> Result<(), Error> {
    let (a, b) = pair(settings()).await?;
    let target = b.dpa.zeroed::<u64>(1).await?;
    let map = b.rdma.map(&target, Rights::REMOTE_WRITE)?;
    let to = RemoteMemoryMap::import(&map.export())?;
    let kept = SyncEvent::device_to_host(&a.dpa)?;
    let go_on = SyncEvent::host_to_device(&a.dpa)?;
    let args = KeepAConnectionArgs {
        rdma: &a.rdma,
        done: a.rdma.completions(),
        to,
        kept: &kept,
        go_on: &go_on,
    };
    let launch = a.dpa.launch(keep_a_connection).args(args).submit()?;
    kept.ge(1).await?;
    drop((a.connection, b.connection));
    let (first, second) = (a.rdma.export()?, b.rdma.export()?);
    assert_eq!(first.id(), 0);
    first.connect(&second.blob())?;
    second.connect(&first.blob())?;
    go_on.add(1)?;
    launch.await?;
    assert_eq!(target.copy_out().await?, [7]);
    Ok(())
}

#[tokio::test]
async fn rule_6_4_an_answer_to_an_earlier_attempt_is_refused() -> Result<(), Error> {
    let (a, b) = (lone(&settings())?, lone(&settings())?);
    let earlier = lone(&settings())?;
    let stale = b.connection.answer(&earlier.connection.blob())?;
    let refused = a.connection.connect(&stale).expect_err("not to this one");
    assert!(refused.to_string().contains("another export"), "{refused}");
    b.connection.connect(&a.connection.blob())?;
    a.connection
        .connect(&b.connection.answer(&a.connection.blob())?)?;
    Ok(())
}

/// 10,000 additions of two peers to one word, and as many to one event: none is lost, none made twice.
#[tokio::test]
async fn rule_6_4_two_peers_add_exactly() -> Result<(), Error> {
    let host = Dpa::builder().workers(1).open()?;
    let rdma = host.rdma().address(fresh_address()).connections(2).open()?;
    let word = host.zeroed::<u64>(1).await?;
    let map = rdma.map(&word, Rights::REMOTE_ATOMIC)?;
    let to = RemoteMemoryMap::import(&map.export())?;
    let counted = remote_to(&host, Location::Host)?;
    let mut peers = Vec::new();
    for _ in 0..2 {
        let (peer, connection) = (lone(&settings())?, rdma.export()?);
        connection.connect(&peer.connection.blob())?;
        peer.connection.connect(&connection.blob())?;
        let export = connection.export_event(&counted)?;
        let event = RemoteSyncEvent::import(&export.export())?;
        let adding = peer.dpa.launch(add_many).args(AddManyArgs {
            rdma: &peer.rdma,
            done: peer.rdma.completions(),
            to,
            event,
            count: ADDITIONS,
        });
        peers.push((adding.submit()?, peer, connection, export));
    }
    let all = 2 * u64::from(ADDITIONS);
    assert_eq!(counted.ge(all).await?, all);
    for (adding, ..) in &mut peers {
        adding.await?;
    }
    assert_eq!(word.copy_out().await?, [all]);
    assert_eq!(counted.get(), all);
    Ok(())
}

#[tokio::test]
async fn rule_6_1_one_connection_more_is_refused() -> Result<(), Error> {
    let (a, _b) = pair(settings()).await?;
    let full = a.rdma.export().expect_err("one connection was asked for");
    assert!(full.to_string().contains("1 connections"), "{full}");
    Ok(())
}

#[tokio::test]
async fn rule_1_8_an_event_must_be_made_for_remote_publishers() -> Result<(), Error> {
    let (a, _b) = pair(settings()).await?;
    let local = SyncEvent::host_to_device(&a.dpa)?;
    let error = a
        .connection
        .export_event(&local)
        .expect_err("no remote publisher");
    assert!(error.to_string().contains("remote"), "{error}");
    Ok(())
}

/// A DPA thread that is attached to a completion queue takes everything from it, however arrivals and its runs mix.
#[tokio::test]
async fn a_thread_serves_a_completion_queue() -> Result<(), Box<dyn std::error::Error>> {
    const MESSAGES: u32 = 200;
    let (a, b) = pair(settings()).await?;
    let inbox = b.dpa.zeroed::<u64>(1).await?;
    let local = b.rdma.map(&inbox, Rights::empty())?;
    let sum = b.dpa.zeroed::<u64>(1).await?;
    let served = SyncEvent::device_to_host(&b.dpa)?;
    let posting = PostReceivesArgs {
        rdma: &b.rdma,
        inbox: &local,
        count: 64,
    };
    b.dpa.launch(post_receives).args(posting).submit()?.await?;
    let args = ServeMessagesArgs {
        rdma: &b.rdma,
        done: b.rdma.completions(),
        inbox: &local,
        sum: &sum,
        served: &served,
    };
    let thread = b.dpa.thread(serve_messages, args).start()?;
    thread.attach_to(b.rdma.completions())?;
    let taken = thread
        .attach_to(b.rdma.completions())
        .expect_err("attached");
    assert!(taken.to_string().contains("has a thread"), "{taken}");
    thread.run()?;
    for number in 0..MESSAGES {
        let sent = a.connection.send_imm(HostBuffer::new(8), number);
        sent?.await?;
        if number % 50 == 49 {
            // Idle in between, so that notifications are needed.
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    let all = u64::from(MESSAGES);
    tokio::time::timeout(Duration::from_secs(30), served.ge(all)).await??;
    assert_eq!(sum.copy_out().await?, [all * (all - 1) / 2]);
    assert!(thread.activations() >= 4, "{}", thread.activations());
    Ok(())
}

#[tokio::test]
async fn a_peer_updates_an_event_in_memory_by_writes_and_atomics() -> Result<(), Error> {
    let (a, b) = pair(settings()).await?;
    let buffer = HostBuffer::new(64);
    let event = SyncEvent::builder(&b.dpa)
        .publisher(Location::Host | Location::Remote)
        .subscriber(Location::Host)
        .in_host_memory(&buffer, 0)
        .create()?;
    let rights = Rights::REMOTE_READ | Rights::REMOTE_WRITE | Rights::REMOTE_ATOMIC;
    let map = b.rdma.map_host(buffer, rights)?;
    let theirs = RemoteMemoryMap::import(&map.map().export())?;
    let bytes = HostBuffer::from_bytes(&5u64.to_ne_bytes());
    let wrote = a.connection.write(bytes, &theirs, 0);
    let seen = event.ge(5);
    wrote?.await?;
    assert_eq!(seen.await?, 5);
    assert_eq!(a.connection.fetch_add(&theirs, 0, 6)?.await?.original, 5);
    assert_eq!(event.ge(11).await?, 11);
    event.add(1)?;
    let swapped = a.connection.compare_swap(&theirs, 0, 12, 40)?.await?;
    assert_eq!((swapped.original, event.ge(40).await?), (12, 40));
    let read = a.connection.read(HostBuffer::new(8), &theirs, 0);
    let read = read?.await?;
    let bytes = read.buffer.expect("it had one").to_vec();
    assert_eq!(bytes, 40u64.to_ne_bytes());
    Ok(())
}
