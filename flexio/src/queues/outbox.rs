//! Outboxes: what kernels ring doorbells through.

use std::sync::Arc;

use dpa_abi::{Handle, IntoArg};

use super::{OutboxError, OutboxHandle};
use crate::process::ProcessRef;

/// A page of the NIC for doorbells.
#[doc(alias = "flexio_uar")]
#[doc(alias = "flexio_uar_destroy")]
#[derive(Clone, Debug)]
pub struct Uar {
    page: Arc<Page>,
}

#[derive(Debug)]
struct Page {
    process: ProcessRef,
    handle: Handle,
    number: u32,
}

impl Drop for Page {
    fn drop(&mut self) {
        self.process.raw().close_page(self.handle);
    }
}

/// An outbox. A kernel that is given its handle may ring doorbells through it; when it is dropped they are refused.
#[doc(alias = "flexio_outbox")]
#[doc(alias = "flexio_outbox_destroy")]
#[derive(Debug)]
pub struct Outbox {
    uar: Uar,
    handle: OutboxHandle,
}

impl ProcessRef {
    /// A page of the NIC for doorbells.
    ///
    /// # Errors
    /// The process has as many as it may have; it is stopped.
    #[doc(alias = "doca_uar_dpa_create")]
    #[doc(alias = "flexio_uar_create")]
    #[doc(alias = "flexio_process_get_uar")]
    pub fn uar(&self) -> Result<Uar, OutboxError> {
        let (handle, number) = self.raw().open_page()?;
        let process = self.clone();
        let page = Page {
            process,
            handle,
            number,
        };
        Ok(Uar {
            page: Arc::new(page),
        })
    }

    /// An outbox with a page of its own. Threads begin with a default one, which every process has.
    ///
    /// # Errors
    /// The process has as many as it may have; it is stopped.
    #[doc(alias = "flexio_outbox_create")]
    pub fn outbox(&self) -> Result<Outbox, OutboxError> {
        self.uar()?.outbox()
    }
}

impl Uar {
    /// Its number, of which there is one on the device.
    #[doc(alias = "doca_dpa_get_uar_id")]
    #[doc(alias = "flexio_uar_get_id")]
    pub fn number(&self) -> u32 {
        self.page.number
    }

    /// An outbox that writes to this page.
    ///
    /// # Errors
    /// The process has as many as it may have; it is stopped.
    pub fn outbox(&self) -> Result<Outbox, OutboxError> {
        let handle = self.page.process.raw().open_outbox()?;
        let uar = self.clone();
        Ok(Outbox { uar, handle })
    }
}

impl Outbox {
    /// The handle by which kernels of its process name it.
    #[doc(alias = "flexio_outbox_get_id")]
    pub fn handle(&self) -> OutboxHandle {
        self.handle
    }

    /// The page it writes to.
    #[doc(alias = "flexio_outbox_get_uar")]
    pub fn uar(&self) -> &Uar {
        &self.uar
    }
}

impl Drop for Outbox {
    fn drop(&mut self) {
        let process = &self.uar.page.process;
        process.raw().close_outbox(self.handle);
    }
}

/// The kernel gets the handle. It may outlive the outbox: then it names nothing.
impl IntoArg<OutboxHandle> for &Outbox {
    type Kept = ();
    fn into_arg(self) -> (OutboxHandle, ()) {
        (self.handle, ())
    }
}
