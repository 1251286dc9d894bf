//! What a work request asks the device for.

use rdma_sys as sys;

use super::{About, Pair, WORD, Work};
use crate::verbs::keys::Keys;
use crate::verbs::queues::Place;
use crate::verbs::raw_pair::Asked;
use crate::work::{
    Data, Flags, MAX_MESSAGE, Operation, PostReason, Segment, Tail, WorkKind, WorkRequest,
};

impl Pair {
    /// Says in `asked` what a work request asks the device for; what is remembered of it.
    #[inline]
    pub(super) fn fill<'a>(
        &self,
        asked: &mut Asked<'a>,
        request: &'a WorkRequest,
        count: u64,
        keys: &Keys,
    ) -> Result<Work, PostReason> {
        let mut work = Work {
            id: request.id,
            kind: WorkKind::Atomic,
            len: WORD as u32,
            about: About::asked(request.flags),
            result: None,
        };
        match &request.operation {
            Operation::Send { data, tail } => {
                send(asked, *tail);
                (work.kind, work.len) = (WorkKind::Send, self.bytes(asked, keys, data));
            }
            Operation::Write {
                data,
                to,
                immediate,
            } => {
                asked.write((to.address, to.key.0), *immediate);
                (work.kind, work.len) = (WorkKind::Write, self.bytes(asked, keys, data));
            }
            Operation::Read { from, into } => {
                asked.read((from.address, from.key.0));
                (work.kind, work.len) = (WorkKind::Read, self.place(asked, keys, into));
                self.check_exchange(None)?;
            }
            Operation::Atomic {
                at,
                operation,
                result,
            } => {
                asked.atomic((at.address, at.key.0), *operation);
                asked.carry(Place {
                    address: self.originals.base() + self.word_of(count) as u64,
                    len: WORD as u32,
                    key: self.originals.local_key(),
                });
                work.about |= About::ATOMIC;
                work.result = *result;
                self.check_exchange(*result)?;
            }
        }
        match work.len > MAX_MESSAGE {
            true => Err(PostReason::TooLong { len: work.len }),
            false => Ok(work),
        }
    }

    fn check_exchange(&self, result: Option<Segment>) -> Result<(), PostReason> {
        if self.depth == 0 {
            return Err(PostReason::NoExchanges);
        }
        match result {
            Some(result) if result.len != WORD as u32 => {
                Err(PostReason::ResultSize { len: result.len })
            }
            _ => Ok(()),
        }
    }

    /// It carries this range; how many bytes those are.
    #[inline]
    fn place(&self, asked: &mut Asked<'_>, keys: &Keys, segment: &Segment) -> u32 {
        if segment.len > 0 {
            asked.carry(keys.place(self.config.domain, *segment));
        }
        segment.len
    }

    #[inline]
    fn bytes<'a>(&self, asked: &mut Asked<'a>, keys: &Keys, data: &'a Data) -> u32 {
        match data {
            Data::Local(segment) => self.place(asked, keys, segment),
            Data::Inline(inline) => {
                asked.carry_inline(inline.bytes());
                data.len()
            }
        }
    }
}

#[inline]
fn send(asked: &mut Asked<'_>, tail: Tail) {
    match tail {
        Tail::Plain => asked.send(None),
        Tail::Immediate(value) => asked.send(Some(value)),
        Tail::Invalidate(key) => asked.send_invalidate(key.0),
    }
}

#[inline]
pub(super) fn flags(flags: Flags) -> u32 {
    use sys::ibv_send_flags as f;
    let one = |ours, theirs: f| if flags.contains(ours) { theirs.0 } else { 0 };
    one(Flags::FENCE, f::IBV_SEND_FENCE) | one(Flags::SOLICITED, f::IBV_SEND_SOLICITED)
}
