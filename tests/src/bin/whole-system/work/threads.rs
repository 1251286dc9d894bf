//! DPA threads.

use std::time::Duration;

use doca_dpa::rdma::{HostBuffer, Rights};
use doca_dpa::{Location, SyncEvent};
use tests::device::{CountsOnItsStackArgs, counts_on_its_stack};
use tests::threads::{
    PostReceivesArgs, ServeMessagesArgs, TickArgs, post_receives, serve_messages, tick,
};

use super::rdma::pair;
use crate::cluster::{Outcome, World};

fn counter(world: &World<'_>, at: &doca_dpa::Dpa) -> Result<SyncEvent, doca_dpa::Error> {
    SyncEvent::builder(at)
        .publisher(Location::Host | Location::Device)
        .subscriber(Location::Host | Location::Device)
        .initial(world.dice.below(2) << 32)
        .create()
}

/// A thread that is notified runs at least once after the last notification.
pub async fn notified(world: &World<'_>) -> Outcome {
    let dpa = &world.any().dpa;
    let total = counter(world, dpa)?;
    let before = total.get();
    let thread = dpa.thread(tick, TickArgs { total: &total }).start()?;
    thread.run()?;
    for _ in 0..1 + world.dice.below(6) {
        let seen = total.get();
        thread.notify();
        total.gt(seen).await?;
        dpa.sleep(Duration::from_nanos(world.dice.below(1000)))
            .await;
    }
    assert_eq!(total.get() - before, thread.activations());
    Ok(())
}

/// A continuable thread keeps its stack from event to event.
pub async fn continuable(world: &World<'_>) -> Outcome {
    let dpa = &world.any().dpa;
    let ran = counter(world, dpa)?;
    let before = ran.get();
    let told = dpa.zeroed::<u64>(1).await?;
    let args = CountsOnItsStackArgs {
        told: &told,
        ran: &ran,
    };
    let thread = dpa
        .thread(counts_on_its_stack, args)
        .continuable()
        .start()?;
    thread.run()?;
    for number in 1..=1 + world.dice.below(5) {
        thread.notify();
        ran.ge(before + number).await?;
        assert_eq!(told.copy_out().await?, [number]);
    }
    assert_eq!(thread.activations(), 1);
    world.saw("2.12");
    Ok(())
}

/// A thread serves what arrives at its completion queue.
pub async fn served(world: &World<'_>) -> Outcome {
    let (_, to, here, there) = pair(world, |rdma| rdma)?;
    let b = &world.nodes[to].dpa;
    let inbox = b.zeroed::<u64>(1).await?;
    let local = there.rdma.map(&inbox, Rights::empty())?;
    let sum = b.zeroed::<u64>(1).await?;
    let served = SyncEvent::device_to_host(b)?;
    let args = PostReceivesArgs {
        rdma: &there.rdma,
        inbox: &local,
        count: 8,
    };
    b.launch(post_receives)
        .args(args)
        .submit_async()
        .await?
        .await?;
    let args = ServeMessagesArgs {
        rdma: &there.rdma,
        done: there.rdma.completions(),
        inbox: &local,
        sum: &sum,
        served: &served,
    };
    let thread = b.thread(serve_messages, args).start()?;
    thread.attach_to(there.rdma.completions())?;
    thread.run()?;
    let count = 1 + world.dice.below(12);
    for number in 0..count as u32 {
        let sent = here.connection.send_imm(HostBuffer::new(8), number);
        sent?.await?;
    }
    served.ge(count).timeout(Duration::from_secs(60)).await?;
    assert_eq!(sum.copy_out().await?, [count * (count - 1) / 2]);
    Ok(())
}
