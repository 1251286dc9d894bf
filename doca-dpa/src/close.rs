//! Closing a context.

use std::future::poll_fn;
use std::task::Poll;
use std::time::Duration;

use flexio::{CloseReport, ProcessRef};

use crate::dpa::Dpa;
use crate::error::CloseTimedOut;
use crate::time::Deadline;

/// How long [`Dpa::close`] waits for what runs.
const PATIENCE: Duration = Duration::from_secs(30);
/// A launch's units are given back a moment after its end was told, so a context is looked at again this much later.
const LOOK_AGAIN: Duration = Duration::from_millis(1);

/// Whether nothing runs or is ready to, at some time within so much device time.
async fn at_rest_within(process: &ProcessRef, time: Duration) -> bool {
    let mut deadline = std::pin::pin!(Deadline::after(process, time));
    poll_fn(|cx| match process.poll_at_rest(cx) {
        Poll::Ready(()) => Poll::Ready(true),
        Poll::Pending => deadline.as_mut().poll(cx).map(|()| false),
    })
    .await
}

impl Dpa {
    /// Closes the context for all clones: refuses new work, waits (at most 30 s) for what runs, drops what is parked,
    /// and says what was still in use.
    ///
    /// # Cancel safety
    /// Dropped before it is ready, new work is refused already; dropping the last clone then does the rest.
    ///
    /// # Errors
    /// Kernels still ran when the time was up. The context is closed all the same: they stop at their next safe point.
    #[doc(alias = "doca_dpa_stop")]
    #[doc(alias = "doca_dpa_destroy")]
    pub async fn close(self) -> Result<CloseReport, CloseTimedOut> {
        self.close_within(PATIENCE).await
    }

    /// As [`Dpa::close`], waiting for at most `patience` of device time.
    ///
    /// # Errors
    /// As [`Dpa::close`].
    pub async fn close_within(self, patience: Duration) -> Result<CloseReport, CloseTimedOut> {
        let process = self.process().clone();
        process.refuse();
        let until = process.device().now().saturating_add(patience);
        let at_rest = loop {
            if at_rest_within(&process, LOOK_AGAIN).await {
                break true;
            }
            if process.device().now() >= until {
                break false;
            }
        };
        let report = process.shut_down();
        if at_rest {
            Ok(report)
        } else {
            Err(CloseTimedOut {
                waited: patience,
                report,
            })
        }
    }
}
