//! Room in the queue: what takes some, and who is told that there is some.

use std::sync::Barrier;

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
            assert!(idle.count() > 0 && room.count() > 0, "round {round}");
            if let Ok(again) = again {
                end(&process, &again, Outcome::Completed);
            }
            process.leave_room(0);
            assert_eq!(process.unfinished(), 0);
        }
    });
}
