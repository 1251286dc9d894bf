//! The inbox with two places: what happens when they are full, are taken and are filled again meanwhile.

use dpa_model::inbox::Inbox;
use dpa_model::inbox::ring::SLOTS;
use loom::sync::Mutex;

use super::*;

/// An inbox, and the lock of who takes; what was taken.
struct Shared {
    inbox: Inbox,
    taken: Mutex<Vec<u64>>,
}

impl Shared {
    /// With so many launches in it.
    fn with(count: u64) -> Arc<Self> {
        let shared = Arc::new(Self {
            inbox: Inbox::new(),
            taken: Mutex::new(Vec::new()),
        });
        (0..count).for_each(|seq| shared.push(seq));
        shared
    }

    fn push(&self, seq: u64) {
        let launch = launch(seq, 1);
        assert!(launch.open());
        self.inbox.push(launch);
    }

    fn take(&self) {
        let mut taken = self.taken.lock().expect("no panic");
        self.inbox.take_all(|launch| taken.push(launch.seq));
    }

    /// What was taken in the end, in order of their numbers.
    fn all_taken(&self) -> Vec<u64> {
        self.take();
        let mut taken = self.taken.lock().expect("no panic").clone();
        taken.sort_unstable();
        taken
    }
}

/// A thread that takes.
fn taker(shared: &Arc<Shared>) -> thread::JoinHandle<()> {
    let shared = shared.clone();
    thread::spawn(move || shared.take())
}

/// Each of the places is taken and filled in the next round while others look for one: no place is passed by.
#[test]
fn two_pushers_vs_a_full_ring() {
    check(|| {
        let shared = Shared::with(SLOTS as u64);
        let other = thread::spawn({
            let shared = shared.clone();
            move || shared.push(2)
        });
        let taker = taker(&shared);
        shared.push(3);
        other.join().expect("no panic");
        taker.join().expect("no panic");
        assert_eq!(shared.all_taken(), [0, 1, 2, 3]);
        assert!(shared.inbox.is_empty());
    });
}

/// One is put in while others are taken. If it is said that there is nothing, it was taken with them.
#[test]
fn looking_whether_it_is_empty_vs_a_taker() {
    check(|| {
        let shared = Shared::with(1);
        let taker = taker(&shared);
        shared.push(1);
        let empty = shared.inbox.is_empty();
        taker.join().expect("no panic");
        if empty {
            assert_eq!(*shared.taken.lock().expect("no panic"), [0, 1]);
        }
        assert_eq!(shared.all_taken(), [0, 1]);
    });
}

/// One thread puts in one more than there are places while another takes: nothing is taken without what was put in before it.
#[test]
fn a_pusher_that_fills_the_ring_vs_a_taker() {
    check(|| {
        let shared = Shared::with(0);
        let taker = taker(&shared);
        let all = SLOTS as u64 + 1;
        (0..all).for_each(|seq| shared.push(seq));
        taker.join().expect("no panic");
        let taken = shared.taken.lock().expect("no panic").clone();
        let first: Vec<u64> = (0..taken.len() as u64).collect();
        assert_eq!(taken, first);
        assert_eq!(shared.all_taken(), (0..all).collect::<Vec<_>>());
    });
}
