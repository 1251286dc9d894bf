//! The doorbells of a process: which queue each handle rings for. A process can ring its own only.

use std::sync::Arc;

use dpa_abi::Handle;
use rdma::psn::Qpn;

use super::DeviceNic;
use crate::handles::Handles;

/// The doorbells of a process.
#[derive(Debug, Default)]
pub(crate) struct Doorbells(Handles<(Arc<DeviceNic>, Qpn)>);

impl Doorbells {
    /// A doorbell for the send queue of this queue pair.
    pub(crate) fn add(&self, nic: Arc<DeviceNic>, number: Qpn) -> Handle {
        self.0.add((nic, number))
    }

    /// Takes a doorbell back.
    pub(crate) fn remove(&self, handle: Handle) {
        self.0.remove(handle);
    }

    /// Takes all of them back.
    pub(crate) fn clear(&self) {
        self.0.clear();
    }

    /// Rings; whether there is such a doorbell, and whether a kernel may have been opened.
    pub(crate) fn ring(&self, handle: Handle, now: impl FnOnce() -> u64) -> Option<bool> {
        let (nic, number) = self.0.get(handle, Clone::clone)?;
        Some(nic.ring(now(), number))
    }
}
