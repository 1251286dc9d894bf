//! Who submits where there is no room, while the last launch ends.

use dpa_model::unfinished::Unfinished;

use super::*;

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
