//! A link that is carried by the program itself: what simulations put under a NIC in place of a socket.

use std::collections::VecDeque;
use std::net::SocketAddr;

use crate::transmit::Transmit;

/// Datagrams that may wait in either direction; more are dropped, as at a socket that is full.
const MOST: usize = 4096;
/// The most bytes that the NIC can make at a time: one packet.
const BUFFER: usize = 8192;

/// A datagram on its way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Datagram {
    /// Who sent it.
    pub from: SocketAddr,
    /// Whom it is for.
    pub to: SocketAddr,
    /// What it carries.
    pub bytes: Vec<u8>,
}

/// Both ends of a link.
#[derive(Debug)]
pub(crate) struct VirtualLink {
    pub(crate) buffer: Vec<u8>,
    sent: VecDeque<Datagram>,
    arrived: VecDeque<Datagram>,
    dropped: u64,
}

impl VirtualLink {
    pub(crate) fn new() -> Self {
        Self {
            buffer: vec![0; BUFFER],
            sent: VecDeque::new(),
            arrived: VecDeque::new(),
            dropped: 0,
        }
    }

    fn enter(queue: &mut VecDeque<Datagram>, dropped: &mut u64, datagram: Datagram) {
        if queue.len() < MOST {
            queue.push_back(datagram);
        } else {
            *dropped += 1;
        }
    }

    /// The NIC sends what is in the buffer.
    pub(crate) fn push(&mut self, from: SocketAddr, transmit: &Transmit) {
        let segment = transmit.segment.unwrap_or(transmit.len).max(1);
        for packet in self.buffer[..transmit.len].chunks(segment) {
            let datagram = Datagram {
                from,
                to: transmit.destination,
                bytes: packet.to_vec(),
            };
            Self::enter(&mut self.sent, &mut self.dropped, datagram);
        }
    }

    pub(crate) fn deliver(&mut self, datagram: Datagram) {
        Self::enter(&mut self.arrived, &mut self.dropped, datagram);
    }

    pub(crate) fn take_sent(&mut self) -> VecDeque<Datagram> {
        std::mem::take(&mut self.sent)
    }

    pub(crate) fn take_arrived(&mut self) -> Option<Datagram> {
        self.arrived.pop_front()
    }

    /// Datagrams that found no room.
    pub(crate) const fn dropped(&self) -> u64 {
        self.dropped
    }
}
