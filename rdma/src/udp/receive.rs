//! Datagrams on their way in: up to a batch with one system call.

use std::io;
use std::net::SocketAddr;
use std::os::fd::BorrowedFd;

use super::sys::Incoming;

/// Datagrams, or joined datagrams, of one call.
const BATCH: usize = 16;
/// What one of them can have at most.
const SLOT: usize = 1 << 16;

/// Room for a batch.
#[derive(Debug)]
pub(super) struct ReceiveBatch {
    incoming: Incoming,
}

/// One datagram, or several of equal size (but the last) that the kernel has joined.
pub(super) struct Arrival<'a> {
    pub(super) from: SocketAddr,
    pub(super) bytes: &'a [u8],
    pub(super) segment: usize,
}

impl ReceiveBatch {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self {
            incoming: Incoming::new(BATCH, SLOT)?,
        })
    }

    /// Receives what is there; how many slots were filled.
    pub(super) fn fill(&mut self, socket: BorrowedFd<'_>) -> io::Result<usize> {
        self.incoming.receive(socket)
    }

    /// What a slot holds; nothing if it was cut off, or is of no address family of ours.
    pub(super) fn arrival(&self, slot: usize) -> Option<Arrival<'_>> {
        let (from, bytes, joined) = self.incoming.slot(slot)?;
        let segment = joined
            .filter(|segment| *segment > 0)
            .unwrap_or(bytes.len().max(1));
        Some(Arrival {
            from,
            bytes,
            segment,
        })
    }
}
