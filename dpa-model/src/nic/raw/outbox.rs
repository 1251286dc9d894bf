//! Outboxes, and the pages of the NIC that they write doorbells to.

use dpa_abi::Handle;
use dpa_abi::queue::bell::OutboxHandle;
use thiserror::Error;

use crate::process::Process;

/// Why there is no outbox or page.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum OutboxError {
    /// The process is fatal or closed.
    #[error("the process is stopped")]
    Stopped,
}

/// Pages of one process have numbers from here.
const PAGES: u32 = 12;

impl Process {
    /// A page of the NIC for doorbells: its handle and its number.
    ///
    /// # Errors
    /// The process is stopped.
    pub fn open_page(&self) -> Result<(Handle, u32), OutboxError> {
        self.runs()?;
        let handle = self.doorbells.pages.add(());
        Ok((handle, self.number() << PAGES | handle.index))
    }

    /// The page is not used any more.
    pub fn close_page(&self, handle: Handle) {
        self.doorbells.pages.remove(handle);
    }

    /// An outbox that writes to the page with this number.
    ///
    /// # Errors
    /// The process is stopped.
    pub fn open_outbox(&self, page: u32) -> Result<OutboxHandle, OutboxError> {
        self.runs()?;
        Ok(OutboxHandle(self.doorbells.outboxes.add(page)))
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
