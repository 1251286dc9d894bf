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
