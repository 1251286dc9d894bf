//! Waiting in device time, and blocking.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use flexio::{Device, ProcessRef};

use crate::dpa::Dpa;
use crate::turn::turn;

/// Becomes ready at a time of the device: virtual under a simulation.
#[derive(Debug)]
pub(crate) struct Deadline {
    process: ProcessRef,
    at: Duration,
    timer: Option<((u64, u64), Waker)>,
}

impl Deadline {
    pub(crate) fn after(process: &ProcessRef, delay: Duration) -> Self {
        let at = process.device().now().saturating_add(delay);
        Self {
            process: process.clone(),
            at,
            timer: None,
        }
    }

    fn forget(&mut self) {
        if let Some((key, _)) = self.timer.take() {
            self.process.device().forget_timer(key);
        }
    }
}

impl Future for Deadline {
    type Output = ();
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let device = self.process.device().clone();
        if device.now() >= self.at {
            self.forget();
            return Poll::Ready(());
        }
        if self
            .timer
            .as_ref()
            .is_none_or(|(_, waker)| !waker.will_wake(cx.waker()))
        {
            self.forget();
            let key = device.wake_at(self.at, &self.process, cx.waker().clone());
            self.timer = Some((key, cx.waker().clone()));
        }
        Poll::Pending
    }
}

impl Drop for Deadline {
    fn drop(&mut self) {
        self.forget();
    }
}

impl Dpa {
    /// Waits for a time of the device: real, or virtual under a simulation.
    ///
    /// Cancel safety: dropping it forgets the timer.
    pub async fn sleep(&self, delay: Duration) {
        match delay.is_zero() {
            true => turn(self.process()).await,
            false => Deadline::after(self.process(), delay).await,
        }
    }
}

struct Unpark(std::thread::Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Blocks this thread until `poll` is ready; under a simulation steps the device instead, and gives `None` if nothing
/// is left to run before it is.
pub(crate) fn block<R>(
    device: &Device,
    mut poll: impl FnMut(&mut Context<'_>) -> Poll<R>,
) -> Option<R> {
    if device.is_simulated() {
        return device.step_until(|| match poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(result) => Some(result),
            Poll::Pending => None,
        });
    }
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut cx = Context::from_waker(&waker);
    loop {
        if let Poll::Ready(result) = poll(&mut cx) {
            return Some(result);
        }
        std::thread::park();
    }
}
