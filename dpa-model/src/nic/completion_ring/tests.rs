//! For how long notifications are held back, in virtual time.

use sync_event::{Location, Locations};

use super::*;
use crate::seeded::{self, Plan};

const MOMENT: u64 = 1000;
const PERIOD: Moderation = Moderation {
    count: 2,
    period: Duration::from_micros(100),
};

/// Does this with a queue that holds two completions for one notification, and with what moves its time on.
fn with_queue(test: impl FnOnce(&mut CompletionRing, &dyn Fn(u64))) {
    let plan = Plan {
        seed: 1,
        ..Plan::default()
    };
    let ended = seeded::run(plan, |device| async move {
        let process = device.process().expect("a process");
        let everywhere = || Location::Host | Location::Device;
        let locations = Locations::new(everywhere(), everywhere()).expect("locations");
        let event = process.event(0, locations).expect("an event");
        let spec = CompletionSpec {
            entries: 4,
            overrun: OverrunPolicy::Overwrite,
            always_armed: true,
            moderation: PERIOD,
        };
        let queue = CompletionRing::new(&process, spec, &QueueMemory::Device, event);
        let simulation = device.simulation.as_ref().expect("one");
        test(&mut queue.expect("memory"), &|nanos| {
            simulation.advance_to(simulation.now() + nanos);
        });
        process.shut_down();
    });
    ended.expect("it ends");
}

fn put(queue: &mut CompletionRing) -> Told {
    queue
        .put(&CompletionEntry::DUMMY, None)
        .expect("it overwrites")
}

/// The timer that is set.
fn timer(told: Told) -> Period {
    match told {
        Told::Later(period) => period,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_queue_has_one_timer_however_many_periods_begin() {
    with_queue(|queue, pass| {
        let first = timer(put(queue));
        for _ in 0..1000 {
            assert!(matches!(put(queue), Told::Now(_)));
            assert!(matches!(put(queue), Told::Nobody), "the timer is set");
        }
        // The last of the periods began later than the first, and is as long.
        pass(MOMENT);
        assert!(matches!(put(queue), Told::Now(_)));
        assert!(matches!(put(queue), Told::Nobody));
        pass(100_000 - MOMENT);
        let again = timer(queue.time_is_up(first.timer));
        assert_eq!(again.until, first.until + MOMENT);
        pass(MOMENT);
        assert!(matches!(queue.time_is_up(again.timer), Told::Now(_)));
        // Nothing is held back: none is set until something is.
        assert!(matches!(queue.time_is_up(again.timer), Told::Nobody));
        let next = timer(put(queue));
        assert_eq!(next.until, again.until + 100_000);
    });
}

#[test]
fn a_timer_that_was_set_for_another_moderation_does_nothing() {
    with_queue(|queue, pass| {
        let old = timer(put(queue));
        assert!(queue.moderate(PERIOD).is_some(), "one was held back");
        pass(MOMENT);
        let new = timer(put(queue));
        assert_eq!(new.until, old.until + MOMENT);
        pass(100_000);
        assert!(matches!(queue.time_is_up(old.timer), Told::Nobody));
        assert!(matches!(queue.time_is_up(new.timer), Told::Now(_)));
    });
}

#[test]
fn a_thread_that_sleeps_is_told_beside_tasks_of_the_host() {
    with_queue(|queue, _| {
        let wait = |queue: &mut CompletionRing| queue.wait(&mut None, Waker::noop().clone());
        assert!(wait(queue).is_none());
        assert!(matches!(put(queue), Told::Later(_)));
        queue.ask(ARMED_ASLEEP);
        let both = matches!(
            put(queue),
            Told::Now(After::Notify { then: Some(then), .. }) if matches!(*then, After::Wake(_))
        );
        assert!(both);
        assert!(wait(queue).is_none());
        assert!(matches!(put(queue), Told::Nobody));
        assert!(matches!(put(queue), Told::Now(After::Wake(_))));
    });
}
