//! Tasks of the host that wait for something of the process as a whole: for idleness, for its end.

use std::sync::atomic::Ordering;
use std::task::{Context, Poll, Waker};

use super::Process;
use super::polled::{Polled, Told};
use crate::wakers::{Awaited, Until};

/// Tasks to be woken whenever something ends that they may wait for.
#[derive(Debug, Default)]
pub(crate) struct Quiet {
    wakers: crate::wakers::Wakers,
    /// Those of tasks that poll without a number.
    polled: Polled,
}

/// Tasks that are taken out, to be woken without the lock.
#[must_use = "they wait on until they are woken"]
struct All(crate::wakers::Woken, Told);

impl All {
    fn wake(self) {
        self.0.wake();
        self.1.wake();
    }
}

impl Quiet {
    /// All of them; those that go on waiting come back.
    fn take(&mut self) -> All {
        All(self.wakers.take(), self.polled.take())
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
        let waker = cx.waker().clone();
        let told = self.wakers.lock().quiet.polled.add(waker);
        told.wake();
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
        quiet.into_iter().for_each(All::wake);
        room.into_iter().for_each(sync_event::wake);
    }

    /// Wakes all who wait for anything of it.
    pub(crate) fn wake_all_hosts(&self) {
        let mut wakers = self.wakers.lock();
        let all = [wakers.quiet.take(), wakers.stopped.take()];
        let room = std::mem::take(&mut wakers.room);
        self.lined_up.store(0, Ordering::Relaxed);
        drop(wakers);
        all.into_iter().for_each(All::wake);
        let room = room.into_iter().map(|(_, waker)| waker);
        room.for_each(sync_event::wake);
    }
}
