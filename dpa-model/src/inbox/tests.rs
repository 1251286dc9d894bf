//! The inbox as one thread sees it; `tests/loom.rs` has the races.

use super::*;
use crate::rig;

fn launches(count: u64) -> Vec<Arc<Launch>> {
    (0..count).map(|seq| rig::launch(seq, 1)).collect()
}

#[test]
fn all_are_taken_once_in_the_order_they_came() {
    let (inbox, launches) = (Inbox::new(), launches(5));
    assert!(inbox.is_empty());
    inbox.take_all(|_| unreachable!("nothing is in it"));
    launches.iter().for_each(|l| inbox.push(l.clone()));
    assert!(!inbox.is_empty());
    let mut taken = Vec::new();
    inbox.take_all(|launch| taken.push(launch.seq));
    assert_eq!(taken, [0, 1, 2, 3, 4]);
    assert!(inbox.is_empty());
    assert!(launches.iter().all(|l| Arc::strong_count(l) == 1));
}

#[test]
fn what_is_left_in_it_is_dropped_with_it() {
    let (inbox, launches) = (Inbox::new(), launches(2));
    launches.iter().for_each(|l| inbox.push(l.clone()));
    drop(inbox);
    assert!(launches.iter().all(|l| Arc::strong_count(l) == 1));
}

/// Seqs put in and taken, many times more than there are places: each comes once, in order.
#[test]
fn places_are_used_again_and_again() {
    let inbox = Inbox::new();
    let (mut put, mut taken) = (0u64, Vec::new());
    for round in 0..200 {
        for _ in 0..(round * 37) % 100 {
            inbox.push(rig::launch(put, 1));
            put += 1;
        }
        inbox.take_all(|launch| taken.push(launch.seq));
        assert!(inbox.is_empty());
    }
    assert!(put > 5 * SLOTS as u64);
    assert_eq!(taken, (0..put).collect::<Vec<_>>());
}

/// More than there are places: what does not fit comes behind, and so does what comes later, until there is room.
#[test]
fn what_does_not_fit_is_not_lost_and_comes_in_order() {
    let inbox = Inbox::new();
    let many = 3 * SLOTS as u64 + 7;
    for round in 0..3 {
        let first = round * many;
        (first..first + many).for_each(|seq| inbox.push(rig::launch(seq, 1)));
        assert!(!inbox.is_empty());
        let mut taken = Vec::new();
        inbox.take_all(|launch| taken.push(launch.seq));
        assert_eq!(taken, (first..first + many).collect::<Vec<_>>());
        assert!(inbox.is_empty());
    }
}

#[test]
fn what_did_not_fit_is_seen_when_the_places_are_empty() {
    let inbox = Inbox::new();
    for seq in 0..=SLOTS as u64 {
        inbox.push(rig::launch(seq, 1));
    }
    let mut taken = [ptr::null_mut(); SLOTS];
    assert_eq!(inbox.ring.take(&mut taken), SLOTS);
    assert!(inbox.ring.is_empty() && !inbox.is_empty());
    inbox.push(rig::launch(SLOTS as u64 + 1, 1));
    assert!(inbox.ring.is_empty(), "it comes behind what did not fit");
    for node in taken {
        assert!(inbox.ring.push(node));
    }
}

#[test]
fn many_threads_put_in_while_one_takes() {
    const EACH: u64 = 20_000;
    let inbox = Inbox::new();
    let mut taken = Vec::new();
    std::thread::scope(|scope| {
        for thread in 0..3 {
            let inbox = &inbox;
            scope.spawn(move || {
                (0..EACH).for_each(|n| inbox.push(rig::launch(thread * EACH + n, 1)));
            });
        }
        while taken.len() < 3 * EACH as usize {
            inbox.take_all(|launch| taken.push(launch.seq));
        }
    });
    taken.sort_unstable();
    assert_eq!(taken, (0..3 * EACH).collect::<Vec<_>>());
}
