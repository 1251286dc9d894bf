//! Datagrams on their way out: a batch with one system call.

use std::io;
use std::net::SocketAddr;
use std::os::fd::BorrowedFd;

use socket2::SockRef;

use super::SocketCounters;
use super::sys::{self, Outgoing};
use crate::config::ServiceLevel;
use crate::transmit::Transmit;

/// Sends of one batch.
const BATCH: usize = 16;
/// What one send can carry.
const SLOT: usize = 65_507;
/// Packets of one segmented send that every kernel with segmentation takes.
const SEGMENTS: usize = 64;

/// What waits to be sent.
#[derive(Debug)]
pub(super) struct SendBatch {
    slots: Vec<Box<[u8]>>,
    queued: Vec<Transmit>,
    outgoing: Outgoing,
    scope: u32,
    segments: usize,
    /// The priority that the socket has now.
    service_level: ServiceLevel,
}

impl SendBatch {
    pub(super) fn new(local: SocketAddr, segments: bool) -> Self {
        let scope = match local {
            SocketAddr::V6(v6) => v6.scope_id(),
            SocketAddr::V4(_) => 0,
        };
        Self {
            slots: Vec::new(),
            queued: Vec::with_capacity(BATCH),
            outgoing: Outgoing::new(BATCH),
            scope,
            segments: if segments { SEGMENTS } else { 1 },
            service_level: ServiceLevel::DEFAULT,
        }
    }

    pub(super) fn max_segments(&self) -> usize {
        self.segments
    }

    pub(super) fn buffer(&mut self) -> &mut [u8] {
        let slot = self.queued.len();
        if self.slots.len() == slot {
            self.slots.push(vec![0; SLOT].into_boxed_slice());
        }
        &mut self.slots[slot]
    }

    /// Takes what was written to the buffer; whether the batch is full.
    pub(super) fn push(&mut self, transmit: &Transmit) -> bool {
        // A buffer that nobody asked for has nothing in it.
        self.buffer();
        self.queued.push(self.scoped(transmit));
        self.queued.len() == BATCH
    }

    /// Link-local destinations are on this socket's own link.
    fn scoped(&self, transmit: &Transmit) -> Transmit {
        let mut transmit = *transmit;
        if let SocketAddr::V6(to) = &mut transmit.destination
            && to.scope_id() == 0
        {
            to.set_scope_id(self.scope);
        }
        transmit
    }

    pub(super) fn flush(&mut self, socket: BorrowedFd<'_>, counters: &mut SocketCounters) {
        let mut first = 0;
        while first < self.queued.len() {
            let alike = self.take_priority(first, socket);
            let rest = &self.queued[first..first + alike];
            let result = self.outgoing.send(socket, rest, &self.slots[first..]);
            counters.send_calls += 1;
            match result {
                Ok(0) => break,
                Ok(sent) => {
                    counters.sent += packets(&rest[..sent]);
                    first += sent;
                }
                Err(error) => {
                    // The first of them was refused: it is lost, the others have their turn.
                    counters.lost += packets(&rest[..1]);
                    counters.last_refusal = error.raw_os_error();
                    if rest[0].packets > 1 && sys::means_no_segmentation(&error) {
                        self.segments = 1;
                    }
                    first += 1;
                }
            }
        }
        self.queued.clear();
    }
}

impl SendBatch {
    /// Gives the socket the priority of the first send; how many behind it have the same.
    fn take_priority(&mut self, first: usize, socket: BorrowedFd<'_>) -> usize {
        let rest = &self.queued[first..];
        let level = rest[0].service_level;
        if level != self.service_level && set_priority(socket, level).is_ok() {
            self.service_level = level;
        }
        rest.iter()
            .take_while(|transmit| transmit.service_level == level)
            .count()
    }
}

/// Gives what a socket sends from now on this priority.
pub(super) fn set_priority(socket: BorrowedFd<'_>, level: ServiceLevel) -> io::Result<()> {
    SockRef::from(&socket).set_priority(level.value().into())
}

fn packets(transmits: &[Transmit]) -> u64 {
    transmits
        .iter()
        .map(|transmit| transmit.packets as u64)
        .sum()
}
