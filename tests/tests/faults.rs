//! Section 5: faults.

mod drivers;
mod places;

use doca_dpa::error::{EventError, LaunchError, LaunchRefused};
use doca_dpa::{CollectiveKind, FaultKind, ReduceOp, SyncEvent};
use drivers::both;
use places::everywhere;
use tests::device::{CleansUpArgs, SaysWhoArgs, cleans_up, finishes_process, says_who};
use tests::isolation::{GuessEventArgs, guess_event};
use tests::*;

#[test]
fn rule_5_1_a_panic_says_kernel_launch_place_and_message() {
    both(async |dpa| {
        let (seen, done) = (dpa.zeroed::<u64>(3).await?, everywhere(&dpa)?);
        let args = SaysWhoArgs {
            seen: &seen,
            done: &done,
        };
        dpa.launch(says_who).args(args).submit()?.await?;
        let before = seen.copy_out().await?[0];
        let launch = dpa
            .launch(panics)
            .args(PanicsArgs { number: 13u64 })
            .submit()?;
        assert!(matches!(launch.await, Err(LaunchError::Faulted(_))));
        let fault = dpa.last_error().expect("a fault");
        assert_eq!(
            (fault.kind, fault.kernel.as_str(), fault.rank),
            (FaultKind::Panic, "panics", 0)
        );
        assert_eq!(fault.launch, before + 1, "numbered as submitted");
        assert_eq!(fault.message.as_deref(), Some("the number is 13"));
        assert!(
            fault
                .place
                .as_ref()
                .is_some_and(|place| place.file.ends_with("tests/src/lib.rs"))
        );
        Ok(())
    });
}

#[test]
fn rule_5_1_an_index_out_of_bounds_says_index_and_length() {
    both(async |dpa| {
        let xs = dpa.zeroed::<u32>(5).await?;
        let launch = dpa
            .launch(reads_too_far)
            .args(ReadsTooFarArgs { xs: &xs })
            .submit()?;
        assert!(launch.await.is_err());
        let fault = dpa.last_error().expect("a fault");
        assert_eq!(fault.kind, FaultKind::OutOfBounds { index: 5, len: 5 });
        Ok(())
    });
}

#[test]
fn rule_5_1_an_error_code_reaches_the_host() {
    both(async |dpa| {
        let launch = dpa
            .launch(gives_up)
            .args(GivesUpArgs { code: 77u64 })
            .submit()?;
        assert!(launch.await.is_err());
        assert_eq!(
            dpa.last_error().map(|f| f.kind),
            Some(FaultKind::User { code: 77 })
        );
        Ok(())
    });
}

// A sanitizer takes the signal of an overflow for itself.
#[cfg(not(dpa_sanitize))]
#[test]
fn rule_5_1_a_stack_overflow_does_not_kill_the_host() {
    both(async |dpa| {
        for _ in 0..3 {
            let victim = dpa.open_beside()?;
            let launch = victim
                .launch(overflows)
                .args(OverflowsArgs { depth: 0u64 })
                .submit()?;
            let Err(LaunchError::Faulted(fault)) = launch.await else {
                panic!("an overflow is a fault");
            };
            assert!(
                matches!(fault.kind, FaultKind::StackOverflow { .. }),
                "{fault}"
            );
        }
        dpa.launch(nothing).submit()?.await?;
        Ok(())
    });
}

#[test]
fn rule_5_5_no_error_handler_runs_when_a_process_finishes() {
    both(async |dpa| {
        let (told, note) = (everywhere(&dpa)?, dpa.zeroed::<u64>(3).await?);
        let args = CleansUpArgs {
            note: &note,
            told: &told,
            worse: 0u64,
        };
        dpa.on_error(cleans_up, args)?;
        assert!(dpa.launch(finishes_process).submit()?.await.is_err());
        let end = dpa.failed().await.expect("it has ended");
        assert_eq!(end.kind, FaultKind::Finished);
        assert_eq!(told.get(), 0);
        assert_eq!(note.copy_out().await?, [0; 3]);
        Ok(())
    });
}

/// Whichever of the two comes first.
#[test]
fn rule_5_1_who_does_not_meet_the_others_is_told_of_with_its_place() {
    both(async |dpa| {
        let (never, told) = (everywhere(&dpa)?, everywhere(&dpa)?);
        let note = dpa.zeroed::<u64>(3).await?;
        let args = CleansUpArgs {
            note: &note,
            told: &told,
            worse: 0u64,
        };
        dpa.on_error(cleans_up, args)?;
        let args = DoesNotMeetArgs { never: &never };
        let launch = dpa.launch(does_not_meet).args(args).threads(3).submit()?;
        let Err(LaunchError::Faulted(fault)) = launch.await else {
            panic!("they do not meet");
        };
        let reduction = CollectiveKind::Reduce { op: ReduceOp::Max };
        let (called, others) = match fault.rank {
            0 => (CollectiveKind::Barrier, reduction),
            2 => (reduction, CollectiveKind::Barrier),
            _ => panic!("{fault}"),
        };
        let kind = FaultKind::CollectiveMismatch { called, others };
        assert_eq!((fault.kind, fault.kernel.as_str()), (kind, "does_not_meet"));
        let place = fault.place.as_ref().expect("a place");
        assert!(place.file.ends_with("tests/src/lib.rs"), "{fault}");
        assert!(fault.to_string().contains("a reduction (Max)"), "{fault}");
        assert_eq!((told.get(), note.copy_out().await?[0]), (1, 0xdead));
        Ok(())
    });
}

/// Whatever else its context has that could wake a thread: nothing ends this meeting.
#[test]
fn rule_2_4_who_waits_for_one_that_has_returned_is_told() {
    both(async |dpa| {
        for beside in [false, true] {
            let dpa = dpa.open_beside()?;
            let _ops = beside.then(|| dpa.async_ops().open()).transpose()?;
            let launch = dpa.launch(stays_away).threads(3).submit()?;
            let Err(LaunchError::Faulted(fault)) = launch.await else {
                panic!("they do not meet");
            };
            let called = CollectiveKind::Barrier;
            assert_eq!(fault.kind, FaultKind::CollectiveMissed { called });
            assert_eq!(fault.kernel, "stays_away");
            assert_ne!(fault.rank, 0);
            let place = fault.place.as_ref().expect("a place");
            assert!(place.file.ends_with("tests/src/lib.rs"), "{fault}");
        }
        Ok(())
    });
}

#[test]
fn rule_5_2_everything_pending_resolves_with_the_cause() {
    both(async |dpa| {
        let gate = SyncEvent::host_to_device(&dpa)?;
        let done = SyncEvent::device_to_host(&dpa)?;
        let total = dpa.zeroed::<u64>(1).await?;
        let parked = dpa
            .launch(nothing)
            .wait_for(gate.ge(1))
            .then_add(&done, 1)
            .submit()?;
        let waiting = dpa
            .launch(wait_then_count)
            .args(WaitThenCountArgs {
                event: &gate,
                value: 1u64,
                total: &total,
            })
            .submit()?;
        let awaited = done.ge(1).into_future();
        dpa.launch(panics)
            .args(PanicsArgs { number: 1u64 })
            .submit()?;
        assert!(matches!(parked.await, Err(LaunchError::Faulted(f)) if f.kernel == "panics"));
        assert!(matches!(waiting.await, Err(LaunchError::Faulted(f)) if f.kernel == "panics"));
        assert!(matches!(awaited.await, Err(EventError::Faulted(f)) if f.kernel == "panics"));
        let refused = dpa
            .launch(nothing)
            .submit()
            .expect_err("new work is refused");
        assert!(matches!(refused.kind(), LaunchRefused::Faulted(f) if f.kernel == "panics"));
        assert!(matches!(gate.add(1), Err(EventError::Faulted(_))));
        assert_eq!(total.copy_out().await?, [0], "memory can still be read");
        Ok(())
    });
}

#[test]
fn rule_5_3_other_contexts_go_on_and_looking_does_not_clear() {
    both(async |dpa| {
        let other = dpa.open_beside()?;
        let total = other.zeroed::<u64>(1).await?;
        let launch = dpa
            .launch(panics)
            .args(PanicsArgs { number: 1u64 })
            .threads(16)
            .submit()?;
        assert!(launch.await.is_err());
        for _ in 0..100 {
            other
                .launch(count)
                .args(CountArgs { total: &total })
                .threads(16)
                .submit()?
                .await?;
        }
        assert_eq!(total.copy_out().await?, [1600]);
        assert!(other.last_error().is_none());
        assert!(dpa.last_error().is_some() && dpa.last_error().is_some());
        Ok(())
    });
}

#[test]
fn rule_5_4_a_stale_handle_is_an_error_never_another_event() {
    both(async |dpa| {
        let event = SyncEvent::device_to_host(&dpa)?;
        let stale = event.handle();
        drop(event);
        let fresh = (0..10).map(|_| SyncEvent::device_to_host(&dpa));
        let fresh: Vec<_> = fresh.collect::<Result<_, _>>()?;
        let in_its_place = |event: &SyncEvent| event.handle().0.index == stale.0.index;
        assert!(fresh.iter().any(in_its_place), "its place is used again");
        assert!(fresh.iter().all(|event| event.handle() != stale));
        let args = GuessEventArgs { event: stale };
        assert!(dpa.launch(guess_event).args(args).submit()?.await.is_err());
        let kind = dpa.last_error().expect("a fault").kind;
        assert!(matches!(kind, FaultKind::StaleHandle { .. }), "{kind:?}");
        assert!(fresh.iter().all(|event| event.get() == 0));
        Ok(())
    });
}
