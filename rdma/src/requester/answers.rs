//! What comes back: acknowledgements, NAKs, read responses, results of atomics.

use super::Requester;
use crate::memory::write_pieces;
use crate::psn::Psn;
use crate::queue_pair::Context;
use crate::region::{AccessError, Intent, Range};
use crate::wire::{Aeth, Body, NakCode, Packet, ReadPart, RnrTimer, Syndrome};
use crate::work::{Operation, Segment, WorkError};

impl Requester {
    /// Takes a packet with a response opcode.
    pub(crate) fn answer(&mut self, packet: &Packet<'_>, context: &mut Context<'_, '_>) {
        let psn = packet.header.bth.psn;
        if !psn.is_within(self.oldest, self.sent.since(self.oldest)) {
            context.shared.counters.stale_answers += 1;
            return;
        }
        self.timers.heard(context.now);
        match packet.header.body {
            Body::Acknowledge(aeth) => self.acknowledgement(psn, aeth.syndrome, context),
            Body::ReadResponse(part) if is_positive(part) => {
                self.exchange_answer(psn, Answer::Read(packet.payload), context);
            }
            Body::AtomicAcknowledge(aeth, original) if positive(aeth) => {
                self.exchange_answer(psn, Answer::Atomic(original.0), context);
            }
            _ => context.shared.counters.bad_answers += 1,
        }
    }

    fn acknowledgement(&mut self, psn: Psn, syndrome: Syndrome, context: &mut Context<'_, '_>) {
        match syndrome {
            Syndrome::Ack { .. } => self.positive(psn, context),
            Syndrome::RnrNak(timer) => self.not_ready(psn, timer, context),
            Syndrome::Nak(NakCode::PsnSequenceError) => self.gap(psn, context),
            Syndrome::Nak(code) => self.refused(psn, code, context),
            Syndrome::Other(_) => context.shared.counters.bad_answers += 1,
        }
    }

    fn positive(&mut self, psn: Psn, context: &mut Context<'_, '_>) {
        match self.unanswered_before(psn.plus(1)) {
            Some(missing) => self.implied_nak(missing, context),
            None => self.acknowledge(psn.plus(1), context),
        }
    }

    /// "Receiver not ready" for packet `psn`: all before it is acknowledged, it is sent again later.
    fn not_ready(&mut self, psn: Psn, timer: RnrTimer, context: &mut Context<'_, '_>) {
        context.shared.counters.rnr_naks_received += 1;
        if let Some(missing) = self.unanswered_before(psn) {
            return self.implied_nak(missing, context);
        }
        self.acknowledge(psn, context);
        if !psn.is_before(self.cursor) {
            return;
        }
        match self.timers.not_ready(context.now, timer.duration()) {
            Ok(()) => self.rewind(psn),
            Err(error) => self.fail(0, error, context.shared),
        }
    }

    /// Packets are missing from `psn` on.
    fn gap(&mut self, psn: Psn, context: &mut Context<'_, '_>) {
        context.shared.counters.sequence_naks_received += 1;
        self.window.congested(self.sent);
        if let Some(missing) = self.unanswered_before(psn) {
            return self.implied_nak(missing, context);
        }
        self.acknowledge(psn, context);
        if psn.is_before(self.cursor) {
            self.rewind(psn);
        }
    }

    /// Packet `psn` was refused for good.
    fn refused(&mut self, psn: Psn, code: NakCode, context: &mut Context<'_, '_>) {
        let error = match code {
            NakCode::RemoteAccessError => WorkError::RemoteAccess,
            NakCode::RemoteOperationalError => WorkError::RemoteOperation,
            NakCode::InvalidRequest | NakCode::InvalidRdRequest => WorkError::RemoteInvalidRequest,
            NakCode::PsnSequenceError | NakCode::Other(_) => {
                context.shared.counters.bad_answers += 1;
                return;
            }
        };
        let upto = self.unanswered_before(psn).unwrap_or(psn);
        self.acknowledge(upto, context);
        let index = self.index_of(psn);
        self.fail(index, error, context.shared);
    }

    /// The first number without an answer that a read or atomic is waiting for, if it lies before `end`.
    fn unanswered_before(&self, end: Psn) -> Option<Psn> {
        let missing = self.exchanges.front()?.missing;
        missing.is_before(end).then_some(missing)
    }

    /// Rule 5: an answer to something later shows that `missing` was lost.
    fn implied_nak(&mut self, missing: Psn, context: &mut Context<'_, '_>) {
        self.acknowledge(missing, context);
        if self.implied_at == Some(missing) {
            return;
        }
        self.implied_at = Some(missing);
        context.shared.counters.implied_naks += 1;
        if missing.is_before(self.cursor) {
            self.rewind(missing);
        }
    }

    /// An answer with data for packet `psn`.
    fn exchange_answer(&mut self, psn: Psn, answer: Answer<'_>, context: &mut Context<'_, '_>) {
        let index = self.index_of(psn);
        if !self.fits(index, psn, &answer) {
            context.shared.counters.bad_answers += 1;
            return;
        }
        match self.exchanges.front().map(|exchange| exchange.missing) {
            Some(missing) if missing == psn => self.accept(index, psn, answer, context),
            Some(missing) if missing.is_before(psn) => self.implied_nak(missing, context),
            _ => context.shared.counters.stale_answers += 1,
        }
    }

    /// Whether the request at `index` asked for such an answer, of this length.
    fn fits(&self, index: usize, psn: Psn, answer: &Answer<'_>) -> bool {
        let Some(entry) = self.posted.get(index).filter(|_| index < self.started) else {
            return false;
        };
        let mtu = self.limits.mtu.bytes();
        match (entry.request.operation, answer) {
            (Operation::Read { into, .. }, Answer::Read(payload)) => {
                let offset = psn.since(entry.first) as usize * mtu;
                payload.len() == mtu.min(into.len as usize - offset)
            }
            (Operation::Atomic { .. }, Answer::Atomic(_)) => true,
            _ => false,
        }
    }

    fn accept(
        &mut self,
        index: usize,
        psn: Psn,
        answer: Answer<'_>,
        context: &mut Context<'_, '_>,
    ) {
        if self.store(index, psn, &answer, context).is_err() {
            return self.fail(index, WorkError::LocalProtection, context.shared);
        }
        if let Answer::Atomic(original) = answer {
            self.posted[index].original = original;
        }
        if let Some(exchange) = self.exchanges.front_mut() {
            exchange.missing = psn.plus(1);
        }
        self.exchanges
            .pop_front_if(|exchange| exchange.missing == exchange.end);
        self.acknowledge(psn.plus(1), context);
    }

    /// Writes the answer to local memory.
    fn store(
        &self,
        index: usize,
        psn: Psn,
        answer: &Answer<'_>,
        context: &Context<'_, '_>,
    ) -> Result<(), AccessError> {
        let entry = &self.posted[index];
        match (entry.request.operation, answer) {
            (Operation::Read { into, .. }, Answer::Read(payload)) => {
                let offset = u64::from(psn.since(entry.first)) * self.limits.mtu.bytes() as u64;
                write_local(into, offset, payload, context)
            }
            (
                Operation::Atomic {
                    result: Some(slot), ..
                },
                Answer::Atomic(original),
            ) => write_local(slot, 0, &original.to_ne_bytes(), context),
            _ => Ok(()),
        }
    }
}

/// What a responder gave back.
#[derive(Clone, Copy)]
enum Answer<'a> {
    Read(&'a [u8]),
    Atomic(u64),
}

/// Writes into a local segment.
fn write_local(
    segment: Segment,
    offset: u64,
    data: &[u8],
    context: &Context<'_, '_>,
) -> Result<(), AccessError> {
    if data.is_empty() {
        return Ok(());
    }
    let range = Range {
        address: segment.address.wrapping_add(offset),
        len: data.len() as u64,
    };
    let access = context
        .io
        .regions
        .local(context.domain, segment.key, range, Intent::Write)?;
    write_pieces(context.io.memory, access.target(), data);
    Ok(())
}

const fn positive(aeth: Aeth) -> bool {
    matches!(aeth.syndrome, Syndrome::Ack { .. })
}

const fn is_positive(part: ReadPart) -> bool {
    match part {
        ReadPart::First(aeth) | ReadPart::Last(aeth) | ReadPart::Only(aeth) => positive(aeth),
        ReadPart::Middle => true,
    }
}
