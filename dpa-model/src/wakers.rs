//! Tasks of the host that wait for the same thing: each under a number of its own, so that nothing of one that is dropped is left.

use std::collections::BTreeMap;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

/// The tasks that wait for something. Mostly it is one at a time, which stands in place.
#[derive(Debug, Default)]
pub struct Wakers {
    one: Option<(u64, Waker)>,
    others: BTreeMap<u64, Waker>,
    /// No number is given twice.
    last: u64,
}

/// Tasks that were taken out, to be woken without the lock they stood under.
#[derive(Debug, Default)]
#[must_use = "they wait on until they are woken"]
pub struct Woken {
    one: Option<Waker>,
    others: BTreeMap<u64, Waker>,
}

impl Wakers {
    /// A task waits, under the number it had before or a new one; the waker it had, to be dropped without the lock.
    pub fn wait(&mut self, number: &mut Option<u64>, waker: Waker) -> Option<Waker> {
        let number = *number.get_or_insert_with(|| {
            self.last += 1;
            self.last
        });
        match &mut self.one {
            Some((its, kept)) if *its == number => Some(std::mem::replace(kept, waker)),
            None if !self.others.contains_key(&number) => {
                self.one = Some((number, waker));
                None
            }
            _ => self.others.insert(number, waker),
        }
    }

    /// It does not wait any more; its waker, to be dropped without the lock. `None`: it was taken out to be woken.
    pub fn leave(&mut self, number: u64) -> Option<Waker> {
        match self.one.take_if(|(its, _)| *its == number) {
            Some((_, waker)) => Some(waker),
            None => self.others.remove(&number),
        }
    }

    /// Whether nobody waits.
    pub fn is_empty(&self) -> bool {
        self.one.is_none() && self.others.is_empty()
    }

    /// Takes out all of them; those that go on waiting come back.
    pub fn take(&mut self) -> Woken {
        Woken {
            one: self.one.take().map(|(_, waker)| waker),
            others: std::mem::take(&mut self.others),
        }
    }

    /// How many wait.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        usize::from(self.one.is_some()) + self.others.len()
    }
}

impl Woken {
    /// Wakes them.
    pub fn wake(self) {
        self.into_wakers().for_each(sync_event::wake);
    }

    /// Their wakers.
    pub fn into_wakers(self) -> impl Iterator<Item = Waker> {
        self.one.into_iter().chain(self.others.into_values())
    }
}

/// What tasks wait for.
///
/// Its methods take the lock that its wakers stand under, and release it: wakers are cloned, dropped and called without it.
pub trait Awaited {
    /// What they get.
    type Output;

    /// Takes it, if it is there.
    fn look(&self) -> Option<Self::Output>;

    /// A task waits: [`Wakers::wait`].
    fn wait(&self, number: &mut Option<u64>, waker: Waker) -> Option<Waker>;

    /// It does not wait any more: [`Wakers::leave`].
    fn leave(&self, number: u64) -> Option<Waker>;
}

/// Waits until something is there. Nothing of it is left when it is dropped.
#[must_use = "futures do nothing unless awaited"]
pub struct Until<W: Awaited> {
    what: W,
    number: Option<u64>,
}

impl<W: Awaited> Until<W> {
    /// A wait for this.
    pub fn new(what: W) -> Self {
        Self { what, number: None }
    }
}

impl<W: Awaited> fmt::Debug for Until<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Until")
            .field("waits", &self.number.is_some())
            .finish_non_exhaustive()
    }
}

impl<W: Awaited + Unpin> Future for Until<W> {
    type Output = W::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<W::Output> {
        let this = self.get_mut();
        if let Some(found) = this.what.look() {
            return Poll::Ready(found);
        }
        let waker = cx.waker().clone();
        drop(this.what.wait(&mut this.number, waker));
        // It may have come between.
        this.what.look().map_or(Poll::Pending, Poll::Ready)
    }
}

impl<W: Awaited> Drop for Until<W> {
    fn drop(&mut self) {
        if let Some(number) = self.number {
            drop(self.what.leave(number));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waker() -> Waker {
        Waker::noop().clone()
    }

    #[test]
    fn who_leaves_is_gone_and_who_polls_again_stands_there_once() {
        let mut wakers = Wakers::default();
        let mut numbers = [None; 3];
        for number in &mut numbers {
            assert!(wakers.wait(number, waker()).is_none());
        }
        assert!(wakers.wait(&mut numbers[0], waker()).is_some());
        assert!(wakers.wait(&mut numbers[2], waker()).is_some());
        assert_eq!((wakers.len(), numbers), (3, [Some(1), Some(2), Some(3)]));
        assert!(wakers.leave(1).is_some() && wakers.leave(1).is_none());
        // The place of the first is free: the third keeps the one it has.
        assert!(wakers.wait(&mut numbers[2], waker()).is_some());
        assert_eq!(wakers.take().into_wakers().count(), 2);
        assert!(wakers.is_empty() && wakers.leave(2).is_none());
    }
}
