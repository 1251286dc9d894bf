//! Who submits where there is no room, while the last launch ends; who awaits that launch.

use dpa_model::unfinished::Unfinished;

use super::*;

#[test]
fn end_vs_who_awaits_it() {
    check(|| {
        let (unfinished, launch) = (Arc::new(Unfinished::default()), launch(0, 1));
        assert!(unfinished.take(1) && launch.open() && launch.start());
        let worker = thread::spawn({
            let (unfinished, launch) = (unfinished.clone(), launch.clone());
            move || {
                let room = unfinished.leave_room(1);
                assert!(launch.finish(Outcome::Completed));
                (room, unfinished.end_beside().nothing)
            }
        });
        let idle = unfinished.is_none();
        let over = launch.outcome().is_some();
        assert!(over || !idle, "nothing is unfinished, and it is not over");
        let again = unfinished.take(1);
        assert!(again || !over, "it is over, and its room is not free");
        let (room, nothing) = worker.join().expect("no panic");
        assert!(room, "who waits for room is told");
        assert_eq!(unfinished.count(), usize::from(again));
        assert!(nothing || again, "who waits for idleness is told");
    });
}

#[test]
fn refused_submit_vs_last_end() {
    check(|| {
        let unfinished = Arc::new(Unfinished::default());
        assert!(unfinished.take(1));
        let submitter = thread::spawn({
            let unfinished = unfinished.clone();
            move || unfinished.take(1)
        });
        let left = unfinished.end(1, 1);
        let again = unfinished.take(1);
        let submitted = submitter.join().expect("no panic");
        assert!(
            left.nothing && left.room,
            "who waits is told by nobody else"
        );
        assert!(again != submitted, "there is room for one, and it is had");
        assert_eq!(unfinished.count(), 1);
    });
}
