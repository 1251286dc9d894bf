//! Kernels that use hash tables.

use doca_dpa_dev::prelude::*;

/// What [`churn_own`], [`churn_shared`] and [`read_what_was_published`] count as wrong.
fn wrong_if(condition: bool, wrong: AtomicSlice<u64>) {
    if condition {
        wrong.at(0).add(1);
    }
}

/// A value that says whose it is.
const fn value_of(key: u32, n: u32) -> u64 {
    (key as u64) << 32 | n as u64
}

const fn key_of(value: u64) -> u32 {
    (value >> 32) as u32
}

/// Inserts the keys that are this thread's, each with its complement as value; counts those refused.
#[dpa_kernel]
pub fn insert_all(
    thread: &Thread,
    table: HashTable,
    keys: DevSlice<u32>,
    refused: AtomicSlice<u64>,
) {
    for i in thread.strided(keys.len()) {
        let key = keys.read(i);
        if table.insert(key, !u64::from(key)).is_err() {
            refused.at(0).add(1);
        }
    }
}

/// Looks the keys up; what is not there gives 0.
#[dpa_kernel]
pub fn find_all(thread: &Thread, table: HashTable, keys: DevSlice<u32>, found: DevSliceMut<u64>) {
    for i in thread.strided(keys.len()) {
        found.write(i, table.get(keys.read(i)).unwrap_or(0));
    }
}

/// Removes the keys; what was not there gives 0.
#[dpa_kernel]
pub fn remove_all(
    thread: &Thread,
    table: HashTable,
    keys: DevSlice<u32>,
    removed: DevSliceMut<u64>,
) {
    for i in thread.strided(keys.len()) {
        removed.write(i, table.remove(keys.read(i)).unwrap_or(0));
    }
}

/// Inserts, changes, removes the keys that only this thread writes, and sees exactly that; of the other threads' keys it
/// sees whole values or nothing.
#[dpa_kernel]
pub fn churn_own(
    thread: &Thread,
    table: HashTable,
    own_keys: u32,
    rounds: u32,
    wrong: AtomicSlice<u64>,
) {
    let all = thread.threads() * own_keys;
    let mut other = thread.rank();
    for n in 0..rounds {
        let key = thread.rank() * own_keys + n % own_keys;
        wrong_if(table.get(key).is_some(), wrong);
        wrong_if(table.insert(key, value_of(key, n)) != Ok(None), wrong);
        wrong_if(table.get(key) != Some(value_of(key, n)), wrong);
        let changed = table.insert(key, value_of(key, n + 1));
        wrong_if(changed != Ok(Some(value_of(key, n))), wrong);
        other = (other + 7) % all;
        let seen = table.get(other);
        wrong_if(seen.is_some_and(|value| key_of(value) != other), wrong);
        wrong_if(table.remove(key) != Some(value_of(key, n + 1)), wrong);
    }
}

/// All threads write the same few keys. Counts the entries that came less those that went, and what was wrong.
#[dpa_kernel]
pub fn churn_shared(
    thread: &Thread,
    table: HashTable,
    keys: u32,
    rounds: u32,
    came: AtomicSlice<u64>,
    wrong: AtomicSlice<u64>,
) {
    let mut random = u64::from(thread.rank()) + 1;
    for n in 0..rounds {
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let key = (random >> 40) as u32 % keys;
        let seen = match random >> 62 {
            0 => match table.insert(key, value_of(key, n)) {
                Ok(None) => {
                    came.at(0).add(1);
                    None
                }
                Ok(before) => before,
                Err(TableFull { entries }) => {
                    wrong_if(entries != table.capacity(), wrong);
                    None
                }
            },
            1 => {
                let gone = table.remove(key);
                if gone.is_some() {
                    came.at(0).add(u64::MAX);
                }
                gone
            }
            _ => table.get(key),
        };
        wrong_if(seen.is_some_and(|value| key_of(value) != key), wrong);
        wrong_if(table.len() > table.capacity(), wrong);
    }
}

/// Rank 0 publishes numbers under key 0, each after it has written it elsewhere; the others never see one go back, nor one
/// that is not yet written.
#[dpa_kernel]
pub fn read_what_was_published(
    thread: &Thread,
    table: HashTable,
    written: DevSliceMut<u64>,
    wrong: AtomicSlice<u64>,
) {
    let last = written.len() as u64 - 1;
    let mut newest = 0;
    if thread.rank() == 0 {
        for n in 1..=last {
            written.write(n as usize, n);
            wrong_if(table.insert(0, n).is_err(), wrong);
        }
        return;
    }
    while newest < last {
        let Some(n) = table.get(0) else {
            thread.safe_point();
            continue;
        };
        wrong_if(n < newest || written.read_volatile(n as usize) != n, wrong);
        newest = n;
    }
}

/// Binds a table that it was told of by number.
#[dpa_kernel]
pub fn binds_table(thread: &Thread, addr: u64, entries: u64) {
    match HashTable::bind(thread, HashTableWire { addr, entries }) {
        Ok(table) => drop(table.insert(1, 1)),
        Err(kind) => thread.fault(kind),
    }
}
