//! What a NIC has to tell its host, whoever does its work.

use std::collections::VecDeque;

use crate::psn::Qpn;
use crate::queue_pair::Cause;
use crate::soft::Host;
use crate::work::Completion;

/// What is to be told to the host.
#[derive(Debug, Default)]
pub(crate) struct Reports {
    pub(crate) completions: VecDeque<(Qpn, Completion)>,
    /// Queue pairs that went to ERR.
    pub(crate) failures: VecDeque<(Qpn, Cause)>,
    /// Queue pairs that have room again, after they refused work for lack of it.
    pub(crate) roomy: VecDeque<Qpn>,
}

/// When the host is to be told of a queue pair that so much of its work is over. It is told once for all that it waits for.
#[derive(Debug)]
pub(crate) struct Awaited {
    /// When less than this is under way: work was refused for lack of room. 0: nothing is asked for.
    below: usize,
    /// When all before this count is over: somebody waits for that.
    over: Option<u64>,
}

impl Awaited {
    pub(crate) const NOTHING: Self = Self {
        below: 0,
        over: None,
    };

    /// It is told when less than this is under way.
    pub(crate) const fn below(&mut self, limit: usize) {
        self.below = limit;
    }

    /// It is told when all before this count is over, whatever was posted behind.
    pub(crate) const fn over(&mut self, count: u64) {
        self.over = Some(count);
    }

    /// Whether it is to be told, with so much under way, and all before this count over. True once.
    #[inline]
    pub(crate) fn is_due(&mut self, under_way: usize, over: u64) -> bool {
        let due = under_way < self.below || self.over.is_some_and(|count| over >= count);
        if due {
            *self = Self::NOTHING;
        }
        due
    }
}

impl Reports {
    /// Nothing yet.
    pub(crate) const fn new() -> Self {
        Self {
            completions: VecDeque::new(),
            failures: VecDeque::new(),
            roomy: VecDeque::new(),
        }
    }

    /// Whether there is nothing to be told.
    #[cfg(feature = "verbs")]
    pub(crate) fn is_empty(&self) -> bool {
        self.completions.is_empty() && self.failures.is_empty() && self.roomy.is_empty()
    }

    /// Whether the end of work of this queue pair is to be told.
    pub(crate) fn has_work_of(&self, number: Qpn) -> bool {
        let of = |(whose, done): &(Qpn, Completion)| {
            *whose == number && matches!(done, Completion::Work(_))
        };
        self.completions.iter().any(of)
    }

    /// Tells all of it; whether there was anything. First what is complete, for that a queue pair has failed or has room comes of it.
    pub(crate) fn tell(&mut self, host: &mut dyn Host) -> bool {
        let mut any = false;
        while let Some((number, completion)) = self.completions.pop_front() {
            any = true;
            host.completed(number, completion);
        }
        while let Some((number, cause)) = self.failures.pop_front() {
            any = true;
            host.failed(number, cause);
        }
        while let Some(number) = self.roomy.pop_front() {
            any = true;
            host.has_room(number);
        }
        any
    }
}
