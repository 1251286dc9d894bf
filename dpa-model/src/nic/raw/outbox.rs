//! Outboxes, and the pages of the NIC that they write doorbells to.

use dpa_abi::Handle;
use dpa_abi::queue::bell::OutboxHandle;
use thiserror::Error;

use crate::process::Process;
use crate::quota::{MAX_PAGES, QuotaExceeded};

/// Why there is no outbox or page.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum OutboxError {
    /// As many as the process may have.
    #[error(transparent)]
    Quota(#[from] QuotaExceeded),
    /// The process is fatal or closed.
    #[error("the process is stopped")]
    Stopped,
}

impl Process {
    /// A page of the NIC for doorbells: its handle and its number.
    ///
    /// # Errors
    /// It has as many as it may have; it is stopped.
    pub fn open_page(&self) -> Result<(Handle, u32), OutboxError> {
        self.runs()?;
        let handle = self.doorbells.pages.add(self.quotas.page()?);
        Ok((
            handle,
            self.number().wrapping_mul(MAX_PAGES as u32) | handle.index,
        ))
    }

    /// The page is not used any more.
    pub fn close_page(&self, handle: Handle) {
        self.doorbells.pages.remove(handle);
    }

    /// An outbox. All pages of a NIC lead to the same, so it is not kept which it writes to.
    ///
    /// # Errors
    /// The process has as many as it may have; it is stopped.
    pub fn open_outbox(&self) -> Result<OutboxHandle, OutboxError> {
        self.runs()?;
        let share = self.quotas.outbox()?;
        Ok(OutboxHandle(self.doorbells.outboxes.add(share)))
    }

    /// From now on doorbells through it are refused.
    pub fn close_outbox(&self, outbox: OutboxHandle) {
        self.doorbells.outboxes.remove(outbox.0);
    }

    fn runs(&self) -> Result<(), OutboxError> {
        match self.is_stopped() {
            true => Err(OutboxError::Stopped),
            false => Ok(()),
        }
    }
}
