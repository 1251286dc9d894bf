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
