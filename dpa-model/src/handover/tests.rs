//! The rules of the direct hand-over.

use super::*;
use crate::launch::Outcome;
use crate::rig;

fn launch(seq: u64) -> Arc<Launch> {
    rig::launch(seq, 1)
}

/// Offers a launch: whether something was queued, and what.
fn offer(place: &Handover, launch: Arc<Launch>, direct: bool) -> (bool, Vec<u64>) {
    let mut queued = Vec::new();
    let told = place.offer(launch, direct, |launch| {
        assert!(!launch.started(), "what is queued is ready");
        queued.push(launch.seq);
    });
    (told, queued)
}

fn taken(place: &Handover) -> Option<u64> {
    let launch = place.take()?;
    assert!(launch.started() && launch.outcome().is_none());
    Some(launch.seq)
}

#[test]
fn the_one_that_was_opened_runs_next_and_is_started() {
    let place = Handover::default();
    assert!(place.is_free());
    let next = launch(1);
    assert_eq!(offer(&place, next.clone(), true), (false, vec![]));
    assert!(!place.is_free(), "a look leaves it there");
    assert!(!next.take_back(Outcome::Cancelled), "it is started");
    assert_eq!(taken(&place), Some(1));
    assert!(place.is_free() && place.take().is_none());
}

#[test]
fn rule_2_2_of_two_that_are_opened_together_both_go_to_the_queue() {
    let place = Handover::default();
    offer(&place, launch(1), true);
    assert_eq!(offer(&place, launch(2), true), (true, vec![1, 2]));
    assert!(place.is_free());
}

#[test]
fn rule_2_2_what_is_not_the_head_of_its_queue_is_queued() {
    let place = Handover::default();
    assert_eq!(offer(&place, launch(1), false), (true, vec![1]));
    offer(&place, launch(2), true);
    assert_eq!(offer(&place, launch(3), false), (true, vec![2, 3]));
}

#[test]
fn rule_2_6_what_was_taken_back_is_neither_kept_nor_queued() {
    let place = Handover::default();
    for direct in [true, false] {
        let gone = launch(1);
        assert!(gone.take_back(Outcome::Cancelled));
        assert_eq!(offer(&place, gone, direct), (false, vec![]));
        assert!(place.is_free());
    }
    offer(&place, launch(2), true);
    let gone = launch(3);
    assert!(gone.take_back(Outcome::Cancelled));
    assert_eq!(offer(&place, gone, true), (true, vec![2]));
}

/// As many hand-overs in a row as there may be.
fn streak(place: &Handover) {
    for seq in 0..u64::from(STREAK) {
        assert_eq!(offer(place, launch(seq), true), (false, vec![]));
        assert_eq!(taken(place), Some(seq));
    }
}

#[test]
fn rule_2_8_after_a_streak_of_hand_overs_others_get_their_turn() {
    let place = Handover::default();
    streak(&place);
    assert_eq!(offer(&place, launch(1), true), (true, vec![1]));
    streak(&place);
    place.end_streak();
    streak(&place);
}

#[test]
fn what_goes_on_without_the_queue_does_so_a_bounded_number_of_times() {
    let next = Handover::default();
    assert!(!next.go_on(|| false), "it had nothing to go on with");
    assert_eq!(
        (0..2 * STREAK).filter(|_| next.go_on(|| true)).count() as u32,
        STREAK
    );
    next.end_streak();
    assert!(next.go_on(|| true));
}

#[test]
fn rule_2_8_what_goes_on_counts_with_the_hand_overs_and_waits_for_what_is_kept() {
    let place = Handover::default();
    offer(&place, launch(0), true);
    assert!(!place.go_on(|| unreachable!("another runs next")));
    assert_eq!(taken(&place), Some(0));
    assert!((1..STREAK).all(|_| place.go_on(|| true)));
    assert!(!place.go_on(|| unreachable!("others get their turn")));
    assert_eq!(offer(&place, launch(1), true), (true, vec![1]));
}
