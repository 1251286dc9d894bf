//! What a heap gives out, takes back and refuses.

use dpa_abi::pod::{Load, Store};

use super::*;

fn heap() -> (Heap, Epochs) {
    (
        Heap::new(8192, true).expect("address space"),
        Epochs::default(),
    )
}

#[test]
fn rule_4_1_allocations_are_aligned_zeroed_on_request_and_freed() {
    let (heap, epochs) = heap();
    let a = heap.alloc(&epochs, 100, true).expect("room");
    assert_eq!(a % GRANULE, 0);
    let mut cell = heap.checked(a, 100).expect("live");
    assert_eq!(cell.u64(88), 0);
    cell.put_u64(88, 7);
    assert!(heap.free(&epochs, a));
    assert!(!heap.free(&epochs, a), "freed once");
    let b = heap.alloc(&epochs, 100, true).expect("room");
    assert_eq!(heap.checked(b, 100).expect("live").u64(88), 0);
}

/// For any type, and none shares a line with another, whatever lies before it.
#[test]
fn rule_4_1_every_allocation_begins_at_a_line() {
    let (heap, epochs) = heap();
    for bytes in [1, 3, 65, 100] {
        let at = heap.alloc(&epochs, bytes, false).expect("room");
        assert_eq!(at % 64, 0, "{bytes}");
    }
}

#[test]
fn rule_4_1_a_freed_range_cannot_be_bound_again() {
    let (heap, epochs) = heap();
    let a = heap.alloc(&epochs, 64, false).expect("room");
    assert!(heap.bind(a, 64, 8).is_ok());
    heap.free(&epochs, a);
    assert_eq!(
        heap.bind(a, 64, 8),
        Err(FaultKind::OutOfRange { addr: a, len: 64 })
    );
}

#[test]
fn rule_4_1_a_unit_that_has_bound_it_before_cannot_bind_it_when_it_is_freed() {
    let (heap, epochs) = heap();
    let recent = Recent::default();
    let a = heap.alloc(&epochs, 64, false).expect("room");
    let first = heap.bind_again(&recent, a, 64, 8).expect("live");
    assert!(recent.knows(0, a, 64), "remembered");
    assert_eq!(heap.bind_again(&recent, a, 64, 8), Ok(first));
    let unaligned = FaultKind::Unaligned {
        addr: a + 1,
        align: 8,
    };
    assert_eq!(heap.bind_again(&recent, a + 1, 8, 8), Err(unaligned));
    heap.free(&epochs, a);
    let gone = FaultKind::OutOfRange { addr: a, len: 64 };
    assert_eq!(heap.bind_again(&recent, a, 64, 8), Err(gone));
}

#[test]
fn rule_4_1_a_freed_range_is_reused_only_after_older_launches_are_over() {
    let (heap, epochs) = heap();
    let a = heap.alloc(&epochs, 8192, false).expect("room");
    let running = epochs.enter();
    heap.free(&epochs, a);
    let none = OutOfMemory {
        asked: 8192,
        free: 0,
        largest: 0,
    };
    assert_eq!(heap.alloc(&epochs, 8192, false), Err(none));
    epochs.leave(running);
    assert_eq!(heap.alloc(&epochs, 8192, false), Ok(a));
}

#[test]
fn rule_4_1_out_of_memory_says_asked_free_and_largest() {
    let (heap, epochs) = heap();
    let a = heap.alloc(&epochs, 2048, false).expect("room");
    let _b = heap.alloc(&epochs, 2048, false).expect("room");
    heap.free(&epochs, a);
    let error = heap.alloc(&epochs, 5000, false).expect_err("too much");
    assert_eq!(
        error,
        OutOfMemory {
            asked: 5000,
            free: 6144,
            largest: 4096
        }
    );
    assert_eq!(
        heap.alloc(&epochs, u64::MAX, false)
            .expect_err("too much")
            .asked,
        u64::MAX
    );
}

/// Whether the mapping at this native address asks for huge pages.
fn asks_for_huge_pages(at: usize) -> bool {
    let smaps = std::fs::read_to_string("/proc/self/smaps").expect("of this process");
    let mut here = false;
    for line in smaps.lines() {
        let range = line.split(' ').next().and_then(|word| word.split_once('-'));
        let number = |text| usize::from_str_radix(text, 16).ok();
        if let Some((Some(start), Some(end))) = range.map(|(a, b)| (number(a), number(b))) {
            here = (start..end).contains(&at);
        } else if let Some(flags) = line.strip_prefix("VmFlags:").filter(|_| here) {
            return flags.split(' ').any(|flag| flag == "hg");
        }
    }
    panic!("{at:#x} is mapped");
}

#[test]
fn only_large_allocations_ask_for_huge_pages() {
    let system_has_them = std::path::Path::new("/sys/kernel/mm/transparent_hugepage").exists();
    let epochs = Epochs::default();
    let heap = Heap::new(64 << 20, false).expect("address space");
    let small: Vec<u64> = (0..8)
        .map(|_| heap.alloc(&epochs, 1 << 20, true).expect("room"))
        .collect();
    let large = heap.alloc(&epochs, 16 << 20, true).expect("room");
    let after = heap.alloc(&epochs, 1 << 20, true).expect("room");
    let asks = |addr| asks_for_huge_pages(heap.native(addr).as_ptr() as usize);
    for offset in [2 << 20, 8 << 20, (14 << 20) - 1] {
        assert_eq!(asks(large + offset), system_has_them);
    }
    for &addr in small.iter().chain(&[after]) {
        assert!(!asks(addr) && !asks(addr + (1 << 20) - 1));
    }
}

#[test]
fn rule_4_2_addresses_are_checked_for_range_and_alignment() {
    let (heap, epochs) = heap();
    let a = heap.alloc(&epochs, 100, false).expect("room");
    assert!(heap.bind(a + 96, 4, 4).is_ok());
    assert_eq!(
        heap.bind(a + 1, 4, 4),
        Err(FaultKind::Unaligned {
            addr: a + 1,
            align: 4
        })
    );
    for (addr, len) in [
        (a, 101),
        (a + 100, 1),
        (a - 8, 8),
        (a, u64::MAX),
        (0, 1),
        (u64::MAX, 8),
    ] {
        assert_eq!(
            heap.bind(addr, len, 1),
            Err(FaultKind::OutOfRange { addr, len })
        );
    }
}
