//! Asynchronous operations: copies and waits that kernels post.

mod drivers;
mod places;

use std::time::Duration;

use doca_dpa::rdma::{AsyncOps, HostBuffer};
use doca_dpa::{Dpa, Error, HandlerState, Location, Sim, SyncEvent};
use drivers::on::seeds;
use drivers::{Outcome, both};
use places::everywhere;
use tests::async_ops::*;

const LOCAL_OPERATION: u64 = 2;
const LOCAL_PROTECTION: u64 = 4;
const FLUSHED: u64 = 5;

fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at * 7 + at / 256) as u8).collect()
}

#[test]
fn copies_go_between_device_and_host_memory() {
    both(async |dpa| {
        let ops = dpa.async_ops().user_data(77).open()?;
        let bytes = pattern(5000);
        let (first, second) = (dpa.copy_in(&bytes).await?, dpa.zeroed::<u8>(5000).await?);
        let host = ops.map_host(HostBuffer::new(5000))?;
        let (from, to) = (ops.map(&first)?, ops.map(&second)?);
        for (to, from) in [(host.map(), &from), (&to, host.map())] {
            let args = CopyOverArgs {
                ops: &ops,
                done: ops.completions(),
                to,
                from,
                shift: 0,
            };
            dpa.launch(copy_over).args(args).submit()?.await?;
        }
        assert_eq!(host.buffer().to_vec(), bytes);
        assert_eq!(second.copy_out().await?, bytes);
        Ok(())
    });
}

/// More than is copied in one turn.
#[test]
fn many_long_copies_of_two_contexts() {
    both(async |dpa| {
        let other = dpa.open_beside()?;
        let bytes = pattern(1 << 20);
        let mut running = Vec::new();
        for dpa in [&dpa, &other] {
            let ops = dpa.async_ops().open()?;
            let (first, second) = (dpa.copy_in(&bytes).await?, dpa.zeroed::<u8>(1 << 20).await?);
            let (from, to) = (ops.map(&first)?, ops.map(&second)?);
            let args = CopyOftenArgs {
                ops: &ops,
                done: ops.completions(),
                to: &to,
                from: &from,
                times: 40,
            };
            running.push((dpa.launch(copy_often).args(args).submit()?, second));
        }
        for (launch, second) in running {
            launch.await?;
            assert!(second.copy_out().await? == bytes);
        }
        Ok(())
    });
}

#[test]
fn a_copy_onto_itself_is_as_if_through_a_buffer() {
    both(async |dpa| {
        let ops = dpa.async_ops().user_data(77).open()?;
        let bytes = pattern(5000);
        let buffer = dpa.copy_in(&bytes).await?;
        let map = ops.map(&buffer)?;
        let args = CopyOverArgs {
            ops: &ops,
            done: ops.completions(),
            to: &map,
            from: &map,
            shift: 1500,
        };
        dpa.launch(copy_over).args(args).submit()?.await?;
        let found = buffer.copy_out().await?;
        assert_eq!(found[..1500], bytes[..1500]);
        assert_eq!(found[1500..], bytes[..3500]);
        Ok(())
    });
}

/// The same, where source and destination are named by two maps of one memory.
#[test]
fn a_copy_onto_itself_by_another_map_is_as_if_through_a_buffer() {
    both(async |dpa| {
        let ops = dpa.async_ops().user_data(77).open()?;
        let bytes = pattern(5000);
        let buffer = dpa.copy_in(&bytes).await?;
        let (from, to) = (ops.map(&buffer)?, ops.map(&buffer)?);
        let args = CopyOverArgs {
            ops: &ops,
            done: ops.completions(),
            to: &to,
            from: &from,
            shift: 500,
        };
        dpa.launch(copy_over).args(args).submit()?.await?;
        let found = buffer.copy_out().await?;
        assert_eq!(found[..500], bytes[..500]);
        assert_eq!(found[500..], bytes[..4500]);
        Ok(())
    });
}

#[test]
fn rows_become_columns() {
    both(async |dpa| {
        let ops = dpa.async_ops().open()?;
        for (element, columns, rows) in [(1u8, 7u8, 5u8), (8, 3, 40), (24, 255, 2), (3, 1, 1)] {
            let size = usize::from(element);
            let (width, height) = (usize::from(columns), usize::from(rows));
            let bytes = pattern(size * width * height);
            let (first, second) = (
                dpa.copy_in(&bytes).await?,
                dpa.zeroed::<u8>(bytes.len()).await?,
            );
            let (from, to) = (ops.map(&first)?, ops.map(&second)?);
            let args = TransposeOverArgs {
                ops: &ops,
                done: ops.completions(),
                to: &to,
                from: &from,
                shape: [element, columns, rows],
            };
            dpa.launch(transpose_over).args(args).submit()?.await?;
            let found = second.copy_out().await?;
            let element = |bytes: &[u8], at: usize| bytes[at * size..][..size].to_vec();
            for at in 0..width * height {
                let (row, column) = (at / width, at % width);
                let there = element(&found, column * height + row);
                assert_eq!(there, element(&bytes, at), "row {row}, column {column}");
            }
        }
        Ok(())
    });
}

#[test]
fn a_matrix_of_another_size_than_its_memory_is_a_fault() {
    both(async |dpa| {
        let ops = dpa.async_ops().open()?;
        let buffer = dpa.zeroed::<u8>(64).await?;
        let map = ops.map(&buffer)?;
        let args = TransposeOverArgs {
            ops: &ops,
            done: ops.completions(),
            to: &map,
            from: &map,
            shape: [8, 3, 3],
        };
        let refused = dpa.launch(transpose_over).args(args).submit()?.await;
        let said = refused.expect_err("72 bytes do not lie in 64").to_string();
        assert!(said.contains("64"), "{said}");
        Ok(())
    });
}

/// A wait on data: the word lies in memory that a peer or the host writes, only the masked bits count.
#[test]
fn a_wait_looks_at_bits_of_a_word_in_memory() {
    both(async |dpa| {
        let ops = dpa.async_ops().open()?;
        let buffer = HostBuffer::new(64);
        let event = SyncEvent::builder(&dpa)
            .publisher(Location::Host)
            .subscriber(Location::Host | Location::Device)
            .in_host_memory(&buffer, 8)
            .create()?;
        let log = dpa.zeroed::<u64>(1).await?;
        let args = WaitForBitsArgs {
            queue: &ops,
            event: event.handle(),
            mask: 0xff00,
            bits: 0x1200,
        };
        dpa.launch(wait_for_bits).args(args).submit()?.await?;
        let args = LogCompletionsArgs {
            done: ops.completions(),
            log: &log,
        };
        let logged = dpa.launch(log_completions).args(args).submit()?;
        event.set(0x1_0012)?;
        assert!(!logged.is_over());
        event.set(0x7_12ff)?;
        logged.await?;
        assert_eq!(log.copy_out().await?, [0]);
        Ok(())
    });
}

/// Under many orders of events: nothing is copied before, everything after.
#[test]
fn what_is_behind_a_wait_waits_with_it() {
    for seed in seeds(60) {
        let run = Sim::new(seed).run(async |dpa| {
            let ops = dpa.async_ops().open().expect("a queue");
            let event = everywhere(&dpa)?;
            let from = dpa.copy_in(&[9u64; 4]).await?;
            let to = dpa.zeroed::<u64>(4).await?;
            let log = dpa.zeroed::<u64>(1).await?;
            let maps = (ops.map(&to).expect("a map"), ops.map(&from).expect("a map"));
            let args = CopyWhenArgs {
                queue: &ops,
                event: &event,
                to: &maps.0,
                from: &maps.1,
            };
            dpa.launch(copy_when).args(args).submit()?.await?;
            let args = LogCompletionsArgs {
                done: ops.completions(),
                log: &log,
            };
            let logged = dpa.launch(log_completions).args(args).submit()?;
            event.add(2)?;
            assert_eq!(to.copy_out().await?, [0; 4], "the event is at 2");
            event.add(1)?;
            logged.await?;
            assert_eq!(to.copy_out().await?, [9; 4]);
            assert_eq!(log.copy_out().await?, [0]);
            Ok::<_, Error>(())
        });
        run.expect("a simulation").value.expect("all well");
    }
}

async fn two_failures(dpa: &Dpa, ops: &AsyncOps) -> Result<Vec<u64>, Error> {
    let log = dpa.zeroed::<u64>(2).await?;
    let args = LogCompletionsArgs {
        done: ops.completions(),
        log: &log,
    };
    dpa.launch(log_completions).args(args).submit()?.await?;
    Ok(log.copy_out().await?)
}

#[test]
fn rule_6_5_a_wrong_key_fails_the_queue_and_flushes_it() {
    both(async |dpa| {
        let ops = dpa.async_ops().open()?;
        let buffer = dpa.copy_in(&[1u64, 2]).await?;
        let map = ops.map(&buffer)?;
        let args = CopyWronglyArgs {
            ops: &ops,
            to: &map,
        };
        dpa.launch(copy_wrongly).args(args).submit()?.await?;
        let found = two_failures(&dpa, &ops).await?;
        assert_eq!(found, [LOCAL_PROTECTION, FLUSHED]);
        assert_eq!(buffer.copy_out().await?, [1, 2]);
        Ok(())
    });
}

#[test]
fn an_event_that_closes_fails_the_queue_that_waits_for_it() {
    both(async |dpa| {
        let ops = dpa.async_ops().open()?;
        let event = everywhere(&dpa)?;
        let buffer = dpa.copy_in(&[1u64, 2]).await?;
        let map = ops.map(&buffer)?;
        let args = CopyWhenArgs {
            queue: &ops,
            event: &event,
            to: &map,
            from: &map,
        };
        dpa.launch(copy_when).args(args).submit()?.await?;
        event.close();
        let found = two_failures(&dpa, &ops).await?;
        assert_eq!(found, [LOCAL_OPERATION, FLUSHED]);
        Ok(())
    });
}

/// A thread that is started each time an event reaches the next value, without holding a unit between.
#[test]
fn a_thread_follows_an_event_through_its_queue() {
    both(async |dpa| {
        let ops = dpa.async_ops().open()?;
        let (event, seen) = (everywhere(&dpa)?, everywhere(&dpa)?);
        let args = FollowEventArgs {
            ops: &ops,
            done: ops.completions(),
            event: event.handle(),
            seen: &seen,
        };
        let thread = dpa.thread(follow_event, args).start()?;
        thread.attach_to(ops.completions())?;
        thread.run()?;
        let args = WaitFirstArgs {
            ops: &ops,
            event: event.handle(),
        };
        dpa.launch(wait_first).args(args).submit()?.await?;
        for value in 1..=50 {
            event.add(1)?;
            seen.ge(value).await?;
        }
        // It skips ahead, one value at a time.
        event.add(10)?;
        seen.ge(60).await?;
        event.close();
        while thread.state() != HandlerState::Over {
            dpa.launch(tests::nothing).submit()?.await?;
        }
        Ok(())
    });
}

/// A thread that a queue starts may itself sleep until something is complete there.
#[test]
fn a_thread_sleeps_at_the_queue_that_it_is_attached_to() {
    both(async |dpa| {
        let ops = dpa.async_ops().open()?;
        let [event, posted, over] = [everywhere(&dpa)?, everywhere(&dpa)?, everywhere(&dpa)?];
        let args = SleepWhereAttachedArgs {
            ops: &ops,
            done: ops.completions(),
            event: event.handle(),
            posted: &posted,
            over: &over,
        };
        let thread = dpa.thread(sleep_where_attached, args).start()?;
        thread.attach_to(ops.completions())?;
        thread.run()?;
        thread.notify();
        posted.ge(1).await?;
        dpa.sleep(Duration::from_millis(20)).await;
        event.add(1)?;
        over.ge(1).await?;
        Ok(())
    });
}

#[tokio::test]
async fn figures_out_of_range_are_refused() -> Outcome {
    let (dpa, other) = (Dpa::open()?, Dpa::open()?);
    let refused = dpa
        .async_ops()
        .user_data(1 << 24)
        .open()
        .expect_err("24 bits");
    assert!(
        refused.to_string().contains("allowed are 0 to 16777215"),
        "{refused}"
    );
    let foreign = other.async_ops().open()?;
    let refused = dpa.async_ops().completions(foreign.completions()).open();
    assert!(
        refused
            .expect_err("another device's")
            .to_string()
            .contains("another NIC")
    );
    let ops = dpa.async_ops().queue(100).open()?;
    assert_eq!((ops.queue(), ops.user_data()), (128, 0));
    Ok(())
}

/// What holds up nobody costs the NIC something all the same. Who rings beside it is not kept for good.
#[tokio::test]
async fn who_rings_is_not_kept_by_another_queue_that_is_filled_without_end() -> Outcome {
    let dpa = Dpa::builder().workers(2).open()?;
    let other = dpa.open_beside()?;
    let (flag, event) = (dpa.zeroed::<u64>(1).await?, everywhere(&dpa)?);
    let ops = dpa.async_ops().queue(1 << 15).open()?;
    let args = WaitWithoutEndArgs {
        ops: &ops,
        event: event.handle(),
        flag: &flag,
    };
    let posting = dpa.launch(wait_without_end).args(args).submit()?;
    let bytes = 1 << 20;
    let (from, to) = (
        other.zeroed::<u8>(bytes).await?,
        other.zeroed::<u8>(bytes).await?,
    );
    let ops = other.async_ops().open()?;
    let (from, to) = (ops.map(&from)?, ops.map(&to)?);
    for _ in 0..50 {
        // While that is copied, the queue is filled.
        let args = CopyOftenArgs {
            ops: &ops,
            done: ops.completions(),
            to: &to,
            from: &from,
            times: 2,
        };
        let copying = other.launch(copy_often).args(args).submit()?;
        let ended = tokio::time::timeout(Duration::from_secs(60), copying).await;
        ended.expect("the NIC is worked by others, too")?;
    }
    flag.write(0, &[1]).await?;
    posting.await?;
    Ok(())
}
