//! Memory maps and what is cut out of them, by value and by handle; events that kernels read.

mod drivers;

use doca_dpa::rdma::{BufferArray, MapError};
use doca_dpa::{FaultKind, Location, SyncEvent};
use drivers::both;
use tests::async_ops::{CopyOverArgs, copy_over};
use tests::memory_maps::*;

#[test]
fn a_buffer_array_is_equal_elements_of_a_map() {
    both(async |dpa| {
        let ops = dpa.async_ops().open()?;
        let words: Vec<u64> = (100..132).collect();
        let (from, to) = (dpa.copy_in(&words).await?, dpa.zeroed::<u64>(32).await?);
        let (from, into) = (ops.map(&from)?, ops.map(&to)?);
        // Seven elements of three words, behind the first word.
        let elements = BufferArray::new(&from, 24, 7, 8)?;
        let opposite = BufferArray::new(&into, 24, 7, 8)?;
        assert_eq!((elements.len(), elements.is_empty()), (7, false));
        let count = dpa.zeroed::<u64>(1).await?;
        let args = ReverseElementsArgs {
            ops: &ops,
            done: ops.completions(),
            from: &elements,
            to: opposite.handle(),
            count: &count,
        };
        dpa.launch(reverse_elements).args(args).submit()?.await?;
        assert_eq!(count.copy_out().await?, [7]);
        let mut expected = vec![0; 32];
        for (index, element) in words[1..22].chunks(3).enumerate() {
            let at = 1 + (6 - index) * 3;
            expected[at..at + 3].copy_from_slice(element);
        }
        assert_eq!(to.copy_out().await?, expected);
        Ok(())
    });
}

#[test]
fn an_array_ends_with_its_map_and_with_its_last_element() {
    both(async |dpa| {
        let ops = dpa.async_ops().open()?;
        let memory = dpa.zeroed::<u8>(256).await?;
        let map = ops.map(&memory)?;
        assert!(BufferArray::new(&map, 24, 7, 88).is_ok());
        for (element, count, offset) in [(24, 7, 89), (1, 1, u64::MAX), (u32::MAX, u32::MAX, 0)] {
            let refused = BufferArray::new(&map, element, count, offset).expect_err("too far");
            let size_is_said = matches!(refused, MapError::OutOfRange { size: 256, .. });
            assert!(size_is_said, "{refused}");
        }
        let array = BufferArray::new(&map, 24, 7, 88)?;
        let address = dpa.zeroed::<u64>(1).await?;
        let args = ElementBehindArgs {
            array: &array,
            address: &address,
        };
        assert!(
            dpa.launch(element_behind)
                .args(args)
                .submit()?
                .await
                .is_err()
        );
        let fault = dpa.last_error().expect("a fault");
        assert!(matches!(fault.kind, FaultKind::Panic), "{fault}");
        Ok(())
    });
}

#[test]
fn a_map_is_named_by_its_handle_too() {
    both(async |dpa| {
        let ops = dpa.async_ops().user_data(77).open()?;
        let (from, to) = (dpa.copy_in(&[3u8; 48]).await?, dpa.zeroed::<u8>(48).await?);
        let (source, target) = (ops.map(&from)?, ops.map(&to)?);
        let args = CopyOverArgs {
            ops: &ops,
            done: ops.completions(),
            to: target.handle(),
            from: source.handle(),
            shift: 0,
        };
        dpa.launch(copy_over).args(args).submit()?.await?;
        assert_eq!(to.copy_out().await?, [3; 48]);
        Ok(())
    });
}

#[test]
fn rule_1_8_kernels_read_an_event() {
    both(async |dpa| {
        let event = SyncEvent::builder(&dpa)
            .publisher(Location::Host | Location::Device)
            .subscriber(Location::Host)
            .create()?;
        event.set(37)?;
        let values = dpa.zeroed::<u64>(2).await?;
        let args = ReadEventArgs {
            event: &event,
            values: &values,
        };
        dpa.launch(read_event).args(args).submit()?.await?;
        assert_eq!(values.copy_out().await?, [37, 42]);
        Ok(())
    });
}
