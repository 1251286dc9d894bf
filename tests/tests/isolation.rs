//! Two processes on one device cannot touch each other's events, threads, memory or keys, by guessing either.

mod drivers;

use doca_dpa::rdma::HostBuffer;
use doca_dpa::{Dpa, DpaThread, FaultKind, Location, SyncEvent};
use drivers::both;
use tests::isolation::*;
use tests::threads::{TickArgs, tick};
use tests::windows::{StoreAtArgs, store_at};

const LOCAL_PROTECTION: u64 = 4;

/// An attacker and a victim on one device.
fn two(attacker: Dpa) -> Result<(Dpa, Dpa), Box<dyn std::error::Error>> {
    let victim = attacker.open_beside()?;
    Ok((attacker, victim))
}

/// A handle of the victim's names nothing here, or an event of one's own.
#[test]
fn events_of_another_process_have_no_handle_here() {
    both(async |dpa| {
        let (first, victim) = two(dpa)?;
        let theirs: Vec<_> = (0..5)
            .map(|_| SyncEvent::device_to_device(&victim))
            .collect::<Result<_, _>>()?;
        for event in &theirs {
            let attacker = first.open_beside()?;
            let args = GuessEventArgs {
                event: event.handle(),
            };
            assert!(
                attacker
                    .launch(guess_event)
                    .args(args)
                    .submit()?
                    .await
                    .is_err()
            );
            let kind = attacker.last_error().expect("a fault").kind;
            assert!(matches!(kind, FaultKind::StaleHandle { .. }), "{kind:?}");
        }
        let own = SyncEvent::device_to_host(&first)?;
        let args = GuessEventArgs {
            event: own.handle(),
        };
        first.launch(guess_event).args(args).submit()?.await?;
        assert_eq!(own.get(), 1);
        assert!(theirs.iter().all(|event| event.get() == 0));
        assert!(victim.last_error().is_none());
        Ok(())
    });
}

#[test]
fn threads_of_another_process_have_no_handle_here() {
    both(async |dpa| {
        let (attacker, victim) = two(dpa)?;
        let total = SyncEvent::device_to_host(&victim)?;
        let thread = || victim.thread(tick, TickArgs { total: &total }).start();
        let threads: Vec<_> = (0..20).map(|_| thread()).collect::<Result<_, _>>()?;
        threads.iter().try_for_each(DpaThread::run)?;
        let found = attacker.zeroed::<u64>(1).await?;
        let args = GuessThreadsArgs { found: &found };
        attacker.launch(guess_threads).args(args).submit()?.await?;
        victim.wait_idle().await;
        assert_eq!((found.copy_out().await?, total.get()), (vec![0], 0));
        Ok(())
    });
}

/// The heaps of two processes have the same addresses, and nothing else in common.
#[test]
fn an_address_means_something_in_its_own_process_only() {
    both(async |dpa| {
        let (attacker, victim) = two(dpa)?;
        let theirs = victim.copy_in(&[7u64; 1000]).await?;
        let args = StoreAtArgs {
            at: theirs.addr().element(900),
            value: 1,
        };
        assert!(
            attacker
                .launch(store_at)
                .args(args)
                .submit()?
                .await
                .is_err()
        );
        let kind = attacker.last_error().expect("a fault").kind;
        assert!(matches!(kind, FaultKind::OutOfRange { .. }), "{kind:?}");
        assert_eq!(theirs.copy_out().await?, [7; 1000]);
        // The victim goes on.
        assert!(victim.last_error().is_none());
        let args = StoreAtArgs {
            at: theirs.addr(),
            value: 8,
        };
        victim.launch(store_at).args(args).submit()?.await?;
        assert_eq!(theirs.copy_out().await?[0], 8);
        Ok(())
    });
}

/// Also where a unit has just served who may: it remembers nothing of that.
#[test]
fn rule_4_2_what_one_process_has_bound_another_has_not() {
    both(async |dpa| {
        let (attacker, victim) = two(dpa)?;
        let theirs = victim.copy_in(&[7u64; 1000]).await?;
        let at = theirs.addr().element(900);
        // On the units of every worker, most likely.
        for _ in 0..50 {
            let launch = victim.launch(store_at).args(StoreAtArgs { at, value: 8 });
            launch.submit()?.await?;
        }
        let launch = attacker.launch(store_at).args(StoreAtArgs { at, value: 1 });
        assert!(launch.submit()?.await.is_err());
        let kind = attacker.last_error().expect("a fault").kind;
        assert!(matches!(kind, FaultKind::OutOfRange { .. }), "{kind:?}");
        assert_eq!(theirs.copy_out().await?[900], 8);
        Ok(())
    });
}

/// Both processes use the same NIC, and the attacker knows the victim's keys.
#[test]
fn rule_6_5_a_key_of_another_process_is_no_key() {
    for steals in [true, false] {
        both(async |dpa| {
            let (attacker, victim) = two(dpa)?;
            let (their_ops, ops) = (victim.async_ops().open()?, attacker.async_ops().open()?);
            let theirs = their_ops.map_host(HostBuffer::from_bytes(&[7; 8]))?;
            let told = victim.alloc(1)?;
            let args = TellMapArgs {
                map: theirs.map(),
                told: &told,
            };
            victim.launch(tell_map).args(args).submit()?.await?;
            let stolen = told.copy_out().await?[0];
            let own = attacker.copy_in(&[1u64]).await?;
            let result = attacker.zeroed::<u64>(1).await?;
            let told = attacker.alloc(1)?;
            let map = ops.map(&own)?;
            let args = TellMapArgs {
                map: &map,
                told: &told,
            };
            attacker.launch(tell_map).args(args).submit()?.await?;
            let own_map = told.copy_out().await?[0];
            let (to, from) = if steals {
                (own_map, stolen)
            } else {
                (stolen, own_map)
            };
            let args = CopyBetweenArgs {
                ops: &ops,
                done: ops.completions(),
                to,
                from,
                result: &result,
            };
            attacker.launch(copy_between).args(args).submit()?.await?;
            assert_eq!(result.copy_out().await?, [LOCAL_PROTECTION]);
            assert_eq!(theirs.buffer().to_vec(), [7; 8]);
            assert_eq!(own.copy_out().await?, [1]);
            Ok(())
        });
    }
}

/// A process that faults takes nothing of another with it, and events of one cannot be waited for by the other.
#[test]
fn what_belongs_to_another_process_is_refused_at_submission() {
    both(async |dpa| {
        let (attacker, victim) = two(dpa)?;
        let event = SyncEvent::builder(&victim)
            .publisher(Location::Host | Location::Device)
            .subscriber(Location::Device)
            .create()?;
        let found = attacker.zeroed::<u64>(1).await?;
        let launch = attacker
            .launch(guess_threads)
            .args(GuessThreadsArgs { found: &found });
        assert!(launch.wait_for(event.ge(1)).submit().is_err());
        let theirs = victim.zeroed::<u64>(1).await?;
        let launch = attacker
            .launch(guess_threads)
            .args(GuessThreadsArgs { found: &theirs });
        assert!(launch.submit().is_err());
        Ok(())
    });
}
