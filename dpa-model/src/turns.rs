//! Who may run on execution units that were asked for by number: so many at a time, the others in the order they came.

use std::collections::VecDeque;

use parking_lot::Mutex;

/// The units of one affinity, and who waits for one of them.
#[derive(Debug)]
pub(crate) struct Turns<T> {
    state: Mutex<State<T>>,
}

#[derive(Debug)]
struct State<T> {
    free: u32,
    waiting: VecDeque<T>,
}

impl<T> Turns<T> {
    /// For so many at a time.
    pub(crate) fn new(units: u32) -> Self {
        Self {
            state: Mutex::new(State {
                free: units,
                waiting: VecDeque::new(),
            }),
        }
    }

    /// Takes a unit; `None`: there is none, and `who` waits.
    pub(crate) fn take(&self, who: T) -> Option<T> {
        let mut state = self.state.lock();
        if state.free == 0 {
            state.waiting.push_back(who);
            return None;
        }
        state.free -= 1;
        Some(who)
    }

    /// Gives a unit back; the next who `lives` has it then, if one waits. The others that do not are dropped.
    pub(crate) fn give(&self, lives: impl Fn(&T) -> bool) -> Option<T> {
        let mut dead = Vec::new();
        let mut state = self.state.lock();
        let next = loop {
            match state.waiting.pop_front() {
                Some(who) if lives(&who) => break Some(who),
                Some(who) => dead.push(who),
                None => break None,
            }
        };
        if next.is_none() {
            state.free += 1;
        }
        drop(state);
        next
    }
}

#[cfg(all(test, not(dpa_loom)))]
mod tests {
    use super::*;

    #[test]
    fn units_go_round_in_order() {
        let turns = Turns::new(2);
        assert_eq!(turns.take(1), Some(1));
        assert_eq!(turns.take(2), Some(2));
        assert_eq!(turns.take(3), None);
        assert_eq!(turns.take(4), None);
        assert_eq!(turns.give(|who| *who != 3), Some(4));
        assert_eq!(turns.give(|_| true), None);
        assert_eq!(turns.take(5), Some(5));
        assert_eq!(turns.take(6), None);
    }
}
