//! Connections.

use std::sync::Arc;

use flexio::Registration;
use flexio::rdma::{
    self as low, Atomic, Cause, ConnectionInfo, ConnectionState, Counters, Data, Flags, Inline,
    Operation, Tail,
};
use sync_event::Location;

use super::blob::{RemoteMemoryMap, RemoteSyncEvent};
use super::context::Rdma;
use super::error::{BlobError, ConnectError, MapError, WorkRefused};
use super::memory::HostBuffer;
use super::returned::Returned;
use super::work::{WorkOp, with_buffer};
use crate::event::SyncEvent;

/// One connection of an RDMA context. When it is dropped it ends: what is outstanding is flushed.
#[doc(alias = "doca_rdma_connection")]
#[derive(Debug)]
pub struct Connection {
    rdma: Rdma,
    connection: Arc<low::Connection>,
}

impl Connection {
    pub(crate) fn new(rdma: Rdma, connection: low::Connection) -> Self {
        Self {
            rdma,
            connection: Arc::new(connection),
        }
    }

    /// Its id, by which kernels and completions name it.
    #[doc(alias = "doca_rdma_connection_get_id")]
    pub fn id(&self) -> u32 {
        self.connection.id()
    }

    /// Its context.
    pub fn rdma(&self) -> &Rdma {
        &self.rdma
    }

    /// What the peer must know of it.
    pub fn info(&self) -> &ConnectionInfo {
        self.connection.info()
    }

    /// What the peer must know of it, as bytes: at most 4 KiB.
    pub fn blob(&self) -> Vec<u8> {
        self.info().to_blob()
    }

    /// As [`Connection::blob`], in answer to the peer whose bytes these are: it echoes their nonce, so that the peer
    /// knows an answer to this attempt from one to an earlier.
    ///
    /// # Errors
    /// They are no connection data, or of another version.
    pub fn answer(&self, theirs: &[u8]) -> Result<Vec<u8>, BlobError> {
        let echo = Some(connection_data(theirs)?.nonce);
        Ok(ConnectionInfo {
            echo,
            ..*self.info()
        }
        .to_blob())
    }

    /// Connects it to the peer whose bytes these are. From then on it answers, and may send.
    ///
    /// Before the first work is posted the peer should be connected, too: what comes earlier is lost, and sent again
    /// only when the timeout strikes.
    ///
    /// # Errors
    /// They are no connection data, or of another version; the two cannot talk; it was connected before, or is over; the device
    /// behind verbs refuses.
    #[doc(alias = "doca_rdma_connect")]
    pub fn connect(&self, theirs: &[u8]) -> Result<(), ConnectError> {
        Ok(self.connection.connect(&connection_data(theirs)?)?)
    }

    /// Ends it: outstanding work is flushed. The peer finds out when nothing answers it.
    #[doc(alias = "doca_rdma_connection_disconnect")]
    pub fn disconnect(&self) {
        self.connection.disconnect();
    }

    /// Its state now.
    pub fn state(&self) -> ConnectionState {
        self.connection.state()
    }

    /// Waits until it is over; why it is.
    ///
    /// Cancel safety: nothing is lost.
    pub async fn failed(&self) -> Cause {
        self.connection.failed().await
    }

    /// What its queue pair has counted.
    pub fn counters(&self) -> Counters {
        self.connection.counters()
    }

    /// Lets the peer of this connection signal an event, as long as the export lives. When the connection fails, the
    /// event is closed: whoever waits for it is told.
    ///
    /// # Errors
    /// A remote node is not among the event's publishers; the event belongs to another context; the context or the NIC has no
    /// region left; over verbs, the device refuses, kernels publish the event, or it has another word ([`MapError::OtherWord`]);
    /// the context is closed or faulted.
    #[doc(alias = "doca_sync_event_export_to_remote_net")]
    pub fn export_event(&self, event: &SyncEvent) -> Result<EventExport, MapError> {
        export_event(&self.rdma, event, Some(&self.connection))
    }

    fn post(&self, operation: Operation) -> Result<WorkOp, WorkRefused> {
        let flags = Flags::empty();
        let pending = self.connection.post(operation, flags, Box::new(()))?;
        Ok(WorkOp::new(pending, None, self.connection.clone()))
    }

    /// Sends `buffer` into the peer's next receive; it comes back when that is acknowledged.
    ///
    /// # Cancel safety
    /// The work is posted by this call. Dropping the future neither takes it back nor frees the buffer before it is over.
    ///
    /// # Errors
    /// The work was not taken, and the buffer is back.
    pub fn send(&self, buffer: HostBuffer) -> Result<WorkOp, Returned<WorkRefused>> {
        self.send_with(buffer, Tail::Plain)
    }

    /// As [`Connection::send`], with four bytes that arrive with the message.
    ///
    /// # Errors
    /// As [`Connection::send`].
    pub fn send_imm(
        &self,
        buffer: HostBuffer,
        immediate: u32,
    ) -> Result<WorkOp, Returned<WorkRefused>> {
        self.send_with(buffer, Tail::Immediate(immediate))
    }

    fn send_with(&self, buffer: HostBuffer, tail: Tail) -> Result<WorkOp, Returned<WorkRefused>> {
        with_buffer(&self.rdma, &self.connection, buffer, |segment| {
            let data = Data::Local(segment);
            Ok(Operation::Send { data, tail })
        })
    }

    /// Writes `buffer` into the peer's memory, from `offset` on.
    ///
    /// # Cancel safety
    /// As [`Connection::send`].
    ///
    /// # Errors
    /// It does not lie in the peer's memory, or the work was not taken; the buffer is back.
    pub fn write(
        &self,
        buffer: HostBuffer,
        to: &RemoteMemoryMap,
        offset: u64,
    ) -> Result<WorkOp, Returned<WorkRefused>> {
        self.write_with(buffer, to, offset, None)
    }

    /// As [`Connection::write`], and uses up one of the peer's receives, which completes with these four bytes.
    ///
    /// # Errors
    /// As [`Connection::write`].
    pub fn write_imm(
        &self,
        buffer: HostBuffer,
        to: &RemoteMemoryMap,
        offset: u64,
        immediate: u32,
    ) -> Result<WorkOp, Returned<WorkRefused>> {
        self.write_with(buffer, to, offset, Some(immediate))
    }

    fn write_with(
        &self,
        buffer: HostBuffer,
        to: &RemoteMemoryMap,
        offset: u64,
        immediate: Option<u32>,
    ) -> Result<WorkOp, Returned<WorkRefused>> {
        let to = *to;
        with_buffer(&self.rdma, &self.connection, buffer, move |segment| {
            let to = place(&to, offset, segment.len.into())?;
            let data = Data::Local(segment);
            Ok(Operation::Write {
                data,
                to,
                immediate,
            })
        })
    }

    /// Reads from the peer's memory, from `offset` on, as much as `buffer` holds.
    ///
    /// # Cancel safety
    /// As [`Connection::send`].
    ///
    /// # Errors
    /// It does not lie in the peer's memory, or the work was not taken; the buffer is back.
    pub fn read(
        &self,
        buffer: HostBuffer,
        from: &RemoteMemoryMap,
        offset: u64,
    ) -> Result<WorkOp, Returned<WorkRefused>> {
        let from = *from;
        with_buffer(&self.rdma, &self.connection, buffer, move |segment| {
            let from = place(&from, offset, segment.len.into())?;
            Ok(Operation::Read {
                from,
                into: segment,
            })
        })
    }

    /// Adds to eight aligned bytes of the peer's memory; the future gives the word before.
    ///
    /// # Errors
    /// They do not lie in the peer's memory; the work was not taken.
    pub fn fetch_add(
        &self,
        to: &RemoteMemoryMap,
        offset: u64,
        n: u64,
    ) -> Result<WorkOp, WorkRefused> {
        self.atomic(to, offset, Atomic::Add(n))
    }

    /// Stores `swap` in eight aligned bytes of the peer's memory if they are `compare`; the future gives the word before.
    ///
    /// # Errors
    /// They do not lie in the peer's memory; the work was not taken.
    pub fn compare_swap(
        &self,
        to: &RemoteMemoryMap,
        offset: u64,
        compare: u64,
        swap: u64,
    ) -> Result<WorkOp, WorkRefused> {
        self.atomic(to, offset, Atomic::CompareSwap { compare, swap })
    }

    fn atomic(
        &self,
        to: &RemoteMemoryMap,
        offset: u64,
        operation: Atomic,
    ) -> Result<WorkOp, WorkRefused> {
        let at = place(to, offset, 8)?;
        self.post(Operation::Atomic {
            at,
            operation,
            result: None,
        })
    }

    /// Sets an event of the peer. Whoever sees it there sees everything posted on this connection before.
    ///
    /// # Errors
    /// The work was not taken.
    pub fn signal_set(&self, event: &RemoteSyncEvent, value: u64) -> Result<WorkOp, WorkRefused> {
        let inline = Inline::new(&value.to_ne_bytes()).expect("eight bytes fit");
        self.post(Operation::Write {
            data: Data::Inline(inline),
            to: event.at(),
            immediate: None,
        })
    }

    /// Adds to an event of the peer. Whoever sees it there sees everything posted on this connection before.
    ///
    /// # Errors
    /// The work was not taken.
    pub fn signal_add(&self, event: &RemoteSyncEvent, n: u64) -> Result<WorkOp, WorkRefused> {
        self.post(Operation::Atomic {
            at: event.at(),
            operation: Atomic::Add(n),
            result: None,
        })
    }
}

fn connection_data(bytes: &[u8]) -> Result<ConnectionInfo, BlobError> {
    let what = "connection data";
    ConnectionInfo::from_blob(bytes).map_err(|source| BlobError { what, source })
}

fn place(map: &RemoteMemoryMap, offset: u64, len: u64) -> Result<low::RemoteAddress, WorkRefused> {
    map.at(offset, len).ok_or(WorkRefused::OutOfRange {
        offset,
        len,
        size: map.len(),
    })
}

/// An event that a peer may signal, as long as this lives. It counts as a publisher of the event.
#[derive(Debug)]
pub struct EventExport {
    registration: Registration,
}

impl EventExport {
    /// What the peer must know: at most 4 KiB.
    pub fn export(&self) -> Vec<u8> {
        self.registration.export_event().to_blob()
    }
}

impl Rdma {
    /// Lets any peer of this context signal an event, as long as the export lives.
    ///
    /// # Errors
    /// As [`Connection::export_event`].
    pub fn export_event(&self, event: &SyncEvent) -> Result<EventExport, MapError> {
        export_event(self, event, None)
    }
}

fn export_event(
    rdma: &Rdma,
    event: &SyncEvent,
    connection: Option<&low::Connection>,
) -> Result<EventExport, MapError> {
    if !event.belongs_to(rdma.nic().process()) {
        return Err(MapError::Foreign);
    }
    let publishers = event.locations().publishers();
    if !publishers.contains(Location::Remote) {
        return Err(MapError::NotRemote { publishers });
    }
    let registration = rdma.nic().register_event(event.event(), connection)?;
    Ok(EventExport { registration })
}
