//! The rules of the hash table, one step at a time and with threads.

extern crate std;

use core::cell::{Cell, RefCell};
use core::sync::atomic::{AtomicU64, Ordering};
use std::boxed::Box;
use std::collections::BTreeMap;
use std::vec::Vec;
use std::{thread, vec};

use super::*;

fn words(entries: u64) -> (Layout, Vec<u64>) {
    let layout = Layout::new(entries).expect("a possible size");
    (layout, vec![0; layout.words()])
}

fn with_table<R>(entries: u64, f: impl FnOnce(Table<&[Cell<u64>]>) -> R) -> R {
    let (layout, mut words) = words(entries);
    f(Table::new(
        layout,
        Cell::from_mut(&mut words[..]).as_slice_of_cells(),
    ))
}

/// Numbers that look random: the same in every run.
fn random(seed: u64) -> impl FnMut() -> u64 {
    let mut state = seed;
    move || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed ^ (mixed >> 29)
    }
}

/// Keys of one chunk and, if asked for, of one tag.
fn colliding<W: Words + Copy>(table: &Table<W>, tag: Option<u64>) -> impl Iterator<Item = u32> {
    (0..=u32::MAX).filter(move |&key| {
        let hash = table.hash(key);
        hash.home == 0 && tag.is_none_or(|tag| tag == hash.tag)
    })
}

/// One owner's words; something happens when they have been loaded, or changed, so many times, and perhaps something
/// else at the next time.
struct Watched<'a> {
    words: &'a [Cell<u64>],
    loads: Cell<usize>,
    changes: Cell<usize>,
    meanwhile: RefCell<Vec<Box<dyn FnOnce() + 'a>>>,
}

impl<'a> Watched<'a> {
    fn new(words: &'a [Cell<u64>], loads: usize, changes: usize, f: impl FnOnce() + 'a) -> Self {
        Self {
            words,
            loads: Cell::new(loads),
            changes: Cell::new(changes),
            meanwhile: RefCell::new(vec![Box::new(f)]),
        }
    }

    fn then(self, f: impl FnOnce() + 'a) -> Self {
        self.meanwhile.borrow_mut().insert(0, Box::new(f));
        self
    }

    fn count(&self, what: &Cell<usize>) {
        if what.get() > 0 {
            what.set(what.get() - 1);
            return;
        }
        let meanwhile = self.meanwhile.borrow_mut().pop();
        meanwhile.into_iter().for_each(|f| f());
    }
}

impl Words for &Watched<'_> {
    fn load(&self, at: usize) -> u64 {
        self.count(&self.loads);
        self.words.load(at)
    }
    fn store(&self, at: usize, value: u64) {
        self.count(&self.changes);
        self.words.store(at, value);
    }
    fn swap(&self, at: usize, value: u64) -> u64 {
        self.count(&self.changes);
        self.words.swap(at, value)
    }
    fn compare_exchange(&self, at: usize, expected: u64, new: u64) -> Result<u64, u64> {
        self.count(&self.changes);
        self.words.compare_exchange(at, expected, new)
    }
    fn pause(&self) {
        panic!("nobody holds this lock");
    }
    fn step(&self) {}
}

const NEVER: usize = usize::MAX;

#[test]
fn rule_1_a_lookup_that_is_interrupted_anywhere_answers_what_was_true_once() {
    type Script = fn(&Table<&[Cell<u64>]>, [u32; 2]);
    let scripts: [(Script, &[Option<u64>]); 5] = [
        (|t, [a, _]| _ = t.remove(a), &[Some(1), None]),
        (|t, [a, _]| _ = t.insert(a, 2), &[Some(1), Some(2)]),
        (
            |t, [a, b]| {
                t.remove(a);
                t.insert(b, 99).expect("room");
            },
            &[Some(1), None],
        ),
        (
            |t, [a, b]| {
                t.remove(a);
                t.insert(b, 99).expect("room");
                t.insert(a, 3).expect("room");
            },
            &[Some(1), None, Some(3)],
        ),
        (
            |t, [_, b]| {
                t.insert(b, 99).expect("room");
                t.remove(b);
            },
            &[Some(1)],
        ),
    ];
    for (number, (script, allowed)) in scripts.iter().enumerate() {
        for at in 0..8 {
            with_table(4, |table| {
                let tag = table.hash(0).tag;
                let mut same = colliding(&table, Some(tag));
                let keys = [0; 2].map(|_: u32| same.next().expect("a key"));
                table.insert(keys[0], 1).expect("room");
                let watched = Watched::new(table.words, at, NEVER, || script(&table, keys));
                let reader = Table::new(table.layout, &watched);
                let seen = reader.get(keys[0]);
                assert!(allowed.contains(&seen), "script {number} at {at}: {seen:?}");
            });
        }
    }
}

#[test]
fn rule_1_a_slot_that_is_filled_again_between_two_loads_is_noticed() {
    for at in 0..8 {
        with_table(4, |table| {
            let tag = table.hash(0).tag;
            let mut same = colliding(&table, Some(tag));
            let [a, b] = [0; 2].map(|_: u32| same.next().expect("a key"));
            let replace = |old, new, value| {
                table.remove(old);
                table.insert(new, value).expect("room");
            };
            table.insert(a, 1).expect("room");
            let watched = Watched::new(table.words, at, NEVER, || replace(a, b, 99));
            let watched = watched.then(|| replace(b, a, 3));
            let seen = Table::new(table.layout, &watched).get(a);
            assert!(
                [Some(1), None, Some(3)].contains(&seen),
                "at {at}: {seen:?}"
            );
        });
    }
}

#[test]
fn rule_1_what_is_seen_of_a_writer_is_never_unseen() {
    // The chunk has had an entry before, and an old reader may still look at its tag.
    for at in 0..12 {
        with_table(8, |table| {
            let seen = RefCell::new((None, false));
            let look = || *seen.borrow_mut() = (table.get(5), !table.is_empty());
            let watched = Watched::new(table.words, NEVER, at, look);
            Table::new(table.layout, &watched)
                .insert(5, 50)
                .expect("room");
            let (value, counted) = *seen.borrow();
            assert!(value.is_none() || (value == Some(50) && counted), "at {at}");
            let there = lanes_with(
                table.words[table.layout.tags() + table.hash(5).home].get(),
                0,
            );
            assert_ne!(there, HIGH, "its tag is set");
            assert_eq!(table.get(5), Some(50));
        });
    }
    let mut order = Vec::new();
    for at in 0..12 {
        with_table(8, |table| {
            table.insert(5, 50).expect("room");
            let seen = Cell::new(None);
            let watched = Watched::new(table.words, NEVER, at, || seen.set(Some(table.get(5))));
            assert_eq!(Table::new(table.layout, &watched).remove(5), Some(50));
            order.extend(seen.get());
        });
    }
    let gone = order.iter().position(Option::is_none).expect("it goes");
    assert!(gone > 0 && order[gone..].iter().all(Option::is_none));
}

#[test]
fn rule_1_a_tag_is_set_while_its_slot_has_an_entry() {
    // A reader that has seen an old tag may look at the slot at any time: whoever comes later must find it, too.
    for (entries, at) in (0..12).flat_map(|at| [(1, at), (64, at)]) {
        with_table(entries, |table| {
            let check = || {
                for slot in 0..table.layout.chunks * LANES {
                    let full = table.words[table.layout.slots() + slot * 2].get() & FULL != 0;
                    let word = table.words[table.layout.tags() + slot / LANES].get();
                    let free = word >> shift_of((slot % LANES) as u32) & 0x7f == 0;
                    assert!(!(full && free), "slot {slot} at {at}");
                }
            };
            let watched = Watched::new(table.words, NEVER, at, check);
            Table::new(table.layout, &watched)
                .insert(9, 1)
                .expect("room");
            let watched = Watched::new(table.words, NEVER, at, check);
            Table::new(table.layout, &watched).remove(9);
        });
    }
}

#[test]
fn rule_1_an_entry_behind_a_full_chunk_is_found_all_the_while() {
    for at in 0..40 {
        with_table(32, |table| {
            let keys: Vec<u32> = colliding(&table, None).take(20).collect();
            for &key in &keys[..18] {
                table.insert(key, key.into()).expect("room");
            }
            let look = || {
                for &key in &keys[1..18] {
                    assert_eq!(table.get(key), Some(key.into()), "at {at}");
                }
            };
            for (remove, key) in [(false, keys[18]), (true, keys[0])] {
                let watched = Watched::new(table.words, NEVER, at, look);
                let writer = Table::new(table.layout, &watched);
                if remove {
                    assert_eq!(writer.remove(key), Some(key.into()));
                } else {
                    assert_eq!(writer.insert(key, 1), Ok(None));
                }
            }
        });
    }
}

#[test]
fn rule_2_a_lookup_waits_for_no_lock() {
    with_table(64, |table| {
        table.insert(1, 10).expect("room");
        for lock in 0..table.layout.locks() {
            table.words[LOCKS + lock * LINE].set(1);
        }
        assert_eq!((table.get(1), table.get(2)), (Some(10), None));
    });
}

#[test]
fn rule_3_a_writer_changes_nothing_without_its_lock() {
    type Write = fn(&Table<&Watched>);
    let writes: [Write; 4] = [
        |table| _ = table.insert(5, 1),
        |table| _ = table.insert(6, 1),
        |table| _ = table.remove(6),
        |table| _ = table.remove(5),
    ];
    for (number, at) in (0..4).flat_map(|number| (1..8).map(move |at| (number, at))) {
        with_table(1, |table| {
            table.insert(6, 0).expect("room");
            let held = || assert_eq!(table.words[LOCKS].get(), 1, "{number} at {at}");
            let watched = Watched::new(table.words, NEVER, at, held);
            writes[number](&Table::new(table.layout, &watched));
        });
    }
}

#[test]
fn rule_3_the_lock_is_free_after_every_answer() {
    with_table(1, |table| {
        assert_eq!(table.insert(1, 1), Ok(None));
        assert_eq!(table.insert(2, 1), Err(TableFull { entries: 1 }));
        assert_eq!((table.remove(2), table.remove(1)), (None, Some(1)));
        assert_eq!(table.words[LOCKS].get(), 0);
    });
}

#[test]
fn rule_4_every_size_takes_as_many_as_it_says_whatever_the_keys() {
    for entries in [0, 1, 2, 3, 4, 8, 64, 100, 1024] {
        with_table(entries, |table| {
            let size = table.layout.entries();
            assert_eq!(size, entries.next_power_of_two());
            let keys: Vec<u32> = colliding(&table, None).take(size as usize + 1).collect();
            let (last, keys) = keys.split_last().expect("keys");
            for &key in keys {
                assert_eq!(table.insert(key, key.into()), Ok(None));
            }
            assert_eq!(table.insert(*last, 0), Err(TableFull { entries: size }));
            assert_eq!((table.get(*last), table.len()), (None, size));
            assert_eq!(table.insert(keys[0], 5), Ok(Some(keys[0].into())));
            assert_eq!(table.remove(keys[0]), Some(5));
            assert_eq!(table.insert(*last, 7), Ok(None));
            assert!(keys[1..].iter().all(|&k| table.get(k) == Some(k.into())));
        });
    }
    assert_eq!(Layout::new((1 << 31) + 1), None);
    assert_eq!(Layout::new(u64::MAX), None);
    assert_eq!(Layout::exact(3), None);
}

#[test]
fn rule_5_all_operations_agree_with_a_map() {
    for seed in 0..20 {
        let mut random = random(seed);
        with_table(128, |table| {
            let mut map = BTreeMap::new();
            for _ in 0..20_000 {
                let key = match random() % 200 {
                    198 => u32::MAX,
                    199 => u32::MAX - 1,
                    key => key as u32,
                };
                let value = random();
                match random() % 3 {
                    0 if map.len() < 128 || map.contains_key(&key) => {
                        assert_eq!(table.insert(key, value), Ok(map.insert(key, value)));
                    }
                    0 => assert_eq!(table.insert(key, value), Err(TableFull { entries: 128 })),
                    1 => assert_eq!(table.remove(key), map.remove(&key)),
                    _ => assert_eq!(table.get(key), map.get(&key).copied()),
                }
                assert_eq!(table.len(), map.len() as u64);
            }
            assert_eq!(table.entries().collect::<BTreeMap<_, _>>(), map);
        });
    }
}

/// Chunks that a lookup looks at, on average and at most, of keys that are there and of others.
fn probes(table: &Table<&[Cell<u64>]>, keys: impl Iterator<Item = u32>) -> (f64, u32) {
    let probes: Vec<u32> = keys.map(|key| table.probes(key)).collect();
    let sum: u32 = probes.iter().sum();
    let most = probes.iter().max().copied().unwrap_or(0);
    (f64::from(sum) / probes.len() as f64, most)
}

#[test]
fn rule_6_long_churn_of_a_full_table_keeps_lookups_short_and_leaves_nothing() {
    const ENTRIES: u64 = 1 << 12;
    const ROUNDS: u64 = 100;
    with_table(ENTRIES, |table| {
        let key = |n: u64| n as u32 ^ 0xa5a5_0000;
        for round in 0..ROUNDS {
            for n in round * ENTRIES..(round + 1) * ENTRIES {
                if round > 0 {
                    assert!(table.remove(key(n - ENTRIES)).is_some());
                }
                assert_eq!(table.insert(key(n), n), Ok(None));
            }
            let (average, most) = probes(&table, (0..ENTRIES * 200).step_by(19).map(key));
            assert!(average <= 1.5 && most <= 16, "{round}: {average}, {most}");
        }
        for n in ENTRIES * (ROUNDS - 1)..ENTRIES * ROUNDS {
            table.remove(key(n));
        }
        let tags = table.layout.tags()..table.layout.tags() + table.layout.chunks;
        assert!(table.words[tags].iter().all(|word| word.get() == 0));
        assert!(table.is_empty());
    });
}

#[test]
fn rule_6_keys_with_a_pattern_are_spread_like_others() {
    const ENTRIES: u32 = 1 << 12;
    let patterns: [fn(u32) -> u32; 8] = [
        |n| n,
        |n| n * 3,
        |n| n * 64,
        |n| n << 20,
        |n| (n & 63) << 26 | n >> 6,
        |n| (n & 63) << 16 | n >> 6,
        |n| n.reverse_bits(),
        |n| u32::MAX - n * 1000,
    ];
    for (number, pattern) in patterns.iter().enumerate() {
        with_table(ENTRIES.into(), |table| {
            for n in 0..ENTRIES {
                assert_eq!(table.insert(pattern(n), 1), Ok(None));
            }
            let (average, most) = probes(&table, (0..ENTRIES).map(pattern));
            assert!(average <= 1.25 && most <= 8, "{number}: {average}, {most}");
        });
    }
}

#[test]
fn rule_6_a_count_at_its_end_stays_and_nothing_is_lost() {
    with_table(16, |table| {
        let keys: Vec<u32> = colliding(&table, None).take(9).collect();
        let home = &table.words[table.layout.tags()];
        for &key in &keys[..7] {
            table.insert(key, 1).expect("room");
        }
        home.set(home.get() | (COUNT_MAX - 1) << COUNT_SHIFT);
        for &key in &keys[7..] {
            table.insert(key, 2).expect("room");
        }
        assert_eq!(home.get() >> COUNT_SHIFT, COUNT_MAX);
        assert_eq!(
            (table.remove(keys[7]), table.get(keys[8])),
            (Some(2), Some(2))
        );
        assert_eq!(home.get() >> COUNT_SHIFT, COUNT_MAX);
        assert_eq!(table.probes(keys[7]), 2);
    });
    // So does none, where a kernel has written over it.
    assert_eq!(lowered(COUNT_ONE - 1), COUNT_ONE - 1);
}

#[test]
fn no_tag_is_missed_and_the_first_is_exact() {
    let mut random = random(3);
    for _ in 0..100_000 {
        let (word, tag) = (random() & random(), random() & 127);
        let lanes = (0..7).filter(|lane| word >> (lane * 7) & 127 == tag);
        let expected = lanes.fold(0, |bits, lane| bits | 64 << (lane * 7));
        let found = lanes_with(word, tag);
        assert_eq!(found & expected, expected, "{word:x} {tag:x}");
        let first = expected.trailing_zeros();
        assert_eq!(found.trailing_zeros(), first, "{word:x} {tag:x}");
    }
}

/// Words that threads share; each step may let others run.
struct SharedWords(Vec<AtomicU64>);

impl Words for &SharedWords {
    fn load(&self, at: usize) -> u64 {
        self.0[at].load(Ordering::Acquire)
    }
    fn store(&self, at: usize, value: u64) {
        self.0[at].store(value, Ordering::Release);
    }
    fn swap(&self, at: usize, value: u64) -> u64 {
        self.0[at].swap(value, Ordering::AcqRel)
    }
    fn compare_exchange(&self, at: usize, expected: u64, new: u64) -> Result<u64, u64> {
        self.0[at].compare_exchange(expected, new, Ordering::AcqRel, Ordering::Acquire)
    }
    fn pause(&self) {
        thread::yield_now();
    }
    fn step(&self) {
        thread::yield_now();
    }
}

#[test]
fn rule_1_threads_see_whole_values_under_their_own_keys() {
    const KEYS: u32 = 12;
    let layout = Layout::new(8).expect("a size");
    let words = SharedWords((0..layout.words()).map(|_| AtomicU64::new(0)).collect());
    let value = |key: u32, n: u64| (u64::from(key) * 0x1_0000_0001) ^ (n << 48);
    let whole =
        |key: u32, seen: u64| (seen ^ (u64::from(key) * 0x1_0000_0001)) & 0xffff_ffff_ffff == 0;
    thread::scope(|scope| {
        for number in 0..4u64 {
            let (table, mut random) = (Table::new(layout, &words), random(number));
            scope.spawn(move || {
                for n in 0..4000 {
                    let key = random() as u32 % KEYS;
                    let seen = match random() % 4 {
                        0 => table.insert(key, value(key, n)).ok().flatten(),
                        1 => table.remove(key),
                        _ => table.get(key),
                    };
                    assert!(seen.is_none_or(|seen| whole(key, seen)), "{key}: {seen:x?}");
                }
            });
        }
    });
    let table = Table::new(layout, &words);
    assert_eq!(table.entries().count() as u64, table.len());
    for key in 0..KEYS {
        table.remove(key);
    }
    let tags = &words.0[layout.tags()..layout.tags() + layout.chunks];
    assert!(tags.iter().all(|word| word.load(Ordering::Relaxed) == 0));
}
