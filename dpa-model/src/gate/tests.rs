//! Parking, and taking back, one step at a time; `tests/loom.rs` has the races.

use std::sync::atomic::{AtomicUsize, Ordering};

use dpa_abi::Update;
use sync_event::CloseReason;

use super::*;
use crate::rig;

fn launch() -> Arc<Launch> {
    rig::launch(0, 1)
}

/// How many gates of launches an update opens.
fn opened(event: &Event<Gate>, update: Update) -> usize {
    let count = AtomicUsize::new(0);
    let counted = |gate, _| {
        assert!(matches!(gate, Gate::Launch(_)));
        count.fetch_add(1, Ordering::Relaxed);
    };
    event.update_with(update, counted).expect("open");
    count.into_inner()
}

#[test]
fn rule_1_3_a_parked_launch_is_given_to_whoever_updates() {
    let (event, launch) = (Event::new(0), launch());
    let parking = park(&event, 3, &launch, Condition::ge(2), || true);
    assert!(matches!(parking, Parking::Done));
    assert_eq!(launch.parked_at().map(|(index, _)| index), Some(3));
    assert_eq!(opened(&event, Update::Add(1)), 0);
    assert_eq!(opened(&event, Update::Add(1)), 1);
}

#[test]
fn rule_1_4_a_condition_that_holds_parks_nothing() {
    let (event, launch) = (Event::new(2), launch());
    let parking = park(&event, 0, &launch, Condition::ge(2), || true);
    assert!(matches!(parking, Parking::Holds(Gate::Launch(_), 2)));
}

#[test]
fn rule_1_9_at_a_closed_event_nothing_is_parked() {
    let (event, launch) = (Event::new(2), launch());
    event.close_with(CloseReason::Explicit, |_, _| ());
    let parking = park(&event, 0, &launch, Condition::ge(3), || true);
    assert!(matches!(parking, Parking::Closed(closed) if closed.last == 2));
}

#[test]
fn rule_1_9_at_an_event_that_has_become_another_nothing_is_parked() {
    for value in [0, 1] {
        let (event, launch) = (Event::new(value), launch());
        let parking = park(&event, 3, &launch, Condition::ge(1), || false);
        assert!(matches!(parking, Parking::Gone));
        assert_eq!((event.waiters(), launch.parked_at()), (0, None));
    }
}

#[test]
fn rule_2_6_a_launch_that_is_taken_back_leaves_no_gate() {
    let (event, launch) = (Event::new(0), launch());
    park(&event, 3, &launch, Condition::ge(1), || true);
    let at = |index| {
        assert_eq!(index, 3);
        &event
    };
    assert!(take_back(&launch, Outcome::Cancelled, at));
    assert!(!take_back(&launch, Outcome::Faulted, at), "only once");
    assert_eq!(launch.outcome(), Some(Outcome::Cancelled));
    assert_eq!(opened(&event, Update::Add(1)), 0);
    assert_eq!(Arc::strong_count(&launch), 1);
}

#[test]
fn rule_2_6_a_launch_that_was_taken_back_before_it_parks_leaves_no_gate() {
    let (event, launch) = (Event::new(0), launch());
    assert!(launch.take_back(Outcome::Cancelled));
    park(&event, 0, &launch, Condition::ge(1), || true);
    assert_eq!(opened(&event, Update::Add(1)), 0);
    assert_eq!(Arc::strong_count(&launch), 1);
}

#[test]
fn rule_2_6_a_launch_that_has_started_is_not_taken_back() {
    let (event, launch) = (Event::new(0), launch());
    assert!(launch.open_and_start());
    assert!(!take_back(&launch, Outcome::Cancelled, |_| &event));
    assert_eq!(launch.outcome(), None);
}

#[test]
#[should_panic(expected = "gates of a device are opened by their process")]
fn a_gate_that_its_event_would_open_is_not_lost_in_silence() {
    let (event, launch) = (Event::new(0), launch());
    park(&event, 0, &launch, Condition::ge(1), || true);
    let _ = event.update(Update::Add(1));
}
