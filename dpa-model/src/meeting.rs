//! Where the threads of a launch meet: barrier, broadcast, reduce.
//!
//! Rules:
//! 1. A thread arrives once per meeting. All but the last wait; the last releases all and begins the next meeting.
//! 2. The meeting owns the suspended threads that wait in it, until it hands them out: to the last one that arrives,
//!    or to [`Meeting::close`].
//! 3. A thread is handed in only after it has left its stack, so whoever takes it out may run it at once.
//! 4. Once a thread of the launch has returned, no meeting can be complete. Who comes and who returns say so in one word, and see in it
//!    whether the other was there before. The first that returns takes out who is in the meeting; who has come before that, and is
//!    not in it yet, looks again under its lock. A launch whose threads never meet takes no lock for it.

use dpa_abi::port::{Collective, CollectiveKind};
use sync_event::sync::Mutex;
use sync_event::sync::atomic::{AtomicU32, Ordering};

/// In the word of rule 4: somebody came.
const USED: u32 = 1;
/// In the word of rule 4: somebody has returned.
const LEFT: u32 = 2;

/// The meeting place of one launch, for threads suspended as `U`.
#[derive(Debug)]
pub struct Meeting<U> {
    threads: u32,
    /// [`USED`] and [`LEFT`].
    seen: AtomicU32,
    state: Mutex<State<U>>,
}

#[derive(Debug)]
struct State<U> {
    waiting: Vec<U>,
    arrived: u32,
    so_far: Option<Collective>,
    closed: bool,
}

/// What became of an arrival.
#[derive(Debug)]
pub enum Arrival<U> {
    /// It was the last. Its own handle back (if it was handed in), everyone who waited, and everyone's result.
    Last(Option<U>, Vec<U>, u64),
    /// It waits.
    Waits,
    /// It would have to wait: suspend it and hand it in.
    MustWait,
    /// It does something else than those who wait, which is this. Its own handle back.
    Mismatch(Option<U>, CollectiveKind),
    /// Another thread of the launch has returned, so they never all meet. Its own handle back.
    Missed(Option<U>),
    /// The meeting is closed. Its own handle back.
    Closed(Option<U>),
}

impl<U> Meeting<U> {
    /// A meeting of so many threads.
    pub fn new(threads: u32) -> Self {
        let state = State {
            waiting: Vec::new(),
            arrived: 0,
            so_far: None,
            closed: false,
        };
        Self {
            threads,
            seen: AtomicU32::new(0),
            state: Mutex::new(state),
        }
    }

    /// Arrives without being suspended yet: completes the meeting if this is the last thread, else `MustWait`.
    pub fn arrive_running(&self, what: Collective) -> Arrival<U> {
        if self.seen.fetch_or(USED, Ordering::AcqRel) & LEFT != 0 {
            return Arrival::Missed(None);
        }
        let mut state = self.state.lock();
        if state.arrived + 1 < self.threads && !state.closed {
            return Arrival::MustWait;
        }
        state.arrive(None, what, self.threads)
    }

    /// Arrives suspended. Only behind [`Meeting::arrive_running`].
    pub fn arrive(&self, unit: U, what: Collective) -> Arrival<U> {
        let mut state = self.state.lock();
        if cfg!(not(dpa_mutant = "meeting_looks_once")) && self.is_missed() {
            return Arrival::Missed(Some(unit));
        }
        state.arrive(Some(unit), what, self.threads)
    }

    /// Whether a thread of the launch has returned.
    fn is_missed(&self) -> bool {
        self.seen.load(Ordering::Acquire) & LEFT != 0
    }

    /// A thread of the launch has returned, and others have not; everyone who waits in the meeting, in vain.
    pub fn leave(&self) -> Vec<U> {
        if self.is_missed() || self.seen.fetch_or(LEFT, Ordering::AcqRel) & USED == 0 {
            return Vec::new();
        }
        let mut state = self.state.lock();
        state.arrived = 0;
        std::mem::take(&mut state.waiting)
    }

    /// Closes the meeting, for good; everyone who waits in it.
    pub fn close(&self) -> Vec<U> {
        let mut state = self.state.lock();
        state.closed = true;
        state.arrived = 0;
        std::mem::take(&mut state.waiting)
    }

    /// Threads that wait at the moment.
    pub fn waiting(&self) -> usize {
        self.state.lock().waiting.len()
    }
}

impl<U> State<U> {
    fn arrive(&mut self, unit: Option<U>, what: Collective, threads: u32) -> Arrival<U> {
        if self.closed {
            return Arrival::Closed(unit);
        }
        let combined = match combine(self.so_far, what) {
            Ok(combined) => combined,
            Err(others) => return Arrival::Mismatch(unit, others),
        };
        self.arrived += 1;
        if self.arrived == threads {
            self.release(unit, combined)
        } else {
            self.so_far = Some(combined);
            self.waiting.extend(unit);
            Arrival::Waits
        }
    }

    fn release(&mut self, unit: Option<U>, combined: Collective) -> Arrival<U> {
        if cfg!(not(dpa_mutant = "meeting_keeps_count")) {
            self.arrived = 0;
        }
        self.so_far = None;
        let result = match combined {
            Collective::Barrier => 0,
            Collective::Broadcast { value, .. } | Collective::Reduce { value, .. } => value,
        };
        Arrival::Last(unit, std::mem::take(&mut self.waiting), result)
    }
}

/// What the threads so far and one more do together; what those so far do, if that is not the same.
///
/// A thread's own broadcast is entered with its value only if it is the root (see [`own`]), so values can be or-ed.
fn combine(so_far: Option<Collective>, what: Collective) -> Result<Collective, CollectiveKind> {
    let Some(before) = so_far else {
        return Ok(what);
    };
    match (before, what) {
        (Collective::Barrier, Collective::Barrier) => Ok(Collective::Barrier),
        (Collective::Broadcast { root, value }, Collective::Broadcast { root: r, value: v })
            if root == r =>
        {
            Ok(Collective::Broadcast {
                root,
                value: value | v,
            })
        }
        (Collective::Reduce { op, value }, Collective::Reduce { op: o, value: v }) if op == o => {
            Ok(Collective::Reduce {
                op,
                value: op.apply(value, v),
            })
        }
        _ => Err(before.kind()),
    }
}

/// What the thread of this rank contributes: a broadcast's value only from its root.
pub fn own(rank: u32, what: Collective) -> Collective {
    match what {
        Collective::Broadcast { root, .. } if root != rank => {
            Collective::Broadcast { root, value: 0 }
        }
        other => other,
    }
}

#[cfg(all(test, not(dpa_loom)))]
mod tests {
    use super::*;
    use dpa_abi::port::ReduceOp;

    #[test]
    fn the_last_of_n_releases_all_and_the_next_meeting_begins() {
        let meeting = Meeting::new(3);
        for round in 0..2 {
            assert!(
                matches!(meeting.arrive(1, Collective::Barrier), Arrival::Waits),
                "round {round}"
            );
            assert!(matches!(
                meeting.arrive_running(Collective::Barrier),
                Arrival::MustWait
            ));
            assert!(matches!(
                meeting.arrive(2, Collective::Barrier),
                Arrival::Waits
            ));
            let Arrival::Last(None, released, 0) = meeting.arrive_running(Collective::Barrier)
            else {
                panic!("the third is the last");
            };
            assert_eq!(released, [1, 2]);
        }
    }

    #[test]
    fn reduce_and_broadcast_combine_all_values() {
        let reduce = |value| Collective::Reduce {
            op: ReduceOp::Max,
            value,
        };
        let meeting = Meeting::new(3);
        let _ = meeting.arrive(0, reduce(5));
        let _ = meeting.arrive(1, reduce(9));
        assert!(matches!(
            meeting.arrive(2, reduce(1)),
            Arrival::Last(Some(2), _, 9)
        ));
        let cast = |rank, value| own(rank, Collective::Broadcast { root: 1, value });
        let _ = meeting.arrive(0, cast(0, 7));
        let _ = meeting.arrive(1, cast(1, 8));
        assert!(matches!(
            meeting.arrive(2, cast(2, 16)),
            Arrival::Last(Some(2), _, 8)
        ));
    }

    #[test]
    fn different_collectives_do_not_meet() {
        let meeting = Meeting::new(2);
        let _ = meeting.arrive(0, Collective::Barrier);
        let other = Collective::Reduce {
            op: ReduceOp::Sum,
            value: 1,
        };
        assert!(matches!(
            meeting.arrive(1, other),
            Arrival::Mismatch(Some(1), CollectiveKind::Barrier)
        ));
    }

    #[test]
    fn rule_2_4_broadcasts_of_two_roots_and_reductions_of_two_kinds_do_not_meet() {
        let cast = |root| Collective::Broadcast { root, value: 0 };
        let reduce = |op| Collective::Reduce { op, value: 1 };
        for [one, other] in [
            [cast(0), cast(1)],
            [reduce(ReduceOp::Sum), reduce(ReduceOp::Max)],
        ] {
            let meeting = Meeting::new(2);
            assert_eq!(meeting.waiting(), 0);
            let _ = meeting.arrive(0, one);
            assert_eq!(meeting.waiting(), 1);
            let arrival = meeting.arrive(1, other);
            let Arrival::Mismatch(Some(1), others) = arrival else {
                panic!("{arrival:?}");
            };
            assert_eq!(others, one.kind());
            assert_ne!(others, other.kind());
            assert!(matches!(meeting.arrive(1, one), Arrival::Last(..)));
            assert_eq!(meeting.waiting(), 0);
        }
    }

    #[test]
    fn rule_2_4_all_that_wait_are_counted() {
        let meeting = Meeting::new(4);
        for waiting in 1..4 {
            let _ = meeting.arrive(waiting, Collective::Barrier);
            assert_eq!(meeting.waiting(), waiting);
        }
        assert_eq!(meeting.close().len(), 3);
        assert_eq!(meeting.waiting(), 0);
    }

    #[test]
    fn rule_2_4_who_returns_hands_out_everyone_who_waits_and_who_comes_later() {
        let meeting = Meeting::new(3);
        assert!(matches!(
            meeting.arrive_running(Collective::Barrier),
            Arrival::MustWait
        ));
        let _ = meeting.arrive(7, Collective::Barrier);
        assert_eq!(meeting.leave(), [7]);
        assert!(matches!(
            meeting.arrive_running(Collective::Barrier),
            Arrival::Missed(None)
        ));
        assert!(matches!(
            meeting.arrive(8, Collective::Barrier),
            Arrival::Missed(Some(8))
        ));
        assert!(meeting.leave().is_empty());
    }

    #[test]
    fn a_closed_meeting_hands_everyone_out() {
        let meeting = Meeting::new(2);
        let _ = meeting.arrive(7, Collective::Barrier);
        assert_eq!(meeting.close(), [7]);
        assert!(matches!(
            meeting.arrive(8, Collective::Barrier),
            Arrival::Closed(Some(8))
        ));
    }
}
