//! Who is told of a launch's end.

use std::task::Waker;

/// The task that awaits it, and the threads that block until it is over: any number of these, as a blocking wait shares the handle.
///
/// Nearly always it is one task or nobody. Then this is as large as a waker.
#[derive(Debug)]
pub(super) enum Watchers {
    Task(Waker),
    More(Option<Box<More>>),
}

#[derive(Debug, Default)]
pub(super) struct More {
    task: Option<Waker>,
    threads: Vec<Waker>,
}

// Beside a word of its own for the threads, a launch would be too large.
#[cfg(all(not(dpa_loom), target_pointer_width = "64"))]
const _: () = assert!(size_of::<Watchers>() == size_of::<Waker>());

impl Default for Watchers {
    fn default() -> Self {
        Self::More(None)
    }
}

impl Watchers {
    /// The task awaits it with this waker from now on; the one it had, to be dropped without the lock.
    pub(super) fn task(&mut self, waker: &Waker) -> Option<Waker> {
        let kept = match self {
            Self::Task(kept) => kept,
            Self::More(Some(more)) => match &mut more.task {
                Some(kept) => kept,
                none => {
                    *none = Some(waker.clone());
                    return None;
                }
            },
            Self::More(None) => {
                *self = Self::Task(waker.clone());
                return None;
            }
        };
        (!kept.will_wake(waker)).then(|| std::mem::replace(kept, waker.clone()))
    }

    /// A thread blocks, beside whoever waits already.
    pub(super) fn thread(&mut self, waker: &Waker) {
        let mut more = match std::mem::take(self) {
            Self::Task(task) => Box::new(More {
                task: Some(task),
                threads: Vec::new(),
            }),
            Self::More(more) => more.unwrap_or_default(),
        };
        if cfg!(dpa_mutant = "launch_keeps_one_thread") {
            more.threads.clear();
        }
        if !more.threads.iter().any(|kept| kept.will_wake(waker)) {
            more.threads.push(waker.clone());
        }
        *self = Self::More(Some(more));
    }

    /// Wakes them all, each once.
    pub(super) fn wake(self) {
        match self {
            Self::Task(task) => sync_event::wake(task),
            Self::More(None) => {}
            Self::More(Some(more)) => more
                .task
                .into_iter()
                .chain(more.threads)
                .for_each(sync_event::wake),
        }
    }
}
