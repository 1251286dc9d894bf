//! What is freed waits for the launches that may have found it.

use dpa_abi::sync::loom;
use dpa_model::epoch::{Epochs, Quarantine};
use loom::sync::Arc;
use loom::sync::atomic::AtomicBool;
use loom::sync::atomic::Ordering::SeqCst;
use loom::thread;

use super::rig::{check, check_with};

/// Something is found by who starts, and freed: unlinked first, used again only when nobody can hold it any more. `beside` may
/// do something with the epochs, too.
fn reuse(beside: Option<fn(&Epochs)>) {
    let epochs = Arc::new(Epochs::default());
    let (linked, reused) = (
        Arc::new(AtomicBool::new(true)),
        Arc::new(AtomicBool::new(false)),
    );
    let starter = thread::spawn({
        let (epochs, linked, reused) = (epochs.clone(), linked.clone(), reused.clone());
        move || {
            let entered = epochs.enter();
            if linked.load(SeqCst) {
                let found = "reused while a launch that had found it was running";
                assert!(!reused.load(SeqCst), "{found}");
            }
            epochs.leave(entered);
        }
    });
    let other = beside.map(|beside| {
        let epochs = epochs.clone();
        thread::spawn(move || beside(&epochs))
    });
    let mut quarantine = Quarantine::default();
    linked.store(false, SeqCst);
    loom::sync::atomic::fence(SeqCst);
    quarantine.put(&epochs, ());
    for _ in 0..2 {
        quarantine.take(&epochs, |()| reused.store(true, SeqCst));
    }
    starter.join().expect("no panic");
    if let Some(other) = other {
        other.join().expect("no panic");
    }
}

#[test]
fn reuse_vs_a_launch_that_starts() {
    check(|| reuse(None));
}

/// Somebody else's freeing moves the epoch, and may have looked before this one.
#[test]
fn reuse_vs_another_who_advances() {
    check_with(4, || {
        reuse(Some(|epochs| {
            epochs.advance();
        }));
    });
}

/// Two who free at once, each under a lock of its own: the epoch never goes back.
#[test]
fn advance_vs_advance() {
    check_with(3, || {
        let epochs = Arc::new(Epochs::default());
        let other = thread::spawn({
            let epochs = epochs.clone();
            move || epochs.advance()
        });
        let first = epochs.advance();
        let entered = epochs.enter();
        let second = epochs.advance();
        assert!(second >= first, "{second} after {first}");
        epochs.leave(entered);
        other.join().expect("no panic");
    });
}
