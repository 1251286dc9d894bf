//! How launches enter a process and leave it, where nobody runs them.

mod handlers;
mod room;

use std::sync::atomic::AtomicBool;

use dpa_abi::FaultKind;

use super::*;
use crate::event::EventRef;
use crate::fault::Fault;
use crate::rig::{NOTHING, Still, Wakes, launch_of, spec};

fn parked_at(event: &EventRef) -> Spec {
    Spec {
        wait: Some((event.handle(), Condition::ge(1))),
        ..spec()
    }
}

fn in_stream(stream: &Arc<Stream>) -> Spec {
    Spec {
        stream: Some(stream.clone()),
        ..spec()
    }
}

fn refused(process: &Still, spec: Spec) -> SubmitError {
    let (error, spec) = process.submit(spec).expect_err("refused");
    assert_eq!(spec.body.name(), "nothing", "it is handed back");
    error
}

fn fail(process: &Still) {
    process.fail(Fault::of(FaultKind::Panic, "nothing", 0, 0));
}

fn end(process: &Still, launch: &Arc<Launch>, outcome: Outcome) {
    assert!(launch.start());
    process.ended(launch, outcome);
    assert_eq!(launch.outcome(), Some(outcome));
}

/// The numbers of what is ready, in the order in which it starts.
fn ready(process: &Still) -> Vec<u64> {
    let mut seqs = Vec::new();
    process
        .device
        .sched
        .take_ready(process.number, |launch| seqs.push(launch.seq));
    seqs
}

#[test]
fn rule_2_1_a_process_that_ends_refuses_launches() {
    let process = Still::new();
    process.refuse();
    assert_eq!(refused(&process, spec()), SubmitError::Closed);
    process.shut_down();
    assert_eq!(refused(&process, spec()), SubmitError::Closed);
    let process = Still::new();
    fail(&process);
    assert_eq!(refused(&process, spec()), SubmitError::Faulted);
    assert_eq!(process.unfinished(), 0);
}

#[test]
fn rule_2_3_as_many_threads_as_there_are_units_are_accepted() {
    let process = Still::new();
    let max = process.units();
    for asked in [0, max + 1, u32::MAX] {
        let threads = Spec {
            threads: asked,
            ..spec()
        };
        assert_eq!(
            refused(&process, threads),
            SubmitError::Threads { asked, max }
        );
    }
    for threads in [1, max] {
        process.accept(Spec { threads, ..spec() });
    }
}

#[test]
fn rule_2_2_a_place_that_was_reserved_is_kept() {
    let process = Still::new();
    let places = [process.reserve_seq(), process.reserve_seq()];
    assert!(places[0] < places[1]);
    let late = process.accept(spec());
    assert!(places[1] < late.seq);
    for seq in [places[1], places[0]] {
        process.accept(Spec {
            seq: Some(seq),
            ..spec()
        });
    }
    assert_eq!(ready(&process), [places[0], places[1], late.seq]);
}

#[test]
fn rule_2_1_a_launch_takes_its_place_in_the_queue_until_it_is_over() {
    let process = Still::with_room(2);
    let launches = [process.accept(spec()), process.accept(spec())];
    assert_eq!(
        refused(&process, spec()),
        SubmitError::QueueFull { limit: 2 }
    );
    assert_eq!(process.unfinished(), 2, "what was refused takes none");
    end(&process, &launches[0], Outcome::Completed);
    assert_eq!(process.unfinished(), 1);
    process.accept(spec());
    assert_eq!(
        refused(&process, spec()),
        SubmitError::QueueFull { limit: 2 }
    );
}

/// Polls for room under this place.
fn room(process: &Still, wakes: &std::sync::Arc<Wakes>, seq: u64) -> bool {
    wakes.poll(|cx| process.poll_room(seq, cx)).is_ready()
}

fn places(process: &Still) -> Vec<u64> {
    let wakers = process.wakers.lock();
    wakers.room.iter().map(|&(seq, _)| seq).collect()
}

#[test]
fn rule_2_1_those_who_wait_for_room_get_it_in_the_order_of_their_places() {
    let process = Still::with_room(2);
    let wakes = [Wakes::new(), Wakes::new(), Wakes::new()];
    let launch = process.accept(spec());
    assert!(room(&process, &wakes[0], 7), "there is room");
    assert!(places(&process).is_empty());
    process.accept(spec());
    for (at, seq) in [(1, 5), (0, 4), (2, 6), (1, 5), (0, 4)] {
        assert!(!room(&process, &wakes[at], seq), "it is full");
    }
    assert_eq!(places(&process), [4, 5, 6], "one each");
    end(&process, &launch, Outcome::Completed);
    assert_eq!(wakes.each_ref().map(|w| w.count()), [1, 0, 0]);
    assert!(!room(&process, &wakes[1], 5), "it is not its turn");
    assert!(room(&process, &wakes[0], 4));
    assert_eq!(places(&process), [5, 6]);
    assert!(
        room(&process, &wakes[1], 5),
        "its turn, and nobody has taken the room"
    );
}

#[test]
fn rule_2_1_a_place_that_is_given_up_is_the_next_ones() {
    let process = Still::with_room(1);
    let launch = process.accept(spec());
    let wakes = [Wakes::new(), Wakes::new()];
    assert!(!room(&process, &wakes[0], 4) && !room(&process, &wakes[1], 5));
    end(&process, &launch, Outcome::Completed);
    process.leave_room(4);
    assert_eq!(wakes[1].count(), 1);
    assert_eq!(places(&process), [5]);
    assert!(room(&process, &wakes[1], 5));
}

#[test]
fn nobody_waits_for_room_in_a_process_that_ends() {
    for end in [
        (|process| process.refuse()) as fn(&Still),
        fail,
        |process| {
            process.shut_down();
        },
    ] {
        let process = Still::with_room(1);
        process.accept(spec());
        let wakes = [Wakes::new(), Wakes::new()];
        assert!(!room(&process, &wakes[0], 4) && !room(&process, &wakes[1], 5));
        end(&process);
        assert!(wakes[0].count() > 0);
        assert!(room(&process, &wakes[1], 5) && room(&process, &wakes[0], 4));
        assert!(places(&process).is_empty());
    }
}

#[test]
fn a_plain_launch_carries_nothing_else() {
    let process = Still::new();
    assert!(process.accept(spec()).extra.is_none());
    let gang = process.accept(Spec {
        threads: 2,
        ..spec()
    });
    assert!(gang.gang().is_some());
    let stream = process.accept(in_stream(&process.stream()));
    assert!(stream.extra.is_some() && stream.gang().is_none());
}

#[test]
fn rule_2_7_what_is_passed_by_reference_lives_until_the_launch_is_over() {
    for outcome in [Outcome::Completed, Outcome::Faulted] {
        let process = Still::new();
        let kept = std::sync::Arc::new(());
        let launch = process.accept(Spec {
            keep: Some(Box::new(Some(kept.clone()))),
            ..spec()
        });
        assert_eq!(std::sync::Arc::strong_count(&kept), 2);
        end(&process, &launch, outcome);
        assert_eq!(std::sync::Arc::strong_count(&kept), 1);
    }
}

#[test]
fn rule_2_11_launches_of_a_stream_start_one_after_the_other() {
    let process = Still::new();
    let (stream, gate) = (process.stream(), process.event());
    let launches = [
        process.accept(in_stream(&stream)),
        process.accept(Spec {
            stream: Some(stream.clone()),
            ..parked_at(&gate)
        }),
        process.accept(in_stream(&stream)),
    ];
    let seqs = launches.each_ref().map(|launch| launch.seq);
    assert_eq!(ready(&process), seqs[..1]);
    gate.update(Update::Add(1)).expect("open");
    assert!(ready(&process).is_empty(), "it is not at the event yet");
    end(&process, &launches[0], Outcome::CompletedButEventClosed);
    assert_eq!(ready(&process), seqs[1..2]);
    end(&process, &launches[1], Outcome::Completed);
    assert_eq!(ready(&process), seqs[2..]);
}

#[test]
fn rule_2_11_behind_a_launch_that_does_not_complete_nothing_of_its_stream_starts() {
    let process = Still::new();
    let (stream, gate) = (process.stream(), process.event());
    let first = process.accept(Spec {
        stream: Some(stream.clone()),
        ..parked_at(&gate)
    });
    let behind = [
        process.accept(in_stream(&stream)),
        process.accept(in_stream(&stream)),
    ];
    assert!(process.cancel(&first) && !process.cancel(&first));
    for launch in &behind {
        assert_eq!(launch.outcome(), Some(Outcome::Cancelled));
    }
    assert_eq!(
        refused(&process, in_stream(&stream)),
        SubmitError::StreamBroken
    );
    assert_eq!(process.unfinished(), 0);
}

#[test]
fn rule_5_2_a_stop_settles_what_waits_in_streams() {
    let process = Still::new();
    let stream = process.stream();
    let [runs, waits] = [(); 2].map(|()| process.accept(in_stream(&stream)));
    // Another stream, made while the first is in use.
    process.accept(in_stream(&process.stream()));
    assert!(runs.start());
    fail(&process);
    assert_eq!(runs.outcome(), None, "its threads have not left yet");
    assert_eq!(waits.outcome(), Some(Outcome::Faulted));
    process.ended(&runs, Outcome::Faulted);
    assert_eq!(process.unfinished(), 0);
}

#[test]
fn streams_that_are_gone_are_forgotten() {
    let process = Still::new();
    let kept = process.stream();
    for _ in 0..10 {
        process.stream();
    }
    assert!(process.streams.len() <= 2);
    drop(kept);
}

/// A chain of so many launches, each of which waits for the event before it, and these events.
fn chain(process: &Still, links: usize) -> (Vec<EventRef>, Vec<Arc<Launch>>) {
    let events: Vec<_> = (0..=links).map(|_| process.event()).collect();
    let launches = events.windows(2).map(|pair| {
        process.accept(Spec {
            then: Some((pair[1].handle(), Update::Add(1))),
            ..parked_at(&pair[0])
        })
    });
    let launches = launches.collect();
    (events, launches)
}

#[test]
fn rule_2_5_a_chain_is_cancelled_to_its_end() {
    let process = Still::new();
    let (events, launches) = chain(&process, 4);
    assert_eq!(process.cancel_chain(events[1].handle()), 3);
    assert_eq!(launches[0].outcome(), None, "it is before that event");
    assert!(
        launches[1..]
            .iter()
            .all(|l| l.outcome() == Some(Outcome::Cancelled))
    );
    assert_eq!(process.unfinished(), 1);
    assert_eq!(process.cancel_chain(events[1].handle()), 0);
}

#[test]
fn rule_2_5_a_chain_that_comes_back_to_its_event_is_cancelled_once() {
    let process = Still::new();
    let event = process.event();
    for _ in 0..2 {
        process.accept(Spec {
            then: Some((event.handle(), Update::Add(1))),
            ..parked_at(&event)
        });
    }
    assert_eq!(process.cancel_chain(event.handle()), 2);
    assert_eq!(process.unfinished(), 0);
}

#[test]
fn rule_1_9_the_event_that_a_launch_updates_is_closed_when_it_can_be_updated_no_more() {
    let process = Still::new();
    let (gate, done) = (process.event(), process.event());
    let index = done.handle().0.index;
    let launches = [(); 2].map(|()| {
        process.accept(Spec {
            then: Some((done.handle(), Update::Add(1))),
            ..parked_at(&gate)
        })
    });
    drop(done);
    let closed = || process.events.slot(index).event.closed().is_some();
    assert!(process.cancel(&launches[0]));
    assert!(!closed(), "the other may update it");
    let live = process.events.live();
    assert!(process.cancel(&launches[1]));
    assert!(closed());
    assert_eq!(process.events.live(), live - 1, "its slot is free");
}

/// The event goes, and another comes in its place.
fn replaced(process: &Still, event: EventRef) -> EventRef {
    let index = event.handle().0.index;
    drop(event);
    let other = process.event();
    assert_eq!(other.handle().0.index, index);
    other
}

#[test]
fn rule_1_9_an_event_in_the_place_of_one_that_was_checked_is_not_held() {
    let process = Still::new();
    let stream = process.stream();
    for in_order in [false, true] {
        let (event, live) = (process.event(), process.events.live());
        let spec = match in_order {
            true => Spec {
                stream: Some(stream.clone()),
                ..parked_at(&event)
            },
            false => Spec {
                then: Some((event.handle(), Update::Add(1))),
                ..spec()
            },
        };
        let slots = process.check(&spec).expect("it is there");
        process.take_room().expect("room");
        let other = replaced(&process, event);
        let gone = match in_order {
            true => SubmitError::NoWaitEvent,
            false => SubmitError::NoThenEvent,
        };
        assert_eq!(process.take_events(&spec, slots), Err(gone));
        assert_eq!(process.unfinished(), 0);
        assert!(other.closed().is_none());
        let index = other.handle().0.index;
        drop(other);
        assert!(process.events.slot(index).event.closed().is_some());
        assert_eq!(process.events.live(), live - 1);
    }
}

#[test]
fn rule_1_9_nothing_is_parked_at_an_event_in_the_place_of_one_that_was_checked() {
    let process = Still::new();
    let (gate, done) = (process.event(), process.event());
    let spec = Spec {
        then: Some((done.handle(), Update::Add(1))),
        ..parked_at(&gate)
    };
    let (wait, then) = (spec.wait, spec.then);
    let slots = process.check(&spec).expect("both are there");
    process.take_room().expect("room");
    process.take_events(&spec, slots).expect("it is there");
    let launch = process.device.pool.fill(process.make(spec, 7));
    let other = replaced(&process, gate);
    let index = done.handle().0.index;
    drop(done);
    assert!(process.begin(launch.clone(), wait).is_err());
    assert_eq!(other.slot().event.waiters(), 0);
    let spec = process.unmake(launch, wait, Some(6));
    assert_eq!((spec.wait, spec.then, spec.seq), (wait, then, Some(6)));
    assert_eq!(process.unfinished(), 0);
    assert!(process.events.slot(index).event.closed().is_some());
}

/// It has no place that it did not come with.
#[test]
fn rule_2_2_a_launch_that_is_handed_back_passes_nobody_later() {
    let process = Still::new();
    let gate = process.event();
    let late = parked_at(&gate);
    let wait = late.wait;
    process.take_room().expect("room");
    let seq = process.reserve_seq();
    let launch = process.device.pool.fill(process.make(late, seq));
    let meanwhile = [(); 2].map(|()| process.accept(spec()).seq);
    let again = process.unmake(launch, wait, None);
    let again = process.accept(Spec {
        wait: None,
        ..again
    });
    assert_eq!(ready(&process), [meanwhile[0], meanwhile[1], again.seq]);
}

fn idle(process: &Still, wakes: &std::sync::Arc<Wakes>) -> bool {
    wakes.poll(|cx| process.poll_idle(cx)).is_ready()
}

#[test]
fn rule_2_11_who_waits_for_idleness_is_woken_once_when_the_last_is_over() {
    let process = Still::new();
    let wakes = Wakes::new();
    assert!(idle(&process, &wakes));
    let launches = [(); 3].map(|()| process.accept(spec()));
    assert!(!idle(&process, &wakes) && !idle(&process, &wakes));
    for launch in &launches {
        assert_eq!(wakes.count(), 0);
        end(&process, launch, Outcome::Completed);
    }
    assert_eq!(wakes.count(), 1, "however often it was polled");
    assert!(idle(&process, &wakes));
}

/// Tasks that look once and go leave nothing, however many they are, and those that stay are woken.
#[test]
fn who_waited_and_left_is_not_woken() {
    let process = Still::new();
    let launch = process.accept(spec());
    let (left, stays) = (Wakes::new(), Wakes::new());
    let mut waits = std::pin::pin!(process.idle());
    assert!(stays.poll(|cx| waits.as_mut().poll(cx)).is_pending());
    for _ in 0..100 {
        let mut idle = std::pin::pin!(process.idle());
        assert!(left.poll(|cx| idle.as_mut().poll(cx)).is_pending());
        let mut stopped = std::pin::pin!(process.stopped());
        assert!(left.poll(|cx| stopped.as_mut().poll(cx)).is_pending());
    }
    assert_eq!(process.wakers.lock().quiet.len(), 1);
    end(&process, &launch, Outcome::Completed);
    assert_eq!((left.count(), stays.count()), (0, 1));
    assert!(stays.poll(|cx| waits.as_mut().poll(cx)).is_ready());
}

#[test]
fn idleness_that_comes_between_two_looks_is_seen() {
    let process = Still::new();
    let (wakes, late) = (Wakes::new(), AtomicBool::new(false));
    let quiet = || late.swap(true, Ordering::Relaxed);
    assert!(wakes.poll(|cx| process.poll_quiet(cx, quiet)).is_ready());
}

#[test]
fn rule_5_2_who_waits_for_the_end_of_a_process_is_woken_by_it() {
    let process = Still::new();
    let wakes = Wakes::new();
    let stopped = || wakes.poll(|cx| process.poll_stopped(cx)).is_ready();
    assert!(!stopped());
    fail(&process);
    assert!(wakes.count() > 0 && stopped());
}

#[test]
fn whoever_waits_is_asked_again_for_each_end_in_a_process_that_closes() {
    let process = Still::new();
    let launches = [(); 3].map(|()| process.accept(spec()));
    process.refuse();
    let wakes = Wakes::new();
    assert!(!idle(&process, &wakes));
    end(&process, &launches[0], Outcome::Completed);
    assert_eq!(wakes.count(), 1);
    assert!(!idle(&process, &wakes));
}

#[test]
fn rule_2_5_how_launches_end_that_a_stop_prevents_from_starting() {
    let process = Still::new();
    let late = launch_of(process.number, 0, 1);
    process.accept(spec());
    process.shut_down();
    process.take_back(&late, process.stop_outcome());
    assert_eq!(late.outcome(), Some(Outcome::ContextClosed));
    let process = Still::new();
    process.accept(spec());
    fail(&process);
    assert_eq!(process.stop_outcome(), Outcome::Faulted);
}
