//! Tasks of the host that poll for something, and take nothing back: they say nothing when they give up, and there may always be
//! others.
//!
//! Rules:
//! 1. A task that has polled is woken when something ends, however many there are.
//! 2. When there are [`FEW`], all are woken for nothing: who is still there comes back, and who is gone is forgotten. So it is when
//!    there are twice as many, and so on, and each time when there are [`MOST`]: tasks that live wake each other a few times, and only
//!    more than those for ever.

use std::collections::HashSet;
use std::task::Waker;

/// So many wait before it is seen who is there for the first time.
const FEW: usize = 1 << 12;
/// As many wait at most.
const MOST: usize = 1 << 16;

/// What a task is known by while its waker is kept. Nothing is read there.
type Name = (usize, usize);

fn name(waker: &Waker) -> Name {
    let table = std::ptr::from_ref(waker.vtable());
    (waker.data().addr(), table.addr())
}

/// The tasks.
#[derive(Debug)]
pub(super) struct Polled {
    /// The oldest first.
    waiting: Vec<Waker>,
    names: HashSet<Name>,
    /// So many may wait.
    most: usize,
}

impl Default for Polled {
    fn default() -> Self {
        Self {
            waiting: Vec::new(),
            names: HashSet::new(),
            most: FEW,
        }
    }
}

/// Tasks that are to be woken without the lock, and who is to be dropped there: wakers are foreign.
#[derive(Debug, Default)]
#[must_use = "they wait on until they are woken"]
pub(super) struct Told {
    wake: Vec<Waker>,
    _second: Option<Waker>,
}

impl Told {
    pub(super) fn wake(self) {
        self.wake.into_iter().for_each(sync_event::wake);
    }
}

impl Polled {
    /// A task has polled.
    pub(super) fn add(&mut self, waker: Waker) -> Told {
        let name = name(&waker);
        if self.names.contains(&name) {
            return Told {
                _second: Some(waker),
                ..Told::default()
            };
        }
        let told = match self.waiting.len() >= self.most {
            true => self.look_who_is_there(),
            false => Told::default(),
        };
        self.names.insert(name);
        self.waiting.push(waker);
        told
    }

    fn look_who_is_there(&mut self) -> Told {
        let most = MOST.min(2 * self.most);
        let told = self.take();
        self.most = most;
        told
    }

    /// Something has ended: takes all of them out; those that go on waiting come back.
    pub(super) fn take(&mut self) -> Told {
        self.most = FEW;
        self.names.clear();
        Told {
            wake: std::mem::take(&mut self.waiting),
            _second: None,
        }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::rig::Wakes;

    struct Task(Arc<Wakes>, Waker);

    impl Task {
        fn new() -> Self {
            let wakes = Wakes::new();
            Self(wakes.clone(), wakes.into())
        }

        fn poll(&self, polled: &mut Polled) {
            polled.add(self.1.clone()).wake();
        }
    }

    fn some(count: usize) -> Vec<Task> {
        (0..count).map(|_| Task::new()).collect()
    }

    #[test]
    fn a_task_stands_there_once_and_is_woken_in_its_turn() {
        let mut polled = Polled::default();
        let [first, second] = [Task::new(), Task::new()];
        for _ in 0..3 {
            first.poll(&mut polled);
            second.poll(&mut polled);
        }
        let all = polled.take();
        assert!(all.wake[0].will_wake(&first.1) && all.wake[1].will_wake(&second.1));
        all.wake();
        assert_eq!((first.0.count(), second.0.count(), polled.len()), (1, 1, 0));
        first.poll(&mut polled);
        assert_eq!(polled.len(), 1, "it may come back");
    }

    #[test]
    fn tasks_that_are_gone_are_forgotten() {
        let mut polled = Polled::default();
        let lives = Task::new();
        lives.poll(&mut polled);
        some(FEW).iter().for_each(|task| task.poll(&mut polled));
        assert_eq!((lives.0.count(), polled.len()), (1, 1), "one more");
        for _ in 0..10 {
            some(MOST).iter().for_each(|task| task.poll(&mut polled));
            assert!(polled.len() <= MOST);
            lives.poll(&mut polled);
        }
        assert!(lives.0.count() >= 9);
        drop(polled.take());
        some(FEW + 1).iter().for_each(|task| task.poll(&mut polled));
        assert_eq!(polled.len(), 1, "as at first, once something has ended");
    }

    /// Each polls again when it is woken, until nobody is.
    #[test]
    fn tasks_that_live_do_not_wake_each_other_for_ever() {
        let mut polled = Polled::default();
        let tasks = some(3 * FEW);
        tasks.iter().for_each(|task| task.poll(&mut polled));
        let mut seen = vec![0; tasks.len()];
        for _ in 0..10 {
            for (task, seen) in tasks.iter().zip(&mut seen) {
                if task.0.count() > *seen {
                    *seen = task.0.count();
                    task.poll(&mut polled);
                }
            }
        }
        assert_eq!(polled.len(), tasks.len(), "all of them wait");
        assert!(tasks.iter().all(|task| task.0.count() <= 3));
    }
}
