//! Work of the host on connections: what was dropped is done all the same, and the next is done after it. Regions and queues are
//! back.

use doca_dpa::rdma::{HostBuffer, RemoteMemoryMap, RemoteSyncEvent, Rights, WorkOp};
use doca_dpa::{Dpa, Error, Location, SyncEvent};
use tests::{GivesUpArgs, gives_up};

use crate::ends::{Ends, ends};
use crate::harness::{Cut, cut_everywhere};

/// A case with both ends of a connection, at addresses that no other test has at the same time: `network`'s and the next one's.
fn cut_between_ends(network: u8, case: impl AsyncFn(&Ends, &Cut) -> Result<(), Error>) {
    cut_everywhere(async |dpa, cut| {
        let before = room(dpa, network + 1)?;
        assert!(before > (1, 1), "{before:?}");
        let ends = ends(dpa, network)?;
        case(&ends, cut).await?;
        drop(ends);
        cut.until("regions and queues are back", || {
            room(dpa, network + 1).is_ok_and(|now| now == before)
        });
        Ok(())
    });
}

/// How many regions and contexts there is still room for.
fn room(dpa: &Dpa, network: u8) -> Result<(usize, usize), Error> {
    let open = || {
        let rdma = dpa.rdma().address(crate::ends::address(network, 1));
        rdma.receive_queue(0).open()
    };
    let first = open()?;
    let map = || first.map_host(HostBuffer::new(8), Rights::LOCAL_WRITE).ok();
    let regions: Vec<_> = std::iter::from_fn(map).collect();
    let contexts: Vec<_> = std::iter::from_fn(|| open().ok()).collect();
    Ok((regions.len(), contexts.len()))
}

/// Drops work on 64 bytes of the peer's memory; what the first eight are afterwards.
async fn cut_work(
    (ends, cut): (&Ends, &Cut),
    post: impl Fn(&RemoteMemoryMap) -> Result<WorkOp, Error>,
) -> Result<u64, Error> {
    let rights = Rights::REMOTE_READ | Rights::REMOTE_WRITE | Rights::REMOTE_ATOMIC;
    let map = ends.there.0.map_host(HostBuffer::new(64), rights)?;
    let remote = RemoteMemoryMap::import(&map.map().export())?;
    let _ = cut.off(post(&remote)?).await;
    let next = ends.here.1.fetch_add(&remote, 0, 0)?.await?;
    Ok(next.original)
}

#[test]
fn rule_6_2_work_on_memory_of_the_peer() {
    let ones = || HostBuffer::from_bytes(&[1; 64]);
    cut_between_ends(2, async |ends, cut| {
        let from = &ends.here.1;
        let found = cut_work((ends, cut), |to| Ok(from.write(ones(), to, 0)?)).await?;
        assert_eq!(found, u64::from_ne_bytes([1; 8]));
        Ok(())
    });
    cut_between_ends(2, async |ends, cut| {
        let from = &ends.here.1;
        let found = cut_work((ends, cut), |to| Ok(from.read(ones(), to, 0)?)).await?;
        assert_eq!(found, 0);
        Ok(())
    });
    cut_between_ends(2, async |ends, cut| {
        let from = &ends.here.1;
        let found = cut_work((ends, cut), |to| Ok(from.fetch_add(to, 0, 4)?)).await?;
        assert_eq!(found, 4);
        Ok(())
    });
    cut_between_ends(2, async |ends, cut| {
        let from = &ends.here.1;
        let found = cut_work((ends, cut), |to| Ok(from.compare_swap(to, 0, 0, 9)?)).await?;
        assert_eq!(found, 9);
        Ok(())
    });
}

/// The message is there, whether or not its sender still waits.
#[test]
fn rule_6_2_sends_and_writes_that_use_up_a_receive() {
    let fives = || HostBuffer::from_bytes(&[5; 8]);
    for with_immediate in [false, true] {
        cut_between_ends(4, async |ends, cut| {
            let receive = ends.there.0.receive(HostBuffer::new(8))?;
            let sent = match with_immediate {
                false => ends.here.1.send(fives()),
                true => ends.here.1.send_imm(fives(), 1),
            };
            let (received, _) = futures::join!(receive, cut.off(sent?));
            assert_eq!(received?.buffer.to_vec(), [5; 8]);
            let receive = ends.there.0.receive(HostBuffer::new(8))?;
            ends.here.1.send(fives())?.await?;
            assert_eq!(receive.await?.len, 8, "and so is the next");
            Ok(())
        });
    }
    cut_between_ends(4, async |ends, cut| {
        let receive = ends.there.0.receive(HostBuffer::new(8))?;
        let post = |to: &RemoteMemoryMap| Ok(ends.here.1.write_imm(fives(), to, 0, 3)?);
        let found = cut_work((ends, cut), post).await?;
        assert_eq!(found, u64::from_ne_bytes([5; 8]));
        assert_eq!(receive.await?.len, 8);
        Ok(())
    });
}

#[test]
fn rule_6_2_signals() {
    for adds in [false, true] {
        cut_between_ends(6, async |ends, cut| {
            let event = SyncEvent::builder(&ends.other);
            let event = event.publisher(Location::Remote).subscriber(Location::Host);
            let event = event.create()?;
            let export = ends.there.1.export_event(&event)?;
            let remote = RemoteSyncEvent::import(&export.export())?;
            let posted = match adds {
                false => ends.here.1.signal_set(&remote, 4)?,
                true => ends.here.1.signal_add(&remote, 4)?,
            };
            let _ = cut.off(posted).await;
            assert_eq!(event.ge(4).await?, 4);
            ends.here.1.signal_add(&remote, 1)?.await?;
            assert_eq!(event.ge(5).await?, 5, "and so is the next");
            drop((export, event));
            Ok(())
        });
    }
}

#[test]
fn rule_6_6_receives_and_their_buffers() {
    cut_between_ends(8, async |ends, cut| {
        let receive = ends.here.0.receive(HostBuffer::new(8))?;
        let sent = ends.there.1.send_imm(HostBuffer::from_bytes(&[5; 8]), 1)?;
        let (received, sent) = futures::join!(cut.off(receive), sent);
        sent?;
        if let Some(received) = received {
            assert_eq!(received?.buffer.to_vec(), [5; 8]);
        }
        let receive = ends.here.0.receive(HostBuffer::new(8))?;
        ends.there.1.send(HostBuffer::new(8))?.await?;
        assert_eq!(receive.await?.len, 8, "the next arrives");
        Ok(())
    });
}

#[test]
fn rule_6_7_a_connection_whose_end_is_awaited() {
    cut_between_ends(10, async |ends, cut| {
        let failing = ends.other.launch(gives_up).args(GivesUpArgs { code: 1 });
        let failing = failing.submit()?;
        let (failed, _) = futures::join!(failing, cut.off(ends.there.1.failed()));
        assert!(failed.is_err());
        ends.there.1.failed().await;
        Ok(())
    });
}
