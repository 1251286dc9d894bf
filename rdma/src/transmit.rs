//! Packets on their way out: as many as one segmented send can carry.

use std::net::SocketAddr;

use crate::config::ServiceLevel;
use crate::wire::{Body, Header, Part, Path, ReadPart, seal};

/// The most packets in one segmented send: receivers of ours accept identifications below this.
pub const MAX_SEGMENTS: usize = 128;

/// One UDP send: the front of the caller's buffer, perhaps of several packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transmit {
    /// Where to.
    pub destination: SocketAddr,
    /// Bytes in the buffer.
    pub len: usize,
    /// Bytes per packet, all but the last, which may be shorter: `UDP_SEGMENT`. `None`: one packet.
    pub segment: Option<usize>,
    /// How many packets.
    pub packets: usize,
    /// Their priority.
    pub service_level: ServiceLevel,
}

/// Bytes that may still be sent or copied: replies have their own, for peers wait for them, and requests may go on without
/// end.
#[derive(Debug)]
pub(crate) struct Allowance {
    pub(crate) requests: usize,
    pub(crate) replies: usize,
}

impl Allowance {
    /// So many for each of both.
    pub(crate) const fn each(bytes: usize) -> Self {
        Self {
            requests: bytes,
            replies: bytes,
        }
    }

    pub(crate) const fn is_spent(&self) -> bool {
        self.requests == 0 || self.replies == 0
    }
}

/// Gathers packets that can leave in one send: all of the first one's size, the last perhaps shorter. Packet k
/// of a segmented send carries IP identification k, which the ICRC covers.
pub(crate) struct Batch<'a> {
    path: &'a Path,
    service_level: ServiceLevel,
    out: &'a mut [u8],
    max_segments: usize,
    len: usize,
    segment: usize,
    packets: usize,
    closed: bool,
}

impl<'a> Batch<'a> {
    pub(crate) fn new(
        path: &'a Path,
        service_level: ServiceLevel,
        out: &'a mut [u8],
        max_segments: usize,
    ) -> Self {
        let max_segments = max_segments.clamp(1, MAX_SEGMENTS);
        Self {
            path,
            service_level,
            out,
            max_segments,
            len: 0,
            segment: 0,
            packets: 0,
            closed: false,
        }
    }

    /// Whether a packet of `len` bytes can join.
    pub(crate) fn has_room(&self, len: usize) -> bool {
        let alike = self.packets == 0 || len <= self.segment;
        !self.closed
            && alike
            && self.packets < self.max_segments
            && self.len + len <= self.out.len()
    }

    /// Adds a packet, for which there is room; `fill` writes its payload and can refuse, then nothing is added.
    pub(crate) fn push<E>(
        &mut self,
        header: &Header,
        payload: usize,
        fill: impl FnOnce(&mut [u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let len = header.packet_len(payload);
        let packet = &mut self.out[self.len..self.len + len];
        header.emit(payload, packet);
        fill(&mut packet[header.len()..header.len() + payload])?;
        seal(self.path, self.packets as u16, packet);
        self.added(header, len);
        Ok(())
    }

    /// Ends the batch.
    pub(crate) fn finish(self) -> Option<Transmit> {
        (self.packets > 0).then(|| Transmit {
            destination: self.path.destination(),
            len: self.len,
            segment: (self.packets > 1).then_some(self.segment),
            packets: self.packets,
            service_level: self.service_level,
        })
    }

    fn added(&mut self, header: &Header, len: usize) {
        if self.packets == 0 {
            self.segment = len;
        }
        self.len += len;
        self.packets += 1;
        self.closed = len < self.segment || leads(&header.body);
    }
}

/// The first packets of a long message carry a header more than those behind them: they go alone, so that the
/// others can be alike.
const fn leads(body: &Body) -> bool {
    matches!(
        body,
        Body::Write(Part::First(_)) | Body::ReadResponse(ReadPart::First(_))
    )
}
