//! What is sent next: requests cut into packets.

use super::{ACK_STRIDE, Entry, Exchange, Requester};
use crate::memory::{Atomic, read_pieces};
use crate::psn::Psn;
use crate::queue_pair::Context;
use crate::region::{AccessError, Intent, Range};
use crate::transmit::Batch;
use crate::wire::{AtomicEth, Body, Bth, Header, Ieth, ImmDt, Part, Reth, SendTail};
use crate::work::{Data, Flags, Operation, RemoteAddress, Tail};

/// A packet about to be sent. Planning changes nothing but the start of a request; [`Requester::commit`] does.
pub(super) struct Plan {
    /// The request in `posted`.
    pub(super) index: usize,
    header: Header,
    /// Where in the message its payload begins, and its bytes.
    offset: u32,
    payload: u32,
    /// How many numbers it takes.
    numbers: u32,
    /// It is the last packet, sent again with AckReq: the cursor stays.
    tail: bool,
}

impl Plan {
    /// Bytes of the packet.
    pub(super) fn len(&self) -> usize {
        self.header.packet_len(self.payload as usize)
    }
}

impl Requester {
    /// The next packet, if one may be sent.
    pub(super) fn plan(&mut self) -> Option<Plan> {
        if std::mem::take(&mut self.tail_due)
            && let Some(tail) = self.plan_tail()
        {
            self.tail_due = true;
            return Some(tail);
        }
        self.start_next()?;
        let exchange = self.posted[self.at].request.operation.is_exchange();
        match exchange {
            true => self.plan_exchange(),
            false => self.plan_piece(),
        }
    }

    /// Rule 2: makes sure that `at` is a started request.
    fn start_next(&mut self) -> Option<()> {
        if self.at < self.started {
            return Some(());
        }
        let idle = self.exchanges.is_empty();
        let (mtu, assigned) = (self.limits.mtu, self.assigned);
        let entry = self.posted.get_mut(self.started)?;
        let fenced = entry.request.flags.contains(Flags::FENCE) && !idle;
        let packets = mtu.packets(entry.request.operation.len() as usize);
        if fenced {
            return None;
        }
        entry.first = assigned;
        entry.packets = packets;
        self.assigned = assigned.plus(packets);
        self.started += 1;
        Some(())
    }

    /// A packet of a send or write.
    fn plan_piece(&self) -> Option<Plan> {
        let flying = self.cursor.since(self.oldest);
        if flying >= self.window.size() {
            return None;
        }
        let mut plan = self.piece(self.at, self.cursor)?;
        let entry = &self.posted[self.at];
        let last = self.cursor.plus(1) == entry.end();
        let fills = flying + 1 == self.window.size();
        plan.header.bth.ack_request = last && entry.request.flags.contains(Flags::SIGNALED)
            || self.since_asked + 1 >= self.ack_stride()
            || fills
            || last && self.is_before_a_wait(flying + 1);
        Some(plan)
    }

    /// Rule 4: a short queue must be acknowledged before it is full.
    fn ack_stride(&self) -> u32 {
        let half = u32::try_from(self.limits.queue / 2).unwrap_or(ACK_STRIDE);
        ACK_STRIDE.min(half.max(1))
    }

    /// Rule 4: whether the next request is an exchange that has to wait for so many unacknowledged packets.
    fn is_before_a_wait(&self, flying: u32) -> bool {
        let next = self.posted.get(self.at + 1);
        let exchange = next.filter(|entry| entry.request.operation.is_exchange());
        exchange.is_some_and(|entry| {
            let first = self.cursor.plus(1);
            let packets = self
                .limits
                .mtu
                .packets(entry.request.operation.len() as usize);
            flying + self.exchange_numbers(first, packets) > self.exchange_limit()
        })
    }

    /// The last packet again, if it is on its way; one of an exchange asks anyway.
    fn plan_tail(&self) -> Option<Plan> {
        if self.oldest == self.cursor {
            return None;
        }
        let last = self.cursor.previous();
        let mut plan = self.piece(self.index_of(last), last)?;
        plan.header.bth.ack_request = true;
        plan.tail = true;
        Some(plan)
    }

    /// Packet `psn` of the send or write at `index`.
    fn piece(&self, index: usize, psn: Psn) -> Option<Plan> {
        let entry = self.posted.get(index).filter(|_| index < self.started)?;
        let mtu = self.limits.mtu.bytes() as u32;
        let offset = psn.since(entry.first) * mtu;
        let payload = mtu.min(entry.request.operation.len() - offset);
        let body = entry.body(psn)?;
        let last = psn.plus(1) == entry.end();
        let mut bth = Bth::new(self.limits.peer, psn);
        bth.solicited = last && entry.request.flags.contains(Flags::SOLICITED);
        let header = Header { bth, body };
        Some(Plan {
            index,
            header,
            offset,
            payload,
            numbers: 1,
            tail: false,
        })
    }

    /// A read request or an atomic (rule 3).
    fn plan_exchange(&self) -> Option<Plan> {
        let entry = &self.posted[self.at];
        let again = self.exchange_at(self.cursor).is_some();
        if !again && self.exchanges.len() >= self.limits.exchanges as usize {
            return None;
        }
        let numbers = self.exchange_numbers(self.cursor, entry.end().since(self.cursor));
        let flying = self.cursor.since(self.oldest);
        if flying > 0 && flying + numbers > self.exchange_limit() {
            return None;
        }
        let offset = self.cursor.since(entry.first) * self.limits.mtu.bytes() as u32;
        let mut bth = Bth::new(self.limits.peer, self.cursor);
        bth.ack_request = true;
        let body = entry.exchange_body(offset, numbers * self.limits.mtu.bytes() as u32)?;
        let header = Header { bth, body };
        Some(Plan {
            index: self.at,
            header,
            offset,
            payload: 0,
            numbers,
            tail: false,
        })
    }

    fn exchange_at(&self, psn: Psn) -> Option<&Exchange> {
        self.exchanges.iter().find(|exchange| exchange.has(psn))
    }

    /// How many packets may be on their way with an exchange.
    fn exchange_limit(&self) -> u32 {
        self.window.size().min(self.limits.receive_budget)
    }

    /// How many numbers the next request of an exchange takes, of which so many packets from `psn` on are missing: those that it
    /// took before, if it is sent again.
    fn exchange_numbers(&self, psn: Psn, packets: u32) -> u32 {
        match self.exchange_at(psn) {
            Some(exchange) => exchange.end.since(psn),
            None => packets.min((self.exchange_limit() / 2).max(1)),
        }
    }

    /// Writes the packet; its payload is read from memory now.
    pub(super) fn emit(
        &self,
        plan: &Plan,
        batch: &mut Batch<'_>,
        context: &Context<'_, '_>,
    ) -> Result<(), AccessError> {
        let operation = &self.posted[plan.index].request.operation;
        batch.push(&plan.header, plan.payload as usize, |out| match operation {
            Operation::Send { data, .. } | Operation::Write { data, .. } => {
                read_data(data, plan.offset, out, context)
            }
            _ => Ok(()),
        })
    }

    /// The packet has been written: moves on.
    pub(super) fn commit(&mut self, plan: &Plan, context: &mut Context<'_, '_>) {
        self.posted[plan.index].sent = true;
        if plan.tail {
            context.shared.counters.solicited_tails += 1;
            self.tail_due = false;
            self.asked = self.cursor;
            return;
        }
        context.shared.counters.resent += u64::from(self.cursor.is_before(self.sent));
        let end = self.cursor.plus(plan.numbers);
        self.log_exchange(plan, end);
        self.cursor = end;
        if self.sent.is_before(end) {
            self.sent = end;
        }
        if end == self.posted[self.at].end() {
            self.at += 1;
        }
        self.count_ask(plan.header.bth.ack_request);
        self.timers
            .packet_sent(context.now, self.asked.is_before(self.cursor));
    }

    fn log_exchange(&mut self, plan: &Plan, end: Psn) {
        let exchange = self.posted[plan.index].request.operation.is_exchange();
        let known = self
            .exchanges
            .iter()
            .any(|exchange| exchange.has(self.cursor));
        if exchange && !known {
            let missing = self.cursor;
            self.exchanges.push_back(Exchange { missing, end });
        }
    }

    fn count_ask(&mut self, asks: bool) {
        self.since_asked = if asks { 0 } else { self.since_asked + 1 };
        if asks && self.asked.is_before(self.cursor) {
            self.asked = self.cursor;
        }
    }
}

impl Exchange {
    fn has(&self, psn: Psn) -> bool {
        psn.is_within(self.missing, self.end.since(self.missing))
    }
}

impl Entry {
    /// The headers of packet `psn` of a send or write.
    fn body(&self, psn: Psn) -> Option<Body> {
        let first = psn == self.first;
        let last = psn.plus(1) == self.end();
        match self.request.operation {
            Operation::Send { tail, .. } => {
                Some(Body::Send(part(first, last, (), send_tail(tail))))
            }
            Operation::Write {
                to,
                immediate,
                data,
            } => {
                let reth = to.reth(0, data.len());
                Some(Body::Write(part(first, last, reth, immediate.map(ImmDt))))
            }
            _ => None,
        }
    }

    /// The headers of a read of at most `max` bytes from `offset` on, or of an atomic.
    fn exchange_body(&self, offset: u32, max: u32) -> Option<Body> {
        match self.request.operation {
            Operation::Read { from, into } => Some(Body::ReadRequest(
                from.reth(offset, max.min(into.len - offset)),
            )),
            Operation::Atomic { at, operation, .. } => Some(atomic_body(at, operation)),
            _ => None,
        }
    }
}

impl RemoteAddress {
    const fn reth(self, offset: u32, dma_length: u32) -> Reth {
        let virtual_address = self.address.wrapping_add(offset as u64);
        Reth {
            virtual_address,
            r_key: self.key.0,
            dma_length,
        }
    }
}

fn atomic_body(at: RemoteAddress, operation: Atomic) -> Body {
    let atomic = |swap_or_add, compare| AtomicEth {
        virtual_address: at.address,
        r_key: at.key.0,
        swap_or_add,
        compare,
    };
    match operation {
        Atomic::Add(addend) => Body::FetchAdd(atomic(addend, 0)),
        Atomic::CompareSwap { compare, swap } => Body::CompareSwap(atomic(swap, compare)),
    }
}

const fn part<H: Copy, T: Copy>(first: bool, last: bool, head: H, tail: T) -> Part<H, T> {
    match (first, last) {
        (true, true) => Part::Only(head, tail),
        (true, false) => Part::First(head),
        (false, true) => Part::Last(tail),
        (false, false) => Part::Middle,
    }
}

const fn send_tail(tail: Tail) -> SendTail {
    match tail {
        Tail::Plain => SendTail::Plain,
        Tail::Immediate(imm) => SendTail::Immediate(ImmDt(imm)),
        Tail::Invalidate(key) => SendTail::Invalidate(Ieth(key.0)),
    }
}

/// Copies `out.len()` bytes of the message from `offset` on.
fn read_data(
    data: &Data,
    offset: u32,
    out: &mut [u8],
    context: &Context<'_, '_>,
) -> Result<(), AccessError> {
    match data {
        Data::Inline(inline) => {
            let start = offset as usize;
            out.copy_from_slice(&inline.bytes()[start..start + out.len()]);
        }
        Data::Local(_) if out.is_empty() => {}
        Data::Local(segment) => {
            let address = segment.address.wrapping_add(u64::from(offset));
            let range = Range {
                address,
                len: out.len() as u64,
            };
            let access =
                context
                    .io
                    .regions
                    .local(context.domain, segment.key, range, Intent::Read)?;
            read_pieces(context.io.memory, access.target(), out);
        }
    }
    Ok(())
}
