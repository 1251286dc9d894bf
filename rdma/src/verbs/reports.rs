//! What is to be told to the host, when nothing of the NIC is being looked at any more.

use std::collections::VecDeque;

use super::pair::Pair;
use crate::psn::Qpn;
use crate::queue_pair::Cause;
use crate::soft::Host;
use crate::work::Completion;

/// What is to be told to the host.
#[derive(Debug, Default)]
pub(super) struct Reports {
    pub(super) completions: VecDeque<(Qpn, Completion)>,
    failures: VecDeque<(Qpn, Cause)>,
    /// Queue pairs that have room again, after they refused work for lack of it.
    pub(super) roomy: VecDeque<Qpn>,
    /// Something was told already.
    pub(super) told: bool,
}

impl Reports {
    /// What a queue pair in ERR has to say.
    pub(super) fn settle(&mut self, pair: &mut Pair, cause: Cause) {
        while let Some(completion) = pair.flushed() {
            self.completions.push_back((pair.number, completion));
        }
        if pair.is_idle() && !pair.told {
            pair.told = true;
            self.failures.push_back((pair.number, cause));
        }
    }

    /// Whether the end of work of this queue pair is to be told.
    pub(super) fn has_work_of(&self, number: Qpn) -> bool {
        let of = |(whose, done): &(Qpn, Completion)| {
            *whose == number && matches!(done, Completion::Work(_))
        };
        self.completions.iter().any(of)
    }

    #[inline]
    pub(super) fn tell(&mut self, host: &mut dyn Host) -> bool {
        let told = std::mem::take(&mut self.told);
        match self.completions.is_empty() && self.failures.is_empty() && self.roomy.is_empty() {
            true => told,
            false => self.tell_all(host) | told,
        }
    }

    #[cold]
    fn tell_all(&mut self, host: &mut dyn Host) -> bool {
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
