//! Tasks of the host that wait for something of the process as a whole: for idleness, for its end.

use std::task::Waker;

use super::Process;
use crate::wakers::{Awaited, Until, Wakers};

/// Tasks to be woken whenever something ends that they may wait for.
#[derive(Debug, Default)]
pub(crate) struct Quiet {
    wakers: Wakers,
    /// Those of tasks that poll without a number: each once, until something ends.
    polled: Vec<Waker>,
}

impl Quiet {
    /// A task has polled that takes nothing back.
    pub(crate) fn polled(&mut self, waker: &Waker) {
        if !self.polled.iter().any(|other| other.will_wake(waker)) {
            self.polled.push(waker.clone());
        }
    }

    /// All of them, to be woken; those that go on waiting come back.
    pub(crate) fn take(&mut self) -> impl Iterator<Item = Waker> + use<> {
        let polled = std::mem::take(&mut self.polled);
        self.wakers.take().into_wakers().chain(polled)
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.wakers.len() + self.polled.len()
    }
}

/// Something that holds of a process some day.
#[derive(Debug)]
pub struct Holds<'p> {
    process: &'p Process,
    holds: fn(&Process) -> bool,
}

impl Awaited for Holds<'_> {
    type Output = ();

    fn look(&self) -> Option<()> {
        (self.holds)(self.process).then_some(())
    }

    fn wait(&self, number: &mut Option<u64>, waker: Waker) -> Option<Waker> {
        let quiet = &mut self.process.wakers.lock().quiet;
        quiet.wakers.wait(number, waker)
    }

    fn leave(&self, number: u64) -> Option<Waker> {
        self.process.wakers.lock().quiet.wakers.leave(number)
    }
}

impl Process {
    /// Until nothing is unfinished.
    pub fn idle(&self) -> Until<Holds<'_>> {
        self.until(Self::is_idle)
    }

    /// Until it is stopped: fatal or closed.
    pub fn stopped(&self) -> Until<Holds<'_>> {
        self.until(Self::is_stopped)
    }

    /// Until nothing of it runs, steps included, or is ready to. What is parked does not count.
    pub fn at_rest(&self) -> Until<Holds<'_>> {
        self.until(Self::is_at_rest)
    }

    fn until(&self, holds: fn(&Self) -> bool) -> Until<Holds<'_>> {
        let process = self;
        Until::new(Holds { process, holds })
    }
}
