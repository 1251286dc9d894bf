//! How ranks are claimed in chunks, at times given by hand.

use super::*;
use crate::rig::{Still, launch};

fn first(launch: &ModelArc<Launch>, now: u64) -> Chunk {
    Chunk::first(launch, &Still::new(), now).expect("ranks")
}

/// The ranks that are left in it.
fn ranks(chunk: &mut Chunk) -> Vec<u32> {
    let ranks: Vec<_> =
        std::iter::from_fn(|| chunk.has_next().then(|| chunk.next()).flatten()).collect();
    assert!(!chunk.has_next() && chunk.next().is_none());
    ranks
}

#[test]
fn rule_2_3_every_rank_is_run_once() {
    let launch = launch(0, 100);
    let (mut one, mut other) = (first(&launch, 0), first(&launch, 0));
    let mut all = ranks(&mut one);
    all.extend(ranks(&mut other));
    assert_eq!(all, [0, 1]);
    for now in 0.. {
        let before = all.len();
        for chunk in [&mut one, &mut other] {
            if chunk.claim_more(now, 2).0 {
                all.extend(ranks(chunk));
            }
        }
        if all.len() == before {
            break;
        }
    }
    assert_eq!(all, (0..100).collect::<Vec<_>>());
    assert_eq!(one.claim_more(0, 2), (false, false));
    assert!(Chunk::first(&launch, &one.process, 0).is_none());
}

#[test]
fn a_chunk_begins_with_one_rank_and_doubles_while_it_is_quick() {
    let mut chunk = first(&launch(0, 1000), 0);
    let mut sizes = vec![ranks(&mut chunk).len()];
    let mut now = 0;
    for _ in 0..5 {
        now += QUICK - 1;
        assert_eq!(chunk.claim_more(now, 2), (true, false));
        sizes.push(ranks(&mut chunk).len());
    }
    assert_eq!(sizes, [1, 2, 4, 8, 16, 16]);
    assert_eq!(chunk.claim_more(now + QUICK, 2), (true, false));
    assert_eq!(ranks(&mut chunk).len(), 1, "it was not quick");
}

#[test]
fn another_worker_is_worth_waking_only_for_long_ranks() {
    let mut chunk = first(&launch(0, 1000), 5);
    assert_eq!(chunk.claim_more(5 + LONG, 2), (true, false));
    assert_eq!(chunk.claim_more(5 + 2 * LONG + 1, 2), (true, true));
    assert_eq!(chunk.claim_more(5 + 2 * LONG + 1, 2), (true, false));
}

#[test]
fn the_last_ranks_are_left_for_others() {
    let mut chunk = first(&launch(0, 25), 0);
    let mut left = vec![];
    while chunk.claim_more(0, 3).0 {
        ranks(&mut chunk);
        left.push(chunk.launch.gang().expect("one").unclaimed(25));
    }
    // Of what nobody has claimed, a worker of three takes a sixth at most, but one.
    assert_eq!(left, [22, 19, 16, 14, 12, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0]);
}

#[test]
fn rule_2_5_ends_are_reported_together_and_the_last_is_told() {
    let (launch, other) = (launch(0, 3), launch(0, 3));
    let mut chunk = first(&launch, 0);
    assert_eq!(chunk.report(), None, "nothing has ended");
    assert!(!chunk.count_end(&other));
    assert!(chunk.count_end(&launch) && chunk.count_end(&launch));
    assert_eq!(chunk.report(), Some(false));
    assert_eq!(chunk.report(), None, "they are reported once");
    assert!(!chunk.count_end(&other));
    assert_eq!(chunk.report(), None, "ends of others do not count");
    assert!(chunk.count_end(&launch));
    assert_eq!(chunk.report(), Some(true));
    assert_eq!(chunk.report(), None);
}

#[test]
fn a_launch_of_one_thread_has_no_chunks() {
    assert!(Chunk::first(&launch(0, 1), &Still::new(), 0).is_none());
}

/// Where nothing runs any more: those of the chunk and those that nobody has claimed.
#[test]
fn ranks_that_are_lost_count_as_ended() {
    let (launch, whole) = (launch(0, 9), launch(1, 2));
    let mut chunk = first(&launch, 0);
    assert_eq!((chunk.next_rank(), chunk.next()), (0, Some(0)));
    assert!(chunk.count_end(&launch));
    assert!(chunk.claim_more(0, 1).0);
    assert_eq!((chunk.next_rank(), chunk.next()), (1, Some(1)));
    assert_eq!((chunk.next_rank(), chunk.has_next()), (2, true));
    assert_eq!(chunk.lose_rest(), 7, "2 of its own, and 3 to 8");
    assert_eq!((chunk.has_next(), chunk.next()), (false, None));
    assert_eq!(chunk.lose_rest(), 0);
    assert_eq!(chunk.report(), Some(false), "rank 1 is under way");
    assert!(chunk.count_end(&launch));
    assert_eq!(chunk.report(), Some(true));

    let mut chunk = first(&whole, 0);
    assert_eq!(chunk.lose_rest(), 2);
    assert_eq!(chunk.report(), Some(true));
}
