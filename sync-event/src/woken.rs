//! Those whose waits are over, to be opened and woken after the event's lock is released.

use alloc::vec::Vec;
use core::task::Waker;

/// Someone whose wait is over.
#[derive(Debug)]
pub(crate) enum Woken<G> {
    Gate(G),
    Task(Waker),
}

/// Whom an update satisfies.
#[derive(Debug)]
pub(crate) enum Only<G> {
    Nobody,
    One(Woken<G>),
    Several(alloc::boxed::Box<WokenList<G>>),
}

/// Those whose waits are over, with their numbers of registration. Most updates end one wait or none: only more than
/// one takes memory.
#[derive(Debug)]
pub(crate) struct WokenList<G> {
    first: Option<(u64, Woken<G>)>,
    others: Vec<(u64, Woken<G>)>,
}

impl<G> WokenList<G> {
    #[inline]
    pub(crate) const fn new() -> Self {
        Self {
            first: None,
            others: Vec::new(),
        }
    }

    #[inline]
    pub(crate) fn push(&mut self, seq: u64, woken: Woken<G>) {
        if self.first.is_none() {
            self.first = Some((seq, woken));
        } else {
            self.others.push((seq, woken));
        }
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.first.is_none()
    }

    /// Hands out everyone in order of registration.
    #[inline]
    pub(crate) fn in_order(mut self, mut each: impl FnMut(Woken<G>)) {
        if self.others.is_empty() {
            if let Some((_, only)) = self.first.take() {
                each(only);
            }
            return;
        }
        self.others.extend(self.first.take());
        // What arrives is mostly sorted but for the one just put at the end: a merge sort finds the run.
        self.others.sort_by_key(|&(seq, _)| seq);
        self.others.into_iter().for_each(|(_, woken)| each(woken));
    }
}
