//! The NIC: who works it, and who is told of completions.

use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};

use dpa_abi::queue::notify;
use dpa_model::bell::Bell;
use loom::sync::atomic::AtomicU64;

use super::*;

/// What a kernel rings for: entries of a queue, and how many the NIC has looked at.
#[derive(Default)]
struct Nic {
    bell: Bell,
    posted: AtomicU32,
    looked: AtomicU32,
    /// Looked at by the one who rang, who found nobody else there.
    direct: AtomicU32,
}

impl Nic {
    fn work(&self) {
        if self.bell.try_begin() {
            self.look();
            self.end();
        }
    }

    fn look(&self) {
        let posted = self.posted.load(Acquire);
        self.looked.store(posted, Relaxed);
    }

    fn end(&self) {
        while !self.bell.end() {
            self.look();
        }
    }

    fn ring(&self) {
        if self.bell.try_begin_unrung() {
            self.direct.fetch_add(1, Relaxed);
            return self.end();
        }
        self.posted.fetch_add(1, Release);
        if self.bell.ring() {
            self.work();
        }
    }
}

#[test]
fn doorbell_vs_poll_of_the_nic() {
    check(|| {
        let nic = Arc::new(Nic::default());
        let poller = thread::spawn({
            let nic = nic.clone();
            move || nic.work()
        });
        let other = thread::spawn({
            let nic = nic.clone();
            move || nic.ring()
        });
        nic.ring();
        poller.join().unwrap();
        other.join().unwrap();
        // Nobody looks any more, and everything posted was looked at.
        assert!(!nic.bell.is_rung());
        let direct = nic.direct.load(SeqCst);
        assert_eq!(nic.looked.load(SeqCst), nic.posted.load(SeqCst));
        assert_eq!(direct + nic.looked.load(SeqCst), 2);
    });
}

struct Word(AtomicU64);

impl notify::Flag for Word {
    fn swap(&self, value: u64) -> u64 {
        self.0.swap(value, AcqRel)
    }
    fn or(&self, bits: u64) -> u64 {
        self.0.fetch_or(bits, AcqRel)
    }
}

#[test]
fn completion_vs_arm() {
    check(|| {
        let shared = Arc::new((Word(AtomicU64::new(0)), AtomicU32::new(0)));
        let nic = thread::spawn({
            let shared = shared.clone();
            move || {
                let (flag, entry) = &*shared;
                let write = || entry.store(1, Release);
                notify::write_then_take(flag, write)
            }
        });
        let (flag, entry) = &*shared;
        let look = || Some(entry.load(Acquire)).filter(|e| *e == 1);
        let found = notify::arm_then_look(flag, 1, look);
        let notified = nic.join().unwrap() != 0;
        assert!(found.is_some() || notified, "asleep, and nobody wakes it");
    });
}

#[test]
fn completion_vs_two_who_arm() {
    check(|| {
        let shared = Arc::new((Word(AtomicU64::new(0)), AtomicU32::new(0)));
        let arm = |bits: u64| {
            let shared = shared.clone();
            move || {
                let (flag, entry) = &*shared;
                let look = || Some(entry.load(Acquire)).filter(|e| *e == 1);
                notify::arm_then_look(flag, bits, look).is_some()
            }
        };
        let other = thread::spawn(arm(2));
        let nic = thread::spawn({
            let shared = shared.clone();
            move || {
                let (flag, entry) = &*shared;
                notify::write_then_take(flag, || entry.store(1, Release))
            }
        });
        let found = [arm(1)(), other.join().unwrap()];
        let asked = nic.join().unwrap();
        assert!(found[0] || asked & 1 != 0, "nobody tells the first");
        assert!(found[1] || asked & 2 != 0, "nobody tells the second");
    });
}
