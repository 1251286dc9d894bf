//! Posting: who comes behind another, and who has a ring that is gone.

use std::sync::atomic::Ordering::{AcqRel, Acquire, Release};

use dpa_abi::queue::post::{self, Count};
use dpa_abi::queue::record::first_number;
use loom::sync::Mutex;
use loom::sync::atomic::AtomicU64;

use super::*;

struct Counter(AtomicU64);

impl Count for Counter {
    fn load(&self) -> u64 {
        self.0.load(Acquire)
    }
    fn add(&self, n: u64) -> u64 {
        self.0.fetch_add(n, AcqRel)
    }
    fn compare_exchange(&self, expected: u64, new: u64) -> Result<u64, u64> {
        self.0.compare_exchange(expected, new, AcqRel, Acquire)
    }
}

const ENTRIES: u64 = 2;

/// A ring of two, and the reader that is rung for it: it takes entries as far as they are there.
struct Ring {
    produced: Counter,
    there: [AtomicU64; ENTRIES as usize],
    taken: Mutex<usize>,
}

impl Ring {
    fn ring(&self) {
        let mut taken = self.taken.lock().unwrap();
        while *taken < self.there.len() && self.there[*taken].load(Acquire) == 1 {
            *taken += 1;
        }
    }

    /// The number it got.
    fn post(&self, rings: bool) -> u64 {
        let number = post::reserve(&self.produced, ENTRIES, || 0, || true).expect("room");
        self.there[number as usize].store(1, Release);
        if rings || post::is_passed(&self.produced, number) {
            self.ring();
        }
        number
    }
}

#[test]
fn post_behind_vs_doorbell() {
    check(|| {
        let ring = Arc::new(Ring {
            produced: Counter(AtomicU64::new(0)),
            there: [AtomicU64::new(0), AtomicU64::new(0)],
            taken: Mutex::new(0),
        });
        let quiet = thread::spawn({
            let ring = ring.clone();
            move || ring.post(false)
        });
        let rung_for = ring.post(true) as usize;
        quiet.join().unwrap();
        let taken = *ring.taken.lock().unwrap();
        assert!(
            taken > rung_for,
            "{taken} taken, and {rung_for} was rung for"
        );
    });
}

#[test]
fn post_vs_another_connection() {
    check(|| {
        let (first, second) = (first_number(0), first_number(first_number(0) + ENTRIES));
        let shared = Arc::new((Counter(AtomicU64::new(first)), AtomicU64::new(first)));
        let host = thread::spawn({
            let shared = shared.clone();
            move || {
                let (produced, state) = &*shared;
                state.store(0, Release);
                // What ships is a store. Loom would have it come before what a compare-and-swap has replaced.
                produced.0.swap(second, AcqRel);
                state.store(second, Release);
            }
        });
        let (produced, state) = &*shared;
        let is_mine = || state.load(Acquire) == first;
        let posted = post::reserve(produced, u64::MAX, || first, is_mine);
        host.join().unwrap();
        assert!(posted.is_err() || posted == Ok(first));
        assert_eq!(produced.load(), second, "no number of the next is taken");
    });
}
