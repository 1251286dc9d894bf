//! Who may run on execution units that were asked for by number: one at a time on each, the others in the order they came.

use std::collections::{BTreeMap, VecDeque};
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
    /// By what they asked for, with their numbers in the order they came: many wait for few sets.
    waiting: BTreeMap<Set, VecDeque<(u64, T)>>,
    next: u64,
}

impl<T> State<T> {
    /// Takes out who has waited longest for this unit, and those before who no longer live, into `dead`.
    fn next_for(&mut self, unit: u32, lives: impl Fn(&T) -> bool, dead: &mut Vec<T>) -> Option<T> {
        let lines = self.waiting.iter_mut();
        let asking = lines.filter(|(set, _)| set.contains(&unit));
        let heads = asking.filter_map(|(_, line)| {
            while let Some((_, who)) = line.pop_front_if(|(_, who)| !lives(who)) {
                dead.push(who);
            }
            line.front().map(|(number, _)| *number).zip(Some(line))
        });
        let first = heads.min_by_key(|(number, _)| *number);
        let next = first.and_then(|(_, line)| line.pop_front());
        self.waiting.retain(|_, line| !line.is_empty());
        next.map(|(_, who)| who)
    }
}

impl<T> Turns<T> {
    /// For so many units.
    pub(crate) fn new(units: u32) -> Self {
        Self {
            state: Mutex::new(State {
                taken: vec![false; units as usize],
                waiting: BTreeMap::new(),
                next: 0,
            }),
        }
    }

    /// Takes a unit of the set, whose numbers are below that of the units; `None`: none is free, and `who` waits.
    pub(crate) fn take(&self, set: &Set, who: T) -> Option<(T, u32)> {
        let mut state = self.state.lock();
        let free = set.iter().find(|&&unit| !state.taken[unit as usize]);
        let Some(&unit) = free else {
            let number = state.next;
            state.next += 1;
            let line = state.waiting.entry(set.clone()).or_default();
            line.push_back((number, who));
            return None;
        };
        state.taken[unit as usize] = true;
        Some((who, unit))
    }

    /// Gives a unit back; the next who `lives` and waits for it has it then. Those before who do not are dropped.
    pub(crate) fn give(&self, unit: u32, lives: impl Fn(&T) -> bool) -> Option<T> {
        let mut dead = Vec::new();
        let mut state = self.state.lock();
        let next = state.next_for(unit, lives, &mut dead);
        state.taken[unit as usize] = next.is_some();
        drop(state);
        drop(dead);
        next
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

    #[test]
    fn who_came_first_has_the_unit_whatever_else_it_could_have() {
        for order in [[0, 1], [1, 0]] {
            let turns = Turns::new(3);
            let sets: [Set; 2] = [[0, 1].into(), [1, 2].into()];
            for unit in 0..3 {
                turns.take(&[unit].into(), 9);
            }
            for one in order {
                assert_eq!(turns.take(&sets[one], one), None);
            }
            assert_eq!(turns.give(1, |_| true), Some(order[0]));
            assert_eq!(turns.give(1, |_| true), Some(order[1]));
        }
    }
}
