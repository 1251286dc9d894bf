//! What is booked, when, and what becomes of the memory.

use dpa_abi::Update;
use sync_event::Event;

use super::*;
use crate::event::EventRef;
use crate::gate::Gate;
use crate::launch::Parts;
use crate::rig::{self, Still};

/// As a worker does it.
fn add(tally: &mut Tally, process: &Still, launch: &Launch) {
    match tally.add(process, launch, false) {
        Added::Counted => {}
        Added::OfAnotherEvent { index, count } => process.let_go_of_event(index, count, None),
        Added::Full => {
            book(tally);
            assert_eq!(tally.add(process, launch, false), Added::Counted);
        }
    }
}

fn book(tally: &mut Tally) {
    let kept = tally.take_keeping();
    kept.iter().for_each(|launch| launch.release_kept());
    if let Some(ends) = tally.take(kept) {
        ends.book(None);
    }
}

#[test]
fn launches_that_book_their_own_end_are_not_kept() {
    let mut tally = Tally::default();
    for seq in 0..100 {
        tally.keep(rig::launch(seq, 1));
    }
    assert!(tally.is_empty());
}

/// A process with so many launches, which are settled and not booked.
fn settled(count: usize) -> Still {
    let process = Still::new();
    for _ in 0..count {
        process.accept(rig::spec());
    }
    process
}

#[test]
fn rule_2_1_every_end_is_booked_once() {
    let process = settled(40);
    let mut tally = Tally::default();
    assert!(tally.is_empty());
    for _ in 0..3 {
        add(&mut tally, &process, &rig::launch(0, 1));
        assert!(!tally.is_empty());
    }
    assert_eq!(process.unfinished(), 40, "not yet");
    book(&mut tally);
    assert!(tally.is_empty());
    assert_eq!(process.unfinished(), 37);
    book(&mut tally);
    assert_eq!(process.unfinished(), 37);
}

#[test]
fn ends_are_booked_together_up_to_a_limit() {
    let process = settled(100);
    let mut tally = Tally::default();
    for _ in 0..MOST {
        add(&mut tally, &process, &rig::launch(0, 1));
    }
    assert_eq!(process.unfinished(), 100);
    add(&mut tally, &process, &rig::launch(0, 1));
    assert_eq!(process.unfinished(), 100 - MOST);
    book(&mut tally);
    assert_eq!(process.unfinished(), 99 - MOST);
}

#[test]
fn ends_of_another_process_are_booked_by_themselves() {
    let (one, other) = (settled(5), settled(5));
    let mut tally = Tally::default();
    add(&mut tally, &one, &rig::launch(0, 1));
    add(&mut tally, &one, &rig::launch(1, 1));
    add(&mut tally, &other, &rig::launch(2, 1));
    assert_eq!((one.unfinished(), other.unfinished()), (3, 5));
    book(&mut tally);
    assert_eq!((one.unfinished(), other.unfinished()), (3, 4));
}

/// A launch that is over, and updated this event.
fn updater(process: &Still, event: &EventRef) -> Launch {
    let index = event.handle().0.index;
    process.events.slot(index).hold();
    let parts = Parts {
        then: Some((index, Update::Add(1))),
        ..rig::parts(0, 0, 1)
    };
    Launch::new(parts, None)
}

fn is_closed(event: &Event<Gate>) -> bool {
    event.closed().is_some()
}

/// Ends of launches that updated these events, by number, are booked: events of which the last publisher is gone are
/// closed then, others are not.
fn booked(updates: &[usize]) {
    let process = settled(updates.len());
    let events = [process.event(), process.event()];
    let slots = [0, 1].map(|at: usize| events[at].handle().0.index);
    let mut tally = Tally::default();
    // One launch of each event goes on.
    let unfinished = [0, 1].map(|at: usize| updater(&process, &events[at]));
    let launches: Vec<_> = updates
        .iter()
        .map(|&at| updater(&process, &events[at]))
        .collect();
    drop(events);
    launches
        .iter()
        .for_each(|launch| add(&mut tally, &process, launch));
    book(&mut tally);
    let closed = || slots.map(|index| is_closed(process.events.slot(index).event));
    assert_eq!(closed(), [false, false], "{updates:?}");
    unfinished
        .iter()
        .for_each(|launch| add(&mut tally, &process, launch));
    book(&mut tally);
    assert_eq!(closed(), [true, true], "{updates:?}");
}

#[test]
fn rule_1_9_a_launch_holds_the_event_it_updates_until_its_end_is_booked() {
    booked(&[]);
    booked(&[0, 0, 0]);
    booked(&[0, 1, 0, 1]);
    booked(&[1, 1, 0, 0, 0]);
    booked(&[0; 2 * MOST + 1]);
}

#[test]
fn memory_is_kept_only_of_launches_that_nobody_holds() {
    let process = settled(1);
    let mut tally = Tally::default();
    add(&mut tally, &process, &rig::launch(0, 1));
    let held = rig::launch(1, 1);
    tally.keep(held.clone());
    assert_eq!(tally.empty.len(), 0);
    for seq in 0..3 * MOST {
        tally.keep(rig::launch(seq as u64, 1));
    }
    assert_eq!(tally.empty.len(), 2 * MOST, "so many at most");
    book(&mut tally);
    assert_eq!(tally.empty.len(), 0);
}

/// Whether the memory of a launch that was kept goes to the pool, when so many ends are booked.
fn goes_to_the_pool(ends: usize) -> bool {
    let process = settled(ends);
    let mut tally = Tally::default();
    for seq in 0..ends {
        add(&mut tally, &process, &rig::launch(seq as u64, 1));
    }
    let launch = rig::launch(0, 1);
    let still_there = ModelArc::downgrade(&launch);
    tally.keep(launch);
    book(&mut tally);
    still_there.upgrade().is_some()
}

#[test]
fn rule_2_7_what_launches_keep_is_let_go_of_before_their_ends_are_booked() {
    let process = settled(BURST);
    let mut tally = Tally::default();
    let kept = std::sync::Arc::new(());
    for seq in 0..BURST as u64 {
        let parts = Parts {
            keep: Some(Box::new(Some(kept.clone()))),
            ..rig::parts(0, seq, 1)
        };
        let launch = Launch::new(parts, None);
        let launch = ModelArc::new(launch);
        assert_eq!(tally.add(&process, &launch, true), Added::Counted);
        tally.keep(launch);
    }
    assert_eq!(std::sync::Arc::strong_count(&kept), 1 + BURST);
    let keeping = tally.take_keeping();
    assert_eq!(keeping.len(), BURST);
    keeping.iter().for_each(|launch| launch.release_kept());
    assert_eq!(std::sync::Arc::strong_count(&kept), 1);
    assert_eq!(process.unfinished(), BURST);
    tally.take(keeping).expect("some ends").book(None);
    assert_eq!(process.unfinished(), 0);
}

#[test]
fn memory_is_worth_keeping_in_a_burst() {
    assert!(!goes_to_the_pool(BURST - 1));
    assert!(goes_to_the_pool(BURST));
}
