//! The region table by itself: keys, what each right allows, whose a region is, and that taking one back waits.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rdma::memory::{SpaceId, Target};
use rdma::region::{
    AccessError, Domain, Intent, LocalKey, Range, Region, RegionKind, RegionSpec, RegionTable,
    RegisterError, RemoteKey, Rights, StaleRegion,
};

const OURS: Domain = Domain(7);
const THEIRS: Domain = Domain(9);

fn spec(domain: Domain) -> RegionSpec {
    RegionSpec {
        domain,
        target: Target {
            space: SpaceId(3),
            offset: 4096,
        },
        len: 256,
        local_base: 0x1000,
        remote_base: 0x40,
        rights: Rights::all(),
        kind: RegionKind::Bytes,
    }
}

fn eight(address: u64) -> Range {
    Range { address, len: 8 }
}

fn local(table: &RegionTable, key: LocalKey) -> bool {
    let access = table.local(OURS, key, eight(0x1000), Intent::Write);
    access.is_ok()
}

fn remote(table: &RegionTable, key: RemoteKey) -> bool {
    let access = table.remote(OURS, key, eight(0x40), Intent::Write);
    access.is_ok()
}

fn alive(table: &RegionTable, region: Region) -> (bool, bool) {
    (
        local(table, region.local_key()),
        remote(table, region.remote_key()),
    )
}

#[test]
fn each_region_of_a_slot_has_keys_of_its_own() {
    let table = RegionTable::new(1, 5);
    let mut seen = HashSet::new();
    let mut last: Option<Region> = None;
    for random in [0, 254, 255, 256, u32::MAX, 254 << 16, 255 << 16, 0x1_0001] {
        let region = table.register(spec(OURS), random).expect("room");
        assert!(seen.insert(region.local_key()), "{region:?}");
        assert_eq!(alive(&table, region), (true, true));
        if let Some(last) = last {
            assert_ne!(last.remote_key(), region.remote_key());
            assert_eq!(alive(&table, last), (false, false));
            assert_eq!(table.deregister(last), Err(StaleRegion));
            assert_eq!(alive(&table, region), (true, true));
            // A step is small: keys do not come back for a while.
            let step = |of: fn(Region) -> u32| (of(region) as u16).wrapping_sub(of(last) as u16);
            for of in [|r: Region| r.local_key().0, |r: Region| r.remote_key().0] {
                assert!((1..=255).contains(&step(of)), "{}", step(of));
            }
        }
        assert_eq!(table.deregister(region), Ok(()));
        assert_eq!(table.deregister(region), Err(StaleRegion));
        last = Some(region);
    }
}

/// Steps differ with the random number, of both keys.
#[test]
fn keys_are_not_to_be_guessed_from_the_last() {
    let table = RegionTable::new(1, 5);
    let (mut local, mut remote) = (HashSet::new(), HashSet::new());
    let first = table.register(spec(OURS), 0).expect("room");
    let mut last = (first.local_key().0, first.remote_key().0);
    table.deregister(first).expect("registered");
    for random in 0..100u32 {
        let region = table.register(spec(OURS), random << 16 | (99 - random));
        let region = region.expect("room");
        let now = (region.local_key().0, region.remote_key().0);
        local.insert((now.0 as u16).wrapping_sub(last.0 as u16));
        remote.insert((now.1 as u16).wrapping_sub(last.1 as u16));
        last = now;
        table.deregister(region).expect("registered");
    }
    assert_eq!((local.len(), remote.len()), (100, 100));
}

#[test]
fn the_first_keys_of_tables_and_slots_differ() {
    let keys = |random| {
        let table = RegionTable::new(64, random);
        let region = |_| table.register(spec(OURS), 0).expect("room");
        (0..64).map(region).collect::<Vec<_>>()
    };
    for (one, other) in [(keys(1), keys(1000)), (keys(1 << 40), keys(1 << 41))] {
        let tags = |regions: &[Region]| -> HashSet<(u16, u16)> {
            let tags = |r: &Region| (r.local_key().0 as u16, r.remote_key().0 as u16);
            regions.iter().map(tags).collect()
        };
        let (one, other) = (tags(&one), tags(&other));
        assert_eq!((one.len(), other.len()), (64, 64));
        assert!(one.is_disjoint(&other));
        let apart: HashSet<u16> = one.iter().map(|(local, remote)| local ^ remote).collect();
        assert!(apart.len() > 60, "one key says the other");
    }
}

/// The first tags are the upper half of what splitmix64 gives for this seed and slot, one step on: its known numbers.
#[test]
fn the_first_keys_are_those_of_a_known_generator() {
    const FIRST: [u64; 5] = [
        0xe220_a839_7b1d_cdaf,
        0x6e78_9e6a_a1b9_65f4,
        0x06c4_5d18_8009_454f,
        0xf88b_b8a8_724c_81ec,
        0x1b39_896a_51a8_749b,
    ];
    let table = RegionTable::new(5, 1);
    for (index, number) in FIRST.into_iter().enumerate() {
        let region = table.register(spec(OURS), 0).expect("room");
        let key = |tag: u64| (index as u32) << 16 | u32::from((tag as u16).wrapping_add(1));
        assert_eq!(region.local_key().0, key(number >> 32));
        assert_eq!(region.remote_key().0, key(number >> 48));
    }
}

#[test]
fn the_slots_differ_in_all_bits() {
    let table = RegionTable::new(256, 0);
    let regions: Vec<_> = (0..256)
        .map(|_| table.register(spec(OURS), 0).expect("room"))
        .collect();
    for bit in 0..16 {
        for of in [|r: &Region| r.local_key().0, |r: &Region| r.remote_key().0] {
            let set = regions.iter().filter(|r| of(r) >> bit & 1 == 1).count();
            assert!((64..=192).contains(&set), "bit {bit}: {set} of 256");
        }
    }
    let indices: HashSet<u32> = regions.iter().map(|r| r.local_key().0 >> 16).collect();
    assert_eq!(indices, (0..256).collect());
    let full = RegisterError::Full { capacity: 256 };
    assert_eq!(table.register(spec(OURS), 0), Err(full));
}

#[test]
fn a_domain_is_taken_back_whole_and_nothing_else() {
    let table = RegionTable::new(16, 5);
    let regions: Vec<_> = (0..12)
        .map(|n| {
            let domain = if n % 3 == 0 { THEIRS } else { OURS };
            table.register(spec(domain), n).expect("room")
        })
        .collect();
    assert_eq!(table.deregister_domain(Domain(8)), 0);
    assert_eq!(table.deregister_domain(THEIRS), 4);
    assert_eq!(table.deregister_domain(THEIRS), 0);
    for (n, region) in regions.iter().enumerate() {
        let ours = n % 3 != 0;
        assert_eq!(alive(&table, *region), (ours, ours), "{n}");
        assert_eq!(table.deregister(*region).is_ok(), ours, "{n}");
    }
    assert_eq!(table.deregister_domain(OURS), 0);
}

/// Whatever has come and gone before: a block of slots is left out only if no region is in it.
#[test]
fn a_domain_is_taken_back_from_every_block_of_a_large_table() {
    const SLOTS: usize = 600;
    let table = RegionTable::new(SLOTS, 5);
    let fill = |domain| -> Vec<Region> {
        let regions = (0..SLOTS).map(|_| table.register(spec(domain), 1));
        regions.collect::<Result<_, _>>().expect("room")
    };
    for _ in 0..3 {
        let regions = fill(OURS);
        table.register(spec(THEIRS), 1).expect_err("full");
        for region in regions.iter().filter(|r| r.local_key().0 >> 16 != 511) {
            table.deregister(*region).expect("registered");
            table.deregister(*region).expect_err("taken back");
        }
        assert_eq!(table.deregister_domain(THEIRS), 0);
        assert_eq!(table.deregister_domain(OURS), 1, "the one in slot 511");
        assert_eq!(table.deregister_domain(OURS), 0);
        fill(THEIRS);
        assert_eq!(table.deregister_domain(THEIRS), SLOTS);
    }
}

#[test]
fn a_region_is_whose_it_is_and_allows_what_it_says() {
    let table = RegionTable::new(8, 5);
    for rights in (0..32).map(Rights::from_bits_truncate) {
        let region = RegionSpec {
            rights,
            ..spec(OURS)
        };
        let region = table.register(region, 1).expect("room");
        let (mine, theirs) = (region.local_key(), region.remote_key());
        let foreign = table.local(THEIRS, mine, eight(0x1000), Intent::Read);
        let key = mine.0;
        assert_eq!(foreign.err(), Some(AccessError::ForeignDomain { key }));
        for (intent, right) in [
            (Intent::Read, Rights::REMOTE_READ),
            (Intent::Write, Rights::REMOTE_WRITE),
            (Intent::Atomic, Rights::REMOTE_ATOMIC),
        ] {
            let remote = table.remote(OURS, theirs, eight(0x40), intent);
            assert_eq!(remote.is_ok(), rights.contains(right), "{intent:?}");
            let local = table.local(OURS, mine, eight(0x1000), intent);
            let allowed = intent == Intent::Read || rights.contains(Rights::LOCAL_WRITE);
            assert_eq!(local.is_ok(), allowed, "{intent:?}");
        }
        let invalidated = table.invalidate(OURS, theirs);
        let allowed = rights.contains(Rights::REMOTE_INVALIDATE);
        assert_eq!(invalidated.is_ok(), allowed);
        let read = rights.contains(Rights::REMOTE_READ);
        let remote = table.remote(OURS, theirs, eight(0x40), Intent::Read);
        assert_eq!(remote.is_ok(), read && !allowed);
        assert!(table.local(OURS, mine, eight(0x1000), Intent::Read).is_ok());
        drop(remote);
        table.deregister(region).expect("registered");
    }
}

#[test]
fn ranges_are_checked_at_both_ends() {
    let table = RegionTable::new(2, 5);
    let region = table.register(spec(OURS), 1).expect("room");
    let at = |address, len| {
        let range = Range { address, len };
        let access = table.local(OURS, region.local_key(), range, Intent::Read);
        access.map(|access| access.target().offset)
    };
    assert_eq!(at(0x1000, 256), Ok(4096));
    assert_eq!(at(0x1010, 240), Ok(4112));
    assert_eq!(at(0x1100, 0), Ok(4352));
    for (address, len) in [(0x0fff, 1), (0x1000, 257), (0x1100, 1), (0x1010, u64::MAX)] {
        let outside = AccessError::OutOfBounds { address, len };
        assert_eq!(at(address, len), Err(outside));
    }
}

#[test]
fn an_event_is_one_aligned_word_for_peers_alone() {
    let table = RegionTable::new(2, 5);
    let event = RegionSpec {
        kind: RegionKind::Event,
        len: 8,
        ..spec(OURS)
    };
    for (len, offset) in [(7, 4096), (9, 4096), (8, 4097), (16, 4100)] {
        let target = Target {
            offset,
            ..event.target
        };
        let bad = RegionSpec {
            len,
            target,
            ..event
        };
        let refused = RegisterError::Event { offset, len };
        assert_eq!(table.register(bad, 1), Err(refused));
    }
    let region = table.register(event, 1).expect("room");
    let key = region.remote_key();
    let access = |range, intent| table.remote(OURS, key, range, intent).map(|a| a.kind());
    assert_eq!(access(eight(0x40), Intent::Write), Ok(RegionKind::Event));
    assert_eq!(access(eight(0x40), Intent::Atomic), Ok(RegionKind::Event));
    assert!(access(eight(0x40), Intent::Read).is_err());
    let (address, len) = (0x40, 4);
    let half = AccessError::Misaligned { address, len };
    assert_eq!(access(Range { address, len }, Intent::Write), Err(half));
    let local = table.local(OURS, region.local_key(), eight(0x1000), Intent::Read);
    assert!(local.is_err());
    drop(local);
    for base in [u64::MAX - 8, u64::MAX] {
        let high = |spec| table.register(spec, 1).is_err();
        let bytes = spec(OURS);
        assert!(high(RegionSpec {
            local_base: base,
            ..bytes
        }));
        assert!(high(RegionSpec {
            remote_base: base,
            ..bytes
        }));
        let target = Target {
            offset: base,
            ..bytes.target
        };
        assert!(high(RegionSpec { target, ..bytes }));
    }
}

/// Deregistration returns when the last access is over, not before.
#[test]
fn taking_a_region_back_waits_for_accesses() {
    let table = RegionTable::new(1, 5);
    let region = table.register(spec(OURS), 1).expect("room");
    let access = table.local(OURS, region.local_key(), eight(0x1000), Intent::Read);
    let access = access.expect("allowed");
    let gone = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            table.deregister(region).expect("registered");
            gone.store(true, Ordering::SeqCst);
        });
        while local(&table, region.local_key()) {
            std::thread::yield_now();
        }
        std::thread::sleep(Duration::from_millis(20));
        assert!(!gone.load(Ordering::SeqCst), "an access is in progress");
        let full = RegisterError::Full { capacity: 1 };
        assert_eq!(table.register(spec(OURS), 2), Err(full));
        drop(access);
    });
    assert!(gone.load(Ordering::SeqCst));
    let again = table.register(spec(OURS), 2).expect("its slot is free");
    assert_eq!(alive(&table, again), (true, true));
}

/// Who has seen the keys of some cannot tell others' from them.
#[test]
fn keys_of_places_far_from_each_other_do_not_follow_one_pattern() {
    const ALL: usize = 2048;
    let table = RegionTable::new(ALL, 1);
    let key = |_| table.register(spec(OURS), 0).expect("room").remote_key().0;
    let keys: Vec<_> = (0..ALL).map(key).collect();
    for apart in 0..11 {
        let (first, then) = (&keys[..ALL - (1 << apart)], &keys[1 << apart..]);
        // What stands for the place differs by the same everywhere; the rest must not.
        let differ: HashSet<_> = first.iter().zip(then).map(|(a, b)| a ^ b).collect();
        assert!(differ.len() > 256, "{} apart: {}", 1 << apart, differ.len());
    }
}

/// Keys are short: those of one place come again sooner than those of all.
#[test]
fn the_place_of_a_region_that_is_gone_is_not_the_next_ones() {
    let table = RegionTable::new(16, 1);
    let mut places = HashSet::new();
    for _ in 0..16 {
        let region = table.register(spec(OURS), 0).expect("room");
        places.insert(region.remote_key().0 >> 16);
        table.deregister(region).expect("it is there");
    }
    assert_eq!(places.len(), 16);
}
