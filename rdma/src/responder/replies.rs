//! What the responder sends: acknowledgements, NAKs, results of atomics, read responses.

use super::{Refused, Responder};
use crate::memory::read_pieces;
use crate::mtu::PathMtu;
use crate::psn::Psn;
use crate::queue_pair::{Cause, Context, Shared};
use crate::region::{AccessError, Intent, Range, RemoteKey};
use crate::transmit::Batch;
use crate::wire::{Aeth, AtomicAckEth, Body, Bth, Header, NakCode, ReadPart, Reth, Syndrome};
use crate::work::WorkError;

/// A reply that waits to be sent.
#[derive(Debug)]
pub(super) enum Reply {
    Ack {
        psn: Psn,
        msn: u32,
    },
    Nak {
        psn: Psn,
        msn: u32,
        syndrome: Syndrome,
    },
    Atomic {
        psn: Psn,
        msn: u32,
        original: u64,
    },
    Read(ReadJob),
}

/// A read that is being answered, packet by packet.
#[derive(Debug)]
pub(super) struct ReadJob {
    /// The first number of the read: its name.
    first: Psn,
    /// The number of this answer's first packet.
    start: Psn,
    reth: Reth,
    msn: u32,
    /// Packets sent.
    sent: u32,
    /// The peer has asked before.
    again: bool,
}

impl Reply {
    /// Whether it is the NAK that goes with ERR.
    pub(super) const fn is_fatal(&self) -> bool {
        match self {
            Self::Nak {
                syndrome: Syndrome::Nak(code),
                ..
            } => !matches!(code, NakCode::PsnSequenceError),
            _ => false,
        }
    }

    pub(super) fn is_atomic(&self, at: Psn) -> bool {
        matches!(self, Self::Atomic { psn, .. } if *psn == at)
    }

    /// The answer to the read with this first number.
    pub(super) fn read_of(&mut self, first: Psn) -> Option<&mut ReadJob> {
        match self {
            Self::Read(job) if job.first == first => Some(job),
            _ => None,
        }
    }
}

impl ReadJob {
    pub(super) const fn new(first: Psn, start: Psn, reth: Reth, msn: u32, again: bool) -> Self {
        Self {
            first,
            start,
            reth,
            msn,
            sent: 0,
            again,
        }
    }

    /// Takes the place of what was to be sent before. If that was the first answer, this is.
    pub(super) fn begin_again(&mut self, job: Self) {
        let again = self.again;
        *self = Self { again, ..job };
    }

    /// The number of the next packet.
    pub(super) const fn next(&self) -> Psn {
        self.start.plus(self.sent)
    }

    /// Where the next packet's payload begins, and its bytes.
    fn piece(&self, mtu: PathMtu) -> (u32, u32) {
        let offset = self.sent * mtu.bytes() as u32;
        (
            offset,
            (self.reth.dma_length - offset).min(mtu.bytes() as u32),
        )
    }

    fn packets(&self, mtu: PathMtu) -> u32 {
        mtu.packets(self.reth.dma_length as usize)
    }

    fn part(&self, mtu: PathMtu) -> ReadPart {
        let aeth = Aeth::ack(self.msn);
        let last = self.sent + 1 == self.packets(mtu);
        match (self.sent == 0, last) {
            (true, true) => ReadPart::Only(aeth),
            (true, false) => ReadPart::First(aeth),
            (false, true) => ReadPart::Last(aeth),
            (false, false) => ReadPart::Middle,
        }
    }
}

impl Responder {
    /// Sends what waits and fits.
    pub(crate) fn transmit(&mut self, batch: &mut Batch<'_>, context: &mut Context<'_, '_>) {
        while let Some(reply) = self.replies.front() {
            let header = self.header(reply);
            let payload = self.payload_len(reply);
            if !batch.has_room(header.packet_len(payload)) {
                return;
            }
            let written = batch.push(&header, payload, |out| self.fill(reply, out, context));
            match written {
                Ok(()) => self.sent(),
                Err(_) => self.revoked(context.shared),
            }
        }
    }

    /// Reads whose first answer is not sent yet: the peer may have so many on their way as it was told, and no more.
    pub(super) fn unanswered_reads(&self) -> usize {
        let first = |reply: &&Reply| matches!(reply, Reply::Read(job) if !job.again);
        self.replies.iter().filter(first).count()
    }

    /// Queues a reply, unless too many wait (rule 5).
    pub(super) fn reply(&mut self, reply: Reply, shared: &mut Shared) {
        if self.replies.len() < 2 * self.limit + 16 {
            self.replies.push_back(reply);
        } else {
            shared.counters.replies_refused += 1;
        }
    }

    /// Acknowledges all up to `upto`; takes the place of an acknowledgement of less that still waits.
    pub(super) fn acknowledge(&mut self, upto: Psn, shared: &mut Shared) {
        let msn = self.msn;
        match self.replies.back_mut() {
            Some(Reply::Ack { psn, .. }) if upto.is_before(*psn) => {}
            Some(Reply::Ack { psn, msn: waiting }) => {
                *psn = upto;
                *waiting = msn;
            }
            _ => self.reply(Reply::Ack { psn: upto, msn }, shared),
        }
    }

    fn header(&self, reply: &Reply) -> Header {
        let (psn, body) = match *reply {
            Reply::Ack { psn, msn } => (psn, Body::Acknowledge(Aeth::ack(msn))),
            Reply::Nak { psn, msn, syndrome } => (psn, Body::Acknowledge(Aeth { syndrome, msn })),
            Reply::Atomic { psn, msn, original } => (
                psn,
                Body::AtomicAcknowledge(Aeth::ack(msn), AtomicAckEth(original)),
            ),
            Reply::Read(ref job) => (job.next(), Body::ReadResponse(job.part(self.mtu))),
        };
        Header {
            bth: Bth::new(self.peer, psn),
            body,
        }
    }

    fn payload_len(&self, reply: &Reply) -> usize {
        match reply {
            Reply::Read(job) => job.piece(self.mtu).1 as usize,
            _ => 0,
        }
    }

    /// Writes the payload: a read's bytes, as they are now.
    fn fill(
        &self,
        reply: &Reply,
        out: &mut [u8],
        context: &Context<'_, '_>,
    ) -> Result<(), AccessError> {
        let Reply::Read(job) = reply else {
            return Ok(());
        };
        if out.is_empty() {
            return Ok(());
        }
        let offset = u64::from(job.piece(self.mtu).0);
        let address = job.reth.virtual_address.wrapping_add(offset);
        let range = Range {
            address,
            len: out.len() as u64,
        };
        let key = RemoteKey(job.reth.r_key);
        let access = context
            .io
            .regions
            .remote(context.domain, key, range, Intent::Read)?;
        read_pieces(context.io.memory, access.target(), out);
        Ok(())
    }

    /// The first reply, or a packet of it, has been written.
    fn sent(&mut self) {
        let mtu = self.mtu;
        if let Some(Reply::Read(job)) = self.replies.front_mut() {
            job.sent += 1;
            if job.sent < job.packets(mtu) {
                return;
            }
        }
        self.replies.pop_front();
    }

    /// The region was taken back while it was being read. A repeated read is dropped silently; else the peer is
    /// told, and the queue pair is in ERR.
    fn revoked(&mut self, shared: &mut Shared) {
        let Some(Reply::Read(job)) = self.replies.pop_front() else {
            return;
        };
        if job.again {
            shared.counters.lost_duplicates += 1;
            return;
        }
        self.replies.clear();
        let refused = Refused {
            psn: job.next(),
            msn: job.msn,
            code: NakCode::RemoteAccessError,
        };
        self.send_refusal(refused, shared);
        shared
            .failed
            .get_or_insert(Cause::Peer(WorkError::RemoteAccess));
    }
}
