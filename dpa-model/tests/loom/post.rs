//! Posting: who has a ring that is gone.

use std::sync::atomic::Ordering::{AcqRel, Acquire, Release};

use dpa_abi::queue::post::{self, Count};
use dpa_abi::queue::record::first_number;
use loom::sync::atomic::AtomicU64;

use super::*;

struct Counter(AtomicU64);

impl Count for Counter {
    fn load(&self) -> u64 {
        self.0.load(Acquire)
    }
    fn compare_exchange(&self, expected: u64, new: u64) -> Result<u64, u64> {
        self.0.compare_exchange(expected, new, AcqRel, Acquire)
    }
}

#[test]
fn post_vs_another_connection() {
    check(|| {
        let (first, second) = (first_number(0), first_number(first_number(0)));
        let shared = Arc::new((Counter(AtomicU64::new(first)), AtomicU64::new(first)));
        let host = thread::spawn({
            let shared = shared.clone();
            move || {
                let (produced, state) = &*shared;
                state.store(0, Release);
                produced.0.store(second, Release);
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
