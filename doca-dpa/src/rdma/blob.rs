//! What a peer has exported.

use dpa_abi::IntoArg;
use flexio::rdma::{RemoteAddress, RemoteEvent as LowEvent, RemoteRegion, Rights};
use flexio_dev::{RemoteEvent, RemoteMemory};

use super::error::BlobError;

/// A memory map of a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RemoteMemoryMap {
    region: RemoteRegion,
}

impl RemoteMemoryMap {
    /// From the bytes that the peer's `MemoryMap::export` gave.
    ///
    /// # Errors
    /// They are not such bytes, or of another version.
    #[doc(alias = "doca_mmap_create_from_export")]
    pub fn import(blob: &[u8]) -> Result<Self, BlobError> {
        let region = RemoteRegion::from_blob(blob);
        let what = "memory map";
        let region = region.map_err(|source| BlobError { what, source })?;
        Ok(Self { region })
    }

    /// Its bytes.
    pub fn len(&self) -> u64 {
        self.region.len
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.region.len == 0
    }

    /// What this node may do with it.
    pub fn rights(&self) -> Rights {
        self.region.rights
    }

    /// How kernels name it.
    pub fn handle(&self) -> RemoteMemory {
        RemoteMemory {
            base: self.region.base,
            len: self.region.len,
            key: self.region.key.0,
            reserved: 0,
        }
    }

    pub(crate) fn at(&self, offset: u64, len: u64) -> Option<RemoteAddress> {
        self.region.at(offset, len)
    }
}

impl IntoArg<RemoteMemory> for RemoteMemoryMap {
    type Kept = ();
    fn into_arg(self) -> (RemoteMemory, ()) {
        (self.handle(), ())
    }
}

/// A sync event of a peer.
#[doc(alias = "doca_sync_event_remote_net")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RemoteSyncEvent {
    event: LowEvent,
}

impl RemoteSyncEvent {
    /// From the bytes that the peer's export gave.
    ///
    /// # Errors
    /// They are not such bytes, or of another version.
    #[doc(alias = "doca_sync_event_remote_net_create_from_export")]
    pub fn import(blob: &[u8]) -> Result<Self, BlobError> {
        let event = LowEvent::from_blob(blob);
        let what = "event";
        let event = event.map_err(|source| BlobError { what, source })?;
        Ok(Self { event })
    }

    /// How kernels name it.
    #[doc(alias = "doca_sync_event_remote_net_get_dpa_handle")]
    pub fn handle(&self) -> RemoteEvent {
        RemoteEvent {
            address: self.event.address,
            key: self.event.key.0,
            reserved: 0,
        }
    }

    pub(crate) fn at(&self) -> RemoteAddress {
        self.event.remote()
    }
}

impl IntoArg<RemoteEvent> for RemoteSyncEvent {
    type Kept = ();
    fn into_arg(self) -> (RemoteEvent, ()) {
        (self.handle(), ())
    }
}
