//! Executing the packet that is expected.

use super::replies::{ReadJob, Reply};
use super::{Message, Refusal, Resource, Responder, atomic_of};
use crate::memory::{Atomic, EventUpdate, write_pieces};
use crate::queue_pair::Context;
use crate::region::{AccessError, Intent, Range, RegionKind, RemoteKey};
use crate::wire::{Body, ImmDt, Packet, Part, Reth, SendTail};
use crate::work::{Completion, MAX_MESSAGE, Receive, Received, ReceivedKind};

type Executed = Result<(), Refusal>;

impl Responder {
    pub(super) fn execute(
        &mut self,
        packet: &Packet<'_>,
        context: &mut Context<'_, '_>,
    ) -> Executed {
        match packet.header.body {
            Body::Send(part) => self.send(part, packet, context)?,
            Body::Write(part) => self.write(part, packet, context)?,
            Body::ReadRequest(reth) => return self.read(reth, context),
            Body::FetchAdd(_) | Body::CompareSwap(_) => {
                return self.atomic(packet.header.body, context);
            }
            _ => return Err(Refusal::INVALID),
        }
        let psn = self.expected;
        self.expected = psn.plus(1);
        if packet.header.bth.ack_request {
            self.acknowledge(psn, context.shared);
        }
        Ok(())
    }

    fn send(
        &mut self,
        part: Part<(), SendTail>,
        packet: &Packet<'_>,
        context: &mut Context<'_, '_>,
    ) -> Executed {
        self.check_place(
            &part,
            packet.payload.len(),
            matches!(self.message, Some(Message::Send { .. })),
        )?;
        if let Part::First(()) | Part::Only((), _) = part {
            let receive = context.io.receives.take().ok_or(Refusal::NotReady)?;
            self.message = Some(Message::Send { receive, done: 0 });
        }
        self.send_piece(packet.payload, context)?;
        match part {
            Part::Last(tail) | Part::Only((), tail) => self.end_send(tail, packet, context),
            _ => Ok(()),
        }
    }

    /// Puts a piece of a send into its receive.
    fn send_piece(&mut self, payload: &[u8], context: &mut Context<'_, '_>) -> Executed {
        let Some(Message::Send { receive, done }) = &mut self.message else {
            return Err(Refusal::INVALID);
        };
        let len = payload.len() as u32;
        let end = done
            .checked_add(len)
            .filter(|end| *end <= receive.buffer.len);
        let end = end.ok_or(Refusal::TOO_LONG)?;
        if len > 0 {
            let address = receive.buffer.address.wrapping_add(u64::from(*done));
            let range = Range {
                address,
                len: u64::from(len),
            };
            let key = receive.buffer.key;
            let access = context
                .io
                .regions
                .local(context.domain, key, range, Intent::Write);
            let access = access.map_err(|_| Refusal::PROTECTION)?;
            write_pieces(context.io.memory, access.target(), payload);
        }
        *done = end;
        Ok(())
    }

    fn end_send(
        &mut self,
        tail: SendTail,
        packet: &Packet<'_>,
        context: &mut Context<'_, '_>,
    ) -> Executed {
        let kind = match tail {
            SendTail::Plain => ReceivedKind::Send,
            SendTail::Immediate(imm) => ReceivedKind::SendImmediate(imm.0),
            SendTail::Invalidate(key) => {
                let key = RemoteKey(key.0);
                let invalidated = context.io.regions.invalidate(context.domain, key);
                invalidated.map_err(|_| Refusal::ACCESS)?;
                ReceivedKind::SendInvalidate(key)
            }
        };
        let Some(Message::Send { receive, done }) = self.message.take() else {
            return Err(Refusal::INVALID);
        };
        self.message_done();
        received(receive, kind, done, packet, context);
        Ok(())
    }

    fn write(
        &mut self,
        part: Part<Reth, Option<ImmDt>>,
        packet: &Packet<'_>,
        context: &mut Context<'_, '_>,
    ) -> Executed {
        let payload = packet.payload;
        self.check_place(
            &part,
            payload.len(),
            matches!(self.message, Some(Message::Write { .. })),
        )?;
        let (reth, done) = self.write_progress(&part)?;
        let end = u64::from(done) + payload.len() as u64;
        let ends = matches!(part, Part::Last(_) | Part::Only(..));
        if ends && end != u64::from(reth.dma_length) || !ends && end >= u64::from(reth.dma_length) {
            return Err(Refusal::INVALID);
        }
        // Before a receive is taken, and before it is said that there is none.
        if let Part::First(_) | Part::Only(_, Some(_)) = part
            && reth.dma_length > 0
        {
            check_remote_write(reth, context)?;
        }
        if let Part::Last(Some(_)) | Part::Only(_, Some(_)) = part {
            self.held = Some(context.io.receives.take().ok_or(Refusal::NotReady)?);
        }
        write_piece(reth, done, payload, context)?;
        self.message = Some(Message::Write {
            reth,
            done: end as u32,
        });
        if let Part::Last(imm) | Part::Only(_, imm) = part {
            self.end_write(imm, reth.dma_length, packet, context);
        }
        Ok(())
    }

    /// What a write is about, and how much of it has arrived.
    fn write_progress(&self, part: &Part<Reth, Option<ImmDt>>) -> Result<(Reth, u32), Refusal> {
        match (part, &self.message) {
            (Part::First(reth) | Part::Only(reth, _), _) => Ok((*reth, 0)),
            (_, Some(Message::Write { reth, done })) => Ok((*reth, *done)),
            _ => Err(Refusal::INVALID),
        }
    }

    fn end_write(
        &mut self,
        imm: Option<ImmDt>,
        len: u32,
        packet: &Packet<'_>,
        context: &mut Context<'_, '_>,
    ) {
        self.message = None;
        self.message_done();
        if let (Some(imm), Some(receive)) = (imm, self.held.take()) {
            received(
                receive,
                ReceivedKind::WriteImmediate(imm.0),
                len,
                packet,
                context,
            );
        }
    }

    fn read(&mut self, reth: Reth, context: &mut Context<'_, '_>) -> Executed {
        let too_many = self.unanswered_reads() >= self.limit;
        if self.message.is_some() || too_many || reth.dma_length > MAX_MESSAGE {
            return Err(Refusal::INVALID);
        }
        if reth.dma_length > 0 {
            let access = remote(reth, 0, reth.dma_length, Intent::Read, context);
            access.map_err(|_| Refusal::ACCESS)?;
        }
        let first = self.expected;
        let count = self.mtu.packets(reth.dma_length as usize);
        self.expected = first.plus(count);
        self.message_done();
        self.remember(Resource::Read { first, count, reth });
        self.reply(
            Reply::Read(ReadJob::new(first, first, reth, self.msn, false)),
            context.shared,
        );
        Ok(())
    }

    fn atomic(&mut self, request: Body, context: &mut Context<'_, '_>) -> Executed {
        if self.message.is_some() || self.limit == 0 {
            return Err(Refusal::INVALID);
        }
        let original = perform(&request, context)?;
        let psn = self.expected;
        self.expected = psn.plus(1);
        self.message_done();
        self.remember(Resource::Atomic {
            psn,
            request,
            original,
        });
        self.reply(
            Reply::Atomic {
                psn,
                msn: self.msn,
                original,
            },
            context.shared,
        );
        Ok(())
    }

    fn message_done(&mut self) {
        self.msn = (self.msn + 1) & 0x00ff_ffff;
    }

    /// Whether the packet fits behind the last one, and its payload its place. `continues`: a message of this
    /// kind has begun.
    fn check_place<H, T>(&self, part: &Part<H, T>, len: usize, continues: bool) -> Executed {
        let mtu = self.mtu.bytes();
        let idle = self.message.is_none();
        let right = match part {
            Part::First(_) => idle && len == mtu,
            Part::Middle => continues && len == mtu,
            Part::Last(_) => continues && (1..=mtu).contains(&len),
            Part::Only(..) => idle && len <= mtu,
        };
        if right { Ok(()) } else { Err(Refusal::INVALID) }
    }
}

fn received(
    receive: Receive,
    kind: ReceivedKind,
    len: u32,
    packet: &Packet<'_>,
    context: &mut Context<'_, '_>,
) {
    let solicited = packet.header.bth.solicited;
    let outcome = Ok(());
    let received = Received {
        id: receive.id,
        kind,
        len,
        solicited,
        outcome,
    };
    context
        .shared
        .completions
        .push_back(Completion::Received(received));
}

/// Begins an access to `len` bytes from `offset` on.
fn remote<'a>(
    reth: Reth,
    offset: u32,
    len: u32,
    intent: Intent,
    context: &Context<'_, 'a>,
) -> Result<crate::region::Access<'a>, AccessError> {
    let outside = AccessError::OutOfBounds {
        address: reth.virtual_address,
        len: u64::from(len),
    };
    let address = reth
        .virtual_address
        .checked_add(u64::from(offset))
        .ok_or(outside)?;
    let range = Range {
        address,
        len: u64::from(len),
    };
    context
        .io
        .regions
        .remote(context.domain, RemoteKey(reth.r_key), range, intent)
}

/// The first packet of a long write: all of it must be allowed.
fn check_remote_write(reth: Reth, context: &Context<'_, '_>) -> Executed {
    let access = remote(reth, 0, reth.dma_length, Intent::Write, context);
    access.map(drop).map_err(|_| Refusal::ACCESS)
}

/// Puts a piece of a write to its place. A write of nothing needs no key: it is the keep-alive.
fn write_piece(reth: Reth, done: u32, payload: &[u8], context: &Context<'_, '_>) -> Executed {
    if payload.is_empty() {
        return Ok(());
    }
    let access = remote(reth, done, payload.len() as u32, Intent::Write, context);
    let access = access.map_err(|_| Refusal::ACCESS)?;
    match access.kind() {
        RegionKind::Bytes => write_pieces(context.io.memory, access.target(), payload),
        RegionKind::Event => {
            let value = payload.first_chunk().ok_or(Refusal::ACCESS)?;
            let update = EventUpdate::Set(u64::from_ne_bytes(*value));
            let updated = context.io.memory.event_update(access.target(), update);
            updated.map_err(|_| Refusal::ACCESS)?;
        }
    }
    Ok(())
}

/// Does an atomic; the word before it.
fn perform(request: &Body, context: &Context<'_, '_>) -> Result<u64, Refusal> {
    let eth = atomic_of(request).ok_or(Refusal::INVALID)?;
    let operation = match request {
        Body::FetchAdd(_) => Atomic::Add(eth.swap_or_add),
        _ => Atomic::CompareSwap {
            compare: eth.compare,
            swap: eth.swap_or_add,
        },
    };
    let range = Range {
        address: eth.virtual_address,
        len: 8,
    };
    let key = RemoteKey(eth.r_key);
    let access = context
        .io
        .regions
        .remote(context.domain, key, range, Intent::Atomic);
    let access = access.map_err(|error| match error {
        AccessError::Misaligned { .. } => Refusal::INVALID,
        _ => Refusal::ACCESS,
    })?;
    match access.kind() {
        RegionKind::Bytes => Ok(context.io.memory.atomic(access.target(), operation)),
        RegionKind::Event => {
            let update = EventUpdate::Atomic(operation);
            context
                .io
                .memory
                .event_update(access.target(), update)
                .map_err(|_| Refusal::ACCESS)
        }
    }
}
