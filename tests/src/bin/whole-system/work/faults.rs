//! Section 5: processes that do wrong, beside others that do not.

use doca_dpa::rdma::{HostBuffer, RemoteMemoryMap, Rights};
use doca_dpa::{Dpa, ErrorStatus, FaultKind, Location, SyncEvent};
use tests::device::{CleansUpArgs, cleans_up};
use tests::{
    GivesUpArgs, OverflowsArgs, PanicsArgs, ReadsTooFarArgs, RelayArgs, SumToArgs, gives_up,
    nothing, overflows, panics, reads_too_far, relay, sum_to,
};

use super::rdma::pair;
use crate::cluster::{Outcome, World};

/// A process does one of the things that make it fatal; its waits end, and the others go on.
pub async fn each_kind(world: &World<'_>) -> Outcome {
    let other = world.any().dpa.open_beside()?;
    let gate = SyncEvent::host_to_device(&other)?;
    let waiting = other
        .launch(nothing)
        .wait_for(gate.ge(1))
        .submit_async()
        .await?;
    let xs = other.zeroed::<u32>(3).await?;
    // A sanitizer takes the signal of an overflow, the last, for itself.
    let kinds = if cfg!(dpa_sanitize) { 3 } else { 4 };
    let (launch, expected): (_, fn(&FaultKind) -> bool) = match world.dice.below(kinds) {
        0 => {
            let launch = other.launch(panics).args(PanicsArgs { number: 1 });
            (launch.submit_async().await?, |kind| {
                *kind == FaultKind::Panic
            })
        }
        1 => {
            let launch = other
                .launch(reads_too_far)
                .args(ReadsTooFarArgs { xs: &xs });
            (launch.submit_async().await?, |kind| {
                *kind == FaultKind::OutOfBounds { index: 3, len: 3 }
            })
        }
        2 => {
            let launch = other.launch(gives_up).args(GivesUpArgs { code: 9 });
            (launch.submit_async().await?, |kind| {
                *kind == FaultKind::User { code: 9 }
            })
        }
        _ => {
            let launch = other.launch(overflows).args(OverflowsArgs { depth: 0 });
            (launch.submit_async().await?, |kind| {
                matches!(kind, FaultKind::StackOverflow { .. })
            })
        }
    };
    assert!(launch.await.is_err() && waiting.await.is_err());
    let fault = other.failed().await.expect("a fault");
    world.expect_by("5.1", expected(&fault.kind), fault);
    is_fatal(world, &other).await
}

/// What holds once a process is fatal.
async fn is_fatal(world: &World<'_>, other: &Dpa) -> Outcome {
    assert!(other.launch(nothing).submit().is_err());
    assert!(SyncEvent::device_to_host(other).is_err());
    world.saw("5.2");
    let first = other.last_error().expect("a fault").to_string();
    assert_eq!(other.last_error().expect("still").to_string(), first);
    assert_ne!(other.error_status(), ErrorStatus::NoError);
    world.saw("5.6");
    let beside = world.any().dpa.call(sum_to, SumToArgs { last: 10 }).await?;
    assert_eq!(beside, 55);
    world.saw("5.3");
    let dpa = &world.any().dpa;
    let event = SyncEvent::device_to_host(dpa)?;
    let stale = event.handle();
    drop(event);
    assert_ne!(SyncEvent::device_to_host(dpa)?.handle(), stale);
    world.saw("5.4");
    Ok(())
}

/// Two kernels that wait for each other are reported, with what they wait for.
pub async fn deadlock(world: &World<'_>) -> Outcome {
    let other = world.any().dpa.open_beside()?;
    let (a, b) = (
        SyncEvent::device_to_device(&other)?,
        SyncEvent::device_to_device(&other)?,
    );
    let mut launches = Vec::new();
    for (from, to) in [(&a, &b), (&b, &a)] {
        let args = RelayArgs { from, value: 1, to };
        launches.push(other.launch(relay).args(args).submit_async().await?);
    }
    for launch in launches {
        assert!(launch.await.is_err());
    }
    let fault = other.last_error().expect("a fault");
    let known = fault.kind == FaultKind::Deadlock && fault.waiting.len() == 2;
    world.expect_by("2.10", known, fault);
    Ok(())
}

/// An error handler runs before its process ends.
pub async fn error_handlers(world: &World<'_>) -> Outcome {
    let other = world.any().dpa.open_beside()?;
    let told = SyncEvent::builder(&other)
        .publisher(Location::Host | Location::Device)
        .subscriber(Location::Host | Location::Device)
        .create()?;
    let note = other.zeroed::<u64>(3).await?;
    let args = CleansUpArgs {
        note: &note,
        told: &told,
        worse: 0,
    };
    other.on_error(cleans_up, args)?;
    let failing = other.launch(gives_up).args(GivesUpArgs { code: 150 });
    assert!(failing.submit_async().await?.await.is_err());
    let fault = other.failed().await.expect("a fault");
    assert_eq!(note.copy_out().await?[0], 0xdead);
    world.expect_by("5.5", fault.kind == FaultKind::User { code: 150 }, fault);
    Ok(())
}

/// A node's process becomes fatal: its peers are told, its regions are out of reach.
pub async fn by_a_peer(world: &World<'_>) -> Outcome {
    let (_, to, here, there) = pair(world, |rdma| rdma)?;
    let other = world.nodes[to].dpa.open_beside()?;
    let address = world.nodes[to].rdma.address().ip();
    let rdma = other.rdma().address(address).open()?;
    let map = rdma.map_host(HostBuffer::new(8), Rights::REMOTE_ATOMIC)?;
    let number = RemoteMemoryMap::import(&map.map().export())?;
    let failing = other.launch(gives_up).args(GivesUpArgs { code: 1 });
    assert!(failing.submit_async().await?.await.is_err());
    other.failed().await;
    assert!(here.connection.fetch_add(&number, 0, 1)?.await.is_err());
    assert_eq!(map.buffer().to_vec(), [0; 8]);
    drop(there);
    world.saw("5.2");
    Ok(())
}
