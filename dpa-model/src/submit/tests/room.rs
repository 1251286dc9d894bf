//! Room in the queue: what takes some, and who is told that there is some.

use std::sync::{Barrier, Weak};
use std::task::Wake;

use super::*;
use crate::cmdq::{Job, QueueSpec};

/// What handlers and command queues start stands beside the limit of launches.
#[test]
fn rule_2_1_what_a_process_starts_itself_takes_no_room() {
    let process = Still::with_room(1);
    let queue = QueueSpec {
        workers: 3,
        batch: 1,
        capacity: 3,
    };
    let queue = process.command_queue(queue).expect("a queue");
    for _ in 0..3 {
        let job = Job::new(&NOTHING, &[]).expect("no arguments");
        process.add_job(&queue, job).expect("room");
    }
    process.run_queue(&queue);
    assert_eq!(process.unfinished(), 3);
    let launch = process.accept(spec());
    assert_eq!(
        refused(&process, spec()),
        SubmitError::QueueFull { limit: 1 }
    );
    end(&process, &launch, Outcome::Completed);
    assert_eq!(process.unfinished(), 3, "they are unfinished all the same");
    process.accept(spec());
}

/// Who is refused just while the last launch ends was never there: that end tells who waits for it.
#[test]
fn rule_2_1_who_is_refused_leaves_no_trace() {
    const ROUNDS: usize = 5_000;
    let process = Still::with_room(1);
    let both = Barrier::new(2);
    let one_more = || {
        if let Ok(launch) = process.submit(spec()) {
            end(&process, &launch, Outcome::Completed);
        }
    };
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for _ in 0..ROUNDS {
                both.wait();
                one_more();
                both.wait();
            }
        });
        for round in 0..ROUNDS {
            let launch = process.accept(spec());
            let [idle, room] = [Wakes::new(), Wakes::new()];
            assert!(idle.poll(|cx| process.poll_idle(cx)).is_pending());
            assert!(room.poll(|cx| process.poll_room(0, cx)).is_pending());
            both.wait();
            end(&process, &launch, Outcome::Completed);
            let again = process.submit(spec()).map_err(|(error, _)| error);
            both.wait();
            if let Ok(again) = again {
                end(&process, &again, Outcome::Completed);
            }
            assert!(idle.count() > 0 && room.count() > 0, "round {round}");
            process.leave_room(0);
            assert_eq!(process.unfinished(), 0);
        }
    });
}

/// A task that submits a launch as soon as it is woken.
struct Submits {
    process: Weak<Process>,
    accepted: AtomicBool,
    kept: Weak<()>,
}

impl Wake for Submits {
    fn wake(self: std::sync::Arc<Self>) {
        assert_eq!(self.kept.strong_count(), 0, "it is still held");
        let process = self.process.upgrade().expect("it is there");
        let accepted = process.submit(spec()).is_ok();
        self.accepted.store(accepted, Ordering::SeqCst);
    }
}

/// Who awaits a launch has its room, and whatever it kept, from the moment it is over.
#[test]
fn rule_2_1_what_is_over_has_left_its_room_and_holds_nothing() {
    for threads in [1, 2] {
        let process = Still::with_room(1);
        let kept = std::sync::Arc::new(());
        let task = std::sync::Arc::new(Submits {
            process: std::sync::Arc::downgrade(&process),
            accepted: AtomicBool::new(false),
            kept: std::sync::Arc::downgrade(&kept),
        });
        let launch = process.accept(Spec {
            threads,
            keep: Some(Box::new(Some(kept))),
            ..spec()
        });
        let waker = Waker::from(task.clone());
        let polled = launch.poll(&Context::from_waker(&waker));
        assert!(polled.is_pending());
        let idle = Wakes::new();
        assert!(idle.poll(|cx| process.poll_idle(cx)).is_pending());
        end(&process, &launch, Outcome::Completed);
        assert!(task.accepted.load(Ordering::SeqCst));
        assert_eq!((process.unfinished(), idle.count()), (1, 0));
    }
}

/// A task that notes whether nothing was unfinished, and what it awaited over, when it was woken.
struct Looks {
    process: Weak<Process>,
    idle: AtomicBool,
}

impl Wake for Looks {
    fn wake(self: std::sync::Arc<Self>) {
        let process = self.process.upgrade().expect("it is there");
        self.idle.store(process.is_idle(), Ordering::SeqCst);
    }
}

/// Who finds nothing unfinished finds all that follows the last end done.
#[test]
fn rule_2_11_a_launch_is_unfinished_until_its_end_has_been_told() {
    let process = Still::with_room(1);
    let task = std::sync::Arc::new(Looks {
        process: std::sync::Arc::downgrade(&process),
        idle: AtomicBool::new(true),
    });
    let launch = process.accept(spec());
    let waker = Waker::from(task.clone());
    assert!(launch.poll(&Context::from_waker(&waker)).is_pending());
    end(&process, &launch, Outcome::Completed);
    assert!(!task.idle.load(Ordering::SeqCst) && process.is_idle());
}

/// Those who wait for room are seen without a lock, as long as they do.
#[test]
fn rule_2_1_the_line_is_seen_by_who_comes_later() {
    let process = Still::with_room(1);
    let launch = process.accept(spec());
    let wakes = Wakes::new();
    assert!(!process.has_line());
    assert!(!room(&process, &wakes, 1) && !room(&process, &wakes, 2) && !room(&process, &wakes, 1));
    assert!(process.has_line());
    process.leave_room(1);
    process.leave_room(1);
    assert!(process.has_line());
    end(&process, &launch, Outcome::Completed);
    assert!(process.has_line(), "it is woken, and has not come yet");
    assert!(room(&process, &wakes, 2) && !process.has_line());
    process.accept(spec());
    assert!(!room(&process, &wakes, 3) && process.has_line());
    process.refuse();
    assert!(!process.has_line());
}
