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
/// Sends that are not segmented after a refusal that may pass, the first time: each time twice as many, for what is lost each
/// time if it does not.
const PAUSE: u32 = 1024;

/// What waits to be sent.
#[derive(Debug)]
pub(super) struct SendBatch {
    slots: Vec<Box<[u8]>>,
    queued: Vec<Transmit>,
    outgoing: Outgoing,
    scope: u32,
    segments: usize,
    /// Sends that are still not to be segmented, and how many the next pause will have.
    pause: u32,
    next_pause: u32,
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
            pause: 0,
            next_pause: PAUSE,
            service_level: ServiceLevel::DEFAULT,
        }
    }

    pub(super) const fn max_segments(&self) -> usize {
        match self.pause {
            0 => self.segments,
            _ => 1,
        }
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
        self.pause = self.pause.saturating_sub(1);
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
                    if rest[0].packets > 1 && self.refused_segmented(&error) {
                        self.try_alone(first, socket, counters);
                    }
                    first += 1;
                }
            }
        }
        self.queued.clear();
    }
}

impl SendBatch {
    /// A segmented send was refused; whether a single packet of it would tell if that was for the segments. Those of the same batch
    /// that are refused after it are no reason of their own.
    fn refused_segmented(&mut self, error: &io::Error) -> bool {
        if sys::means_no_segmentation(error) {
            self.segments = 1;
        }
        sys::may_mean_no_segmentation(error) && self.pause == 0
    }

    /// Sends the first packet of what was refused by itself. If it goes, it was for the segments; if not, the reason is another, an
    /// address that this socket does not reach, say, which is no matter of the others' sends.
    fn try_alone(&mut self, first: usize, socket: BorrowedFd<'_>, counters: &mut SocketCounters) {
        let refused = &self.queued[first];
        let alone = Transmit {
            len: refused.segment.unwrap_or(refused.len),
            segment: None,
            packets: 1,
            ..*refused
        };
        counters.send_calls += 1;
        let result = self.outgoing.send(socket, &[alone], &self.slots[first..]);
        if matches!(result, Ok(1)) {
            counters.sent += 1;
            counters.lost -= 1;
            self.pause = self.next_pause;
            self.next_pause = self.next_pause.saturating_mul(2);
        }
    }

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

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;
    use std::os::fd::AsFd;

    use super::*;

    fn push(batch: &mut SendBatch, destination: SocketAddr, packets: usize) {
        batch.buffer()[..8 * packets].fill(7);
        batch.push(&Transmit {
            destination,
            len: 8 * packets,
            segment: (packets > 1).then_some(8),
            packets,
            service_level: ServiceLevel::DEFAULT,
        });
    }

    /// More packets than a segmented send may have are "invalid".
    #[test]
    fn a_refusal_that_may_pass_ends_segmentation_for_a_while() {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
        let local = socket.local_addr().expect("an address");
        const TOO_MANY: usize = 1000;
        let mut batch = SendBatch::new(local, true);
        let mut counters = SocketCounters::default();
        for pause in [PAUSE, 2 * PAUSE] {
            assert_eq!(batch.max_segments(), SEGMENTS);
            // Two of one batch are one reason.
            push(&mut batch, local, TOO_MANY);
            push(&mut batch, local, TOO_MANY);
            batch.flush(socket.as_fd(), &mut counters);
            if counters.last_refusal != Some(libc::EINVAL) {
                println!("skipped: {:?}", counters.last_refusal);
                return;
            }
            for _ in 0..pause {
                assert_eq!(batch.max_segments(), 1);
                push(&mut batch, local, 1);
                batch.flush(socket.as_fd(), &mut counters);
            }
        }
        assert_eq!(batch.max_segments(), SEGMENTS);
        // Of each that told so the first packet went by itself.
        assert_eq!(counters.lost, 4 * TOO_MANY as u64 - 2);
    }

    /// Nothing is sent to port 0, in segments or not.
    #[test]
    fn a_destination_that_is_refused_alone_as_well_pauses_nothing() {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
        let local = socket.local_addr().expect("an address");
        let nowhere = SocketAddr::new(local.ip(), 0);
        let mut batch = SendBatch::new(local, true);
        let mut counters = SocketCounters::default();
        push(&mut batch, nowhere, 2);
        batch.flush(socket.as_fd(), &mut counters);
        assert_eq!(counters.last_refusal, Some(libc::EINVAL));
        assert_eq!((counters.sent, counters.lost), (0, 2));
        assert_eq!(batch.max_segments(), SEGMENTS);
    }

    #[test]
    fn a_refusal_of_segmentation_itself_ends_it_for_good() {
        let local = "127.0.0.1:0".parse().expect("an address");
        let mut batch = SendBatch::new(local, true);
        for errno in [libc::EIO, libc::EOPNOTSUPP] {
            batch.segments = SEGMENTS;
            batch.refused_segmented(&io::Error::from_raw_os_error(errno));
            assert_eq!((batch.segments, batch.pause), (1, 0));
        }
        batch.segments = SEGMENTS;
        batch.refused_segmented(&io::Error::from_raw_os_error(libc::ENOBUFS));
        assert_eq!(batch.max_segments(), SEGMENTS);
    }
}
