//! The counts of idle workers, one step at a time; `tests/loom.rs` has the races.

use super::*;

/// Parks a worker for which there is no work.
fn park(idle: &Idle, worker: usize, was_looking: bool) {
    let wake_up = || unreachable!("nobody has taken it off the list");
    let found = idle.park_unless(worker, was_looking, || None::<()>, wake_up);
    assert!(found.is_none());
}

#[test]
fn so_many_look_at_a_time_at_most() {
    let idle = Idle::new(2);
    assert_eq!((idle.counts(), idle.someone_looks()), ((0, 0), false));
    assert!(idle.start_looking());
    assert_eq!((idle.counts(), idle.someone_looks()), ((1, 0), true));
    assert!(idle.start_looking() && !idle.start_looking());
    assert_eq!(idle.counts(), (2, 0));
    idle.mark_looking();
    assert_eq!(
        idle.counts(),
        (3, 0),
        "one that is about to look counts anyway"
    );
    assert!(!idle.start_looking());
    assert_eq!([(); 3].map(|()| idle.stop_looking()), [false, false, true]);
    assert_eq!(idle.counts(), (0, 0));
    assert!(Idle::new(0).start_looking(), "one may always look");
}

#[test]
fn rule_2_8_a_parked_worker_is_woken_if_nobody_looks() {
    let idle = Idle::new(2);
    assert_eq!(idle.notify(|| false), None, "nobody is parked");
    park(&idle, 7, false);
    assert_eq!((idle.counts(), idle.someone_looks()), ((0, 1), false));
    park(&idle, 5, false);
    assert_eq!(idle.counts(), (0, 2));
    assert!(idle.start_looking());
    assert_eq!(idle.notify(|| false), None, "one that looks will find it");
    assert!(idle.stop_looking());
    assert_eq!(idle.notify(|| false), Some(5));
    assert_eq!(idle.counts(), (1, 1), "from now on it counts as looking");
    assert_eq!(idle.notify(|| false), None, "so a burst wakes one");
    assert!(idle.stop_looking());
    assert_eq!(idle.notify(|| false), Some(7));
    assert_eq!(idle.counts(), (1, 0));
}

#[test]
fn a_worker_that_looked_does_not_look_while_it_is_parked() {
    let idle = Idle::new(2);
    assert!(idle.start_looking() && idle.start_looking());
    park(&idle, 3, true);
    assert_eq!(idle.counts(), (1, 1));
    park(&idle, 4, true);
    assert_eq!(idle.counts(), (0, 2));
}

#[test]
fn rule_2_8_work_that_is_found_at_the_last_look_keeps_the_worker_awake() {
    let idle = Idle::new(1);
    park(&idle, 3, false);
    let wake_up = || unreachable!("nobody has taken it off the list");
    let look = || {
        assert_eq!(idle.counts(), (0, 2), "it looks when it is on the list");
        Some("work")
    };
    let found = idle.park_unless(4, false, look, wake_up).expect("work");
    assert_eq!((found.work, found.was_woken), ("work", false));
    assert_eq!(idle.counts(), (0, 1));
    assert_eq!(idle.notify(|| false), Some(3), "the other is still parked");
}

#[test]
fn a_worker_that_finds_work_while_it_is_woken_takes_its_wake_up() {
    let idle = Idle::new(1);
    let mut wake_ups = 0;
    let look = || {
        assert_eq!(idle.notify(|| false), Some(4));
        Some("work")
    };
    let found = idle.park_unless(4, false, look, || wake_ups += 1);
    assert!(found.is_some_and(|found| found.was_woken));
    assert_eq!((wake_ups, idle.counts()), (1, (1, 0)));
    assert_eq!(idle.notify(|| false), None);
}

#[test]
fn one_given_worker_is_woken() {
    let idle = Idle::new(1);
    (0..3).for_each(|worker| park(&idle, worker, false));
    assert!(idle.take(1) && !idle.take(1) && !idle.take(9));
    assert_eq!(idle.counts(), (1, 2));
    assert!(idle.stop_looking());
    assert_eq!(idle.notify(|| false), Some(2));
    assert!(idle.take(0));
    assert_eq!(idle.counts(), (2, 0));
}

#[test]
fn all_parked_workers_are_woken_to_stop() {
    let idle = Idle::new(1);
    assert!(idle.take_all().is_empty());
    (2..5).for_each(|worker| park(&idle, worker, false));
    let mut all = idle.take_all();
    all.sort_unstable();
    assert_eq!(all, [2, 3, 4]);
    assert_eq!(idle.counts(), (3, 0));
}

#[test]
fn one_of_each_home_is_woken_of_those_that_want_what_there_is() {
    let idle = Idle::new(4);
    let home = |worker: usize| worker / 2;
    assert!(
        idle.notify_each(6, home, |_| true).is_empty(),
        "nobody is parked"
    );
    for worker in [1, 2, 3, 5] {
        park(&idle, worker, false);
    }
    assert!(idle.start_looking());
    assert!(idle.notify_each(6, home, |_| false).is_empty());
    assert_eq!(idle.notify_each(6, home, |worker| worker != 2), [1, 3, 5]);
    assert_eq!(idle.counts(), (4, 1));
    assert_eq!(idle.notify_each(6, home, |_| true), [2], "whoever looks");
    assert_eq!(idle.counts(), (5, 0));
}

#[test]
fn only_who_may_be_parked_is_asked() {
    let idle = Idle::new(2);
    park(&idle, 3, false);
    let mut asked = std::cell::RefCell::new(Vec::new());
    let wants = |worker| {
        asked.borrow_mut().push(worker);
        false
    };
    assert!(idle.notify_each(8, |worker| worker, wants).is_empty());
    assert_eq!(asked.get_mut(), &[3]);
}

#[test]
fn rule_2_8_workers_with_the_same_bit_are_all_woken() {
    let idle = Idle::new(2);
    park(&idle, 0, false);
    park(&idle, 64, false);
    let each = |worker| worker;
    assert_eq!(idle.notify_each(65, each, |worker| worker == 64), [64]);
    assert_eq!(idle.notify_each(65, each, |_| true), [0]);
}

#[test]
fn a_word_to_look_soon_stands_until_it_is_taken_back() {
    let soon = Soon::default();
    assert!(!soon.is_said());
    assert!(!soon.take_back(|| unreachable!("it does not stand")));
    for more in [true, false] {
        soon.say();
        soon.say();
        assert!(soon.is_said());
        assert_eq!(soon.take_back(|| more), more);
        assert!(!soon.is_said());
    }
}

#[test]
fn work_is_left_to_who_looks_soon() {
    let idle = Idle::new(2);
    park(&idle, 1, false);
    assert_eq!(idle.notify(|| true), None);
    assert_eq!(idle.counts(), (0, 1));
    assert_eq!(idle.notify(|| false), Some(1));
}
