//! Tasks of the host that wait for something of the process as a whole: for idleness, for its end.

use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, Waker};

use super::Process;
use crate::wakers::{Awaited, Until};

/// Tasks to be woken whenever something ends that they may wait for.
#[derive(Debug, Default)]
pub(crate) struct Quiet {
    wakers: crate::wakers::Wakers,
    /// Those of tasks that poll without a number: each once, until something ends; [`MOST_POLLED`] at most, the oldest first.
    polled: VecDeque<Waker>,
}

/// Tasks that poll without a number and are remembered. They say nothing when they give up, and there may always be others: the
/// oldest is woken for nothing when there are more, and comes back if it is still there.
const MOST_POLLED: usize = 4096;

impl Quiet {
    /// A task has polled that takes nothing back. Whom to wake for it.
    #[must_use]
    fn polled(&mut self, waker: &Waker) -> Option<Waker> {
        if self.polled.iter().any(|other| other.will_wake(waker)) {
            return None;
        }
        let full = self.polled.len() >= MOST_POLLED;
        let oldest = full.then(|| self.polled.pop_front()).flatten();
        self.polled.push_back(waker.clone());
        oldest
    }

    /// All of them, to be woken; those that go on waiting come back.
    fn take(&mut self) -> impl Iterator<Item = Waker> + use<> {
        let polled = std::mem::take(&mut self.polled);
        self.wakers.take().into_wakers().chain(polled)
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.wakers.len() + self.polled.len()
    }
}

/// Where those stand who wait for something.
type Place = fn(&mut super::Wakers) -> &mut Quiet;

const QUIET: Place = |wakers| &mut wakers.quiet;
const STOPPED: Place = |wakers| &mut wakers.stopped;

/// Something that holds of a process some day.
#[derive(Debug)]
pub struct Holds<'p> {
    process: &'p Process,
    holds: fn(&Process) -> bool,
    place: Place,
}

impl Awaited for Holds<'_> {
    type Output = ();

    fn look(&self) -> Option<()> {
        (self.holds)(self.process).then_some(())
    }

    fn wait(&self, number: &mut Option<u64>, waker: Waker) -> Option<Waker> {
        let mut wakers = self.process.wakers.lock();
        (self.place)(&mut wakers).wakers.wait(number, waker)
    }

    fn leave(&self, number: u64) -> Option<Waker> {
        let mut wakers = self.process.wakers.lock();
        (self.place)(&mut wakers).wakers.leave(number)
    }
}

impl Process {
    /// Whether nothing is unfinished.
    pub(crate) fn is_idle(&self) -> bool {
        self.unfinished.is_none()
    }

    /// Until nothing is unfinished.
    pub fn idle(&self) -> Until<Holds<'_>> {
        self.until(Self::is_idle, QUIET)
    }

    /// Until it is stopped: fatal or closed.
    pub fn stopped(&self) -> Until<Holds<'_>> {
        self.until(Self::is_stopped, STOPPED)
    }

    /// Until nothing of it runs, steps included, or is ready to. What is parked does not count.
    pub fn at_rest(&self) -> Until<Holds<'_>> {
        self.until(Self::is_at_rest, QUIET)
    }

    fn until(&self, holds: fn(&Self) -> bool, place: Place) -> Until<Holds<'_>> {
        let process = self;
        Until::new(Holds {
            process,
            holds,
            place,
        })
    }

    /// Polls until nothing is unfinished. The task's waker stays until something ends: [`Process::idle`] takes it back.
    pub fn poll_idle(&self, cx: &Context<'_>) -> Poll<()> {
        self.poll_quiet(cx, || self.is_idle())
    }

    /// Polls until it is stopped: fatal or closed. Among those who wait for idleness: else the wakers of tasks that poll once and go
    /// would pile up.
    pub fn poll_stopped(&self, cx: &Context<'_>) -> Poll<()> {
        self.poll_quiet(cx, || self.is_stopped())
    }

    /// Polls until `quiet` holds; it is asked again whenever something ends.
    pub(crate) fn poll_quiet(&self, cx: &Context<'_>, quiet: impl Fn() -> bool) -> Poll<()> {
        if quiet() {
            return Poll::Ready(());
        }
        let oldest = self.wakers.lock().quiet.polled(cx.waker());
        oldest.into_iter().for_each(sync_event::wake);
        // It may have come between.
        match quiet() {
            true => Poll::Ready(()),
            false => Poll::Pending,
        }
    }

    /// Something has ended: wakes those who wait for that, and the first of those who wait for room. `idle`: nothing is left.
    #[cold]
    pub(crate) fn tell_hosts(&self, idle: bool) {
        let mut wakers = self.wakers.lock();
        let quiet = (idle || self.closing.load(Ordering::Relaxed)).then(|| wakers.quiet.take());
        let room = wakers.room.front().map(|(_, waker)| waker.clone());
        drop(wakers);
        quiet
            .into_iter()
            .flatten()
            .chain(room)
            .for_each(sync_event::wake);
    }

    /// Wakes all who wait for anything of it.
    pub(crate) fn wake_all_hosts(&self) {
        let mut wakers = self.wakers.lock();
        let quiet = wakers.quiet.take().chain(wakers.stopped.take());
        let room = std::mem::take(&mut wakers.room);
        self.lined_up.store(0, Ordering::Relaxed);
        drop(wakers);
        quiet
            .chain(room.into_iter().map(|(_, w)| w))
            .for_each(sync_event::wake);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rig::{Still, Wakes, spec};

    #[test]
    fn tasks_that_poll_and_go_leave_no_more_than_so_many_wakers() {
        let process = Still::new();
        let _launch = process.accept(spec());
        let [first, second] = [Wakes::new(), Wakes::new()];
        let poll = |wakes: &std::sync::Arc<Wakes>| wakes.poll(|cx| process.poll_idle(cx));
        assert!(poll(&first).is_pending() && poll(&second).is_pending());
        for _ in 2..MOST_POLLED {
            assert!(poll(&Wakes::new()).is_pending());
        }
        assert_eq!(first.count(), 0);
        assert!(poll(&Wakes::new()).is_pending());
        assert_eq!((first.count(), second.count()), (1, 0), "the oldest");
        assert!(poll(&first).is_pending(), "it comes back");
        assert_eq!(second.count(), 1);
        assert_eq!(process.wakers.lock().quiet.len(), MOST_POLLED);
    }
}
