//! Who may run on execution units that were asked for by number: one at a time on each, the others in the order they came.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;

/// The units that somebody may ask for, by number.
pub(crate) type Set = Arc<[u32]>;

/// The units of a partition, and who waits for one of them.
#[derive(Debug)]
pub(crate) struct Turns<T> {
    state: Mutex<State<T>>,
}

#[derive(Debug)]
struct State<T> {
    taken: Vec<bool>,
    waiting: VecDeque<(Set, T)>,
}

impl<T> Turns<T> {
    /// For so many units.
    pub(crate) fn new(units: u32) -> Self {
        Self {
            state: Mutex::new(State {
                taken: vec![false; units as usize],
                waiting: VecDeque::new(),
            }),
        }
    }

    /// Takes a unit of the set, whose numbers are below that of the units; `None`: none is free, and `who` waits.
    pub(crate) fn take(&self, set: &Set, who: T) -> Option<(T, u32)> {
        let mut state = self.state.lock();
        let free = set.iter().find(|&&unit| !state.taken[unit as usize]);
        let Some(&unit) = free else {
            state.waiting.push_back((set.clone(), who));
            return None;
        };
        state.taken[unit as usize] = true;
        Some((who, unit))
    }

    /// Gives a unit back; the next who `lives` and waits for it has it then. Others that do not are dropped.
    pub(crate) fn give(&self, unit: u32, lives: impl Fn(&T) -> bool) -> Option<T> {
        let mut state = self.state.lock();
        let all = std::mem::take(&mut state.waiting);
        let (living, dead): (VecDeque<_>, VecDeque<_>) =
            all.into_iter().partition(|(_, who)| lives(who));
        state.waiting = living;
        let next = state
            .waiting
            .iter()
            .position(|(set, _)| set.contains(&unit));
        let next = next.and_then(|at| state.waiting.remove(at));
        state.taken[unit as usize] = next.is_some();
        drop(state);
        drop(dead);
        next.map(|(_, who)| who)
    }
}

#[cfg(all(test, not(dpa_loom)))]
mod tests {
    use super::*;

    #[test]
    fn units_go_round_in_order() {
        let turns = Turns::new(3);
        let (both, last): (Set, Set) = ([0, 1].into(), [1, 2].into());
        assert_eq!(turns.take(&both, 1), Some((1, 0)));
        assert_eq!(turns.take(&both, 2), Some((2, 1)));
        assert_eq!(turns.take(&both, 3), None);
        assert_eq!(turns.take(&both, 4), None);
        assert_eq!(turns.take(&last, 5), Some((5, 2)));
        assert_eq!(turns.take(&last, 6), None);
        assert_eq!(turns.give(2, |_| true), Some(6), "nobody else waits for it");
        assert_eq!(turns.give(1, |who| *who != 3), Some(4));
        assert_eq!(turns.give(1, |_| true), None);
        assert_eq!(turns.take(&both, 7), Some((7, 1)));
    }
}
