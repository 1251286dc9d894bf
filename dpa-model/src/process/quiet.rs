//! Tasks of the host that wait for something of the process as a whole: for idleness, for its end.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use super::Process;

/// Tasks to be woken whenever something ends that they may wait for. Each has a number of its own, never given twice.
#[derive(Debug, Default)]
pub(crate) struct Quiet {
    wakers: BTreeMap<u64, Waker>,
    last: u64,
    /// Those of tasks that poll without a number: each once, until something ends.
    polled: Vec<Waker>,
}

impl Quiet {
    /// A task waits, under the number it had before or a new one; the waker it had, to be dropped without the lock.
    pub(crate) fn wait(&mut self, number: &mut Option<u64>, waker: Waker) -> Option<Waker> {
        let number = *number.get_or_insert_with(|| {
            self.last += 1;
            self.last
        });
        self.wakers.insert(number, waker)
    }

    /// It does not wait any more.
    pub(crate) fn leave(&mut self, number: u64) -> Option<Waker> {
        self.wakers.remove(&number)
    }

    /// A task has polled that takes nothing back.
    pub(crate) fn polled(&mut self, waker: &Waker) {
        if !self.polled.iter().any(|other| other.will_wake(waker)) {
            self.polled.push(waker.clone());
        }
    }

    /// All of them, to be woken; those that go on waiting come back.
    pub(crate) fn take(&mut self) -> impl Iterator<Item = Waker> + use<> {
        let polled = std::mem::take(&mut self.polled);
        std::mem::take(&mut self.wakers).into_values().chain(polled)
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.wakers.len() + self.polled.len()
    }
}

/// Waits until something holds of a process. Nothing of it is left when it is dropped.
#[derive(Debug)]
pub struct Until<'p> {
    process: &'p Arc<Process>,
    holds: fn(&Process) -> bool,
    number: Option<u64>,
}

impl Future for Until<'_> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let (process, holds) = (self.process, self.holds);
        if holds(process) {
            return Poll::Ready(());
        }
        let before = process
            .wakers
            .lock()
            .quiet
            .wait(&mut self.number, cx.waker().clone());
        drop(before);
        // It may have come between.
        match holds(process) {
            true => Poll::Ready(()),
            false => Poll::Pending,
        }
    }
}

impl Drop for Until<'_> {
    fn drop(&mut self) {
        if let Some(number) = self.number {
            let left = self.process.wakers.lock().quiet.leave(number);
            drop(left);
        }
    }
}

impl Process {
    /// Until nothing is unfinished.
    pub fn idle(self: &Arc<Self>) -> Until<'_> {
        self.until(Self::is_idle)
    }

    /// Until it is stopped: fatal or closed.
    pub fn stopped(self: &Arc<Self>) -> Until<'_> {
        self.until(Self::is_stopped)
    }

    fn until(self: &Arc<Self>, holds: fn(&Self) -> bool) -> Until<'_> {
        Until {
            process: self,
            holds,
            number: None,
        }
    }
}
