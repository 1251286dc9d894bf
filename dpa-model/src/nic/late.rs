//! Completions that are late because a simulation asks for it ([`crate::mishaps`]).
//!
//! What ends behind one on the same queue pair waits with it: completions of a queue pair come in order. Nothing waits longer than its
//! queue pair is there, or works.

use std::collections::{BTreeMap, VecDeque};

use dpa_abi::queue::CompletionEntry;
use rdma::psn::Qpn;

use super::pairs::Pair;
use super::pending::Ended;
use super::world::World;

/// What is to be told.
#[derive(Debug)]
pub(crate) enum Ending {
    /// To the host, of the work with this id.
    Host(u64, Ended),
    /// To kernels, by an entry of a completion queue.
    Entry(Option<usize>, CompletionEntry),
}

/// What is kept back of a queue pair.
#[derive(Debug)]
struct Kept {
    until: u64,
    endings: VecDeque<Ending>,
}

/// What is kept back.
#[derive(Debug, Default)]
pub(crate) struct Late(BTreeMap<Qpn, Kept>);

impl Late {
    /// Keeps it if something of its queue pair is, or if it is late itself; else gives it back.
    fn keep(
        &mut self,
        number: Qpn,
        ending: Ending,
        until: impl FnOnce() -> Option<u64>,
    ) -> Option<Ending> {
        if let Some(kept) = self.0.get_mut(&number) {
            kept.endings.push_back(ending);
            return None;
        }
        let Some(until) = until() else {
            return Some(ending);
        };
        let endings = VecDeque::from([ending]);
        self.0.insert(number, Kept { until, endings });
        None
    }

    fn take(&mut self, number: Qpn) -> VecDeque<Ending> {
        self.0
            .remove(&number)
            .map_or_else(VecDeque::new, |kept| kept.endings)
    }

    fn next(&self) -> Option<(u64, Qpn)> {
        let all = self.0.iter().map(|(number, kept)| (kept.until, *number));
        all.min()
    }
}

impl World {
    /// Tells of an ending, or keeps it back.
    pub(super) fn end(&mut self, number: Qpn, ending: Ending) {
        let ending = match (&mut self.late, self.pairs.get(number)) {
            (Some(late), Some(pair)) => {
                let device = &pair.process.device;
                late.keep(number, ending, || device.completion_late())
            }
            _ => Some(ending),
        };
        ending
            .into_iter()
            .for_each(|ending| self.tell_of(number, ending));
    }

    fn tell_of(&mut self, number: Qpn, ending: Ending) {
        match ending {
            Ending::Host(id, ended) => self.work_of_host(id, ended),
            Ending::Entry(queue, entry) => self.write_entry(queue, number, &entry),
        }
    }

    /// Tells of all that is kept back of a queue pair.
    pub(super) fn end_late(&mut self, number: Qpn) {
        let kept = self.late.as_mut().map(|late| late.take(number));
        for ending in kept.into_iter().flatten() {
            self.tell_of(number, ending);
        }
    }

    /// Tells of what is late no longer; whether there was anything.
    pub(super) fn end_due(&mut self, now: u64) -> bool {
        let mut any = false;
        while let Some((until, number)) = self.late.as_ref().and_then(Late::next)
            && until <= now
        {
            any = true;
            self.end_late(number);
        }
        any
    }

    /// When the next of what is late comes.
    pub(super) fn next_late(&self) -> Option<u64> {
        let next = self.late.as_ref().and_then(Late::next);
        next.map(|(until, _)| until)
    }

    /// A queue pair is gone.
    pub(crate) fn remove(&mut self, number: Qpn) -> Option<Pair> {
        self.end_late(number);
        self.pairs.remove(number)
    }
}
