//! The waiter state machine beside a list that is searched from end to end.

use std::time::{Duration, Instant};

use proptest::prelude::*;
use sync_event::waiters::Waiters;
use sync_event::{Condition, EventWord, WaiterId};

/// Stops what would take much longer; what is right takes a fraction of a second.
const LIMIT: Duration = Duration::from_secs(60);

#[derive(Clone, Debug)]
enum Step {
    Insert(Condition),
    Take(u64),
    TakeOnly(u64),
    Remove(usize),
    Compact(u64),
}

fn condition() -> impl Strategy<Value = Condition> {
    let operand =
        prop_oneof![8 => 0..40u64, 1 => Just(u64::MAX), 2 => (1..4u64).prop_map(|n| n << 32 | 7)];
    let mask = prop_oneof![6 => Just(u64::MAX), 1 => Just(7u64), 1 => 0..40u64];
    (0..6u8, operand, mask).prop_map(|(op, v, mask)| {
        let plain = match op {
            0 | 1 => Condition::ge(v),
            2 | 3 => Condition::gt(v),
            4 => Condition::eq(v),
            _ => Condition::ne(v),
        };
        plain.masked(mask)
    })
}

fn value() -> impl Strategy<Value = u64> {
    prop_oneof![8 => 0..40u64, 1 => (1..4u64).prop_map(|n| n << 32 | 8)]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => condition().prop_map(Step::Insert),
        2 => value().prop_map(Step::Take),
        2 => value().prop_map(Step::TakeOnly),
        4 => any::<usize>().prop_map(Step::Remove),
        1 => (0..40u64).prop_map(Step::Compact),
    ]
}

/// Both sides; the model is a list in order of registration.
#[derive(Default)]
struct Pair {
    ours: Waiters<u64>,
    model: Vec<(u64, Condition, WaiterId)>,
    gone: Vec<WaiterId>,
    seq: u64,
}

impl Pair {
    fn insert(&mut self, condition: Condition) {
        self.seq += 1;
        let id = self.ours.insert(condition, self.seq, |_| self.seq);
        self.model.push((self.seq, condition, id));
    }

    fn take(&mut self, value: u64) {
        let mut ours = Vec::new();
        self.ours.take_met(value, |seq, what| {
            assert_eq!(seq, what);
            ours.push(seq);
        });
        ours.sort_unstable();
        let (met, left) = self.model.drain(..).partition(|(_, c, _)| c.holds(value));
        self.model = left;
        let met: Vec<_> = met;
        assert_eq!(ours, met.iter().map(|w| w.0).collect::<Vec<_>>());
        self.gone.extend(met.iter().map(|w| w.2));
    }

    /// It may say nothing; what it says is right.
    fn take_only(&mut self, value: u64) {
        let Some(seq) = self.ours.take_only(value) else {
            return;
        };
        let met = |model: &[(u64, Condition, WaiterId)]| {
            let of = model.iter().filter(|(_, c, _)| c.holds(value));
            of.map(|w| w.0).collect::<Vec<_>>()
        };
        assert_eq!(met(&self.model), [seq]);
        let at = self
            .model
            .iter()
            .position(|w| w.0 == seq)
            .expect("it waits");
        self.gone.push(self.model.remove(at).2);
    }

    fn remove(&mut self, at: usize) {
        if self.model.is_empty() {
            return;
        }
        let (seq, _, id) = self.model.remove(at % self.model.len());
        assert_eq!(self.ours.remove(id), Some(seq));
        self.gone.push(id);
    }

    fn check(&mut self) {
        assert_eq!(self.ours.len(), self.model.len());
        assert_eq!(self.ours.is_empty(), self.model.is_empty());
        let mut all = Vec::new();
        self.ours.each(|&seq| all.push(seq));
        all.sort_unstable();
        assert!(all.into_iter().eq(self.model.iter().map(|w| w.0)));
        assert_eq!(self.ours.low(), low(&self.model));
        for &id in &self.gone {
            assert_eq!(self.ours.remove(id), None, "a stale identity names someone");
        }
        for &(seq, _, id) in &self.model {
            assert_eq!(self.ours.get_mut(id).copied(), Some(seq));
        }
    }
}

fn low(model: &[(u64, Condition, WaiterId)]) -> u64 {
    let lows = model.iter().map(|(_, c, _)| match c.threshold() {
        Some(least) if c.mask() == u64::MAX => least,
        None if *c == Condition::gt(c.operand()).masked(c.mask()) => EventWord::NOBODY,
        _ => EventWord::ALWAYS,
    });
    lows.min().unwrap_or(EventWord::NOBODY)
}

fn cases() -> u32 {
    let given = std::env::var("DPA_CASES").ok().filter(|n| !n.is_empty());
    given.map_or(1000, |n| n.parse().expect("DPA_CASES is a number"))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn waiters_equal_a_searched_list(steps in prop::collection::vec(step(), 0..120)) {
        let mut pair = Pair::default();
        for step in steps {
            match step {
                Step::Insert(condition) => pair.insert(condition),
                Step::Take(value) => pair.take(value),
                Step::TakeOnly(value) => pair.take_only(value),
                Step::Remove(at) => pair.remove(at),
                // A run of ascending thresholds, half of which leave again from the middle.
                Step::Compact(from) => {
                    (0..90).for_each(|i| pair.insert(Condition::ge(from + i)));
                    (0..60).for_each(|i| pair.remove(pair.model.len() / 2 + i % 3));
                }
            }
            pair.check();
        }
        let rest: usize = pair.ours.into_all().count();
        prop_assert_eq!(rest, pair.model.len());
    }
}

#[test]
fn the_only_one_reached_in_a_queue_is_taken_at_once() {
    let mut waiters = Waiters::new();
    for least in [5, 6, 6, 9] {
        waiters.insert(Condition::ge(least), least, |_| least);
    }
    assert_eq!(waiters.take_only(4), None);
    assert_eq!(waiters.take_only(5), Some(5));
    assert_eq!(waiters.take_only(8), None, "two are reached");
    let mut met = 0;
    waiters.take_met(8, |_, _| met += 1);
    assert_eq!((met, waiters.take_only(u64::MAX)), (2, Some(9)));
    assert!(waiters.is_empty());
    // Somebody who stands elsewhere may be reached as well.
    waiters.insert(Condition::ge(5), 5, |_| 5);
    waiters.insert(Condition::eq(7), 7, |_| 7);
    assert_eq!(waiters.take_only(7), None);
}

/// What an update costs hardly grows with how many wait on. A search through all of them would take minutes here.
#[test]
fn rule_1_10_an_update_does_not_look_at_all_who_wait() {
    const MANY: u64 = 200_000;
    let condition = |n: u64| match n % 4 {
        0 => Condition::eq(n),
        1 => Condition::eq(n).masked(u64::MAX >> 8),
        2 => Condition::eq(n).masked(u64::MAX >> 16),
        // In no order, so that they stand in the set. None is reached.
        _ => Condition::ge((1 << 40) + n.wrapping_mul(0x9e37_79b9) % MANY),
    };
    let mut waiters = Waiters::new();
    for n in 0..MANY {
        waiters.insert(condition(n), n, |_| n);
    }
    let begun = Instant::now();
    for n in (0..MANY).filter(|n| n % 4 != 3) {
        let mut met = Vec::new();
        waiters.take_met(n, |_, who| met.push(who));
        assert_eq!(met, [n]);
        assert!(begun.elapsed() < LIMIT, "{n} updates took so long");
    }
    assert_eq!(waiters.len() as u64, MANY / 4);
}
