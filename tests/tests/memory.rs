//! Sections 3 and 4: calls and memory.

mod drivers;

use doca_dpa::error::{CallError, LaunchError, MemoryError};
use doca_dpa::{Builder, Dpa, Error, FaultKind, Sim};
use drivers::{both, both_on};
use tests::*;

fn small() -> Builder {
    Dpa::builder().workers(2).heap_bytes(1 << 20)
}

#[test]
fn rule_3_a_call_gives_its_result_in_order_of_submission() {
    both(async |dpa| {
        let xs = dpa.copy_in(&[1u32, 2, 39]).await?;
        assert_eq!(dpa.call(sum_of, SumOfArgs { xs: &xs }).await?, 42);
        let next = dpa.zeroed::<u64>(1).await?;
        for n in 0..10 {
            assert_eq!(dpa.call(ticket, TicketArgs { next: &next }).await?, n);
        }
        assert_eq!(dpa.call_blocking(ticket, TicketArgs { next: &next })?, 10);
        Ok(())
    });
}

#[test]
fn rule_3_a_fault_in_a_call_is_its_error_and_makes_the_process_fatal() {
    both(async |dpa| {
        match dpa.call(panicking_call, ()).await {
            Err(CallError::Failed(LaunchError::Faulted(fault))) => {
                assert_eq!(fault.kernel, "panicking_call");
                assert_eq!(fault.message.as_deref(), Some("not today"));
            }
            other => panic!("{other:?}"),
        }
        assert!(dpa.last_error().is_some());
        assert!(matches!(
            dpa.call(panicking_call, ()).await,
            Err(CallError::Refused(_))
        ));
        Ok(())
    });
}

#[test]
fn rule_3_a_call_that_ends_itself_is_a_fault_and_no_result() {
    both(async |dpa| {
        assert_eq!(dpa.call(leaving_call, LeavingCallArgs { how: 3 }).await?, 0);
        for how in 0..3 {
            let other = dpa.open_beside()?;
            let ended = other.call(leaving_call, LeavingCallArgs { how }).await;
            let Err(CallError::Failed(LaunchError::Faulted(fault))) = ended else {
                panic!("{ended:?}");
            };
            assert_eq!(
                (fault.kind, fault.kernel.as_str()),
                (FaultKind::NoResult, "leaving_call")
            );
            let place = fault.place.as_ref().expect("a place");
            assert!(place.file.ends_with("tests/src/lib.rs"), "{fault}");
        }
        Ok(())
    });
}

#[test]
fn rule_4_1_freed_memory_is_poisoned_under_the_seeded_driver() {
    let run = Sim::new(1).run(async |dpa: Dpa| {
        let buffer = dpa.copy_in(&[7u64; 8]).await?;
        let at = buffer.addr();
        drop(buffer);
        let again = dpa.alloc::<u64>(8)?;
        assert_eq!(again.addr(), at);
        assert_eq!(again.copy_out().await?, [0xdede_dede_dede_dede; 8]);
        Ok::<_, Error>(())
    });
    run.expect("ends").value.expect("no errors");
}

#[test]
fn rule_4_1_out_of_memory_says_asked_free_and_largest() {
    both_on(&small(), async |dpa| {
        let half = dpa.zeroed::<u8>(512 << 10).await?;
        match dpa.zeroed::<u8>(600 << 10).await {
            Err(MemoryError::OutOfMemory(error)) => {
                assert_eq!(
                    (error.asked, error.free, error.largest),
                    (600 << 10, 512 << 10, 512 << 10)
                );
            }
            other => panic!("{other:?}"),
        }
        drop(half);
        dpa.zeroed::<u8>(600 << 10).await?;
        Ok(())
    });
}

#[test]
fn rule_4_1_memory_is_zeroed_on_request_and_freed_on_drop() {
    both_on(&small(), async |dpa| {
        for _ in 0..100 {
            let buffer = dpa.zeroed::<u64>(8 << 10).await?;
            assert!(buffer.copy_out().await?.iter().all(|&v| v == 0));
            buffer.fill(u64::MAX).await?;
        }
        assert_eq!(dpa.snapshot().heap.allocations, 0);
        Ok(())
    });
}

#[test]
fn rule_4_2_copies_are_complete_when_they_return() {
    both_on(&small(), async |dpa| {
        let buffer = dpa.copy_in(&[1u16, 2, 3, 4]).await?;
        buffer.write(1, &[20, 30]).await?;
        assert_eq!(buffer.copy_out().await?, [1, 20, 30, 4]);
        buffer.fill_blocking(7)?;
        assert_eq!(buffer.slice(1..3)?.read()?, [7, 7]);
        assert!(matches!(
            buffer.write(3, &[0, 0]).await,
            Err(MemoryError::Range {
                first: 3,
                end: 5,
                len: 4
            })
        ));
        assert!(buffer.slice(2..5).is_err());
        Ok(())
    });
}

#[test]
fn rule_4_2_a_freed_address_is_a_fault_in_a_kernel() {
    both_on(&small(), async |dpa| {
        let buffer = dpa.zeroed::<u32>(4).await?;
        let addr = buffer.addr();
        dpa.launch(binds)
            .args(BindsArgs { addr, len: 4u64 })
            .submit()?
            .await?;
        drop(buffer);
        let launch = dpa
            .launch(binds)
            .args(BindsArgs { addr, len: 4u64 })
            .submit()?;
        let Err(LaunchError::Faulted(fault)) = launch.await else {
            panic!("a freed range cannot be bound again");
        };
        assert!(
            matches!(fault.kind, doca_dpa::FaultKind::OutOfRange { len: 16, .. }),
            "{fault}"
        );
        Ok(())
    });
}

#[test]
fn rule_4_2_an_unaligned_address_is_a_fault_in_a_kernel() {
    both_on(&small(), async |dpa| {
        let buffer = dpa.zeroed::<u32>(4).await?;
        let addr = buffer.addr().byte_add(2);
        let launch = dpa
            .launch(binds)
            .args(BindsArgs { addr, len: 1u64 })
            .submit()?;
        let Err(LaunchError::Faulted(fault)) = launch.await else {
            panic!("an unaligned address cannot be bound");
        };
        assert!(
            matches!(fault.kind, doca_dpa::FaultKind::Unaligned { align: 4, .. }),
            "{fault}"
        );
        Ok(())
    });
}
