//! When an event handler runs: one word.
//!
//! Rules:
//! 1. `NEW -> IDLE` when it is run; `IDLE -> ACTIVE` when it is triggered, by whoever triggers it: that one starts it.
//! 2. A trigger that finds it `NEW` or `ACTIVE` leaves `AGAIN`. So no trigger is lost, and any number of them while it
//!    runs make it run once more.
//! 3. Who ends an activation takes `AGAIN` with it: if it was set, the handler is `ACTIVE` still and this one starts it
//!    again; else it is `IDLE`.
//!    A continuable handler takes `AGAIN` while it runs, and goes on instead of ending. A worker may take it before the end and
//!    run the next activation where the last one ran.
//! 4. `OVER` is for good: it has finished, or nobody holds it any more.

use sync_event::sync::atomic::{AtomicU32, Ordering};

const PHASE: u32 = 0b11;
const NEW: u32 = 0;
const IDLE: u32 = 1;
const ACTIVE: u32 = 2;
const OVER: u32 = 3;
const AGAIN: u32 = 1 << 2;
const FINISH: u32 = 1 << 3;

/// How an event handler stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum HandlerState {
    /// It has not been run: triggers are kept.
    New,
    /// It waits to be triggered.
    Idle,
    /// It runs, or is about to.
    Active,
    /// It never runs again.
    Over,
}

/// What follows the end of an activation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// It waits for the next trigger.
    Idle,
    /// It was triggered meanwhile: the caller starts it again.
    Again,
    /// It never runs again.
    Over,
}

/// The word.
#[derive(Debug)]
pub struct Activation {
    word: AtomicU32,
}

impl Default for Activation {
    fn default() -> Self {
        Self::new()
    }
}

impl Activation {
    /// Of a handler that has not been run.
    pub fn new() -> Self {
        Self {
            word: AtomicU32::new(NEW),
        }
    }

    /// Replaces the word by what `next` makes of it; the word before, or `None` if `next` makes nothing.
    fn change(&self, next: impl Fn(u32) -> Option<u32>) -> Option<u32> {
        let mut word = self.word.load(Ordering::Relaxed);
        loop {
            match self.word.compare_exchange_weak(
                word,
                next(word)?,
                Ordering::AcqRel,
                Ordering::Relaxed,
            ) {
                Ok(_) => return Some(word),
                Err(now) => word = now,
            }
        }
    }

    /// Runs it: from now on triggers start it. `Some(true)`: the caller starts it, for a trigger came before. `None`: it
    /// has been run before, or is over.
    pub fn run(&self) -> Option<bool> {
        let before = self.change(|word| match (word & PHASE, word & AGAIN) {
            (NEW, 0) => Some(IDLE),
            (NEW, _) => Some(ACTIVE),
            _ => None,
        })?;
        Some(before & AGAIN != 0)
    }

    /// Triggers it; true: the caller starts it.
    #[must_use]
    pub fn trigger(&self) -> bool {
        let before = self.change(|word| match word & PHASE {
            IDLE => Some(ACTIVE),
            NEW | ACTIVE => Some(word | AGAIN),
            _ => None,
        });
        before.is_some_and(|word| word & PHASE == IDLE)
    }

    /// Takes the trigger that came since the activation that runs was started, or since this took one last.
    pub fn take(&self) -> bool {
        let before = self.change(|word| (word & AGAIN != 0).then_some(word & !AGAIN));
        before.is_some()
    }

    /// The activation that ran has ended, and its caller would run the next at once: true if it was triggered meanwhile and is
    /// not over. Else nothing has changed, and [`Activation::ended`] says what follows.
    #[must_use]
    pub fn goes_again(&self) -> bool {
        let before = self
            .change(|word| (word & (PHASE | FINISH | AGAIN) == ACTIVE | AGAIN).then_some(ACTIVE));
        before.is_some()
    }

    /// Triggers it if it runs, or has not been run: nobody has to be told then. Else nothing has changed.
    #[must_use]
    pub fn trigger_running(&self) -> bool {
        let before = self.change(|word| match word & PHASE {
            NEW | ACTIVE => Some(word | AGAIN),
            _ => None,
        });
        before.is_some()
    }

    /// The activation that runs is to be the last.
    pub fn finish(&self) {
        self.word.fetch_or(FINISH, Ordering::Relaxed);
    }

    /// The activation that ran has ended.
    pub fn ended(&self) -> Next {
        let before = self.change(|word| match (word & PHASE, word & FINISH, word & AGAIN) {
            (OVER, ..) => None,
            (_, 0, 0) => Some(IDLE),
            #[cfg(not(dpa_mutant = "activation_end_forgets"))]
            (_, 0, _) => Some(ACTIVE),
            #[cfg(dpa_mutant = "activation_end_forgets")]
            (_, 0, _) => Some(IDLE),
            _ => Some(OVER),
        });
        match before {
            Some(word) if word & FINISH != 0 => Next::Over,
            #[cfg(not(dpa_mutant = "activation_end_forgets"))]
            Some(word) if word & AGAIN != 0 => Next::Again,
            Some(_) => Next::Idle,
            None => Next::Over,
        }
    }

    /// It never runs again, from its next end on.
    pub fn stop(&self) {
        self.change(|word| match word & PHASE {
            ACTIVE => Some(word | FINISH),
            _ => Some(OVER),
        });
    }

    /// Whether a trigger may still make it run.
    pub fn takes_triggers(&self) -> bool {
        let word = self.word.load(Ordering::Acquire);
        word & PHASE != OVER && word & FINISH == 0
    }

    /// How it stands.
    pub fn state(&self) -> HandlerState {
        match self.word.load(Ordering::Acquire) & PHASE {
            NEW => HandlerState::New,
            IDLE => HandlerState::Idle,
            ACTIVE => HandlerState::Active,
            _ => HandlerState::Over,
        }
    }
}

#[cfg(all(test, not(dpa_loom)))]
mod tests {
    use super::*;

    #[test]
    fn triggers_before_the_run_are_kept() {
        let activation = Activation::new();
        assert!(!activation.trigger() && !activation.trigger());
        assert_eq!(activation.run(), Some(true));
        assert_eq!(activation.ended(), Next::Idle);
        assert_eq!(activation.run(), None);
        assert!(activation.trigger());
        assert!(!activation.trigger());
        assert_eq!(activation.ended(), Next::Again);
        assert_eq!(activation.ended(), Next::Idle);
    }

    #[test]
    fn a_trigger_that_is_taken_starts_nothing() {
        let activation = Activation::new();
        activation.run();
        assert!(activation.trigger());
        assert!(!activation.take());
        assert!(!activation.trigger());
        assert!(activation.take() && !activation.take());
        assert_eq!(activation.ended(), Next::Idle);
    }

    #[test]
    fn it_goes_again_only_if_it_was_triggered_and_is_not_over() {
        let activation = Activation::new();
        activation.run();
        assert!(!activation.trigger_running(), "it does not run");
        assert!(activation.trigger());
        assert!(!activation.goes_again(), "one trigger, one run");
        assert!(activation.trigger_running() && activation.trigger_running());
        assert!(activation.goes_again() && !activation.goes_again());
        assert!(activation.trigger_running());
        activation.finish();
        assert!(!activation.goes_again(), "it was its last");
        assert_eq!(activation.ended(), Next::Over);
        assert!(!activation.trigger_running());
    }

    #[test]
    fn a_trigger_before_the_run_needs_nobody_told() {
        let activation = Activation::new();
        assert!(activation.trigger_running());
        assert_eq!(activation.run(), Some(true));
    }

    #[test]
    fn what_finishes_is_over_for_good() {
        let activation = Activation::new();
        assert_eq!(activation.run(), Some(false));
        assert!(activation.trigger());
        activation.finish();
        assert!(!activation.trigger());
        assert_eq!(activation.ended(), Next::Over);
        assert!(!activation.trigger());
        assert_eq!(activation.state(), HandlerState::Over);
    }

    #[test]
    fn a_handler_that_is_stopped_ends_its_activation() {
        let activation = Activation::new();
        activation.run();
        assert!(activation.trigger());
        activation.stop();
        assert_eq!(activation.state(), HandlerState::Active);
        assert_eq!(activation.ended(), Next::Over);
        let idle = Activation::new();
        idle.stop();
        assert!(!idle.trigger());
        assert_eq!(idle.run(), None);
    }

    #[test]
    fn it_takes_triggers_until_its_last_activation_has_begun() {
        let activation = Activation::new();
        assert!(activation.takes_triggers(), "before it is run");
        activation.run();
        assert!(activation.takes_triggers(), "between activations");
        assert!(activation.trigger());
        assert!(activation.takes_triggers());
        activation.finish();
        assert!(!activation.takes_triggers(), "in its last");
        assert_eq!(activation.ended(), Next::Over);
        assert!(!activation.takes_triggers());
        let idle = Activation::new();
        idle.stop();
        assert!(!idle.takes_triggers());
    }

    #[test]
    fn what_is_over_stays_over() {
        let activation = Activation::new();
        assert_eq!(activation.state(), HandlerState::New);
        activation.run();
        assert_eq!(activation.state(), HandlerState::Idle);
        assert!(activation.trigger());
        activation.finish();
        activation.stop();
        assert_eq!(activation.state(), HandlerState::Active);
        for _ in 0..2 {
            assert_eq!(activation.ended(), Next::Over);
            assert_eq!(activation.state(), HandlerState::Over);
            activation.stop();
        }
    }
}
