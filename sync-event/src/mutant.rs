//! Mistakes that the models of `tests/loom.rs` must catch.
//!
//! Each constant is false in every build but one: `--cfg dpa_mutant="name"` makes that mistake, in the code that
//! otherwise ships, and the model that `mutants.txt` names for it must fail.

macro_rules! mutants {
    ($($(#[$doc:meta])* $constant:ident = $name:literal;)*) => {
        $($(#[$doc])* pub(crate) const $constant: bool = cfg!(dpa_mutant = $name);)*
    };
}

mutants! {
    /// A registration trusts its first look and does not read the value again after publishing itself.
    NO_RECHECK = "event_no_recheck";
    /// A registration reads the value and then publishes itself.
    LOW_AFTER_CHECK = "event_low_after_check";
    /// An update judges the waiters by the value of the word, not by the one it produced.
    EVAL_CURRENT_VALUE = "event_eval_current_value";
    /// An update publishes the new `low` after it has released the lock.
    LOW_UNLOCKED = "event_low_unlocked";
    /// A cancelled wait does not look whether an update came first.
    CANCEL_NO_CHECK = "event_cancel_no_check";
    /// A wait whose time is up does not care what its cancelling says.
    DEADLINE_WINS = "event_deadline_wins";
    /// A wait that is polled again keeps the waker of its first poll.
    WAKER_KEPT = "event_waker_kept";
    /// Closing does not send later updates into the wake path.
    CLOSE_WITHOUT_LOW = "event_close_without_low";
    /// Closing reads the last value before it sends later updates into the wake path.
    LAST_BEFORE_LOW = "event_last_before_low";
    /// Closing does not freeze what `get` returns.
    CLOSE_NOT_FROZEN = "event_close_not_frozen";
    /// A registration does not look whether the event was closed.
    REGISTER_AFTER_CLOSE = "event_register_after_close";
    /// Closing ends the waits of gates as if none of their conditions held for the last value.
    CLOSE_FAILS_GATES = "event_close_fails_gates";
    /// Closing forgets the tasks that wait.
    CLOSE_KEEPS_TASKS = "event_close_keeps_tasks";
    /// The lock does not pass on what its holder wrote.
    UNLOCK_RELAXED = "event_unlock_relaxed";
}
