//! Closing a context.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use flexio::CloseReport;

use crate::dpa::Dpa;
use crate::error::CloseTimedOut;
use crate::time::Deadline;

/// How long [`Dpa::close`] waits for what runs.
const PATIENCE: Duration = Duration::from_secs(30);

impl Dpa {
    /// Closes the context for all clones: refuses new work, waits (at most 30 s) for what runs, drops what is parked,
    /// and says what was still in use. What kernels have sent to the log, to message streams and to the trace is handed
    /// to the sinks, as long as the time lasts. That a sink failed is told to who flushes its stream next.
    ///
    /// What runs may need what it opens: launches that become ready meanwhile start, and so do DPA threads that are triggered. One
    /// that is triggered again and again, by itself or by its peers, may keep this for the whole time: drop it before.
    ///
    /// # Cancel safety
    /// Nothing happens before it is polled. Dropped later and before it is ready, new work is refused already; dropping the last
    /// clone then does the rest.
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
        let mut deadline = std::pin::pin!(Deadline::after(&process, patience));
        let mut resting = std::pin::pin!(process.at_rest());
        let at_rest = poll_fn(|cx| match resting.as_mut().poll(cx) {
            Poll::Ready(()) => Poll::Ready(true),
            Poll::Pending => deadline.as_mut().poll(cx).map(|()| false),
        })
        .await;
        let report = process.shut_down();
        let mut flushing = process.flush_all();
        poll_fn(|cx| match Pin::new(&mut flushing).poll(cx) {
            Poll::Pending => deadline.as_mut().poll(cx),
            ready => ready,
        })
        .await;
        process.close_trace();
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
