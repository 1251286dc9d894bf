//! Windows: kernels that see host memory.

mod drivers;

use doca_dpa::rdma::HostBuffer;
use doca_dpa::{FaultKind, SyncEvent, WindowError};
use drivers::both;
use tests::CountArgs;
use tests::windows::*;

fn numbers(count: u64) -> HostBuffer {
    let bytes: Vec<u8> = (0..count).flat_map(u64::to_ne_bytes).collect();
    HostBuffer::from_bytes(&bytes)
}

fn words(buffer: &HostBuffer) -> Vec<u64> {
    let bytes = buffer.to_vec();
    let words = bytes
        .chunks_exact(8)
        .map(|word| word.try_into().expect("eight bytes"));
    words.map(u64::from_ne_bytes).collect()
}

#[test]
fn kernels_overwrite_host_memory() {
    both(async |dpa| {
        let window = dpa.window::<u64>(numbers(1000))?;
        let args = DoubleArgs { numbers: &window };
        dpa.launch(double).args(args).threads(8).submit()?.await?;
        let doubled: Vec<u64> = (0..1000).map(|n| n * 2).collect();
        assert_eq!(words(window.buffer()), doubled);
        // A part of it, and what the host changes between.
        window.buffer().write(0, &100u64.to_ne_bytes())?;
        let args = DoubleArgs {
            numbers: window.all().slice(..1)?,
        };
        dpa.launch(double).args(args).submit()?.await?;
        let buffer = window.into_buffer();
        assert_eq!(words(&buffer)[..2], [200, 2]);
        Ok(())
    });
}

#[test]
fn a_window_for_reading_refuses_to_be_written() {
    both(async |dpa| {
        let window = dpa.read_window::<u64>(numbers(100))?;
        let total = dpa.zeroed::<u64>(1).await?;
        let args = SumUpArgs {
            numbers: &window,
            total: &total,
        };
        dpa.launch(sum_up).args(args).threads(4).submit()?.await?;
        assert_eq!(total.copy_out().await?, [4950]);
        let args = DoubleArgs { numbers: &window };
        assert!(dpa.launch(double).args(args).submit()?.await.is_err());
        let fault = dpa.last_error().expect("a fault");
        assert!(
            matches!(fault.kind, FaultKind::NotWritable { .. }),
            "{fault}"
        );
        assert_eq!(words(window.buffer()), (0..100).collect::<Vec<_>>());
        Ok(())
    });
}

#[test]
fn rule_4_2_a_window_for_reading_refuses_atomics() {
    both(async |dpa| {
        let window = dpa.read_window::<u64>(numbers(1))?;
        let launch = dpa.launch(tests::count).args(CountArgs { total: &window });
        assert!(launch.submit()?.await.is_err());
        let fault = dpa.last_error().expect("a fault");
        assert!(
            matches!(fault.kind, FaultKind::NotWritable { .. }),
            "{fault}"
        );
        assert_eq!(words(window.buffer()), [0]);
        Ok(())
    });
}

#[test]
fn rule_4_4_atomics_through_a_window_go_past_caches() {
    both(async |dpa| {
        let window = dpa.window::<u64>(numbers(1))?;
        let launch = dpa.launch(tests::count).args(CountArgs { total: &window });
        launch.threads(16).submit()?.await?;
        assert_eq!(words(window.buffer()), [16]);
        Ok(())
    });
}

#[test]
fn rule_4_1_a_window_ends_at_its_last_byte_and_with_its_last_holder() {
    for what in 0..3 {
        both(async |dpa| {
            let window = dpa.window::<u64>(numbers(4))?;
            let at = match what {
                0 => window.addr().element(4),
                1 => window.addr().byte_add(4),
                _ => window.addr(),
            };
            let window = Some(window).filter(|_| what < 2);
            let args = StoreAtArgs { at, value: 1 };
            assert!(dpa.launch(store_at).args(args).submit()?.await.is_err());
            let kind = dpa.last_error().expect("a fault").kind;
            let expected = match what {
                1 => matches!(kind, FaultKind::Unaligned { .. }),
                _ => matches!(kind, FaultKind::OutOfRange { .. }),
            };
            assert!(expected, "{what}: {kind:?}");
            drop(window);
            Ok(())
        });
    }
}

/// Another process's window, by its address.
#[test]
fn rule_4_1_a_process_sees_only_its_own_windows() {
    both(async |dpa| {
        let other = dpa.open_beside()?;
        let window = other.window::<u64>(numbers(4))?;
        let foreign = dpa.launch(double).args(DoubleArgs { numbers: &window });
        assert!(foreign.submit().is_err(), "refused before it starts");
        let args = StoreAtArgs {
            at: window.addr(),
            value: 1,
        };
        assert!(dpa.launch(store_at).args(args).submit()?.await.is_err());
        assert_eq!(words(window.buffer()), [0, 1, 2, 3]);
        Ok(())
    });
}

/// The memory behind a window stays as long as a launch that has bound it may use it.
#[test]
fn rule_4_1_memory_outlives_the_launches_that_bound_it() {
    both(async |dpa| {
        let bound = SyncEvent::device_to_host(&dpa)?;
        let go = SyncEvent::host_to_device(&dpa)?;
        for round in 1..=20 {
            let window = dpa.window::<u64>(HostBuffer::new(4096))?;
            let args = StoreLateArgs {
                at: window.addr(),
                bound: &bound,
                go: &go,
            };
            let launch = dpa.launch(store_late).args(args).submit()?;
            bound.ge(round).await?;
            drop(window);
            // Another takes its place, and its memory, if that were free.
            let next = dpa.window::<u64>(HostBuffer::new(4096))?;
            go.set(1)?;
            launch.await?;
            assert_eq!(words(next.buffer()), [0; 512], "round {round}");
            go.set(0)?;
        }
        Ok(())
    });
}

#[test]
fn places_of_windows_are_used_again_up_to_a_limit() {
    both(async |dpa| {
        for _ in 0..5000 {
            let window = dpa.window::<u64>(HostBuffer::new(8)).expect("a place");
            assert_eq!(window.len(), 1);
        }
        let open: Vec<_> = (0..1024)
            .map(|_| dpa.window::<u8>(HostBuffer::new(1)).expect("a place"))
            .collect();
        let full = dpa.window::<u8>(HostBuffer::from_bytes(b"kept"));
        let full = full.expect_err("full");
        assert_eq!(full.error, WindowError::Full { limit: 1024 });
        drop(open);
        let again = dpa.window::<u8>(full.buffer).expect("a place");
        assert_eq!(again.into_buffer().to_vec(), b"kept");
        Ok(())
    });
}

#[test]
fn kernels_copy_between_device_and_host_memory() {
    both(async |dpa| {
        let from: Vec<u64> = (0..10_000).map(|n| n * n).collect();
        let device = dpa.copy_in(&from).await?;
        let host = dpa.window::<u64>(HostBuffer::new(80_000))?;
        let back = dpa.zeroed::<u64>(10_000).await?;
        let args = CopyAroundArgs {
            from: &device,
            host: &host,
            to: &back,
        };
        dpa.launch(copy_around)
            .args(args)
            .threads(7)
            .submit()?
            .await?;
        assert_eq!(words(host.buffer()), from);
        assert_eq!(back.copy_out().await?, from);
        Ok(())
    });
}
