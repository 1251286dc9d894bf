//! Section 4: device memory.

use doca_dpa::SyncEvent;
use doca_dpa::rdma::HostBuffer;
use tests::cmdq::{TallyArgs, tally};
use tests::coherency::{HandOverArgs, SetAFlagArgs, hand_over, set_a_flag};
use tests::globals::{RUNS, count_globally};
use tests::{AddUpArgs, WriteAndPublishArgs, add_up, write_and_publish};

use crate::cluster::{Outcome, World};

/// Allocations are zeroed, copied to and fro, and refused when there is no room.
pub async fn buffers(world: &World<'_>) -> Outcome {
    let dpa = &world.any().dpa;
    let mut kept = Vec::new();
    for _ in 0..1 + world.dice.below(6) {
        let len = 1 + world.dice.below(3000) as usize;
        let buffer = dpa.zeroed::<u32>(len).await?;
        assert!(buffer.copy_out().await?.iter().all(|&word| word == 0));
        let at = world.dice.below(len as u64) as usize;
        buffer.write(at, &[at as u32 + 1]).await?;
        assert_eq!(buffer.slice(at..=at)?.read()?, [at as u32 + 1]);
        assert!(buffer.write(len, &[1]).await.is_err());
        if world.dice.one_in(2) {
            kept.push(buffer);
        }
    }
    let refused = dpa.alloc::<u8>(1 << 21).expect_err("more than there is");
    assert!(
        refused.to_string().contains("out of device memory"),
        "{refused}"
    );
    world.saw("4.1");
    Ok(())
}

/// Each thread stores a word and publishes; who waits for all sees all.
pub async fn stores_do_not_tear(world: &World<'_>) -> Outcome {
    let dpa = &world.any().dpa;
    let threads = 1 + world.dice.below(8);
    let (out, sum) = (
        dpa.zeroed::<u64>(threads as usize).await?,
        dpa.zeroed::<u64>(1).await?,
    );
    let done = SyncEvent::device_to_device(dpa)?;
    let args = WriteAndPublishArgs {
        out: &out,
        done: &done,
    };
    let writing = dpa
        .launch(write_and_publish)
        .args(args)
        .threads(threads as u32);
    drop(writing.submit_async().await?);
    let args = AddUpArgs {
        values: &out,
        sum: &sum,
    };
    let adding = dpa.launch(add_up).args(args).wait_for(done.ge(threads));
    adding.submit_async().await?.await?;
    assert_eq!(sum.copy_out().await?, [threads * (threads + 1) / 2]);
    world.saw("4.3");
    world.saw("1.5");
    Ok(())
}

/// Memory that is handed over with fences is seen whole.
pub async fn shared_by_hand(world: &World<'_>) -> Outcome {
    let dpa = &world.any().dpa;
    let (value, flag) = (dpa.zeroed::<u64>(2).await?, dpa.zeroed::<u64>(1).await?);
    let args = HandOverArgs {
        value: &value,
        flag: &flag,
        fenced: 1,
    };
    let launch = dpa.launch(hand_over).args(args).threads(2);
    launch.submit_async().await?.await?;
    assert_eq!(value.copy_out().await?, [42, 42]);
    world.saw("4.4");
    Ok(())
}

/// Globals are of one process; a window's stores are seen in host memory.
pub async fn globals_and_windows(world: &World<'_>) -> Outcome {
    let own = world.any().dpa.open_beside()?;
    let runs = 1 + world.dice.below(5);
    let counting = own.launch(count_globally).threads(runs as u32);
    counting.submit_async().await?.await?;
    assert_eq!(own.global(&RUNS)?.read()?, 100 + runs);
    world.saw("4.6");
    let window = own.window::<u64>(HostBuffer::new(64))?;
    let told = own.zeroed::<u64>(1).await?;
    let go_on = SyncEvent::host_to_device(&own)?;
    go_on.add(1)?;
    let args = SetAFlagArgs {
        flag: &window,
        told: &told,
        go_on: &go_on,
        fenced: 1,
    };
    own.launch(set_a_flag)
        .args(args)
        .submit_async()
        .await?
        .await?;
    assert_eq!(window.buffer().to_vec()[..8], 7u64.to_ne_bytes());
    Ok(())
}

/// Jobs of a command queue run once each.
pub async fn jobs_and_tables(world: &World<'_>) -> Outcome {
    let dpa = &world.any().dpa;
    let words = dpa.zeroed::<u64>(4).await?;
    let workers = 1 + world.dice.below(3) as u32;
    let queue = dpa.command_queue().workers(workers).batch(2).open()?;
    let jobs = world.dice.below(40);
    for job in 0..jobs {
        let args = TallyArgs {
            at: words.addr(),
            index: job % 4,
        };
        queue.add(tally, args)?;
    }
    queue.run();
    queue.idle().await?;
    assert_eq!(words.copy_out().await?.iter().sum::<u64>(), jobs);
    let mut table = dpa.hash_table(64)?;
    let entries: Vec<(u32, u64)> = (0..world.dice.below(48))
        .map(|n| (n as u32 * 7, n))
        .collect();
    table.load(entries.iter().copied())?;
    let mut found = table.entries()?;
    found.sort_unstable();
    assert_eq!(found, entries);
    Ok(())
}
